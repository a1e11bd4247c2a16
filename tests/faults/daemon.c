/* Workloads of daemon/: pages, history, posture, the admin interface over a socket, token watch and manager. */
#include "daemon/admin.h"
#include "daemon/history.h"
#include "daemon/pages.h"
#include "daemon/posture.h"
#include "daemon/token_log.h"
#include "daemon/token_manager.h"
#include "daemon/token_watch.h"
#include "../unit/status_sample.h"
#include "workload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct metrics *metrics;
static struct history *hour;

static void make_sample(void)
{
    static const char *const names[] = {"none"};
    const struct metrics_reasons reasons[METRICS_RETRIES + 1] = {
        {.names = names, .count = 1}, {.names = names, .count = 1}, {.names = names, .count = 1}};
    struct metrics_totals totals = {.requests = 5};
    metrics = metrics_new(reasons);
    hour = history_new();
    must(metrics != NULL && metrics_shard_new(metrics) != NULL && hour != NULL);
    must(metrics_environment(metrics, "production") == 0);
    history_sample(hour, &totals, SAMPLE_NOW - 20000);
    totals.requests = 50;
    history_sample(hour, &totals, SAMPLE_NOW - 10000);
}

static void snapshot(void *owner, struct status_snapshot *out)
{
    (void)owner;
    sample_fill(out);
    out->environments[0].history = hour;
}

static bool holds(const struct buf *b, const char *words)
{
    return buf_len(b) > 0 && memmem(b->data + b->start, buf_len(b), words, strlen(words)) != NULL;
}

/* A page comes whole or not at all. */
static enum outcome pages(void)
{
    static char *kept[2];
    static struct status_snapshot s;
    enum outcome outcome = DONE;
    struct buf out;
    snapshot(NULL, &s);
    buf_init(&out, 4u << 20);
    if (ok(pages_status_json(&s, &out)))
        workload_same(&kept[0], &out);
    else
        outcome = REFUSED;
    buf_free(&out);
    if (ok(pages_metrics(&s, metrics, &out)))
        must(holds(&out, "proofproxy_build_info") && holds(&out, "process_") && out.data[out.end - 1] == '\n');
    else
        outcome = REFUSED;
    buf_free(&out);
    if (ok(pages_html(&s, &out)))
        workload_same(&kept[1], &out);
    else
        outcome = REFUSED;
    buf_free(&out);
    return outcome;
}

static enum outcome lines(void)
{
    static struct status_snapshot s;
    struct buf text;
    bool failed = false;
    snapshot(NULL, &s);
    s.environments[0].stale_since = SAMPLE_NOW - 1000;
    s.reload.ok = false;
    s.reload.problems = "proofproxy.conf:3: a problem\n";
    buf_init(&text, 64u * 1024);
    must(status_problems(&s, &text) >= 2); /* judged right, whether it could be written down or not */
    failed = failed || text.failed;
    buf_free(&text);
    must(status_ready(&s, NULL, &text) && status_alive(&s, &text) && status_upstream_ok(&s, NULL, &text));
    failed = failed || text.failed;
    buf_free(&text);
    status_line(&s, &text);
    posture_text(&sample_config, false, &text);
    failed = failed || text.failed;
    buf_free(&text);
    return failed ? REFUSED : DONE;
}

static enum outcome histories(void)
{
    struct history *h = history_new();
    struct token_log *l = token_log_new();
    enum outcome outcome = h != NULL && l != NULL ? DONE : REFUSED;
    if (h != NULL)
        history_sample(h, &(struct metrics_totals){.requests = 1}, SAMPLE_NOW);
    history_free(h);
    token_log_free(l);
    return outcome;
}

/* --- the admin interface --- */

static struct loop *loop;
static struct admin *admin;

static void reload_at_once(void *owner, struct admin_reload *waiter)
{
    (void)owner;
    admin_reload_done(waiter, true, "nothing changed\n");
}

static msec before_wait(void *owner)
{
    (void)owner;
    msec wait = admin_before_wait(admin);
    return wait < 0 || wait > 10 ? 10 : wait;
}

/* What came until the server closed. */
static size_t ask(const struct sockaddr_in *address, const char *request, char *into, size_t room)
{
    const struct loop_hooks hooks = {before_wait, NULL, NULL};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t n = 0;
    must(connect(fd, (const struct sockaddr *)address, sizeof *address) == 0);
    must(send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request));
    for (int i = 0; i < 400; i++) {
        ssize_t got = recv(fd, into + n, room - 1 - n, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            (void)close(fd);
            into[n] = '\0';
            return n;
        }
        if (got > 0)
            n += (size_t)got;
        else
            loop_turn(loop, &hooks);
    }
    bool ended = false; /* the admin interface ends a connection it cannot serve */
    must(ended);
    return 0;
}

