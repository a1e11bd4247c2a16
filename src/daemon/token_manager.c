/* The tokens of one environment on the main thread: source, master store, probes, and word of changes. */
#include "daemon/token_manager.h"

#include "base/crypto.h"
#include "daemon/token_log.h"
#include "daemon/token_watch.h"
#include "proxy/environment.h"
#include "proxy/probe.h"
#include "token/file.h"

#include <stdlib.h>

#define PROBES_MOST     4u /* under way at once, of all tokens */
#define PROBE_TIMEOUT   ((msec)10000)
#define RETRY_TIME      ((msec)500)  /* what is bad for want of descriptors or memory gets better without an event */
#define SETTLE_TIME     ((msec)1000) /* a bad file may be half-written: it is read again before the alarm */
#define LOOK_FOR_EXPIRY ((msec)30000)

struct running_probe {
    struct token_manager *manager;
    struct token *token; /* a reference; NULL = free */
    struct probe *probe;
};

struct token_manager {
    struct loop *loop;
    struct config *config; /* a reference */
    const struct environment_config *environment;
    struct token_manager_callbacks callbacks;
    struct token_store *store;
    struct token_log *log;

    struct token_watch *watch; /* NULL with tokens in the config */
    struct timer settle;       /* armed: the source was bad when last read, and is given time */
    bool stale;
    int64_t bad_since; /* wall ms; 0 = it is not */
    struct problem problem;

    struct upstream_tls *tls;   /* of the road in force, a reference; NULL for plain http */
    struct upstream_pool *pool; /* NULL with probing off */
    struct running_probe running[PROBES_MOST];
    struct timer timer;
    bool quiet;                       /* draining */
    struct token_manager_state state; /* the part about probes */
};

static void run(struct token_manager *m);

/* --- word of changes --- */

static void tell(struct token_manager *m)
{
    struct token_snapshot snapshot;
    token_store_snapshot(m->store, &snapshot);
    m->callbacks.changed(m->callbacks.owner, m->environment->name, &snapshot);
    token_snapshot_clear(&snapshot);
}

/* What is held, or a verdict, is not what it was. */
static void changed(struct token_manager *m)
{
    token_log_changes(m->log, m->store, m->environment->name, clock_now(), clock_wall());
    tell(m);
}

/* --- the source --- */

static enum pp_result read_source(const struct environment_config *e, struct token_set *out, struct problem *problem)
{
    if (e->token_source == TOKEN_SOURCE_INLINE)
        return token_set_inline(e->client_token, e->previous_client_token, out, problem);
    return token_file_read(e->token_path, out, NULL, problem);
}

/* True if what the file says is what the store holds of it already, in the same order, with the same expiry. */
static bool nothing_new(const struct token_store *s, const struct token_set *set)
{
    struct token_info list[LIMIT_TOKENS_HELD];
    size_t n = token_store_list(s, list);
    for (size_t i = 0; i < n || i < set->count; i++) {
        bool in_set = i < set->count, in_file = i < n && list[i].in_file;
        if (in_set != in_file)
            return false;
        if (in_set && (!token_equal(list[i].token, set->tokens[i]) ||
                       token_expires(list[i].token) != token_expires(set->tokens[i])))
            return false;
        if (!in_set)
            break;
    }
    return true;
}

static void alarm_stale(struct token_manager *m, const char *text)
{
    bool news = !m->stale || strcmp(m->problem.text, text) != 0;
    m->stale = true;
    if (!news)
        return;
    (void)problem_set(&m->problem, PP_INVALID, "%s", text);
    if (token_store_usable(m->store))
        log_error("token", m->environment->name, "%s; the tokens read before stay in use", text);
    else
        log_error("token", m->environment->name, "%s; there is no token to send requests with", text);
}

static void settle_over(struct timer *t);

/* Reads the source. `patient`: a fault is not believed before it has lasted. True if what is held changed. */
static bool take_source(struct token_manager *m, bool patient)
{
    struct token_set set;
    struct problem problem;
    enum pp_result rc = read_source(m->environment, &set, &problem);
    timer_stop(m->loop, &m->settle);
    if (rc != PP_OK) {
        if (m->bad_since == 0)
            m->bad_since = clock_wall();
        bool alarm = !patient || m->stale;
        if (m->environment->token_source != TOKEN_SOURCE_INLINE &&
            timer_set(m->loop, &m->settle, clock_now() + (alarm ? RETRY_TIME : SETTLE_TIME), settle_over) != PP_OK)
            alarm = true;
        if (alarm)
            alarm_stale(m, problem.text);
        return false;
    }
    if (m->stale)
        log_info("token", m->environment->name, "the token source is good again");
    m->stale = false;
    m->bad_since = 0;
    m->problem.text[0] = '\0';
    bool news = !nothing_new(m->store, &set);
    rc = token_store_replace(m->store, set.tokens, set.count, clock_now(), clock_wall());
    token_set_clear(&set);
    if (rc != PP_OK) /* cannot be: the file's rules are stricter than the store's */
        alarm_stale(m, "the token source holds no token, too many, or one twice");
    return news && rc == PP_OK;
}

