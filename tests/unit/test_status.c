/* Judgements on snapshots, and the pages made of them. */
#include "base/json_text.h"
#include "base/span.h"
#include "daemon/pages.h"
#include "daemon/posture.h"
#include "status_sample.h"

#include <check.h>
#include <stdlib.h>

static struct status_snapshot s;

static void setup(void)
{
    sample_fill(&s);
}

static char *terminated(struct buf *b)
{
    ck_assert(!b->failed);
    buf_append_char(b, '\0');
    ck_assert(!b->failed);
    return b->data + b->start;
}

START_TEST(test_all_is_well)
{
    struct buf b;
    buf_init(&b, 65536);
    ck_assert_uint_eq(status_problems(&s, &b), 0);
    ck_assert(status_alive(&s, &b));
    ck_assert(status_ready(&s, NULL, &b));
    ck_assert(status_ready(&s, "production", &b));
    ck_assert_uint_eq(buf_len(&b), 0);
    ck_assert(status_upstream_ok(&s, NULL, &b));
    ck_assert_str_eq(terminated(&b), "production: answers (404 in 23 ms, 12 s ago)\n");
    s.environments[0].upstream.when = 0;
    buf_clear(&b);
    ck_assert(!status_upstream_ok(&s, NULL, &b));
    ck_assert_str_eq(terminated(&b), "production: not probed yet\n");
    s.environments[0].token_count = 0;
    buf_clear(&b);
    ck_assert(!status_upstream_ok(&s, NULL, &b));
    ck_assert_str_eq(terminated(&b), "production: not probed: there is no token to do it with\n");
    buf_free(&b);
}
END_TEST

static void no_tokens(struct status_snapshot *x)
{
    x->environments[0].token_count = 0;
    x->environments[0].usable = false;
}
static void all_refused(struct status_snapshot *x)
{
    x->environments[0].tokens[0].verdict = x->environments[0].tokens[1].verdict = TOKEN_REFUSED;
}
static void next_refused(struct status_snapshot *x)
{
    x->environments[0].tokens[0].verdict = TOKEN_REFUSED;
    x->environments[0].tokens[0].role = TOKEN_NEXT;
    x->environments[0].tokens[1].role = TOKEN_CURRENT;
}
static void stale(struct status_snapshot *x)
{
    x->environments[0].stale_since = x->now - 600000;
    (void)snprintf(x->environments[0].stale_reason, 64, "production.token: no such file");
}
static void no_tokens_no_file(struct status_snapshot *x)
{
    no_tokens(x);
    stale(x);
}
static void expiring(struct status_snapshot *x)
{
    x->environments[0].tokens[0].expires = x->now + 7200000;
}
static void expired(struct status_snapshot *x)
{
    x->environments[0].tokens[0].verdict = TOKEN_EXPIRED;
}
static void allowlist(struct status_snapshot *x)
{
    x->environments[0].upstream.status = 403;
}
static void fault(struct status_snapshot *x)
{
    x->environments[0].upstream.status = 502;
}
static void unreachable(struct status_snapshot *x)
{
    x->environments[0].upstream.status = 0;
    (void)snprintf(x->environments[0].upstream.failure, 64, "connect: connection refused");
}
static void late(struct status_snapshot *x)
{
    x->environments[0].upstream.when = x->now - 600000;
}
static void reload_failed(struct status_snapshot *x)
{
    x->reload.ok = false;
    x->reload.problems = "p.conf:3: workers: bad\np.conf:9: log: worse\n";
}
static void stalled(struct status_snapshot *x)
{
    x->stalled_workers = 1;
}

