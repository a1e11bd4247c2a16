/* Workloads of proxy/: a whole worker in its thread, between clients and an upstream of this file, from its making to
 * its drain. Whatever has no memory, a client gets the right answer, an error whose `sent` is true, or the end; and as
 * soon as there is memory again, everybody is served. */
#include "base/metrics.h"
#include "net/listener.h"
#include "proxy/worker.h"
#include "token/store.h"
#include "workload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE     4000 /* ms a call may take at most */
#define NO_PATIENCE  60   /* ms it is waited for while nobody gets any memory */
#define SERVED_AGAIN 1000
#define CONNECTIONS  8
#define LARGE        (120u * 1024)

/* --- upstream: plain HTTP in this thread, without an allocation --- */

static int upstream_fd = -1, posts;
static struct upstream_side {
    int fd; /* -1: free */
    char in[8192];
    size_t n;
    const char *out;
    size_t out_n;
    bool tunnel;
} sides[CONNECTIONS];
static char large[LARGE + 512];
static size_t large_n;

static void say(struct upstream_side *s, const char *bytes, size_t n)
{
    s->out = bytes;
    s->out_n = n;
}

static void say_text(struct upstream_side *s, const char *text)
{
    say(s, text, strlen(text));
}

/* One request in s->in, its head `head` bytes long. False when its body is still to come. */
static bool answer(struct upstream_side *s, size_t head)
{
    const char *in = s->in;
    bool post = strncmp(in, "POST", 4) == 0, second = strstr(in, "Bearer TOKEN-TWO\r\n") != NULL;
    size_t body = post ? 7 : 0;
    if (s->n < head + body)
        return false;
    must(second || strstr(in, "Bearer TOKEN-ONE\r\n") != NULL);
    if (strncmp(in, "GET /ws", 7) == 0) {
        s->tunnel = true;
        say_text(s, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    } else if (post) {
        must(memcmp(in + head, "payment", 7) == 0);
        posts++;
        say_text(s, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\npaid!");
    } else if (strstr(in, "/widget/large ") != NULL) {
        say(s, large, large_n);
    } else if (strstr(in, "/widget/rotated ") != NULL && !second) {
        say_text(s, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}");
    } else {
        say_text(s, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmall");
    }
    s->n -= head + body;
    memmove(s->in, s->in + head + body, s->n + 1);
    return true;
}

static void flush(struct upstream_side *s)
{
    while (s->out_n > 0) {
        ssize_t done = send(s->fd, s->out, s->out_n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done <= 0)
            return;
        s->out += done;
        s->out_n -= (size_t)done;
    }
}

static void hear(struct upstream_side *s)
{
    ssize_t n = recv(s->fd, s->in + s->n, sizeof s->in - 1 - s->n, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        (void)close(s->fd);
        *s = (struct upstream_side){.fd = -1};
        return;
    }
    s->n += n > 0 ? (size_t)n : 0;
    s->in[s->n] = '\0';
    if (s->tunnel && s->n >= 8) { /* a masked frame with two bytes */
        say(s, "\x81\x02ok", 4);
        s->n = 0;
    }
    const char *end = s->tunnel ? NULL : strstr(s->in, "\r\n\r\n");
    if (end != NULL)
        (void)answer(s, (size_t)(end - s->in) + 4);
}

/* Some ms of upstream's life, or until `client` has something to read. */
static void turn(int client, int ms)
{
    struct pollfd fds[CONNECTIONS + 2] = {{upstream_fd, POLLIN, 0}, {client, POLLIN, 0}};
    for (size_t i = 0; i < CONNECTIONS; i++)
        fds[i + 2] = (struct pollfd){sides[i].fd, (short)(POLLIN | (sides[i].out_n > 0 ? POLLOUT : 0)), 0};
    (void)poll(fds, CONNECTIONS + 2, ms);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        struct upstream_side *s = &sides[i];
        if (s->fd < 0 && (fds[0].revents & POLLIN) != 0) {
            s->fd = accept4(upstream_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            continue;
        }
        if (s->fd >= 0 && (fds[i + 2].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
            hear(s);
        if (s->fd >= 0)
            flush(s);
    }
}

/* --- a client --- */

static struct listen_address local = {.kind = LISTEN_UNIX};
static char got[LARGE * 2];
static size_t got_n;

/* What came to this call, in `got`. True when it is a whole answer. */
static bool whole(void)
{
    const char *body = strstr(got, "\r\n\r\n"), *length = strstr(got, "Content-Length: ");
    if (body == NULL)
        return false;
    if (strncmp(got + 9, "101", 3) == 0)
        return got_n == (size_t)(body + 4 - got) + 4;
    if (length != NULL && length < body)
        return got_n == (size_t)(body + 4 - got) + strtoul(length + 16, NULL, 10);
    return got_n > 5 && memcmp(got + got_n - 5, "0\r\n\r\n", 5) == 0;
}

/* 1: a whole answer; 0: cut or refused; -1: nothing in time. */
static int call(const char *request, const char *later)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), result = -1;
    msec end = clock_tick() + (workload_persistent() ? NO_PATIENCE : PATIENCE);
    got_n = 0;
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", local.path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        send(fd, request, strlen(request), MSG_NOSIGNAL) < 0) {
        (void)close(fd);
        return 0;
    }
    while (result < 0 && clock_tick() < end) {
        turn(fd, 5);
        ssize_t n = recv(fd, got + got_n, sizeof got - 1 - got_n, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            result = 0;
        got_n += n > 0 ? (size_t)n : 0;
        got[got_n] = '\0';
        if (later != NULL && strstr(got, "\r\n\r\n") != NULL && strncmp(got + 9, "101", 3) == 0) {
            (void)send(fd, later, 8, MSG_NOSIGNAL);
            later = NULL;
        }
        if (whole())
            result = 1;
    }
    (void)close(fd);
    return result;
}

/* Makes the call and judges what came of it. */
static enum outcome ask(const char *request, const char *expected, size_t expected_n)
{
    static const char frame[] = "\x81\x82\0\0\0\0hi";
    int posted = posts;
    int result = call(request, strstr(request, "GET /ws") == request ? frame : NULL);
    must(posts - posted <= 1); /* a payment is made once */
    if (result != 1) {
        must(result == 0 || (workload_starved() && workload_persistent()));
        return REFUSED;
    }
    must(strncmp(got, "HTTP/1.1 ", 9) == 0);
    if (strstr(got, "\r\nProxy-Status: proofproxy; error=") != NULL) {
        must(workload_starved() && (got[9] == '5' || got[9] == '4'));
        must(strstr(got, "\"sent\":\"") != NULL);
        must(posts == posted || strstr(got, "\"sent\":\"no\"") == NULL);
        return REFUSED;
    }
    if (strncmp(got + 9, "401", 3) == 0) { /* no memory to try the other token: upstream's own word */
        must(workload_starved() && strstr(request, "/widget/rotated") != NULL);
        return REFUSED;
    }
    must(memmem(got, got_n, expected, expected_n) != NULL);
    must(posts - posted == (request[0] == 'P'));
    return DONE;
}

/* --- the worker --- */

static struct config *config;
static char config_text[1024], socket_text[128];
static atomic_uint drained_count;

/* Lines of the access log that were written. */
static atomic_uint logged;

static void count_lines(void *owner, const char *lines, size_t n)
{
    (void)owner;
    if (memmem(lines, n, "\"component\":\"access\"", 20) != NULL)
        atomic_fetch_add(&logged, 1);
}

static void set_up(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    struct config_problems problems;
    config_problems_init(&problems);
    (void)chmod(workload_folder(), 0700);
    upstream_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    must(bind(upstream_fd, (struct sockaddr *)&address, size) == 0 && listen(upstream_fd, 16) == 0);
    must(getsockname(upstream_fd, (struct sockaddr *)&address, &size) == 0);
    (void)snprintf(socket_text, sizeof socket_text, "unix:%s/app.sock", workload_folder());
    local.text = socket_text;
    local.path = socket_text + 5;
    (void)snprintf(config_text, sizeof config_text,
                   "environments = { a = { base_url = \"http://127.0.0.1:%u\"; listen = [ \"%s\" ];\n"
                   "token_file = \"/nowhere\"; connect_timeout = \"1s\"; request_timeout = \"2s\"; }; };",
                   (unsigned)ntohs(address.sin_port), socket_text);
    must(config_load_text(str_of(config_text), "f", 0100600, &config, &problems) == PP_OK);
    config_problems_free(&problems);
    large_n = (size_t)snprintf(large, sizeof large, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", LARGE);
    for (size_t i = 0; i < LARGE; i++)
        large[large_n++] = (char)('a' + i % 26);
    for (size_t i = 0; i < CONNECTIONS; i++)
        sides[i].fd = -1;
    log_set_sink(count_lines, NULL);
}

static void learned(void *owner, const char *environment, struct token *token, const struct token_knowledge *knowledge)
{
    (void)owner;
    (void)environment;
    (void)token;
    (void)knowledge;
}

static void drained(void *owner, unsigned index)
{
    (void)owner;
    (void)index;
    atomic_fetch_add(&drained_count, 1);
}

struct parts {
    struct metrics *metrics;
    struct listener_set *listeners;
    struct worker_setup *setup;
    struct worker *worker;
    struct token *tokens[2];
    struct token_store *store;
    struct environment_shared *shared;
};

static bool make(struct parts *p)
{
    static const char *const names[] = {"none"};
    const struct metrics_reasons reasons[METRICS_RETRIES + 1] = {{.names = names, .count = 1}};
    const struct worker_hooks hooks = {.learned = learned, .drained = drained};
    const struct listener_request request = {"a", &(struct listen_list){&local, 1},
                                             &config->environments[0].unix_access};
    struct token_store_policy policy = {.grace = 1000, .probe_interval = 1000};
    struct problem problem;
    p->metrics = metrics_new(reasons);
    struct metrics_shard *shard = p->metrics == NULL ? NULL : metrics_shard_new(p->metrics);
    p->worker = shard == NULL ? NULL : worker_new(0, 16, &hooks, shard);
    p->shared = environment_shared_new(16);
    p->tokens[0] = token_new("TOKEN-ONE", 9, 0);
    p->tokens[1] = token_new("TOKEN-TWO", 9, 0);
    p->store = token_store_new(&policy);
    p->setup = worker_setup_new(config);
    if (p->worker == NULL || p->shared == NULL || p->tokens[0] == NULL || p->tokens[1] == NULL || p->store == NULL ||
        p->setup == NULL || !ok(listener_set_open(&request, 1, NULL, &p->listeners, &problem)))
        return false;
    must(token_store_replace(p->store, p->tokens, 2, 1, 1) == PP_OK);
    struct worker_setup_environment *e = &p->setup->environments[p->setup->environment_count++];
    e->config = &config->environments[0];
    e->metrics_index = metrics_environment(p->metrics, "a");
    e->shared = environment_shared_ref(p->shared);
    e->listeners[e->listener_count++] = listener_ref(listener_set_at(p->listeners, 0, NULL));
    return true;
}

static bool tell(struct parts *p)
{
    struct token_snapshot snapshot;
    token_store_snapshot(p->store, &snapshot);
    bool told = ok(worker_configure(p->worker, p->setup)) && ok(worker_tokens(p->worker, "a", p->shared, &snapshot));
    token_snapshot_clear(&snapshot);
    return told;
}

#define REQUEST(method, target) method " " target " HTTP/1.1\r\nHost: a\r\n"

static enum outcome calls(void)
{
    enum outcome o = DONE;
    const struct {
        const char *request, *expected;
        size_t n;
    } all[] = {
        {REQUEST("GET", "/widget/a") "\r\n", "small", 5},
        {REQUEST("POST", "/widget/p") "Content-Length: 7\r\n\r\npayment", "paid!", 5},
        {REQUEST("GET", "/widget/large") "\r\n", large + large_n - LARGE, LARGE},
        {REQUEST("GET", "/widget/rotated") "\r\n", "small", 5},
        {REQUEST("GET", "/ws") "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
         "\x81\x02ok", 4},
        {REQUEST("POST", "/widget/p") "Content-Length: 7\r\n\r\npayment", "paid!", 5},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0] && !(o == REFUSED && workload_persistent()); i++)
        if (ask(all[i].request, all[i].expected, all[i].n) != DONE)
            o = REFUSED;
    return o;
}

static void served_again(void)
{
    workload_memory_is_back();
    msec end = clock_tick() + SERVED_AGAIN;
    while (calls() != DONE) {
        must(clock_tick() < end);
        turn(-1, 10);
    }
    atomic_store(&logged, 0);
    must(calls() == DONE);
    while (atomic_load(&logged) == 0) { /* and logged again */
        must(clock_tick() < end);
        turn(-1, 10);
    }
}

static void let_go(struct parts *p)
{
    worker_free(p->worker);
    if (p->setup != NULL)
        worker_setup_unref(&p->setup);
    if (p->listeners != NULL)
        listener_set_close(&p->listeners, NULL);
    if (p->shared != NULL) {
        must(atomic_load(&p->shared->inflight) == 0 && atomic_load(&p->shared->websockets) == 0);
        environment_shared_unref(&p->shared);
    }
    token_store_free(p->store);
    token_unref(&p->tokens[0]);
    token_unref(&p->tokens[1]);
    metrics_free(p->metrics);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        if (sides[i].fd >= 0)
            (void)close(sides[i].fd);
        sides[i].fd = -1;
        sides[i].n = sides[i].out_n = 0;
        sides[i].tunnel = false;
    }
}

static enum outcome worker(void)
{
    struct parts p = {0};
    enum outcome outcome = REFUSED;
    atomic_store(&drained_count, 0);
    if (make(&p)) {
        enum pp_result rc = worker_start(p.worker);
        must(rc == PP_OK || workload_starved());
        if (rc == PP_OK && tell(&p)) {
            outcome = calls();
            if (ok(worker_configure(p.worker, p.setup))) /* as a reload does */
                outcome = calls() == DONE ? outcome : REFUSED;
            else
                outcome = REFUSED;
            served_again();
            must(worker_drain(p.worker) == PP_OK);
            for (int i = 0; i < 1000 && atomic_load(&drained_count) == 0; i++)
                turn(-1, 5);
            must(atomic_load(&drained_count) == 1);
        }
    }
    let_go(&p);
    return outcome;
}

const struct workload proxy_workloads[] = {
    {"proxy-worker", worker, set_up, 11, 150},
    {0},
};