static void source_changed(void *owner)
{
    struct token_manager *m = owner;
    if (take_source(m, true))
        changed(m);
    run(m);
}

static void settle_over(struct timer *t)
{
    struct token_manager *m = (struct token_manager *)((char *)t - offsetof(struct token_manager, settle));
    if (take_source(m, false))
        changed(m);
    run(m);
}

/* --- probes --- */

static void probe_ended(void *owner, const struct probe_result *result)
{
    struct running_probe *r = owner;
    struct token_manager *m = r->manager;
    struct token_fact fact = {token_answer_of(result->status), result->sent, result->arrived};
    bool news = token_store_learn(m->store, r->token, &fact);
    token_store_probed(m->store, r->token, clock_now(), crypto_jitter(1024));
    token_log_probe(m->log, m->environment->name, r->token, result);
    m->state.probed = true;
    m->state.probed_at = clock_wall();
    m->state.probe_status = result->status;
    m->state.probe_failure = result->failure;
    m->state.probe_usec = result->usec;
    token_unref(&r->token);
    if (news)
        changed(m);
    run(m);
}

/* One that could not even start has ended without an answer. */
static void start_probe(struct token_manager *m, struct running_probe *r, struct token *t)
{
    const struct environment_config *e = m->environment;
    const struct probe_question question = {.token = t,
                                            .host = str_of(e->base_url.authority),
                                            .prefix = str_of(e->base_url.prefix),
                                            .origin = str_of(e->origin),
                                            .timeout = PROBE_TIMEOUT};
    r->manager = m;
    r->token = token_ref(t);
    r->probe = probe_start(m->loop, m->pool, &question, probe_ended, r);
    if (r->probe == NULL) {
        token_unref(&r->token);
        token_store_probed(m->store, t, clock_now(), crypto_jitter(1024));
    }
}

static struct running_probe *free_slot(struct token_manager *m)
{
    for (size_t i = 0; i < PROBES_MOST; i++)
        if (m->running[i].token == NULL)
            return &m->running[i];
    return NULL;
}

/* --- the timer --- */

static void timer_fired(struct timer *t)
{
    run((struct token_manager *)((char *)t - offsetof(struct token_manager, timer)));
}

/* Does what is due, and arms the timer for what is next. */
static void run(struct token_manager *m)
{
    msec now = clock_now();
    struct running_probe *slot;
    struct token *t;
    if (token_store_expire(m->store, now, clock_wall()))
        changed(m);
    token_log_expiry(m->log, m->store, m->environment->name, clock_wall());
    while (!m->quiet && m->pool != NULL && (slot = free_slot(m)) != NULL &&
           (t = token_store_probe_due(m->store, now)) != NULL)
        start_probe(m, slot, t);

    msec next = now + LOOK_FOR_EXPIRY;
    if (!m->quiet && (m->pool == NULL || free_slot(m) != NULL)) { /* with all slots taken, the end of one calls again */
        msec event = token_store_next_event(m->store, now, clock_wall());
        next = event < next ? event : next;
    }
    if (timer_set(m->loop, &m->timer, next > now ? next : now + 1, timer_fired) != PP_OK)
        log_error("token", m->environment->name, "out of memory: no probe until the next change");
}

/* --- life --- */

static struct token_store_policy policy_of(const struct environment_config *e, const struct upstream_pool *pool)
{
    /* Without a pool nobody can probe, whatever the config wants: then traffic must try new tokens. */
    return (struct token_store_policy){.grace = e->old_token_grace,
                                       .probe_interval = pool == NULL ? 0 : e->probe_interval};
}

/* Opens what the environment needs: a pool for probes, a watch. PP_NOMEM opens nothing. */
static enum pp_result open_parts(struct token_manager *m, const struct environment_config *e,
                                 const struct token_manager_road *road, struct upstream_pool **pool,
                                 struct token_watch **watch)
{
    *pool = NULL;
    *watch = NULL;
    if (e->probe_interval > 0) {
        struct upstream_settings settings = *road->settings;
        settings.warm = 0; /* the one a probe leaves behind is warm enough */
        *pool = upstream_pool_new(m->loop, &settings, road->tls);
        if (*pool == NULL)
            return PP_NOMEM;
    }
    if (e->token_source != TOKEN_SOURCE_INLINE) {
        *watch = token_watch_new(m->loop, e->token_path, source_changed, m);
        if (*watch == NULL) {
            if (*pool != NULL)
                upstream_pool_close(*pool);
            return PP_NOMEM;
        }
    }
    return PP_OK;
}