static const struct {
    void (*spoil)(struct status_snapshot *);
    const char *words;
    bool ready, upstream_ok, alive;
} problems[] = {
    {no_tokens, "production: no token is held", false, true, true},
    {all_refused, "Proof refuses every held token", true, true, true},
    {next_refused, "token 0123456789ab is refused for 50 min: not active at Proof yet", true, true, true},
    {stale, "unusable for 10 min, the tokens read before stay in force: production.token: no such file", true, true,
     true},
    {no_tokens_no_file, "no token is held, apps get 503: production.token: no such file", false, true, true},
    {expiring, "expires in 2 h and still carries the traffic", true, true, true},
    {expired, "carries the traffic and is past its expires=", true, true, true},
    {allowlist, "this host's address is not on Proof's allowlist", true, false, true},
    {fault, "answered 502 12 s ago: a fault at Proof", true, false, true},
    {unreachable, "connect: connection refused; run \"proofproxy doctor production\"", true, false, true},
    {late, "not heard of for 10 min", true, false, true},
    {reload_failed, "the config before it stays in force: p.conf:3: workers: bad\n", true, true, true},
    {stalled, "1 of 1 workers have not turned their loop", true, true, false},
};

START_TEST(test_each_problem_is_said_once)
{
    struct buf b;
    buf_init(&b, 65536);
    problems[_i].spoil(&s);
    ck_assert_uint_eq(status_problems(&s, &b), 1);
    const char *text = terminated(&b);
    ck_assert_msg(strstr(text, problems[_i].words) != NULL, "%s", text);
    ck_assert_int_eq(status_ready(&s, NULL, NULL), problems[_i].ready);
    ck_assert_int_eq(status_upstream_ok(&s, NULL, NULL), problems[_i].upstream_ok);
    ck_assert_int_eq(status_alive(&s, NULL), problems[_i].alive);
    buf_clear(&b);
    status_line(&s, &b);
    text = terminated(&b);
    ck_assert_msg(strstr(text, problems[_i].spoil == reload_failed ? "reload FAILED" : "1 problem, see") != NULL, "%s",
                  text);
    buf_free(&b);
}
END_TEST

START_TEST(test_one_environment_of_two)
{
    s.environment_count = 2;
    s.environments[1] = s.environments[0];
    static struct environment_config sandbox;
    sandbox = sample_environments[0];
    sandbox.name = "sandbox";
    s.environments[1].config = &sandbox;
    s.environments[1].usable = false;
    s.environments[1].upstream.status = 503;
    struct buf b;
    buf_init(&b, 65536);
    ck_assert(!status_ready(&s, NULL, NULL));
    ck_assert(status_ready(&s, "production", NULL));
    ck_assert(!status_ready(&s, "sandbox", NULL));
    ck_assert(!status_ready(&s, "nowhere", &b));
    ck_assert_str_eq(terminated(&b), "nowhere: no such environment\n");
    ck_assert(status_upstream_ok(&s, "production", NULL));
    ck_assert(!status_upstream_ok(&s, "sandbox", NULL));
    ck_assert(!status_upstream_ok(&s, "nowhere", NULL));
    buf_free(&b);
}
END_TEST

START_TEST(test_draining_is_not_ready)
{
    struct buf b;
    buf_init(&b, 1000);
    s.draining = true;
    ck_assert(!status_ready(&s, NULL, NULL));
    status_line(&s, &b);
    ck_assert_str_eq(terminated(&b), "draining: production 0123456789ab accepted");
    buf_free(&b);
}
END_TEST

/* --- /status --- */

static json_t *status_of(void)
{
    struct buf b;
    buf_init(&b, 1u << 20);
    ck_assert_int_eq(pages_status_json(&s, &b), PP_OK);
    json_t *root = json_loads(terminated(&b), 0, NULL);
    ck_assert_ptr_nonnull(root);
    buf_free(&b);
    return root;
}

static const char *string_at(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    ck_assert_msg(text != NULL, "no string %s", key);
    return text;
}

