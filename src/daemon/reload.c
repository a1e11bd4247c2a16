/* Generations of the config: building a whole new one, then swapping everything or nothing. */
#include "daemon/daemon.h"

#include "base/crypto.h"
#include "daemon/notify.h"
#include "daemon/posture.h"
#include "net/peer.h"
#include "token/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ADMIN_OWNER        "(admin)" /* no environment can be called that */
#define ADMIN_DEFAULT_PATH "/run/proofproxy/admin.sock"
#define TELL_AGAIN         200 /* ms until workers that could not be told are told */
#define ADMIN_DEFAULT_DIR  "/run/proofproxy"

/* What a config needs before it can be put into force. */
struct generation {
    struct config *config;
    struct listener_set *listeners;
    struct worker_setup *setup;
    struct daemon_environment environments[LIMIT_ENVIRONMENTS]; /* new ones, or copies of those in force */
    bool is_new[LIMIT_ENVIRONMENTS];
    size_t count;
};

struct daemon_environment *daemon_find(struct daemon *d, const char *name)
{
    for (size_t i = 0; i < d->environment_count; i++)
        if (strcmp(d->environments[i].name, name) == 0)
            return &d->environments[i];
    return NULL;
}

void daemon_log_lines(enum log_level level, const char *what, const struct buf *text)
{
    struct str rest = buf_str(text);
    while (rest.n > 0) {
        const char *end = memchr(rest.p, '\n', rest.n);
        size_t n = end == NULL ? rest.n : (size_t)(end - rest.p);
        if (n > 0)
            log_line(level, "config", NULL, "%s: %.*s", what, (int)n, rest.p);
        n += end != NULL;
        rest = (struct str){rest.p + n, rest.n - n};
    }
}

/* --- building --- */

/* Tokens, and what is known of them, belong to the upstream they are for: with another one an environment begins anew.
 */
static bool same_upstream(const struct base_url *a, const struct base_url *b)
{
    return a->tls == b->tls && a->port == b->port && strcmp(a->host, b->host) == 0;
}

static enum pp_result build_environment(struct daemon *d, struct generation *g, const struct environment_config *ec,
                                        struct buf *problems)
{
    struct daemon_environment *had = daemon_find(d, ec->name);
    if (had != NULL && !same_upstream(&had->config->base_url, &ec->base_url))
        had = NULL;
    struct daemon_environment built = had != NULL ? *had : (struct daemon_environment){0};
    struct problem problem = {0};
    built.config = ec;
    built.tls = NULL;
    upstream_settings_of(ec, 1, &built.road); /* of the probes' own pool; workers keep more warm */
    if (had == NULL) {
        built.name = strdup(ec->name);
        built.shared = environment_shared_new(d->places);
        built.history = history_new();
        built.metrics_index = metrics_environment(d->metrics, ec->name);
    }
    struct daemon_environment *e = &g->environments[g->count];
    *e = built;
    g->is_new[g->count++] = had == NULL; /* from here on generation_discard knows it */
    if (e->name == NULL || e->shared == NULL || e->history == NULL)
        goto no_memory;
    enum pp_result rc = ec->base_url.tls ? upstream_tls_new(&e->road, &e->tls, &problem) : PP_OK;
    if (rc != PP_OK)
        buf_printf(problems, "%s:%d: environments.%s.tls.ca_file: %s\n", g->config->path, ec->ca_file_line, ec->name,
                   problem.text);
    return rc;
no_memory:
    buf_printf(problems, "out of memory\n");
    return PP_NOMEM;
}

/* The default admin socket is a convenience: its folder, which systemd makes (RuntimeDirectory=), is made if it is
 * missing, and a daemon that cannot have it (another one does, or it may not write there) runs without. One that was
 * asked for is a must. */
static bool admin_is_default(const struct config *config)
{
    return config->admin_listen.count == 1 && config->admin_listen.items[0].kind == LISTEN_UNIX &&
           strcmp(config->admin_listen.items[0].path, ADMIN_DEFAULT_PATH) == 0;
}

