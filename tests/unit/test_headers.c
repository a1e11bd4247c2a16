/* http/headers and the character table: every name, byte and rule against its RFC. */
#include "http/chars.h"
#include "http/headers.h"

#include <check.h>
#include <stdlib.h>

static struct header_list list_of(const char *const *pairs)
{
    struct header_list list = {0};
    for (; pairs[0] != NULL; pairs += 2)
        ck_assert(headers_add(&list, str_of(pairs[0]), str_of(pairs[1])));
    return list;
}

START_TEST(character_classes)
{
    for (int c = 0; c < 256; c++) {
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        bool token = alnum || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
        bool value = c == '\t' || (c >= 0x20 && c != 0x7f);
        bool path = alnum || (c != 0 && strchr("-._~!$&'()*+,;=:@/", c) != NULL);
        bool query = path || (c != 0 && strchr("?[]", c) != NULL);
        bool base64 = alnum || c == '+' || c == '/';
        ck_assert_msg(chars_is((char)c, CHARS_TOKEN) == token, "token %02x", c);
        ck_assert_msg(chars_is((char)c, CHARS_VALUE) == value, "value %02x", c);
        ck_assert_msg(chars_is((char)c, CHARS_PATH) == path, "path %02x", c);
        ck_assert_msg(chars_is((char)c, CHARS_QUERY) == query, "query %02x", c);
        ck_assert_msg(chars_is((char)c, CHARS_DIGIT) == (c >= '0' && c <= '9'), "digit %02x", c);
        ck_assert_msg(chars_is((char)c, CHARS_BASE64) == base64, "base64 %02x", c);
        int fold = c >= 'A' && c <= 'Z' ? c + 32 : c == '_' ? '-' : c;
        ck_assert_msg(chars_fold[c] == fold, "fold %02x", c);
        char text[2] = {(char)c, 0}, *end;
        long hex = strtol(text, &end, 16);
        bool is_hex = c != 0 && strchr("0123456789abcdefABCDEF", c) != NULL;
        ck_assert_msg(ascii_hex((char)c) == (is_hex ? (int)hex : -1), "hex %02x", c);
    }
}
END_TEST

/* Each bad byte at each place of values of each short length: the eight-at-a-time scan has no blind lane. */
START_TEST(value_span_finds_every_bad_byte)
{
    char value[40];
    for (size_t n = 0; n <= sizeof value; n++) {
        for (size_t at = 0; at < n; at++) {
            for (int c = 0; c < 256; c++) {
                memset(value, at % 2 == 0 ? 'a' : '\t', sizeof value);
                value[at] = (char)c;
                size_t expected = chars_is((char)c, CHARS_VALUE) ? n : at;
                ck_assert_uint_eq(chars_value_span(value, n), expected);
                ck_assert(header_value_valid((struct str){value, n}) == (expected == n));
            }
        }
    }
    ck_assert(header_value_valid(STR_NONE));
}
END_TEST

START_TEST(tokens)
{
    static const char *const good[] = {"a", "GET", "X-Foo", "!#$%&'*+-.^_`|~", "0", "Content-Length"};
    static const struct str bad[] = {STR(""),         STR(" a"),       STR("a "),    STR("a b"),  STR("a\t"),
                                     STR("a:"),       STR("(a)"),      STR("a/b"),   STR("a\0b"), STR("a\r"),
                                     STR("\xc3\xa9"), STR("Host\x0b"), STR("\"a\""), STR("a,b"),  STR("a@b"),
                                     STR("a\x7f"),    STR("{a}"),      STR("a=b"),   STR("a;b"),  STR("<a>"),
                                     STR("[a]"),      STR("\\"),       STR("a?b"),   STR("\n"),   STR("\0")};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(http_token_valid(str_of(good[i])), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!http_token_valid(bad[i]), "row %zu", i);
}
END_TEST