START_TEST(test_status_json)
{
    s.environments[0].totals.by_class[2] = 998;
    s.environments[0].totals.requests = 998;
    s.environments[0].totals.websockets = 3;
    json_t *root = status_of(), *e = json_array_get(json_object_get(root, "environments"), 0);
    json_t *token = json_array_get(json_object_get(e, "tokens"), 0);
    ck_assert_str_eq(string_at(root, "state"), "ready");
    ck_assert_str_eq(string_at(root, "started"), "2026-11-22T17:00:00.000Z");
    ck_assert_str_eq(string_at(json_object_get(root, "config"), "path"), "/etc/proofproxy/proofproxy.conf");
    ck_assert_uint_eq(json_array_size(json_object_get(root, "problems")), 0);
    ck_assert_str_eq(string_at(e, "name"), "production");
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(e, "listen"), 1)),
                     "unix:/run/proofproxy/production.sock");
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(json_object_get(e, "access"), "users"), 0)),
                     "shop");
    ck_assert_str_eq(string_at(token, "fingerprint"), "0123456789ab");
    ck_assert_str_eq(string_at(token, "verdict"), "accepted");
    ck_assert_str_eq(string_at(token, "role"), "current");
    ck_assert_int_eq(json_integer_value(json_object_get(token, "requests")), 900);
    ck_assert(json_is_null(json_object_get(token, "expires")));
    ck_assert_ptr_nonnull(strstr(string_at(e, "retire"), "safe to retire"));
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(e, "requests"), "2xx")), 998);
    ck_assert_int_eq(json_integer_value(json_object_get(e, "websockets")), 3);
    ck_assert(json_is_true(json_object_get(json_object_get(e, "upstream"), "ok")));
    ck_assert(json_is_null(json_object_get(json_object_get(e, "latency_seconds"), "p50")));
    json_decref(root);
}
END_TEST

START_TEST(test_status_json_survives_any_bytes)
{
    reload_failed(&s);
    s.reload.problems = "p.conf:1: \xff\xfe \"quoted\"\n\n";
    json_t *root = status_of();
    json_t *lines = json_object_get(json_object_get(root, "config"), "problems");
    ck_assert_uint_eq(json_array_size(lines), 1);
    ck_assert_str_eq(json_string_value(json_array_get(lines, 0)), "p.conf:1: ?? \"quoted\"");
    ck_assert_uint_eq(json_array_size(json_object_get(root, "problems")), 1);
    json_decref(root);
}
END_TEST

/* --- /metrics --- */

START_TEST(test_metrics_page)
{
    static const char *const none[] = {"none"};
    struct metrics_reasons reasons[METRICS_RETRIES + 1] = {
        {.names = none, .count = 1}, {.names = none, .count = 1}, {.names = none, .count = 1}};
    struct metrics *m = metrics_new(reasons);
    struct buf b;
    buf_init(&b, 1u << 20);
    stale(&s);
    s.environments[0].tokens[0].expires = SAMPLE_NOW + 1000000;
    ck_assert_int_eq(pages_metrics(&s, m, &b), PP_OK);
    const char *text = terminated(&b);
    static const char *const lines[] = {
        "\nproofproxy_config_last_reload_successful 1\n",
        "\nproofproxy_config_last_reload_success_timestamp_seconds 1795370340\n",
        "\nproofproxy_token_info{environment=\"production\",role=\"current\",fingerprint=\"0123456789ab\"} 1\n",
        "\nproofproxy_token_accepted{environment=\"production\",role=\"previous\",fingerprint=\"ba9876543210\"} 1\n",
        "\nproofproxy_token_expiry_timestamp_seconds{environment=\"production\",role=\"current\",fingerprint="
        "\"0123456789ab\"} 1795371400\n",
        "\nproofproxy_token_last_used_timestamp_seconds{environment=\"production\",role=\"previous\",fingerprint="
        "\"ba9876543210\"} 1795369680\n",
        "\nproofproxy_token_file_stale_seconds{environment=\"production\"} 600\n",
        "\nproofproxy_upstream_probe_success{environment=\"production\"} 1\n",
        "\nproofproxy_build_info{version=\"",
        "\nprocess_start_time_seconds 1795366800\n",
        "\nprocess_open_fds "};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        ck_assert_msg(strstr(text, lines[i]) != NULL, "no line %s", lines[i]);
    buf_free(&b);
    metrics_free(m);
}
END_TEST

