/* Fuzzes the whole front side: a client's bytes through the real server, admission, exchange and request writer, up to
 * an upstream on loopback that reads strictly. Whatever arrives there must be a request which a strict reader finds in
 * the client's bytes, in that order, with one credential, ours; and no byte of the token may come back.
 *
 * Input: a byte of switches, then the client's bytes. 0xff and the byte behind it are an order: another 0xff is itself,
 * anything else sends what came before and lets everybody act on it. */
#include "front.h"

#include "base/log.h"
#include "proxy/exchange.h"
#include "proxy/tunnel.h"

#include <fcntl.h>
#include <signal.h>

#define QUIET_TURNS 6u /* without anything moving: nothing more will */
#define MOST_TURNS  4000u
#define PIECES      32u /* orders in one input; further ones are bytes */

enum { SWITCH_BEHAVIOUR = 7, SWITCH_UNIX = 8, SWITCH_HALF_CLOSE = 16, SWITCH_DEAF = 32 };

static struct front_upstream upstream;
static struct metrics *metrics;
static struct worker *worker;
static struct environment *environment;
static msec now = 1000000;

static void drop_line(void *owner, const char *line, size_t n)
{
    (void)owner;
    FUZZ_ASSERT(memmem(line, n, FRONT_TOKEN, sizeof FRONT_TOKEN - 1) == NULL);
}

static void learned(void *owner, const char *name, struct token *token, const struct token_knowledge *knowledge)
{
    (void)owner, (void)name, (void)token, (void)knowledge;
}

static void drained(void *owner, unsigned index)
{
    (void)owner, (void)index;
}

static void configure(void)
{
    char text[512];
    struct config *config = NULL;
    struct config_problems problems;
    config_problems_init(&problems);
    (void)snprintf(text, sizeof text,
                   "environments = { fuzz = { base_url = \"http://127.0.0.1:%u\"; listen = [ \"127.0.0.1:8780\" ];\n"
                   "token_file = \"/nowhere/fuzz.token\"; retries = { attempts = 1; }; max_body = 300000; }; };",
                   upstream.port);
    FUZZ_ASSERT(config_load_text(str_of(text), "fuzz.conf", 0100600, &config, &problems) == PP_OK);
    config_problems_free(&problems);
    struct environment_shared *shared = environment_shared_new(16);
    const struct environment_config *ec = &config->environments[0];
    environment = environment_new(worker, "fuzz", metrics_environment(metrics, "fuzz"), shared, ec);
    FUZZ_ASSERT(environment != NULL &&
                environment_configure(environment, worker->loop, config, ec, shared, NULL) == PP_OK);
    struct token *token = token_new(FRONT_TOKEN, sizeof FRONT_TOKEN - 1, 0);
    FUZZ_ASSERT(token != NULL && token_store_replace(environment->tokens, &token, 1, now, 0) == PP_OK);
    token_unref(&token);
    environment_shared_unref(&shared);
    config_unref(&config);
}

static void begin(void)
{
    static const struct metrics_reasons reasons[METRICS_RETRIES + 1];
    static const struct worker_hooks hooks = {learned, drained, NULL};
    (void)signal(SIGPIPE, SIG_IGN);
    log_set_sink(drop_line, NULL);
    clock_fake(now, 0);
    front_listen(&upstream);
    metrics = metrics_new(reasons);
    FUZZ_ASSERT(metrics != NULL);
    worker = worker_new(0, 16, &hooks, metrics_shard_new(metrics));
    FUZZ_ASSERT(worker != NULL);
    worker->log_access = true;
    configure();
}

/* --- turns --- */

struct client_end {
    int fd; /* -1: closed */
    bool deaf, halved;
    size_t answered;               /* bytes */
    char tail[sizeof FRONT_TOKEN]; /* the last bytes of what came before, where the token may have begun */
    size_t tail_bytes;
};

static msec no_wait(void *owner)
{
    (void)owner;
    (void)server_before_wait(worker->server);
    return 0;
}

static void after_turn(void *owner)
{
    (void)owner;
    server_turn(worker->server);
    buf_clear(&worker->log);
}

/* The answers begin as answers do, and the token is not in them. */
static bool hear(struct client_end *c)
{
    static char bytes[sizeof c->tail + 64 * 1024];
    bool moved = false;
    ssize_t n;
    while (c->fd >= 0 && !c->deaf) {
        memcpy(bytes, c->tail, c->tail_bytes);
        n = recv(c->fd, bytes + c->tail_bytes, 64 * 1024, MSG_DONTWAIT);
        if (n <= 0)
            break;
        moved = true;
        FUZZ_ASSERT(c->answered > 0 || n < 9 || memcmp(bytes, "HTTP/1.1 ", 9) == 0);
        c->answered += (size_t)n;
        size_t all = c->tail_bytes + (size_t)n;
        FUZZ_ASSERT(memmem(bytes, all, FRONT_TOKEN, sizeof FRONT_TOKEN - 1) == NULL);
        c->tail_bytes = all < sizeof FRONT_TOKEN - 2 ? all : sizeof FRONT_TOKEN - 2;
        memcpy(c->tail, bytes + all - c->tail_bytes, c->tail_bytes);
    }
    return moved;
}