static const struct {
    const char *name;
    enum header_id id;
    bool hop_by_hop, controlled;
} names[] = {
    {"Authorization", HEADER_AUTHORIZATION, false, true},
    {"Connection", HEADER_CONNECTION, true, true},
    {"Content-Length", HEADER_CONTENT_LENGTH, false, true},
    {"Expect", HEADER_EXPECT, false, true},
    {"Forwarded", HEADER_FORWARDED, false, true},
    {"X-Forwarded", HEADER_FORWARDED, false, true},
    {"X-Forwarded-For", HEADER_FORWARDED, false, true},
    {"X-Forwarded-Host", HEADER_FORWARDED, false, true},
    {"X-Forwarded-Proto", HEADER_FORWARDED, false, true},
    {"X-Forwarded-Anything-At-All-Even-Long", HEADER_FORWARDED, false, true},
    {"X-Forwarded-", HEADER_FORWARDED, false, true},
    {"Host", HEADER_HOST, false, true},
    {"HTTP2-Settings", HEADER_HTTP2_SETTINGS, true, true},
    {"Keep-Alive", HEADER_KEEP_ALIVE, true, true},
    {"Origin", HEADER_ORIGIN, false, true},
    {"Proxy-Authenticate", HEADER_PROXY_AUTHENTICATE, true, true},
    {"Proxy-Authentication-Info", HEADER_PROXY_AUTHENTICATION_INFO, true, true},
    {"Proxy-Authorization", HEADER_PROXY_AUTHORIZATION, true, true},
    {"Proxy-Connection", HEADER_PROXY_CONNECTION, true, true},
    {"Sec-Fetch-Site", HEADER_SEC_FETCH_SITE, false, false},
    {"Sec-WebSocket-Accept", HEADER_SEC_WEBSOCKET_ACCEPT, false, false},
    {"Sec-WebSocket-Extensions", HEADER_SEC_WEBSOCKET_EXTENSIONS, false, false},
    {"Sec-WebSocket-Key", HEADER_SEC_WEBSOCKET_KEY, false, false},
    {"Sec-WebSocket-Protocol", HEADER_SEC_WEBSOCKET_PROTOCOL, false, false},
    {"Sec-WebSocket-Version", HEADER_SEC_WEBSOCKET_VERSION, false, false},
    {"TE", HEADER_TE, true, true},
    {"Trailer", HEADER_TRAILER, true, true},
    {"Transfer-Encoding", HEADER_TRANSFER_ENCODING, true, true},
    {"Upgrade", HEADER_UPGRADE, true, true},
    {"Via", HEADER_VIA, false, true},
    {"", HEADER_OTHER, false, false},
    {"Accept", HEADER_OTHER, false, false},
    {"Accept-Encoding", HEADER_OTHER, false, false},
    {"Cookie", HEADER_OTHER, false, false},
    {"Content-Type", HEADER_OTHER, false, false},
    {"Content-Lengt", HEADER_OTHER, false, false},
    {"Content-Length2", HEADER_OTHER, false, false},
    {"Content.Length", HEADER_OTHER, false, false},
    {"Authorizatio", HEADER_OTHER, false, false},
    {"Authorization2", HEADER_OTHER, false, false},
    {"Buthorization", HEADER_OTHER, false, false},
    {"Hosts", HEADER_OTHER, false, false},
    {"X-Forwardedly", HEADER_OTHER, false, false},
    {"X-Forwarde", HEADER_OTHER, false, false},
    {"X-Forwarded.For", HEADER_OTHER, false, false},
    {"X-Real-IP", HEADER_OTHER, false, false},
    {"X-Request-Id", HEADER_OTHER, false, false},
    {"User-Agent", HEADER_OTHER, false, false},
    {"T", HEADER_OTHER, false, false},
    {"Vi", HEADER_OTHER, false, false},
    {"Idempotency-Key", HEADER_OTHER, false, false},
};

static void vary(char *name, int how)
{
    for (; *name != 0; name++) {
        bool upper = *name >= 'A' && *name <= 'Z', lower = *name >= 'a' && *name <= 'z';
        if (how == 1 && upper)
            *name = (char)(*name + 32);
        if (how == 2 && lower)
            *name = (char)(*name - 32);
        if (how == 3 && *name == '-')
            *name = '_';
    }
}

/* Is a line of that name, alone in its message, one that `mark` drops? */
static bool drops(void (*mark)(const struct header_list *, bool[static LIMIT_HEADERS]), const char *name)
{
    static struct header_list list;
    bool dropped[LIMIT_HEADERS];
    list.count = 0;
    ck_assert(headers_add(&list, str_of(name), STR("x")));
    mark(&list, dropped);
    return dropped[0];
}

START_TEST(identities)
{
    char name[64];
    ck_assert_uint_lt(strlen(names[_i].name), sizeof name);
    for (int how = 0; how < 4; how++) {
        memcpy(name, names[_i].name, strlen(names[_i].name) + 1);
        vary(name, how);
        bool look_alike = strcmp(name, names[_i].name) != 0 && how == 3;
        bool exact;
        ck_assert_msg(header_identify(str_of(name), &exact) == names[_i].id, "%s", name);
        if (names[_i].id != HEADER_OTHER)
            ck_assert_msg(exact == !look_alike, "%s", name);
        ck_assert_msg(drops(headers_mark_hop_by_hop, name) == (names[_i].hop_by_hop && !look_alike), "%s", name);
        ck_assert_msg(drops(headers_mark_not_forwarded, name) == names[_i].controlled, "%s", name);
    }
}
END_TEST