/* --- the page --- */

START_TEST(test_page_shows_and_escapes)
{
    struct buf b;
    buf_init(&b, 1u << 20);
    reload_failed(&s);
    s.reload.problems = "p.conf:1: <script>alert('x')</script> & more\n";
    ck_assert_int_eq(pages_html(&s, &b), PP_OK);
    const char *text = terminated(&b);
    static const char *const wanted[] = {"<!DOCTYPE html>",
                                         "0123456789ab",
                                         "https://api.example",
                                         "safe to retire",
                                         "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; more",
                                         "1 problem",
                                         "answers (404 in 23 ms",
                                         "<svg",
                                         "http-equiv=\"refresh\""};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        ck_assert_msg(strstr(text, wanted[i]) != NULL, "the page lacks %s", wanted[i]);
    ck_assert_ptr_null(strstr(text, "<script>alert"));
    ck_assert_ptr_null(strstr(text, " style="));
    ck_assert_ptr_null(strstr(text, "src=\""));
    ck_assert_ptr_nonnull(strstr(pages_html_policy(), "default-src 'none'; style-src 'sha256-"));
    ck_assert_ptr_null(strstr(pages_html_policy(), "unsafe"));
    buf_free(&b);
}
END_TEST

/* --- posture --- */

START_TEST(test_posture)
{
    struct buf b;
    buf_init(&b, 4096);
    posture_text(&sample_config, true, &b);
    ck_assert_str_eq(terminated(&b),
                     "production listens on 127.0.0.1:8780, unix:/run/proofproxy/production.sock; unix mode 0660 group "
                     "shop; peer gate on (users shop); Host localhost, 127.0.0.1, [::1]; Origin refused; marker header "
                     "off | admin unix:/run/proofproxy/admin.sock; unix mode 0660 | tokens locked in memory");
    buf_clear(&b);
    struct environment_config open = sample_environments[0];
    struct listen_address wide = {.kind = LISTEN_TCP, .text = "10.0.0.5:8780"};
    open.listen = (struct listen_list){&wide, 1};
    open.allow_users.count = 0;
    open.refuse_forwarded = false;
    open.require_name = STR("X-Proof-Local");
    posture_environment_text(&open, &b);
    ck_assert_str_eq(terminated(&b),
                     "listens on 10.0.0.5:8780 (NOT LOOPBACK); peer gate off (every local user); Host localhost, "
                     "127.0.0.1, [::1]; Origin refused; marker header X-Proof-Local; FORWARDED REQUESTS LET THROUGH");
    buf_free(&b);
}
END_TEST

static const struct {
    int64_t ms;
    const char *text;
} spans[] = {{-5, "0 ms"},       {340, "340 ms"},       {1000, "1 s"},    {119999, "119 s"},
             {120000, "2 min"},  {7199999, "119 min"},  {7200000, "2 h"}, {12000000, "3 h 20 min"},
             {172800000, "2 d"}, {187200000, "2 d 4 h"}};

START_TEST(test_spans)
{
    char out[SPAN_SIZE];
    ck_assert_str_eq(span_text(spans[_i].ms, out), spans[_i].text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("status");
    TCase *tc = tcase_create("status");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, test_all_is_well);
    tcase_add_loop_test(tc, test_each_problem_is_said_once, 0, sizeof problems / sizeof problems[0]);
    tcase_add_test(tc, test_one_environment_of_two);
    tcase_add_test(tc, test_draining_is_not_ready);
    tcase_add_test(tc, test_status_json);
    tcase_add_test(tc, test_status_json_survives_any_bytes);
    tcase_add_test(tc, test_metrics_page);
    tcase_add_test(tc, test_page_shows_and_escapes);
    tcase_add_test(tc, test_posture);
    tcase_add_loop_test(tc, test_spans, 0, sizeof spans / sizeof spans[0]);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
