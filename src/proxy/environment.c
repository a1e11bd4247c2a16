/* One environment as one worker sees it. */
#include "proxy/environment.h"

#include <stdlib.h>
#include <string.h>

/* A pool outlives a reload that does not change the way upstream. */
struct pool_holder {
    unsigned refs;
    struct upstream_pool *pool;
    struct upstream_tls *tls; /* a reference; NULL for plain http */
};

/* The replica of the token store for one upstream; it goes with the last settings that use it. */
struct token_holder {
    unsigned refs;
    struct token_store *store;
};

static struct token_holder *token_holder_new(const struct token_store_policy *policy)
{
    struct token_holder *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->refs = 1;
    h->store = token_store_new(policy);
    if (h->store == NULL) {
        free(h);
        return NULL;
    }
    return h;
}

static struct token_holder *token_holder_ref(struct token_holder *h)
{
    h->refs++;
    return h;
}

static void token_holder_unref(struct token_holder *h)
{
    if (h == NULL || --h->refs > 0)
        return;
    token_store_free(h->store);
    free(h);
}

struct environment_shared *environment_shared_new(unsigned places)
{
    struct environment_shared *s = calloc(1, sizeof *s);
    if (s != NULL) {
        atomic_init(&s->refs, 1);
        s->places = places;
    }
    return s;
}

struct environment_shared *environment_shared_ref(struct environment_shared *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void environment_shared_unref(struct environment_shared **s)
{
    if (*s != NULL && atomic_fetch_sub_explicit(&(*s)->refs, 1, memory_order_acq_rel) == 1)
        free(*s);
    *s = NULL;
}

unsigned environment_max_inflight(const struct environment_config *e, const struct config *config, unsigned places)
{
    unsigned share = config->environment_count > 1 ? places / 2 : places;
    return e->max_inflight < share ? e->max_inflight : share;
}

struct environment *environment_ref(struct environment *e)
{
    e->refs++;
    return e;
}

void environment_unref(struct environment **e)
{
    struct environment *gone = *e;
    *e = NULL;
    if (gone == NULL || --gone->refs > 0)
        return;
    environment_settings_unref(&gone->settings);
    environment_shared_unref(&gone->shared);
    token_holder_unref(gone->token_holder);
    free(gone->name);
    free(gone);
}

struct environment_settings *environment_settings_ref(struct environment_settings *s)
{
    s->refs++;
    return s;
}

static void holder_unref(struct pool_holder *h)
{
    if (h == NULL || --h->refs > 0)
        return;
    upstream_pool_close(h->pool);
    upstream_tls_unref(&h->tls);
    free(h);
}

void environment_settings_unref(struct environment_settings **s)
{
    struct environment_settings *gone = *s;
    *s = NULL;
    if (gone == NULL || --gone->refs > 0)
        return;
    holder_unref(gone->holder);
    token_holder_unref(gone->token_holder);
    environment_shared_unref(&gone->shared);
    config_unref(&gone->config);
    free(gone);
}

struct environment *environment_new(struct worker *worker, const char *name, unsigned metrics_index,
                                    struct environment_shared *shared, const struct environment_config *config)
{
    struct token_store_policy policy = {config->old_token_grace, config->probe_interval};
    struct environment *e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    e->worker = worker;
    e->refs = 1;
    e->metrics_index = metrics_index;
    e->shared = environment_shared_ref(shared);
    e->name = strdup(name);
    e->token_holder = token_holder_new(&policy);
    if (e->name == NULL || e->token_holder == NULL)
        environment_unref(&e);
    else
        e->tokens = e->token_holder->store;
    return e;
}

static void fill_policy(struct admission_policy *p, const struct environment_config *e)
{
    *p = (struct admission_policy){
        .allowed_paths = e->allowed_paths.items,
        .allowed_paths_count = e->allowed_paths.count,
        .allowed_hosts = e->allowed_hosts.items,
        .allowed_hosts_count = e->allowed_hosts.count,
        .allowed_origins = e->allowed_origins.items,
        .allowed_origins_count = e->allowed_origins.count,
        .require_name = e->require_name,
        .require_value = e->require_value,
        .refuse_forwarded = e->refuse_forwarded,
        .reject_authorization = e->reject_authorization,
        .max_body = e->max_body,
    };
}

static bool same_list(const struct str_list *a, const struct str_list *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!str_equal(a->items[i], b->items[i]))
            return false;
    return true;
}

bool environment_same_road(const struct environment_config *a, const struct environment_config *b)
{
    return strcmp(a->base_url.text, b->base_url.text) == 0 && strcmp(a->ca_file, b->ca_file) == 0 &&
           strcmp(a->tls_min_version, b->tls_min_version) == 0 && same_list(&a->pinned_spki, &b->pinned_spki) &&
           strcmp(a->egress_proxy, b->egress_proxy) == 0 && strcmp(a->egress_interface, b->egress_interface) == 0 &&
           a->connect_timeout == b->connect_timeout;
}

static struct pool_holder *holder_new(struct loop *loop, const struct environment_config *ec, struct upstream_tls *tls)
{
    struct upstream_settings road;
    struct pool_holder *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->refs = 1;
    upstream_settings_of(ec, ENVIRONMENT_WARM, &road);
    h->pool = upstream_pool_new(loop, &road, tls);
    if (h->pool == NULL) {
        free(h);
        return NULL;
    }
    h->tls = tls == NULL ? NULL : upstream_tls_ref(tls);
    return h;
}

/* The tokens of these settings are the environment's from now on. */
static void take_tokens(struct environment *e, struct environment_settings *s)
{
    if (e->shared == s->shared)
        return;
    environment_shared_unref(&e->shared);
    token_holder_unref(e->token_holder);
    e->shared = environment_shared_ref(s->shared);
    e->token_holder = token_holder_ref(s->token_holder);
    e->tokens = s->tokens;
}

enum pp_result environment_configure(struct environment *e, struct loop *loop, struct config *config,
                                     const struct environment_config *ec, struct environment_shared *shared,
                                     struct upstream_tls *tls)
{
    struct token_store_policy policy = {ec->old_token_grace, ec->probe_interval};
    struct environment_settings *s = calloc(1, sizeof *s);
    if (s == NULL)
        return PP_NOMEM;
    s->refs = 1;
    s->config = config_ref(config);
    s->shared = environment_shared_ref(shared);
    s->token_holder = e->shared == shared ? token_holder_ref(e->token_holder) : token_holder_new(&policy);
    if (e->settings != NULL && environment_same_road(e->settings->e, ec) &&
        upstream_tls_same_trust(e->settings->holder->tls, tls)) {
        s->holder = e->settings->holder;
        s->holder->refs++;
    } else {
        s->holder = holder_new(loop, ec, tls);
    }
    if (s->token_holder == NULL || s->holder == NULL) {
        environment_settings_unref(&s);
        return PP_NOMEM;
    }
    s->e = ec;
    s->pool = s->holder->pool;
    s->tokens = s->token_holder->store;
    s->timeouts = (struct server_timeouts){ec->header_timeout, ec->body_timeout, ec->client_idle_timeout};
    s->max_inflight = environment_max_inflight(ec, config, shared->places);
    fill_policy(&s->policy, ec);
    token_store_set_policy(s->tokens, &policy);
    take_tokens(e, s);
    environment_settings_unref(&e->settings);
    e->settings = s;
    e->generation++;
    return PP_OK;
}