START_TEST(one_underscore_is_a_look_alike)
{
    bool exact;
    ck_assert_int_eq(header_identify(STR("X_Forwarded-For"), &exact), HEADER_FORWARDED);
    ck_assert(!exact);
    ck_assert_int_eq(header_identify(STR("X-Forwarded_For"), &exact), HEADER_FORWARDED);
    ck_assert(!exact);
    ck_assert_int_eq(header_identify(STR("Sec-WebSocket_Key"), &exact), HEADER_SEC_WEBSOCKET_KEY);
    ck_assert(!exact);
    ck_assert_int_eq(header_identify(STR("X-Forwarded-For_"), &exact), HEADER_FORWARDED);
}
END_TEST

/* A name without its last byte is another name, even where that byte stands behind it in memory. */
START_TEST(identity_stops_at_the_length)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        bool exact;
        size_t n = strlen(names[i].name);
        bool x_forwarded = n >= 12 && strncmp(names[i].name, "X-Forwarded-", 12) == 0;
        if (names[i].id != HEADER_OTHER && !x_forwarded)
            ck_assert_msg(header_identify((struct str){names[i].name, n - 1}, &exact) == HEADER_OTHER, "%s",
                          names[i].name);
    }
}
END_TEST

START_TEST(alike_names)
{
    ck_assert(header_names_alike(STR("X-Guard"), STR("x_gUARD")));
    ck_assert(header_names_alike(STR_NONE, STR("")));
    ck_assert(!header_names_alike(STR("X-Guard"), STR("Y-Guard")));
    ck_assert(!header_names_alike(STR("X-Guard"), STR("X-Guarx")));
    ck_assert(!header_names_alike(STR("X-Guard"), STR("X-Guard2")));
    ck_assert(!header_names_alike(STR("X-Guard"), STR("X.Guard")));
}
END_TEST

START_TEST(lookup)
{
    struct header_list list = list_of((const char *const[]){"A", "1", "b", "2", "a", "3", "AA", "4", NULL});
    ck_assert_uint_eq(headers_count(&list, STR("a")), 2);
    ck_assert_uint_eq(headers_count(&list, STR("B")), 1);
    ck_assert_uint_eq(headers_count(&list, STR("c")), 0);
    ck_assert_ptr_eq(headers_find(&list, STR("a"), 0), &list.items[0]);
    ck_assert_ptr_eq(headers_find(&list, STR("A"), 1), &list.items[2]);
    ck_assert_ptr_null(headers_find(&list, STR("a"), 2));
    ck_assert_ptr_null(headers_find(&list, STR("c"), 0));
    for (size_t i = list.count; i < LIMIT_HEADERS; i++)
        ck_assert(headers_add(&list, STR("x"), STR("")));
    ck_assert(!headers_add(&list, STR("x"), STR("")));
    ck_assert_uint_eq(list.count, LIMIT_HEADERS);
}
END_TEST