static enum pp_result open_listeners(struct daemon *d, struct generation *g, struct buf *problems)
{
    struct listener_request requests[LIMIT_ENVIRONMENTS + 1];
    const struct config *c = g->config;
    struct problem problem = {0}, admin_problem = {0};
    size_t n = 0;
    /* The admin interface stays where it was opened at the start; who may open its sockets can change. */
    requests[n++] = (struct listener_request){ADMIN_OWNER, &d->started_with->admin_listen, &c->admin_access};
    for (size_t i = 0; i < c->environment_count; i++)
        requests[n++] = (struct listener_request){c->environments[i].name, &c->environments[i].listen,
                                                  &c->environments[i].unix_access};
    if (admin_is_default(c) && mkdir(ADMIN_DEFAULT_DIR, 0755) == 0)
        (void)chmod(ADMIN_DEFAULT_DIR, 0755); /* whatever the umask */
    enum pp_result rc = listener_set_open(requests, n, d->listeners, &g->listeners, &problem);
    if (rc != PP_OK && admin_is_default(c)) {
        admin_problem = problem;
        rc = listener_set_open(requests + 1, n - 1, d->listeners, &g->listeners, &problem);
        if (rc == PP_OK)
            log_warning("admin", NULL, "no admin interface, set admin.listen to have one: %s", admin_problem.text);
    }
    if (rc != PP_OK)
        buf_printf(problems, "%s: %s\n", c->path, problem.text);
    return rc;
}

static enum pp_result fill_setup(struct generation *g, struct buf *problems)
{
    g->setup = worker_setup_new(g->config);
    if (g->setup == NULL) {
        buf_printf(problems, "out of memory\n");
        return PP_NOMEM;
    }
    for (size_t i = 0; i < g->count; i++) {
        struct daemon_environment *e = &g->environments[i];
        struct worker_setup_environment *se = &g->setup->environments[g->setup->environment_count++];
        se->config = e->config;
        se->metrics_index = e->metrics_index;
        se->shared = environment_shared_ref(e->shared);
        se->tls = e->tls == NULL ? NULL : upstream_tls_ref(e->tls);
        for (size_t l = 0; l < listener_set_count(g->listeners); l++) {
            const char *owner;
            struct listener *listener = listener_set_at(g->listeners, l, &owner);
            if (strcmp(owner, e->name) != 0)
                continue;
            if (se->listener_count == sizeof se->listeners / sizeof *se->listeners) {
                buf_printf(problems, "%s: listen names more than %zu sockets\n", e->name, se->listener_count);
                return PP_INVALID;
            }
            se->listeners[se->listener_count++] = listener_ref(listener);
        }
    }
    return PP_OK;
}

static void environment_discard(struct daemon_environment *e)
{
    token_manager_free(e->tokens);
    history_free(e->history);
    upstream_tls_unref(&e->tls);
    environment_shared_unref(&e->shared);
    free(e->name);
}

/* The admin interface lets go of what is about to be closed: the sockets of `set` that `other` does not have. */
static void unlisten_admin(struct daemon *d, const struct listener_set *set, const struct listener_set *other)
{
    for (size_t l = 0; l < listener_set_count(set); l++) {
        const struct listener *listener = listener_set_at(set, l, NULL);
        if (!listener_set_has(other, listener))
            admin_unlisten(d->admin, listener->fd);
    }
}

static void generation_discard(struct daemon *d, struct generation *g)
{
    for (size_t i = 0; i < g->count; i++) {
        if (g->is_new[i])
            environment_discard(&g->environments[i]);
        else
            upstream_tls_unref(&g->environments[i].tls);
    }
    unlisten_admin(d, g->listeners, d->listeners);
    listener_set_close(&g->listeners, d->listeners);
    if (g->setup != NULL)
        worker_setup_unref(&g->setup);
    config_unref(&g->config);
}

/* --- swapping --- */

static void tell_again(struct timer *t);

static void tell_soon(struct daemon *d)
{
    if (timer_set(d->loop, &d->tell_again, clock_now() + TELL_AGAIN, tell_again) != PP_OK)
        log_error("main", NULL, "out of memory: some worker waits for the next reload");
}

static void post_tokens(struct daemon *d, const struct daemon_environment *e, const struct token_snapshot *snapshot)
{
    for (unsigned i = 0; i < d->worker_count; i++)
        if (worker_tokens(d->workers[i], e->name, e->shared, snapshot) != PP_OK) {
            log_error("token", e->name, "out of memory: worker %u was not told of the change of tokens yet", i);
            tell_soon(d);
        }
}

static void tokens_changed(void *owner, const char *environment, const struct token_snapshot *snapshot)
{
    struct daemon *d = owner;
    const struct daemon_environment *e = daemon_find(d, environment);
    if (e != NULL)
        post_tokens(d, e, snapshot);
    daemon_tell_status(d);
}

static void tell_tokens(struct daemon *d, const struct daemon_environment *e)
{
    struct token_snapshot snapshot;
    token_manager_snapshot(e->tokens, &snapshot);
    post_tokens(d, e, &snapshot);
    token_snapshot_clear(&snapshot);
}

static void tell_setup(struct daemon *d)
{
    for (unsigned i = 0; i < d->worker_count; i++)
        if (worker_configure(d->workers[i], d->setup) != PP_OK) {
            log_error("config", NULL, "out of memory: worker %u keeps its old configuration for a moment", i);
            tell_soon(d);
        }
}

