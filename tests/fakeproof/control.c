/* The control endpoint: plain HTTP on a loopback port of its own, JSON in and out. See README.md. */
#include "control.h"

#include "ws.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONTROL_BODY_MAX (16u * 1024 * 1024)

/* Each handler answers with a JSON value, or NULL and the reason in *what. */
typedef json_t *handler(struct fake *f, json_t *body, const char **what);

static json_t *done(void)
{
    return json_pack("{s:b}", "ok", 1);
}

/* Puts a list of strings in the place of another one. */
static json_t *replace_list(struct fake *f, json_t **slot, json_t *body, const char *key, const char **what)
{
    json_t *list = json_object_get(body, key);

    if (!json_is_array(list)) {
        *what = "a list of texts is expected";
        return NULL;
    }
    pthread_mutex_lock(&f->lock);
    json_decref(*slot);
    *slot = json_deep_copy(list);
    pthread_mutex_unlock(&f->lock);
    return done();
}

static json_t *set_tokens(struct fake *f, json_t *body, const char **what)
{
    return replace_list(f, &f->tokens, body, "valid", what);
}

static json_t *set_allow(struct fake *f, json_t *body, const char **what)
{
    return replace_list(f, &f->allow, body, "ranges", what);
}

static json_t *set_origins(struct fake *f, json_t *body, const char **what)
{
    return replace_list(f, &f->origins, body, "registered", what);
}

static json_t *set_fault(struct fake *f, json_t *body, const char **what)
{
    *what = add_fault(f, body);
    return *what == NULL ? done() : NULL;
}

static json_t *drop_faults(struct fake *f, json_t *body, const char **what)
{
    (void)body;
    (void)what;
    clear_faults(f);
    return done();
}

static json_t *reset(struct fake *f, json_t *body, const char **what)
{
    (void)body;
    (void)what;
    state_reset(f);
    return done();
}

static json_t *set_kyc(struct fake *f, json_t *body, const char **what)
{
    const char *user = fault_text(body, "user", NULL);
    const char *status = fault_text(body, "status", NULL);

    if (user == NULL || status == NULL) {
        *what = "user and status are expected";
        return NULL;
    }
    pthread_mutex_lock(&f->lock);
    json_object_set_new(f->kyc, user, json_string(status));
    pthread_mutex_unlock(&f->lock);
    return done();
}

static json_t *set_transaction(struct fake *f, json_t *body, const char **what)
{
    const char *id = fault_text(body, "id", NULL);
    const char *status = fault_text(body, "status", "");
    struct transaction *t;
    bool set = false;

    pthread_mutex_lock(&f->lock);
    t = id == NULL ? NULL : transaction_find(f, id);
    if (t != NULL)
        set = transaction_set(f, t, status);
    pthread_mutex_unlock(&f->lock);
    if (!set)
        *what = "no such transaction, no such status, or too many changes";
    return set ? done() : NULL;
}

static json_t *set_settings(struct fake *f, json_t *body, const char **what)
{
    (void)what;
    pthread_mutex_lock(&f->lock);
    f->options.progress_ms = (int)fault_number(body, "progress", f->options.progress_ms);
    f->options.keep_alive_ms = (int)fault_number(body, "keep_alive", f->options.keep_alive_ms);
    f->options.keep_alive_requests = (int)fault_number(body, "keep_alive_requests", f->options.keep_alive_requests);
    pthread_mutex_unlock(&f->lock);
    return done();
}

static json_t *close_idle(struct fake *f, json_t *body, const char **what)
{
    json_int_t closed = 0;

    (void)body;
    (void)what;
    pthread_mutex_lock(&f->lock);
    for (struct connection *c = f->connections; c != NULL; c = c->next) {
        if (c->state != CONNECTION_IDLE)
            continue;
        c->close_now = true;
        pthread_kill(c->thread, SIGUSR1);
        closed++;
    }
    pthread_mutex_unlock(&f->lock);
    return json_pack("{s:I}", "closed", closed);
}

/* What one WebSocket is told to do. False when it could not be taken. */
static bool ws_command(struct connection *c, const json_t *body)
{
    const char *action = fault_text(body, "action", "");
    const char *text = fault_text(body, "text", "");
    unsigned code = (unsigned)fault_number(body, "code", 1001);
    char payload[125];
    size_t n = 0;

    if (strcmp(action, "text") == 0)
        return ws_queue(c, 1, text, strlen(text));
    if (strcmp(action, "ping") == 0)
        return ws_queue(c, 9, text, strlen(text) > 125 ? 125 : strlen(text));
    if (strcmp(action, "close") == 0) {
        payload[n++] = (char)(code >> 8);
        payload[n++] = (char)code;
        n += (size_t)snprintf(payload + n, sizeof payload - n, "%.100s", text);
        return ws_queue(c, 8, payload, n);
    }
    if (strcmp(action, "flood") == 0) {
        c->flood = (unsigned long long)fault_number(body, "bytes", 1 << 20);
        return true;
    }
    if (strcmp(action, "end") == 0) {
        const char *how = fault_text(body, "how", "truncate");
        c->end_asked = true;
        c->end_how = strcmp(how, "reset") == 0     ? STREAM_RESET
                     : strcmp(how, "orderly") == 0 ? STREAM_ORDERLY
                                                   : STREAM_TRUNCATE;
        return true;
    }
    return false;
}