START_TEST(list_members)
{
    static const struct {
        const char *value, *member;
        bool has;
    } rows[] = {
        {"close", "close", true},
        {"Close", "close", true},
        {"keep-alive, Upgrade", "upgrade", true},
        {"a,b,c", "c", true},
        {"a,b,c", "b", true},
        {" a\t,  b ", "b", true},
        {",,, close ,,", "close", true},
        {"closed", "close", false},
        {"close d", "close", false},
        {"", "close", false},
        {",", "", false},
        {"a b", "a", false},
        {"keep-alive;close", "close", false},
        {"Upgrade,", "upgrade", true},
        {"\"close\"", "close", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct header_list list =
            list_of((const char *const[]){"Other", "close", "Connection", rows[i].value, "x", "y", NULL});
        ck_assert_msg(headers_list_has(&list, STR("connection"), str_of(rows[i].member)) == rows[i].has, "row %zu", i);
    }
    struct header_list first = list_of((const char *const[]){"Connection", "a", "x", "y", NULL});
    ck_assert(headers_list_has(&first, STR("Connection"), STR("a")));
    struct header_list two = list_of((const char *const[]){"Connection", "a", "CONNECTION", "b", NULL});
    ck_assert(headers_list_has(&two, STR("Connection"), STR("b")));
}
END_TEST

START_TEST(hop_by_hop_marks)
{
    const struct {
        const char *const *pairs;
        const char *dropped; /* one digit per line */
    } rows[] = {
        {(const char *const[]){NULL}, ""},
        {(const char *const[]){"Host", "a", "Accept", "b", NULL}, "00"},
        {(const char *const[]){"Connection", "close", "Accept", "b", NULL}, "10"},
        {(const char *const[]){"X-A", "1", "Connection", "x-a", "x-A", "2", "X-B", "3", NULL}, "1110"},
        {(const char *const[]){"Connection", "X-A", "X-A", "1", "Connection", "close,X-B ,", "X-B", "2", NULL}, "1111"},
        {(const char *const[]){"TE", "trailers", "Trailer", "x", "Upgrade", "h2c", "HTTP2-Settings", "q", NULL},
         "1111"},
        {(const char *const[]){"Keep-Alive", "5", "Proxy-Authorization", "x", "Proxy-Connection", "x", NULL}, "111"},
        {(const char *const[]){"Connection", "Authorization, Host", "Authorization", "x", "Host", "h", NULL}, "111"},
        {(const char *const[]){"Connection", "Connection", "X", "1", NULL}, "10"},
        {(const char *const[]){"Accept", "X-A", "Via", "X-A", "X-A", "1", NULL}, "000"},
        {(const char *const[]){"Connection", "X-B", "X-A", "X-C", "X-C", "1", "Keep-Alive", "X-C", NULL}, "1001"},
        {(const char *const[]){"Transfer_Encoding", "chunked", "Connection", "X", "X_", "1", NULL}, "010"},
        {(const char *const[]){"Connection", "x-a x-b", "x-a", "1", "x-b", "2", NULL}, "100"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct header_list list = list_of(rows[i].pairs);
        bool dropped[LIMIT_HEADERS];
        memset(dropped, 1, sizeof dropped);
        headers_mark_hop_by_hop(&list, dropped);
        ck_assert_uint_eq(list.count, strlen(rows[i].dropped));
        for (size_t j = 0; j < list.count; j++)
            ck_assert_msg(dropped[j] == (rows[i].dropped[j] == '1'), "row %zu line %zu", i, j);
    }
}
END_TEST

START_TEST(nomination_of_names_64_apart)
{
    char longer[66];
    memset(longer, 'x', 65);
    longer[65] = 0;
    struct header_list list = list_of((const char *const[]){"Connection", longer, longer, "1", "x", "2", NULL});
    bool dropped[LIMIT_HEADERS];
    headers_mark_hop_by_hop(&list, dropped);
    ck_assert(dropped[0] && dropped[1] && !dropped[2]);
}
END_TEST

START_TEST(content_lengths)
{
    static const struct {
        struct str value;
        int64_t length; /* -1: invalid */
    } rows[] = {
        {STR("0"), 0},
        {STR("1"), 1},
        {STR("00012"), 12},
        {STR("9223372036854775807"), INT64_MAX},
        {STR("9223372036854775808"), -1},
        {STR("18446744073709551616"), -1},
        {STR("99999999999999999999999999"), -1},
        {STR(""), -1},
        {STR(" 1"), -1},
        {STR("1 "), -1},
        {STR("+1"), -1},
        {STR("-1"), -1},
        {STR("-0"), -1},
        {STR("1,1"), -1},
        {STR("1, 1"), -1},
        {STR("0x10"), -1},
        {STR("1e3"), -1},
        {STR("1.0"), -1},
        {STR("1\0"), -1},
        {STR("\xd9\xa1"), -1},
        {STR("ten"), -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t length = -1;
        ck_assert_msg(http_parse_content_length(rows[i].value, &length) == (rows[i].length >= 0), "row %zu", i);
        ck_assert_msg(length == rows[i].length, "row %zu", i);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("headers");
    TCase *tests = tcase_create("headers");
    tcase_add_test(tests, character_classes);
    tcase_add_test(tests, value_span_finds_every_bad_byte);
    tcase_add_test(tests, tokens);
    tcase_add_loop_test(tests, identities, 0, sizeof names / sizeof names[0]);
    tcase_add_test(tests, one_underscore_is_a_look_alike);
    tcase_add_test(tests, identity_stops_at_the_length);
    tcase_add_test(tests, alike_names);
    tcase_add_test(tests, lookup);
    tcase_add_test(tests, list_members);
    tcase_add_test(tests, hop_by_hop_marks);
    tcase_add_test(tests, nomination_of_names_64_apart);
    tcase_add_test(tests, content_lengths);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