/* Everything once more, to everybody: hearing it twice does no harm. */
static void tell_again(struct timer *t)
{
    struct daemon *d = (struct daemon *)((char *)t - offsetof(struct daemon, tell_again));
    tell_setup(d);
    for (size_t i = 0; i < d->environment_count; i++)
        tell_tokens(d, &d->environments[i]);
}

static enum pp_result start_tokens(struct daemon *d, struct generation *g, struct buf *problems)
{
    struct token_manager_callbacks callbacks = {tokens_changed, d};
    for (size_t i = 0; i < g->count; i++) {
        struct daemon_environment *e = &g->environments[i];
        struct token_manager_road road = {&e->road, e->tls};
        if (!g->is_new[i])
            continue;
        if (token_manager_new(d->loop, g->config, e->config, &road, &callbacks, &e->tokens) != PP_OK) {
            buf_printf(problems, "out of memory\n");
            return PP_NOMEM;
        }
    }
    return PP_OK;
}

/* A socket of the admin interface whose file somebody has removed is a new one after a reload, like the apps'. */
static enum pp_result listen_admin(struct daemon *d, struct generation *g, struct buf *problems)
{
    for (size_t l = 0; l < listener_set_count(g->listeners); l++) {
        const char *owner;
        const struct listener *listener = listener_set_at(g->listeners, l, &owner);
        if (strcmp(owner, ADMIN_OWNER) == 0 && !listener_set_has(d->listeners, listener) &&
            admin_listen(d->admin, listener->fd) != PP_OK) {
            buf_printf(problems, "%s: the admin interface cannot listen there\n", listener->address);
            return PP_SYSTEM;
        }
    }
    return PP_OK;
}

/* The environment of that name in the generation, or NULL. */
static struct daemon_environment *successor(struct generation *g, const char *name)
{
    for (size_t i = 0; i < g->count; i++)
        if (strcmp(g->environments[i].name, name) == 0)
            return &g->environments[i];
    return NULL;
}

/* Of an environment in force: lets go of what the generation does not go on with. */
static void leave_environment(struct generation *g, struct daemon_environment *e)
{
    struct daemon_environment *next = successor(g, e->name);
    if (next != NULL && next->shared == e->shared) {
        if (!upstream_tls_same_trust(e->tls, next->tls))
            log_info("config", e->name, "the CA certificates that Proof's may come from have changed");
        upstream_tls_unref(&e->tls); /* the copy in the generation has its own */
        return;
    }
    if (next != NULL) {
        struct history *fresh = next->history;
        next->history = e->history; /* of the name, whatever stood behind it */
        e->history = fresh;
        log_info("config", e->name, "base_url names another upstream: it is sent the tokens of its own source alone");
    }
    environment_discard(e);
}

/* From here on nothing can fail: workers are told, what is gone is let go. */
static void swap(struct daemon *d, struct generation *g)
{
    if (d->setup != NULL)
        worker_setup_unref(&d->setup);
    d->setup = worker_setup_ref(g->setup);
    for (size_t i = 0; i < g->count; i++)
        if (g->is_new[i])
            tell_tokens(d, &g->environments[i]); /* first: it has them from its first request on */
    tell_setup(d);
    for (size_t i = 0; i < d->environment_count; i++)
        leave_environment(g, &d->environments[i]);
    memcpy(d->environments, g->environments, sizeof d->environments);
    d->environment_count = g->count;
    for (size_t i = 0; i < d->environment_count; i++) {
        struct daemon_environment *e = &d->environments[i];
        struct token_manager_road road = {&e->road, e->tls};
        if (!g->is_new[i] && token_manager_reload(e->tokens, g->config, e->config, &road) != PP_OK)
            log_error("token", e->name, "out of memory: the token source in force stays as it was");
    }
    unlisten_admin(d, d->listeners, g->listeners);
    listener_set_close(&d->listeners, g->listeners);
    d->listeners = g->listeners;
    config_unref(&d->config);
    d->config = g->config;
    worker_setup_unref(&g->setup);
}

enum pp_result daemon_apply(struct daemon *d, struct config *config, struct buf *problems)
{
    struct generation g = {.config = config_ref(config)};
    enum pp_result rc = PP_OK;
    bool groups = false;
    for (size_t i = 0; i < config->environment_count; i++)
        groups |= config->environments[i].allow_groups.count > 0;
    peer_prepare(groups);
    for (size_t i = 0; i < config->environment_count && rc == PP_OK; i++)
        rc = build_environment(d, &g, &config->environments[i], problems);
    if (rc == PP_OK)
        rc = open_listeners(d, &g, problems);
    if (rc == PP_OK)
        rc = fill_setup(&g, problems);
    if (rc == PP_OK)
        rc = listen_admin(d, &g, problems);
    if (rc == PP_OK)
        rc = start_tokens(d, &g, problems);
    if (rc == PP_OK)
        swap(d, &g);
    else
        generation_discard(d, &g);
    return rc;
}