/* A whole answer, or an honest 500 or 503, or the end of the connection. */
static bool answered(const char *answer, size_t n, const char *end)
{
    const char *length = strstr(answer, "Content-Length: "), *body = strstr(answer, "\r\n\r\n");
    if (n == 0)
        return false;
    must(strncmp(answer, "HTTP/1.1 ", 9) == 0);
    if (strncmp(answer + 9, "200", 3) != 0) {
        must(strncmp(answer + 9, "500", 3) == 0 || strncmp(answer + 9, "503", 3) == 0);
        return false;
    }
    must(length != NULL && body != NULL);
    if (strtoul(length + 16, NULL, 10) != n - (size_t)(body + 4 - answer))
        return false; /* cut, and the client can tell */
    must(strstr(body, end) != NULL || (workload_starved() && strcmp(body + 4, "{\"ok\": true}\n") == 0));
    return strstr(body, end) != NULL;
}

static enum outcome admin_interface(void)
{
    static char answer[1u << 20];
    static const char *const requests[][2] = {
        {"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n", "0123456789ab"},
        {"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "proofproxy_build_info"},
        {"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n", "ready"},
        {"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", "nothing changed"},
    };
    const struct admin_hooks hooks = {snapshot, reload_at_once, NULL};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    enum outcome outcome = REFUSED;
    must(bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 4) == 0);
    must(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    loop = loop_new();
    admin = loop == NULL ? NULL : admin_new(loop, &hooks, metrics);
    if (admin != NULL && ok(admin_listen(admin, fd))) {
        outcome = DONE;
        for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
            size_t n = ask(&address, requests[i][0], answer, sizeof answer);
            if (!answered(answer, n, requests[i][1]))
                outcome = REFUSED;
        }
    }
    admin_free(admin);
    if (loop != NULL) {
        loop_settle(loop);
        loop_free(loop);
    }
    (void)close(fd);
    return outcome;
}

/* --- tokens on the main thread --- */

static char token_path[128], config_text[512];
static struct config *config;

static void write_token(const char *text)
{
    int fd = open(token_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    (void)close(fd);
}

static void make_token_file(void)
{
    struct config_problems problems;
    config_problems_init(&problems);
    (void)chmod(workload_folder(), 0700);
    (void)snprintf(token_path, sizeof token_path, "%s/managed.token", workload_folder());
    write_token("FIRST\nSECOND\n");
    (void)snprintf(config_text, sizeof config_text,
                   "environments = { a = { base_url = \"http://127.0.0.1:1\"; listen = [ \"127.0.0.1:2\" ];\n"
                   "token_file = \"%s\"; probe_interval = \"60s\"; }; };",
                   token_path);
    must(config_load_text(str_of(config_text), "f", 0100600, &config, &problems) == PP_OK);
    config_problems_free(&problems);
}

static void tokens_changed(void *owner, const char *environment, const struct token_snapshot *s)
{
    (void)owner;
    (void)environment;
    (void)s;
}

/* Good tokens stay, whatever becomes of a reload or of a probe. */
static enum outcome manager(void)
{
    const struct environment_config *e = &config->environments[0];
    struct upstream_settings road;
    struct token_manager_state state;
    struct token_snapshot held;
    struct token_manager *m = NULL;
    enum outcome outcome = DONE;
    struct loop *l = loop_new();
    if (l == NULL)
        return REFUSED;
    upstream_settings_of(e, 0, &road);
    const struct token_manager_road way = {&road, NULL};
    const struct token_manager_callbacks callbacks = {tokens_changed, NULL};
    (void)clock_tick();
    if (!ok(token_manager_new(l, config, e, &way, &callbacks, &m))) {
        must(m == NULL);
        loop_settle(l);
        loop_free(l);
        return REFUSED;
    }
    token_manager_snapshot(m, &held);
    size_t before = held.count;
    token_snapshot_clear(&held);
    token_manager_state(m, &state);
    must(before == 2 || (workload_starved() && state.stale && state.problem[0] != '\0'));
    for (int i = 0; i < 3; i++)
        loop_settle(l);
    if (!ok(token_manager_reload(m, config, e, &way)))
        outcome = REFUSED;
    for (int i = 0; i < 3; i++)
        loop_settle(l);
    token_manager_snapshot(m, &held);
    must(held.count >= before);
    if (held.count != 2)
        outcome = REFUSED;
    token_snapshot_clear(&held);
    token_manager_state(m, &state);
    if (state.stale || before != 2 || workload_starved())
        outcome = REFUSED;
    token_manager_free(m);
    loop_settle(l);
    loop_settle(l);
    loop_free(l);
    return outcome;
}

static void watched_changed(void *owner)
{
    (void)owner;
}

static enum outcome watch(void)
{
    struct loop *l = loop_new();
    if (l == NULL)
        return REFUSED;
    struct token_watch *w = token_watch_new(l, token_path, watched_changed, NULL);
    token_watch_free(w);
    loop_free(l);
    return w != NULL ? DONE : REFUSED;
}

const struct workload daemon_workloads[] = {
    {"daemon-pages", pages, make_sample, 0, 200},
    {"daemon-lines", lines, make_sample, 0, 4},
    {"daemon-history", histories, NULL, 0, 2},
    {"daemon-admin", admin_interface, make_sample, 0, 200},
    {"daemon-watch", watch, make_token_file, 0, 4},
    {"daemon-tokens", manager, make_token_file, 0, 30},
    {0},
};
