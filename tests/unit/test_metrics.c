/* The metrics shards: what is counted comes out, merged, bounded, in valid text. */
#include "base/metrics.h"
#include "base/metrics_text.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const names[] = {"none", "host", "connect"};
static struct metrics_reasons reasons[METRICS_RETRIES + 1] = {{names, 3, 0, 0}, {names, 3, 0, 0}, {names, 3, 1, 3}};

static char *text_of(struct metrics *m)
{
    struct buf b;
    buf_init(&b, 1u << 20);
    ck_assert_int_eq(metrics_write(m, &b), PP_OK);
    buf_append_char(&b, '\0');
    char *text = strdup(b.data + b.start);
    buf_free(&b);
    return text;
}

static void assert_line(const char *text, const char *line)
{
    char whole[512];
    (void)snprintf(whole, sizeof whole, "\n%s\n", line);
    if (strstr(text, whole) == NULL)
        (void)fprintf(stderr, "%s", text);
    ck_assert_msg(strstr(text, whole) != NULL, "no line \"%s\"", line);
}

START_TEST(test_requests_of_two_shards_are_added)
{
    struct metrics *m = metrics_new(reasons);
    unsigned production = metrics_environment(m, "production");
    struct metrics_shard *a = metrics_shard_new(m), *b = metrics_shard_new(m);
    ck_assert_uint_eq(metrics_environment(m, "production"), production);
    metrics_request(a, production, metrics_method(STR("GET")), 200, "aaaaaaaaaaaa", 1500, 1000);
    metrics_request(b, production, metrics_method(STR("GET")), 200, "bbbbbbbbbbbb", 1500, 1000);
    metrics_request(b, production, metrics_method(STR("GET")), 200, "aaaaaaaaaaaa", 1500, 1000);
    metrics_request(b, production, metrics_method(STR("TRACE")), 405, NULL, 90, -1);
    metrics_request(b, production, metrics_method(STR("POST")), 0, "aaaaaaaaaaaa", 1500, 1000);
    metrics_request(b, production, metrics_method(STR("POST")), 4711, "aaaaaaaaaaaa", 1500, 1000);
    char *text = text_of(m);
    assert_line(
        text,
        "proofproxy_requests_total{environment=\"production\",method=\"GET\",code=\"200\",token=\"aaaaaaaaaaaa\"} 2");
    assert_line(
        text,
        "proofproxy_requests_total{environment=\"production\",method=\"GET\",code=\"200\",token=\"bbbbbbbbbbbb\"} 1");
    assert_line(text,
                "proofproxy_requests_total{environment=\"production\",method=\"other\",code=\"405\",token=\"none\"} 1");
    assert_line(text, "proofproxy_requests_total{environment=\"production\",method=\"POST\",code=\"aborted\",token="
                      "\"aaaaaaaaaaaa\"} 2");
    assert_line(text, "proofproxy_request_duration_seconds_count{environment=\"production\"} 6");
    assert_line(text, "proofproxy_request_duration_seconds_bucket{environment=\"production\",le=\"0.0005\"} 1");
    assert_line(text, "proofproxy_request_duration_seconds_bucket{environment=\"production\",le=\"+Inf\"} 6");
    assert_line(text, "proofproxy_upstream_duration_seconds_count{environment=\"production\"} 5");
    assert_line(text, "proofproxy_upstream_duration_seconds_sum{environment=\"production\"} 0.005");
    free(text);
    metrics_free(m);
}
END_TEST