/* --- asked for by SIGHUP or the admin interface --- */

/* What this reload changes, and what has been waiting for a restart since the start. */
static enum pp_result compare(const struct daemon *d, const struct config *config, struct buf *changed,
                              struct buf *restart)
{
    struct buf ignored;
    buf_init(&ignored, RELOAD_TEXT_MAX);
    enum pp_result rc = config_diff(d->config, config, changed, &ignored);
    buf_clear(&ignored);
    if (rc == PP_OK)
        rc = config_diff(d->started_with, config, &ignored, restart);
    buf_free(&ignored);
    return rc;
}

/* A token file that an environment is newly told to use, be it a new one, must be good: its tokens would be gone at the
 * next start. One that was in use already and is bad now is no fault of the config: its tokens stay, and status says
 * so. For another upstream any is new. */
static enum pp_result check_new_sources(struct daemon *d, const struct config *config, struct config_problems *problems)
{
    enum pp_result rc = PP_OK;
    for (size_t i = 0; i < config->environment_count; i++) {
        const struct environment_config *e = &config->environments[i];
        const struct daemon_environment *had = daemon_find(d, e->name);
        struct token_set set = {0};
        struct problem problem;
        char key[128];
        if (e->token_source == TOKEN_SOURCE_INLINE ||
            (had != NULL && had->config->token_source != TOKEN_SOURCE_INLINE &&
             strcmp(had->config->token_path, e->token_path) == 0 &&
             same_upstream(&had->config->base_url, &e->base_url)))
            continue;
        enum pp_result read = token_file_read(e->token_path, &set, NULL, &problem);
        token_set_clear(&set);
        if (read == PP_OK)
            continue;
        (void)snprintf(key, sizeof key, "environments.%s.token_file", e->name);
        config_problems_add(problems, config->path, e->token_line, key, "%s", problem.text);
        rc = read;
    }
    return rc;
}

bool daemon_reload(struct daemon *d)
{
    struct config *config = NULL;
    struct config_problems problems;
    struct buf restart;
    if (d->draining) {
        log_warning("config", NULL, "not reloaded: the daemon is stopping");
        return false;
    }
    notify_reloading();
    config_problems_init(&problems);
    buf_init(&restart, RELOAD_TEXT_MAX);
    enum pp_result rc = config_load(d->config_path, &config, &problems);
    buf_clear(&d->reload.changed);
    if (rc == PP_OK)
        rc = check_new_sources(d, config, &problems);
    if (rc == PP_OK)
        rc = compare(d, config, &d->reload.changed, &restart);
    if (rc == PP_OK)
        rc = daemon_apply(d, config, &problems.text);
    d->reload.ok = rc == PP_OK;
    d->reload.when = clock_wall();
    buf_clear(&d->reload.problems);
    if (d->reload.ok) {
        d->reload.success_when = d->reload.when;
        buf_free(&d->reload.restart);
        d->reload.restart = restart;
        buf_init(&restart, RELOAD_TEXT_MAX);
        log_configure(config->log_level, config->log_format);
        log_info("config", NULL, "reloaded %s%s", d->config_path,
                 buf_len(&d->reload.changed) == 0 ? ": nothing changed" : "");
        daemon_log_lines(LOG_LEVEL_INFO, "changed", &d->reload.changed);
        daemon_log_lines(LOG_LEVEL_WARNING, "needs a restart", &d->reload.restart);
        daemon_bound_memory(d);
        buf_clear(&d->posture);
        posture_text(config, secret_memory_locked(), &d->posture);
    } else {
        buf_append_str(&d->reload.problems, buf_str(&problems.text));
        log_error("config", NULL, "reload of %s failed, the running config stays in force", d->config_path);
        daemon_log_lines(LOG_LEVEL_ERROR, "problem", &d->reload.problems);
    }
    config_unref(&config);
    config_problems_free(&problems);
    buf_free(&restart);
    notify_ready();
    daemon_tell_status(d);
    return d->reload.ok;
}

void daemon_forget_environments(struct daemon *d)
{
    for (size_t i = 0; i < d->environment_count; i++)
        environment_discard(&d->environments[i]);
    d->environment_count = 0;
    if (d->loop != NULL)
        timer_stop(d->loop, &d->tell_again);
    if (d->setup != NULL)
        worker_setup_unref(&d->setup);
}