static void settle(struct client_end *c)
{
    const struct loop_hooks hooks = {no_wait, after_turn, NULL};
    for (unsigned quiet = 0, turns = 0; quiet < QUIET_TURNS; turns++) {
        FUZZ_ASSERT(turns < MOST_TURNS); /* it would go on for ever */
        loop_turn(worker->loop, &hooks);
        bool moved = front_serve(&upstream);
        moved |= hear(c);
        quiet = moved ? 0 : quiet + 1;
    }
}

static void pass(struct client_end *c, msec time)
{
    clock_fake(now += time, 0);
    settle(c);
}

/* --- one input --- */

/* Sends as much as the daemon takes. */
static void say(struct client_end *c, struct str bytes)
{
    while (bytes.n > 0 && c->fd >= 0) {
        ssize_t n = send(c->fd, bytes.p, bytes.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            bytes.p += n;
            bytes.n -= (size_t)n;
        } else if (errno != EAGAIN) {
            return; /* it has closed */
        }
        settle(c);
        if (n < 0 && send(c->fd, bytes.p, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 1)
            return; /* it takes no more, and never will while the client is deaf */
        if (n < 0) {
            bytes.p++;
            bytes.n--;
        }
    }
}

static struct client_end connect_client(unsigned switches)
{
    int pair[2];
    FUZZ_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    struct client *client = calloc(1, sizeof *client);
    FUZZ_ASSERT(client != NULL);
    client->environment = environment_ref(environment);
    client->allowed = true;
    metrics_gauge(worker->metrics, environment->metrics_index, METRICS_CONNECTIONS, 1);
    server_add(worker->server, pair[1], (switches & SWITCH_UNIX) != 0, &environment->settings->timeouts,
               &environment->clients, client);
    return (struct client_end){.fd = pair[0], .deaf = (switches & SWITCH_DEAF) != 0};
}

static void disconnect_client(struct client_end *c, unsigned switches)
{
    if (switches & SWITCH_HALF_CLOSE) {
        (void)shutdown(c->fd, SHUT_WR);
        pass(c, 100);
    }
    (void)close(c->fd);
    c->fd = -1;
    pass(c, 100);
    for (int i = 0; i < 10 && server_connections(worker->server) + tunnel_set_count(worker->tunnels) > 0; i++)
        pass(c, 40000); /* every deadline there is */
    FUZZ_ASSERT(server_connections(worker->server) == 0 && tunnel_set_count(worker->tunnels) == 0);
    FUZZ_ASSERT(atomic_load(&environment->shared->inflight) == 0 && atomic_load(&environment->shared->receiving) == 0 &&
                atomic_load(&environment->shared->websockets) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct str pieces[PIECES + 1];
    struct said_list said;
    struct buf stream;
    size_t count = 0, starts[PIECES + 1] = {0};
    if (n < 1)
        return 0;
    if (worker == NULL)
        begin();
    buf_init(&stream, n + 1);
    for (size_t i = 1; i < n; i++) {
        bool order = bytes[i] == 0xff && i + 1 < n && count < PIECES;
        if (order && bytes[i + 1] != 0xff)
            starts[++count] = buf_len(&stream);
        else
            FUZZ_ASSERT(buf_append_char(&stream, (char)bytes[i]) == PP_OK);
        i += order;
    }
    for (size_t i = 0; i <= count; i++) {
        size_t end = i < count ? starts[i + 1] : buf_len(&stream);
        pieces[i] = end == 0 ? STR_NONE : (struct str){buf_str(&stream).p + starts[i], end - starts[i]};
    }
    struct str all = buf_str(&stream);
    if (all.n > 0 && memmem(all.p, all.n, FRONT_TOKEN, sizeof FRONT_TOKEN - 1) != NULL) {
        buf_free(&stream); /* who has it can be told it: refusals name what they are about */
        return 0;
    }
    if (!said_read(&said, all)) {
        buf_free(&said.bodies);
        buf_free(&stream);
        return 0;
    }
    upstream.behaviour = (enum front_behaviour)(bytes[0] & SWITCH_BEHAVIOUR);
    upstream.said = &said;
    upstream.next = upstream.requests = 0;
    upstream.tunnelled = false;
    struct client_end client = connect_client(bytes[0]);
    for (size_t i = 0; i <= count; i++)
        say(&client, pieces[i]);
    settle(&client);
    disconnect_client(&client, bytes[0]);
    FUZZ_ASSERT(upstream.requests <= said.count);
    buf_free(&said.bodies);
    buf_free(&stream);
    return 0;
}