START_TEST(test_counters_and_gauges)
{
    struct metrics *m = metrics_new(reasons);
    unsigned e = metrics_environment(m, "sandbox");
    struct metrics_shard *s = metrics_shard_new(m);
    metrics_count(s, e, METRICS_LOCAL_REJECTIONS, 1, 1);
    metrics_count(s, e, METRICS_LOCAL_REJECTIONS, 60, 1);
    metrics_count(s, e, METRICS_LOCAL_REJECTIONS, 6000, 1);
    metrics_count(s, e, METRICS_UPSTREAM_ERRORS, 2, 3);
    metrics_count(s, e, METRICS_WEBSOCKET_BYTES, METRICS_TO_CLIENT, 700);
    metrics_count(s, e, METRICS_TOKEN_FALLBACKS, 0, 1);
    metrics_gauge(s, e, METRICS_INFLIGHT, 1);
    metrics_gauge(s, e, METRICS_INFLIGHT, 1);
    metrics_gauge(s, e, METRICS_INFLIGHT, -1);
    metrics_set_pool(s, e, &(struct metrics_pool){.idle = 4, .opened = 9, .tls_resumed = 7});
    char *text = text_of(m);
    assert_line(text, "proofproxy_local_rejections_total{environment=\"sandbox\",reason=\"host\"} 1");
    assert_line(text, "proofproxy_upstream_errors_total{environment=\"sandbox\",reason=\"connect\"} 3");
    assert_line(text, "proofproxy_websocket_bytes_total{environment=\"sandbox\",direction=\"to_client\"} 700");
    assert_line(text, "proofproxy_websocket_bytes_total{environment=\"sandbox\",direction=\"to_upstream\"} 0");
    assert_line(text, "proofproxy_token_fallbacks_total{environment=\"sandbox\"} 1");
    assert_line(text, "proofproxy_response_leaks_masked_total{environment=\"sandbox\"} 0");
    assert_line(text, "proofproxy_inflight{environment=\"sandbox\"} 1");
    assert_line(text, "proofproxy_upstream_connections{environment=\"sandbox\",state=\"idle\"} 4");
    assert_line(text, "proofproxy_upstream_tls_resumed_total{environment=\"sandbox\"} 7");
    assert_line(text, "proofproxy_local_rejections_total{environment=\"sandbox\",reason=\"other\"} 2");
    ck_assert_ptr_null(strstr(text, "reason=\"none\""));
    assert_line(text, "proofproxy_retries_total{environment=\"sandbox\",reason=\"connect\"} 0");
    struct metrics_totals t;
    metrics_totals(m, e, &t);
    ck_assert_uint_eq(t.counters[METRICS_LOCAL_REJECTIONS], 3);
    ck_assert_int_eq(t.gauges[METRICS_INFLIGHT], 1);
    free(text);
    metrics_free(m);
}
END_TEST

/* Years of rotations: a fingerprint long unused gives way, one that a tunnel rides never does. */
START_TEST(test_tokens_give_way_but_not_under_a_tunnel)
{
    struct metrics *m = metrics_new(reasons);
    unsigned e = metrics_environment(m, "production");
    struct metrics_shard *s = metrics_shard_new(m);
    unsigned handle = metrics_websocket_open(s, e, "000000000000");
    for (unsigned i = 1; i <= 40; i++) {
        char token[16];
        (void)snprintf(token, sizeof token, "%012u", i);
        metrics_request(s, e, 0, 200, token, 10, 10);
        metrics_request(s, e, 0, 200, token, 10, 10);
    }
    char *text = text_of(m);
    assert_line(
        text,
        "proofproxy_requests_total{environment=\"production\",method=\"GET\",code=\"200\",token=\"000000000040\"} 2");
    assert_line(
        text,
        "proofproxy_requests_total{environment=\"production\",method=\"GET\",code=\"200\",token=\"000000000026\"} 2");
    assert_line(text, "proofproxy_websocket_sessions{environment=\"production\",token=\"000000000000\"} 1");
    ck_assert_ptr_null(strstr(text, "token=\"000000000001\""));
    ck_assert_ptr_null(strstr(text, "token=\"other\""));
    free(text);
    metrics_websocket_close(s, e, handle);
    text = text_of(m);
    assert_line(text, "proofproxy_websocket_sessions{environment=\"production\",token=\"000000000000\"} 0");
    free(text);
    metrics_free(m);
}
END_TEST

START_TEST(test_tunnels_on_more_tokens_than_slots)
{
    struct metrics *m = metrics_new(reasons);
    unsigned e = metrics_environment(m, "production"), handles[METRICS_TOKENS + 2];
    struct metrics_shard *s = metrics_shard_new(m);
    for (unsigned i = 0; i < METRICS_TOKENS + 2; i++) {
        char token[16];
        (void)snprintf(token, sizeof token, "%012u", i);
        handles[i] = metrics_websocket_open(s, e, token);
    }
    char *text = text_of(m);
    assert_line(text, "proofproxy_websocket_sessions{environment=\"production\",token=\"other\"} 2");
    free(text);
    for (unsigned i = 0; i < METRICS_TOKENS + 2; i++)
        metrics_websocket_close(s, e, handles[i]);
    struct metrics_totals t;
    metrics_totals(m, e, &t);
    ck_assert_int_eq(t.websockets, 0);
    metrics_free(m);
}
END_TEST

