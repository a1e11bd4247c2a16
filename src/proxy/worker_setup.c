/* What the main thread tells a worker: configurations, tokens, the drain. */
#include "proxy/tunnel.h"
#include "proxy/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define WORKER_SETUP_AGAIN  100  /* ms until what could not be taken up is tried again */
#define WORKER_DRAIN_SPREAD 1000 /* ms over which tunnels get their Close at a drain */

struct worker_setup *worker_setup_new(struct config *config)
{
    struct worker_setup *s = calloc(1, sizeof *s);
    if (s != NULL) {
        atomic_init(&s->refs, 1);
        s->config = config_ref(config);
    }
    return s;
}

struct worker_setup *worker_setup_ref(struct worker_setup *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void worker_setup_unref(struct worker_setup **s)
{
    struct worker_setup *gone = *s;
    *s = NULL;
    if (gone == NULL || atomic_fetch_sub_explicit(&gone->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < gone->environment_count; i++) {
        struct worker_setup_environment *e = &gone->environments[i];
        environment_shared_unref(&e->shared);
        upstream_tls_unref(&e->tls);
        for (size_t l = 0; l < e->listener_count; l++)
            listener_unref(&e->listeners[l]);
    }
    config_unref(&gone->config);
    free(gone);
}

static struct environment *find(struct worker *w, const char *name)
{
    for (struct environment *e = w->environments; e != NULL; e = e->next)
        if (strcmp(e->name, name) == 0)
            return e;
    return NULL;
}

/* --- configuration --- */

struct setup_message {
    struct message message;
    struct worker_setup *setup;
};

/* False when something of it could not be done for want of memory or descriptors. Doing it twice does no harm. */
static bool apply_environment(struct worker *w, struct worker_setup *setup, struct worker_setup_environment *se)
{
    struct environment *e = find(w, se->config->name);
    bool whole = true;
    if (e == NULL) {
        e = environment_new(w, se->config->name, se->metrics_index, se->shared, se->config);
        if (e == NULL || environment_configure(e, w->loop, setup->config, se->config, se->shared, se->tls) != PP_OK) {
            environment_unref(&e);
            goto failed;
        }
        e->next = w->environments;
        w->environments = e;
    } else if (environment_configure(e, w->loop, setup->config, se->config, se->shared, se->tls) != PP_OK) {
        whole = false; /* goes on as it was, on whatever it is to listen now */
    }
    tunnel_set_tokens_changed(w->tunnels, e); /* websocket_retire_delay may be another one now */
    for (size_t i = 0; i < se->listener_count; i++)
        if (acceptor_add(w->acceptor, se->listeners[i]->fd, e) != PP_OK) {
            log_error("listener", e->name,
                      "worker %u cannot accept on %s: the kernel refused to watch it; trying again", w->index,
                      se->listeners[i]->address);
            whole = false;
        }
    if (whole)
        return true;
failed:
    log_error("worker", se->config->name, "worker %u could not take up this environment's settings; trying again",
              w->index);
    return false;
}

static bool configured(const struct worker_setup *setup, const char *name)
{
    for (size_t i = 0; i < setup->environment_count; i++)
        if (strcmp(setup->environments[i].config->name, name) == 0)
            return true;
    return false;
}

static void drop_missing(struct worker *w, const struct worker_setup *setup)
{
    for (struct environment **at = &w->environments; *at != NULL;) {
        struct environment *e = *at;
        if (configured(setup, e->name)) {
            at = &e->next;
            continue;
        }
        *at = e->next; /* its clients keep it until they go */
        e->removed = true;
        environment_unref(&e);
    }
}

/* Does the environment of that name listen there? */
static bool listens_on(const struct worker_setup *setup, const char *name, const struct listener *listener)
{
    for (size_t i = 0; i < setup->environment_count; i++)
        for (size_t l = 0; l < setup->environments[i].listener_count; l++)
            if (setup->environments[i].listeners[l] == listener)
                return strcmp(setup->environments[i].config->name, name) == 0;
    return false;
}

static void apply_again(struct timer *t);
static void drop_tokens_of_others(struct worker *w);

static void apply(struct worker *w)
{
    bool whole = true;
    for (size_t i = 0; i < w->setup->environment_count; i++)
        if (!w->draining && !apply_environment(w, w->setup, &w->setup->environments[i]))
            whole = false;
    struct message *late = w->late_tokens; /* who still has no environment comes back */
    w->late_tokens = NULL;
    while (late != NULL) {
        struct message *m = late;
        late = m->next;
        m->next = NULL;
        m->deliver(m);
    }
    if (whole)
        timer_stop(w->loop, &w->setup_again);
    else if (timer_set(w->loop, &w->setup_again, clock_now() + WORKER_SETUP_AGAIN, apply_again) != PP_OK)
        log_error("worker", NULL, "worker %u is out of memory: it waits for the next reload", w->index);
}

static void apply_again(struct timer *t)
{
    apply((struct worker *)((char *)t - offsetof(struct worker, setup_again)));
}

static void deliver_setup(struct message *m)
{
    struct setup_message *sm = (struct setup_message *)m;
    struct worker *w = m->receiver;
    struct worker_setup *setup = sm->setup;
    w->log_access = setup->config->log_access;
    /* What stays is not touched: taking it up again might fail. */
    for (size_t i = 0; w->setup != NULL && i < w->setup->environment_count; i++) {
        const struct worker_setup_environment *had = &w->setup->environments[i];
        struct environment *e = find(w, had->config->name);
        for (size_t l = 0; l < had->listener_count; l++) {
            if (listens_on(setup, had->config->name, had->listeners[l]))
                continue;
            acceptor_remove(w->acceptor, had->listeners[l]->fd);
            if (e != NULL)
                e->listeners_lost++; /* nobody goes on for ever through a door that is closed, or another's now */
        }
    }
    drop_missing(w, setup);
    worker_setup_unref(&w->setup);
    w->setup = setup;
    free(sm);
    apply(w);
    drop_tokens_of_others(w);
}

enum pp_result worker_configure(struct worker *w, struct worker_setup *setup)
{
    struct setup_message *m = calloc(1, sizeof *m);
    if (m == NULL)
        return PP_NOMEM;
    m->message = (struct message){.deliver = deliver_setup, .receiver = w};
    m->setup = worker_setup_ref(setup);
    loop_post(w->loop, &m->message);
    return PP_OK;
}

/* --- tokens --- */

struct tokens_message {
    struct message message;
    struct token_snapshot snapshot;
    struct environment_shared *shared; /* a reference */
    char environment[64];
};

static void free_tokens(struct tokens_message *tm)
{
    token_snapshot_clear(&tm->snapshot);
    environment_shared_unref(&tm->shared);
    free(tm);
}

void worker_drop_late_tokens(struct worker *w)
{
    while (w->late_tokens != NULL) {
        struct message *m = w->late_tokens;
        w->late_tokens = m->next;
        free_tokens((struct tokens_message *)m);
    }
}

/* They waited for a setup; the one in force does not want them. */
static void drop_tokens_of_others(struct worker *w)
{
    for (struct message **at = &w->late_tokens; *at != NULL;) {
        struct tokens_message *tm = (struct tokens_message *)*at;
        bool wanted = false;
        for (size_t i = 0; i < w->setup->environment_count; i++)
            wanted |= w->setup->environments[i].shared == tm->shared;
        if (wanted) {
            at = &tm->message.next;
            continue;
        }
        *at = tm->message.next;
        free_tokens(tm);
    }
}

static void deliver_tokens(struct message *m)
{
    struct tokens_message *tm = (struct tokens_message *)m;
    struct worker *w = m->receiver;
    struct environment *e = find(w, tm->environment);
    uint32_t behind = 0;
    if (e == NULL || e->shared != tm->shared) {
        struct message **at = &w->late_tokens;
        while (*at != NULL)
            at = &(*at)->next;
        m->next = NULL;
        *at = m;
        return;
    }
    token_store_adopt(e->tokens, &tm->snapshot, &behind);
    for (size_t i = 0; i < tm->snapshot.count; i++) {
        struct token_knowledge known;
        if ((behind & (1u << i)) != 0 && token_store_knowledge(e->tokens, tm->snapshot.items[i].token, &known))
            w->hooks.learned(w->hooks.owner, e->name, tm->snapshot.items[i].token, &known);
    }
    tunnel_set_tokens_changed(w->tunnels, e);
    free_tokens(tm);
}

enum pp_result worker_tokens(struct worker *w, const char *environment, struct environment_shared *shared,
                             const struct token_snapshot *snapshot)
{
    struct tokens_message *m = calloc(1, sizeof *m);
    if (m == NULL)
        return PP_NOMEM;
    m->message = (struct message){.deliver = deliver_tokens, .receiver = w};
    (void)snprintf(m->environment, sizeof m->environment, "%s", environment);
    m->shared = environment_shared_ref(shared);
    token_snapshot_copy(snapshot, &m->snapshot);
    loop_post(w->loop, &m->message);
    return PP_OK;
}

/* --- the drain --- */

/* From now on connecting is refused at once, instead of waiting in a queue nobody empties. A socket of systemd's stays
 * as it is: the next process takes it over with all who wait in it. */
static void stop_listening(struct worker *w, const struct listener *l)
{
    acceptor_remove(w->acceptor, l->fd);
    if (l->kind != LISTEN_SYSTEMD)
        (void)shutdown(l->fd, SHUT_RDWR); /* by each worker; it is the same the second time */
}

static void deliver_drain(struct message *m)
{
    struct worker *w = m->receiver;
    free(m);
    acceptor_sweep(w->acceptor); /* who is in the queue already came in time */
    w->draining = true;
    for (size_t i = 0; w->setup != NULL && i < w->setup->environment_count; i++)
        for (size_t l = 0; l < w->setup->environments[i].listener_count; l++)
            stop_listening(w, w->setup->environments[i].listeners[l]);
    server_drain(w->server);
    tunnel_set_drain(w->tunnels, WORKER_DRAIN_SPREAD);
}

static enum pp_result post_bare(struct worker *w, void (*deliver)(struct message *))
{
    struct message *m = calloc(1, sizeof *m);
    if (m == NULL)
        return PP_NOMEM;
    *m = (struct message){.deliver = deliver, .receiver = w};
    loop_post(w->loop, m);
    return PP_OK;
}

enum pp_result worker_drain(struct worker *w)
{
    return post_bare(w, deliver_drain);
}

static void deliver_nudge(struct message *m)
{
    free(m);
}

void worker_nudge(struct worker *w)
{
    (void)post_bare(w, deliver_nudge); /* without memory it is not nudged, and the watchdog may draw its conclusion */
}
