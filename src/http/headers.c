/* Header fields: validity, identity, lookup, and which of them end at this hop. */
#include "http/headers.h"

#include "http/chars.h"

enum { HOP_BY_HOP = 1, CONTROLLED = 2 };

/* By length, so that a name is compared with the few rows of its own length only. */
static const struct known_name {
    struct str name;
    enum header_id id;
} known_names[] = {
    {STR("te"), HEADER_TE},
    {STR("via"), HEADER_VIA},
    {STR("host"), HEADER_HOST},
    {STR("expect"), HEADER_EXPECT},
    {STR("origin"), HEADER_ORIGIN},
    {STR("trailer"), HEADER_TRAILER},
    {STR("upgrade"), HEADER_UPGRADE},
    {STR("forwarded"), HEADER_FORWARDED},
    {STR("connection"), HEADER_CONNECTION},
    {STR("keep-alive"), HEADER_KEEP_ALIVE},
    {STR("authorization"), HEADER_AUTHORIZATION},
    {STR("content-length"), HEADER_CONTENT_LENGTH},
    {STR("http2-settings"), HEADER_HTTP2_SETTINGS},
    {STR("sec-fetch-site"), HEADER_SEC_FETCH_SITE},
    {STR("proxy-connection"), HEADER_PROXY_CONNECTION},
    {STR("transfer-encoding"), HEADER_TRANSFER_ENCODING},
    {STR("sec-websocket-key"), HEADER_SEC_WEBSOCKET_KEY},
    {STR("proxy-authenticate"), HEADER_PROXY_AUTHENTICATE},
    {STR("proxy-authorization"), HEADER_PROXY_AUTHORIZATION},
    {STR("sec-websocket-accept"), HEADER_SEC_WEBSOCKET_ACCEPT},
    {STR("sec-websocket-version"), HEADER_SEC_WEBSOCKET_VERSION},
    {STR("sec-websocket-protocol"), HEADER_SEC_WEBSOCKET_PROTOCOL},
    {STR("sec-websocket-extensions"), HEADER_SEC_WEBSOCKET_EXTENSIONS},
    {STR("proxy-authentication-info"), HEADER_PROXY_AUTHENTICATION_INFO},
};

/* The rows of each length: first and count. The unit test finds every row through it. */
#define LONGEST_NAME 25
static const struct {
    unsigned char first, count;
} rows_of_length[LONGEST_NAME + 1] = {
    [2] = {0, 1},   [3] = {1, 1},   [4] = {2, 1},   [6] = {3, 2},   [7] = {5, 2},   [9] = {7, 1},
    [10] = {8, 2},  [13] = {10, 1}, [14] = {11, 3}, [16] = {14, 1}, [17] = {15, 2}, [18] = {17, 1},
    [19] = {18, 1}, [20] = {19, 1}, [21] = {20, 1}, [22] = {21, 1}, [24] = {22, 1}, [25] = {23, 1},
};

static const unsigned char traits_of[] = {
    [HEADER_AUTHORIZATION] = CONTROLLED,
    [HEADER_CONNECTION] = HOP_BY_HOP | CONTROLLED,
    [HEADER_CONTENT_LENGTH] = CONTROLLED,
    [HEADER_EXPECT] = CONTROLLED,
    [HEADER_FORWARDED] = CONTROLLED,
    [HEADER_HOST] = CONTROLLED,
    [HEADER_HTTP2_SETTINGS] = HOP_BY_HOP | CONTROLLED,
    [HEADER_KEEP_ALIVE] = HOP_BY_HOP | CONTROLLED,
    [HEADER_ORIGIN] = CONTROLLED,
    [HEADER_PROXY_AUTHENTICATE] = HOP_BY_HOP | CONTROLLED,
    [HEADER_PROXY_AUTHENTICATION_INFO] = HOP_BY_HOP | CONTROLLED,
    [HEADER_PROXY_AUTHORIZATION] = HOP_BY_HOP | CONTROLLED,
    [HEADER_PROXY_CONNECTION] = HOP_BY_HOP | CONTROLLED,
    [HEADER_TE] = HOP_BY_HOP | CONTROLLED,
    [HEADER_TRAILER] = HOP_BY_HOP | CONTROLLED,
    [HEADER_TRANSFER_ENCODING] = HOP_BY_HOP | CONTROLLED,
    [HEADER_UPGRADE] = HOP_BY_HOP | CONTROLLED,
    [HEADER_VIA] = CONTROLLED,
};

static inline char folded(char c)
{
    return (char)chars_fold[(unsigned char)c];
}

/* `lower` is one of ours: lower case with dashes. */
static bool folds_to(const char *name, struct str lower, bool *exact)
{
    bool as_written = true;
    for (size_t i = 0; i < lower.n; i++) {
        if (folded(name[i]) != lower.p[i])
            return false;
        as_written &= name[i] != '_';
    }
    *exact = as_written;
    return true;
}