static json_t *ws_action(struct fake *f, json_t *body, const char **what)
{
    const char *id = fault_text(body, "transaction", NULL);
    const char *fingerprint = fault_text(body, "token", NULL);
    json_int_t reached = 0;

    pthread_mutex_lock(&f->lock);
    for (struct connection *c = f->connections; c != NULL; c = c->next) {
        if (c->state != CONNECTION_WEBSOCKET || (id != NULL && strcmp(id, c->transaction) != 0) ||
            (fingerprint != NULL && strcmp(fingerprint, c->fingerprint) != 0))
            continue;
        if (!ws_command(c, body)) {
            *what = "no such action";
            break;
        }
        pthread_kill(c->thread, SIGUSR1);
        reached++;
    }
    pthread_mutex_unlock(&f->lock);
    return *what == NULL ? json_pack("{s:I}", "reached", reached) : NULL;
}

static json_t *get_stats(struct fake *f, json_t *body, const char **what)
{
    (void)body;
    (void)what;
    return stats(f);
}

/* Blocks until a counter lies in a range: {"counter": NAME, "least": N, "most": N, "ms": MAX}. */
static json_t *wait_counter(struct fake *f, json_t *body, const char **what)
{
    const char *name = fault_text(body, "counter", "");
    long long least = fault_number(body, "least", 0);
    long long most = fault_number(body, "most", INT64_MAX);
    long long ms = fault_number(body, "ms", 10000);
    struct timespec until;
    long long value;
    size_t i = 0;
    bool reached;

    while (i < COUNTERS && strcmp(counter_names[i], name) != 0)
        i++;
    if (i == COUNTERS) {
        *what = "no such counter";
        return NULL;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&f->lock);
    while (f->counters[i] < least || f->counters[i] > most)
        if (pthread_cond_timedwait(&f->changed, &f->lock, &until) != 0)
            break;
    value = f->counters[i];
    pthread_mutex_unlock(&f->lock);
    reached = value >= least && value <= most;
    return json_pack("{s:b, s:I}", "reached", (int)reached, "value", (json_int_t)value);
}

static const struct route {
    const char *method, *path;
    handler *handle;
} routes[] = {
    {"POST", "/tokens", set_tokens},     {"POST", "/allow", set_allow},
    {"POST", "/origins", set_origins},   {"POST", "/fault", set_fault},
    {"DELETE", "/fault", drop_faults},   {"POST", "/reset", reset},
    {"POST", "/kyc", set_kyc},           {"POST", "/transaction", set_transaction},
    {"POST", "/settings", set_settings}, {"POST", "/close-idle", close_idle},
    {"POST", "/ws", ws_action},          {"POST", "/wait", wait_counter},
    {"GET", "/stats", get_stats},
};

static void answer_control(struct connection *c, const struct http_request *r, json_t *body, struct answer *a)
{
    const char *what = NULL;
    json_t *out;

    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (strcmp(routes[i].method, r->method) != 0 || strcmp(routes[i].path, r->path) != 0)
            continue;
        out = routes[i].handle(c->fake, body, &what);
        if (out != NULL)
            answer_json(a, 200, out);
        else
            answer_error(a, 400, "invalid_request", "validation_error", what);
        return;
    }
    answer_error(a, 404, NULL, NULL, "no such control; see README.md");
}

void control_serve(struct connection *c)
{
    for (;;) {
        struct http_request r;
        struct answer a;
        const char *what = NULL;
        char *text;
        size_t n = 0;
        json_t *body;
        enum after after;

        if (http_read_head(&c->stream, &r, &what) != HTTP_OK) {
            http_request_free(&r);
            return;
        }
        text = http_read_all(&c->stream, &r, CONTROL_BODY_MAX, &n);
        body = text == NULL || n == 0 ? json_object() : json_loadb(text, n, 0, NULL);
        if (text == NULL || !json_is_object(body))
            answer_error(&a, 400, "invalid_request", "decode_error", "the body is not a JSON object");
        else
            answer_control(c, &r, body, &a);
        json_decref(body);
        free(text);
        after = answer_send(c, &r, &a, NULL);
        http_request_free(&r);
        if (after != AFTER_KEEP)
            return;
    }
}