enum pp_result token_manager_new(struct loop *loop, struct config *config, const struct environment_config *environment,
                                 const struct token_manager_road *road, const struct token_manager_callbacks *callbacks,
                                 struct token_manager **out)
{
    struct token_manager *m = calloc(1, sizeof *m);
    if (m == NULL)
        return PP_NOMEM;
    m->loop = loop;
    m->environment = environment;
    m->callbacks = *callbacks;
    m->state.probe_failure = "";
    m->log = token_log_new();
    if (m->log == NULL || open_parts(m, environment, road, &m->pool, &m->watch) != PP_OK)
        goto fail;
    struct token_store_policy policy = policy_of(environment, m->pool);
    m->store = token_store_new(&policy);
    if (m->store == NULL || timer_set(loop, &m->timer, clock_now(), timer_fired) != PP_OK)
        goto fail;
    m->config = config_ref(config);
    m->tls = road->tls == NULL ? NULL : upstream_tls_ref(road->tls);
    if (take_source(m, false))
        token_log_changes(m->log, m->store, environment->name, clock_now(), clock_wall());
    *out = m;
    return PP_OK;
fail:
    token_manager_free(m);
    return PP_NOMEM;
}

static void cancel_probes(struct token_manager *m)
{
    for (size_t i = 0; i < PROBES_MOST; i++) {
        if (m->running[i].token != NULL)
            probe_cancel(m->running[i].probe);
        token_unref(&m->running[i].token);
    }
}

void token_manager_free(struct token_manager *m)
{
    if (m == NULL)
        return;
    cancel_probes(m);
    timer_stop(m->loop, &m->timer);
    timer_stop(m->loop, &m->settle);
    token_watch_free(m->watch);
    if (m->pool != NULL)
        upstream_pool_close(m->pool);
    upstream_tls_unref(&m->tls);
    token_store_free(m->store);
    token_log_free(m->log);
    if (m->config != NULL)
        config_unref(&m->config);
    free(m);
}

/* What probes have told is of another road, or would be the last word for ever. */
static void forget_probes(struct token_manager *m)
{
    cancel_probes(m);
    token_store_probe_anew(m->store);
    m->state.probed = false;
}

static void take_road(struct token_manager *m, const struct environment_config *environment,
                      const struct token_manager_road *road)
{
    bool same = environment_same_road(m->environment, environment) && upstream_tls_same_trust(m->tls, road->tls) &&
                strcmp(m->environment->origin, environment->origin) == 0;
    if (!same || environment->probe_interval == 0)
        forget_probes(m);
    upstream_tls_unref(&m->tls);
    m->tls = road->tls == NULL ? NULL : upstream_tls_ref(road->tls);
}

enum pp_result token_manager_reload(struct token_manager *m, struct config *config,
                                    const struct environment_config *environment, const struct token_manager_road *road)
{
    struct upstream_pool *pool;
    struct token_watch *watch;
    if (open_parts(m, environment, road, &pool, &watch) != PP_OK)
        return PP_NOMEM;
    take_road(m, environment, road);
    if (m->pool != NULL)
        upstream_pool_close(m->pool); /* probes under way end by themselves */
    token_watch_free(m->watch);
    m->pool = pool;
    m->watch = watch;
    struct config *old = m->config;
    m->config = config_ref(config);
    m->environment = environment;
    config_unref(&old);
    struct token_store_policy policy = policy_of(environment, pool);
    token_store_set_policy(m->store, &policy);
    (void)take_source(m, false);
    changed(m); /* the policy, if nothing else */
    run(m);
    return PP_OK;
}

void token_manager_quiesce(struct token_manager *m)
{
    m->quiet = true;
}

/* --- asking and telling --- */

void token_manager_merge(struct token_manager *m, const struct token *t, const struct token_knowledge *theirs)
{
    unsigned news = token_store_merge(m->store, t, theirs);
    if ((news & TOKEN_NEWS_CHANGED) != 0)
        changed(m);
    else if ((news & TOKEN_NEWS_BEHIND) != 0)
        tell(m);
    if (news != TOKEN_NEWS_NONE)
        run(m);
}

void token_manager_snapshot(const struct token_manager *m, struct token_snapshot *out)
{
    token_store_snapshot(m->store, out);
}

const struct token_store *token_manager_store(const struct token_manager *m)
{
    return m->store;
}

void token_manager_state(const struct token_manager *m, struct token_manager_state *out)
{
    *out = m->state;
    out->stale = m->stale;
    out->stale_since = m->stale ? m->bad_since : 0;
    out->problem = m->stale ? m->problem.text : "";
}