static bool is_x_forwarded(struct str name, bool *exact)
{
    static const struct str stem = STR("x-forwarded");
    if (name.n < stem.n || folded(name.p[0]) != 'x' || (name.n > stem.n && folded(name.p[stem.n]) != '-') ||
        !folds_to(name.p, stem, exact))
        return false;
    if (name.n > stem.n && name.p[stem.n] == '_')
        *exact = false;
    return true;
}

enum header_id header_identify(struct str name, bool *exact)
{
    *exact = true;
    if (name.n <= LONGEST_NAME && rows_of_length[name.n].count > 0) {
        const struct known_name *row = &known_names[rows_of_length[name.n].first];
        const struct known_name *end = row + rows_of_length[name.n].count;
        for (char first = folded(name.p[0]); row < end; row++) {
            if (row->name.p[0] == first && folds_to(name.p, row->name, exact))
                return row->id;
        }
    }
    return is_x_forwarded(name, exact) ? HEADER_FORWARDED : HEADER_OTHER;
}

bool header_names_alike(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (folded(a.p[i]) != folded(b.p[i]))
            return false;
    }
    return true;
}

static bool has_trait(enum header_id id, unsigned trait)
{
    return (size_t)id < sizeof traits_of && (traits_of[id] & trait) != 0;
}

bool headers_add(struct header_list *list, struct str name, struct str value)
{
    if (list->count == LIMIT_HEADERS)
        return false;
    list->items[list->count++] = (struct header){name, value};
    return true;
}

bool http_token_valid(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!chars_is(s.p[i], CHARS_TOKEN))
            return false;
    }
    return s.n > 0;
}

bool header_value_valid(struct str value)
{
    return chars_value_span(value.p, value.n) == value.n;
}

const struct header *headers_find(const struct header_list *list, struct str name, size_t nth)
{
    for (size_t i = 0; i < list->count; i++) {
        if (str_equal_nocase(list->items[i].name, name) && nth-- == 0)
            return &list->items[i];
    }
    return NULL;
}

size_t headers_count(const struct header_list *list, struct str name)
{
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++)
        count += str_equal_nocase(list->items[i].name, name);
    return count;
}

bool header_list_next(struct str *rest, struct str *member)
{
    while (rest->n > 0) {
        const char *comma = memchr(rest->p, ',', rest->n);
        size_t n = comma == NULL ? rest->n : (size_t)(comma - rest->p);
        struct str found = str_trim((struct str){rest->p, n});
        size_t taken = comma == NULL ? n : n + 1;
        rest->p += taken;
        rest->n -= taken;
        if (found.n > 0) {
            *member = found;
            return true;
        }
    }
    return false;
}

bool header_list_has(struct str rest, struct str member)
{
    struct str found;
    while (header_list_next(&rest, &found)) {
        if (str_equal_nocase(found, member))
            return true;
    }
    return false;
}

bool headers_list_has(const struct header_list *list, struct str name, struct str member)
{
    for (size_t i = 0; i < list->count; i++) {
        if (!str_equal_nocase(list->items[i].name, name))
            continue;
        if (header_list_has(list->items[i].value, member))
            return true;
    }
    return false;
}

/* `lengths` has a bit per length of name that occurs (modulo 64): most members of a long list are skipped by it. */
static void mark_nominated(const struct header_list *list, struct str nominations, uint64_t lengths,
                           bool dropped[static LIMIT_HEADERS])
{
    struct str member;
    while (header_list_next(&nominations, &member)) {
        if ((lengths >> (member.n & 63) & 1) == 0)
            continue;
        for (size_t i = 0; i < list->count; i++) {
            if (!dropped[i] && str_equal_nocase(list->items[i].name, member))
                dropped[i] = true;
        }
    }
}

/* `traits`: of which an exact name is dropped for any, and a look-alike for CONTROLLED. */
static void mark(const struct header_list *list, unsigned traits, bool dropped[static LIMIT_HEADERS])
{
    size_t connections[LIMIT_HEADERS], connection_count = 0;
    uint64_t lengths = 0;
    for (size_t i = 0; i < list->count; i++) {
        bool exact;
        enum header_id id = header_identify(list->items[i].name, &exact);
        dropped[i] = has_trait(id, exact ? traits : traits & CONTROLLED);
        if (exact && id == HEADER_CONNECTION)
            connections[connection_count++] = i;
        if (!dropped[i])
            lengths |= UINT64_C(1) << (list->items[i].name.n & 63);
    }
    for (size_t i = 0; i < connection_count; i++)
        mark_nominated(list, list->items[connections[i]].value, lengths, dropped);
}

void headers_mark_hop_by_hop(const struct header_list *list, bool dropped[static LIMIT_HEADERS])
{
    mark(list, HOP_BY_HOP, dropped);
}

void headers_mark_not_forwarded(const struct header_list *list, bool dropped[static LIMIT_HEADERS])
{
    mark(list, HOP_BY_HOP | CONTROLLED, dropped);
}

bool http_parse_content_length(struct str value, int64_t *length)
{
    int64_t n = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (!chars_is(value.p[i], CHARS_DIGIT))
            return false;
        int digit = value.p[i] - '0';
        if (n > (INT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    if (value.n == 0)
        return false;
    *length = n;
    return true;
}
