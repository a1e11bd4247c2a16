/* Fuzzes http/headers: validity against the RFCs' lists, identity against plain comparison, nominations one by one. */
#include "fuzz.h"

#include "lines.h"

static bool plain_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && (c == 0 || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return s.n > 0;
}

static bool plain_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* Judged the slow way: may a line of that name travel at all, and upstream? */
static void judge_name(struct str name, bool *hop, bool *controlled)
{
    static const char *const hop_by_hop[] = {"connection",
                                             "keep-alive",
                                             "proxy-connection",
                                             "proxy-authenticate",
                                             "proxy-authorization",
                                             "proxy-authentication-info",
                                             "te",
                                             "trailer",
                                             "transfer-encoding",
                                             "upgrade",
                                             "http2-settings"};
    static const char *const ours[] = {"authorization", "host",   "content-length", "origin",
                                       "via",           "expect", "forwarded",      "x-forwarded"};
    *hop = *controlled = false;
    for (size_t i = 0; i < sizeof hop_by_hop / sizeof hop_by_hop[0]; i++) {
        *hop |= str_equal_nocase(name, str_of(hop_by_hop[i]));
        *controlled |= header_names_alike(name, str_of(hop_by_hop[i]));
    }
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        *controlled |= header_names_alike(name, str_of(ours[i]));
    *controlled |= name.n >= 12 && header_names_alike((struct str){name.p, 12}, STR("x-forwarded-"));
}

static void check_length(struct str value)
{
    int64_t length = -1;
    if (!http_parse_content_length(value, &length)) {
        FUZZ_ASSERT(length == -1);
        return;
    }
    char text[32];
    int n = snprintf(text, sizeof text, "%lld", (long long)length);
    while (value.n > 1 && value.p[0] == '0')
        value.p++, value.n--;
    FUZZ_ASSERT(str_equal(value, (struct str){text, (size_t)n}));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct header_list list;
    bool dropped[LIMIT_HEADERS], withheld[LIMIT_HEADERS];
    lines_headers((struct str){(const char *)bytes, n}, &list);
    headers_mark_hop_by_hop(&list, dropped);
    headers_mark_not_forwarded(&list, withheld);
    for (size_t i = 0; i < list.count; i++) {
        struct str name = list.items[i].name, value = list.items[i].value;
        bool hop, controlled;
        judge_name(name, &hop, &controlled);
        FUZZ_ASSERT(http_token_valid(name) == plain_token(name));
        check_length(value);
        FUZZ_ASSERT(header_value_valid(value) == plain_value(value));
        bool nominated = name.n > 0 && headers_list_has(&list, STR("Connection"), name);
        FUZZ_ASSERT(dropped[i] == (hop || nominated));
        FUZZ_ASSERT(withheld[i] == (controlled || nominated));
        size_t nth = 0;
        while (headers_find(&list, name, nth) != &list.items[i])
            nth++;
        FUZZ_ASSERT(nth < headers_count(&list, name));
    }
    return 0;
}