/* Upstream may answer any code, apps may use any method: the table is bounded and nothing is lost. */
START_TEST(test_label_space_is_bounded)
{
    struct metrics *m = metrics_new(reasons);
    unsigned e = metrics_environment(m, "production");
    struct metrics_shard *s = metrics_shard_new(m);
    for (unsigned method = 0; method < 8; method++)
        for (int status = 100; status < 600; status++)
            metrics_request(s, e, method, status, NULL, 10, -1);
    struct metrics_totals t;
    metrics_totals(m, e, &t);
    ck_assert_uint_eq(t.requests, 8 * 500);
    char *text = text_of(m);
    ck_assert_ptr_nonnull(strstr(text, "method=\"other\",code=\"other\",token=\"other\"}"));
    free(text);
    metrics_free(m);
}
END_TEST

START_TEST(test_more_environments_than_fit)
{
    struct metrics *m = metrics_new(reasons);
    struct metrics_shard *s = metrics_shard_new(m);
    unsigned last = 0;
    for (unsigned i = 0; i < LIMIT_ENVIRONMENTS + 3; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "e%u", i);
        last = metrics_environment(m, name);
    }
    metrics_request(s, last, 0, 200, NULL, 10, -1);
    char *text = text_of(m);
    assert_line(text, "proofproxy_requests_total{environment=\"other\",method=\"GET\",code=\"200\",token=\"none\"} 1");
    free(text);
    metrics_free(m);
}
END_TEST

START_TEST(test_quantiles)
{
    struct metrics_histogram h = {0};
    ck_assert_int_eq(metrics_quantile(&h, 0.5), -1);
    h.buckets[3] = 100; /* 2.5 to 5 ms */
    ck_assert_int_eq(metrics_quantile(&h, 0.5), 3750);
    ck_assert_int_eq(metrics_quantile(&h, 1.0), 5000);
    h.buckets[METRICS_BUCKETS - 1] = 100;
    ck_assert_int_eq(metrics_quantile(&h, 0.99), metrics_bounds[METRICS_BUCKETS - 2]);
}
END_TEST

START_TEST(test_bounds_rise)
{
    for (unsigned i = 1; i < METRICS_BUCKETS - 1; i++)
        ck_assert_int_gt(metrics_bounds[i], metrics_bounds[i - 1]);
}
END_TEST

START_TEST(test_text_escapes)
{
    struct buf b;
    struct metrics_label labels[] = {{"a", "q\"b\\n\n"}, {"empty", ""}, {"none", NULL}};
    buf_init(&b, 1000);
    metrics_text_family(&b, "x", "gauge", "one\ntwo\\");
    metrics_text_sample(&b, "x", labels, 3, 0.25);
    metrics_text_count(&b, "x", labels + 1, 2, UINT64_MAX);
    struct str expected =
        STR("# HELP x one\\ntwo\\\\\n# TYPE x gauge\nx{a=\"q\\\"b\\\\n\\n\"} 0.25\nx 18446744073709551615\n");
    ck_assert_msg(str_equal(buf_str(&b), expected), "%.*s", (int)buf_len(&b), b.data);
    buf_free(&b);
}
END_TEST

static void *hammer(void *shard)
{
    for (unsigned i = 0; i < 50000; i++) {
        char token[16];
        (void)snprintf(token, sizeof token, "%012u", i / 1000);
        unsigned handle = metrics_websocket_open(shard, 0, token);
        metrics_request(shard, 0, i % 8, 200, token, i, i);
        metrics_websocket_close(shard, 0, handle);
    }
    return NULL;
}

/* A scrape sees a whole picture while workers count; run under ThreadSanitizer by the sanitizer build. */
START_TEST(test_scrape_while_counting)
{
    struct metrics *m = metrics_new(reasons);
    pthread_t threads[2];
    ck_assert_uint_eq(metrics_environment(m, "production"), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hammer, metrics_shard_new(m)), 0);
    for (unsigned i = 0; i < 20; i++)
        free(text_of(m));
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    struct metrics_totals t;
    metrics_totals(m, 0, &t);
    ck_assert_uint_eq(metrics_histogram_count(&t.total), 100000);
    ck_assert_int_eq(t.websockets, 0);
    metrics_free(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("metrics");
    TCase *tc = tcase_create("metrics");
    tcase_add_test(tc, test_requests_of_two_shards_are_added);
    tcase_add_test(tc, test_counters_and_gauges);
    tcase_add_test(tc, test_tokens_give_way_but_not_under_a_tunnel);
    tcase_add_test(tc, test_tunnels_on_more_tokens_than_slots);
    tcase_add_test(tc, test_label_space_is_bounded);
    tcase_add_test(tc, test_more_environments_than_fit);
    tcase_add_test(tc, test_quantiles);
    tcase_add_test(tc, test_bounds_rise);
    tcase_add_test(tc, test_text_escapes);
    tcase_add_test(tc, test_scrape_while_counting);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
