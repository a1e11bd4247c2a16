/* The rules across keys. */
#include "config/build.h"

#include "base/crypto.h"
#include "config/address.h"

#include <stdio.h>
#include <sys/stat.h>

/* One listener and whose it is. */
struct owned_listener {
    const struct listen_address *address;
    const struct environment_config *environment; /* NULL: admin */
};

static void key_of(const struct environment_config *environment, enum option_scope scope, const char *name,
                   char out[static OPTION_KEY_SIZE])
{
    option_scope_key(scope, environment == NULL ? NULL : environment->name, name, out);
}

static void listener_key(const struct owned_listener *listener, char out[static OPTION_KEY_SIZE])
{
    key_of(listener->environment, listener->environment == NULL ? SCOPE_ADMIN : SCOPE_ENVIRONMENT, "listen", out);
}

static size_t add_listeners(const struct listen_list *list, const struct environment_config *environment,
                            struct owned_listener *out)
{
    for (size_t i = 0; i < list->count; i++)
        out[i] = (struct owned_listener){.address = &list->items[i], .environment = environment};
    return list->count;
}

/* Both keys are named; the fault is told where it stands in the file, and if both do, at the second one. */
static void report_overlap(struct config_build *build, const struct owned_listener *a, const struct owned_listener *b)
{
    char key[OPTION_KEY_SIZE], other_key[OPTION_KEY_SIZE];

    if (b->address->line < a->address->line) {
        const struct owned_listener *swap = a;
        a = b;
        b = swap;
    }
    listener_key(b, key);
    listener_key(a, other_key);
    if (a->address->line == 0)
        report_add(&build->report, b->address->line, key,
                   "\"%s\" is already taken by the default of %s: expected an address of its own", b->address->text,
                   other_key);
    else
        report_add(&build->report, b->address->line, key,
                   "\"%s\" is already taken by \"%s\" of %s in line %d: expected an address of its own",
                   b->address->text, a->address->text, other_key, a->address->line);
}

static void check_reachable(struct config_build *build, const struct owned_listener *listener)
{
    char key[OPTION_KEY_SIZE];

    if (listener->address->kind != LISTEN_TCP || listener->address->loopback)
        return;
    listener_key(listener, key);
    if (listener->environment == NULL)
        report_add(&build->report, listener->address->line, key,
                   "\"%s\" can be reached from other hosts, which admin never allows: expected unix:PATH or a loopback "
                   "address",
                   listener->address->text);
    else if (!listener->environment->allow_non_loopback)
        report_add(
            &build->report, listener->address->line, key,
            "\"%s\" can be reached from other hosts, which could then use the token: expected a loopback address, "
            "or allow_non_loopback = true if that is meant",
            listener->address->text);
}

/* A base URL that leads back here would send each request round in circles. */
static void check_loop(struct config_build *build, const struct environment_config *environment,
                       const struct owned_listener *all, size_t count)
{
    char key[OPTION_KEY_SIZE], listen_key[OPTION_KEY_SIZE];
    const struct owned_listener *listener = all;

    if (environment->base_url.host == NULL)
        return;
    while (listener < all + count && !address_url_reaches(&environment->base_url, listener->address))
        listener++;
    if (listener == all + count)
        return;
    key_of(environment, SCOPE_ENVIRONMENT, "base_url", key);
    listener_key(listener, listen_key);
    report_add(&build->report, build_line(build, environment, SCOPE_ENVIRONMENT, "base_url"), key,
               "leads back to our own listener \"%s\" of %s: expected Proof's base URL", listener->address->text,
               listen_key);
}

static void check_listeners(struct config_build *build)
{
    const struct config *config = build->config;
    size_t count = config->admin_listen.count, filled = 0;

    for (size_t i = 0; i < config->environment_count; i++)
        count += config->environments[i].listen.count;
    struct owned_listener *all = memory_take(&build->scratch, count * sizeof *all);
    if (all == NULL) {
        build->report.out_of_memory = true;
        return;
    }
    filled += add_listeners(&config->admin_listen, NULL, all);
    for (size_t i = 0; i < config->environment_count; i++)
        filled += add_listeners(&config->environments[i].listen, &config->environments[i], all + filled);
    for (size_t i = 0; i < filled; i++) {
        check_reachable(build, &all[i]);
        size_t first = 0;
        while (first < i && !address_listeners_overlap(all[first].address, all[i].address))
            first++;
        if (first < i)
            report_overlap(build, &all[first], &all[i]);
    }
    for (size_t i = 0; i < config->environment_count; i++)
        check_loop(build, &config->environments[i], all, filled);
}

static void token_fault(struct config_build *build, const struct environment_config *environment, const char *name,
                        const char *phrase)
{
    char key[OPTION_KEY_SIZE];

    key_of(environment, SCOPE_ENVIRONMENT, name, key);
    report_add(&build->report, build_line(build, environment, SCOPE_ENVIRONMENT, name), key, "%s", phrase);
}

/* Was the key given at all, be it wrongly? Then its own fault is told, and none that follows from it. */
static bool given(const struct config_build *build, const struct environment_config *environment, const char *name)
{
    const struct option *option = option_find(SCOPE_ENVIRONMENT, name);
    size_t index = (size_t)(environment - build->config->environments);

    return option != NULL && build->environments[index].line[option - options] != 0;
}

static void check_tokens(struct config_build *build, struct environment_config *environment)
{
    const char *current = environment->client_token, *previous = environment->previous_client_token;
    bool file = environment->token_file[0] != '\0';

    if (current != NULL && file)
        token_fault(build, environment, "client_token", "token_file is given as well: keep one of the two");
    else if (previous != NULL && file)
        token_fault(build, environment, "previous_client_token",
                    "token_file is given as well: write the older token into that file, below the newer one");
    else if (previous != NULL && !given(build, environment, "client_token"))
        token_fault(build, environment, "previous_client_token", "client_token is missing: it comes first");
    else if (current != NULL && previous != NULL && strlen(current) == strlen(previous) &&
             crypto_equal(current, previous, strlen(current)))
        token_fault(build, environment, "previous_client_token", "is the same as client_token: remove it");
    if (current == NULL && !file && !given(build, environment, "token_file") &&
        !given(build, environment, "client_token") && previous == NULL)
        token_fault(build, environment, "token_file",
                    "missing: expected the path of a token file (or credential:NAME, or client_token instead)");
    else if (current == NULL && previous == NULL && !file && given(build, environment, "token_file"))
        token_fault(build, environment, "token_file",
                    "is empty: expected the path of a token file (or credential:NAME, or client_token instead)");
    if (current != NULL && !file)
        environment->token_source = TOKEN_SOURCE_INLINE;
}

/* Secrets do not belong into a file that everybody on the host can read. */
static void check_mode(struct config_build *build, const struct environment_config *environment)
{
    const struct {
        enum option_scope scope;
        const char *name;
        bool secret;
    } keys[] = {
        {SCOPE_ENVIRONMENT, "client_token", environment->client_token != NULL},
        {SCOPE_ENVIRONMENT, "previous_client_token", environment->previous_client_token != NULL},
        {SCOPE_EGRESS, "proxy",
         environment->egress_proxy != NULL && address_proxy_has_credentials(environment->egress_proxy)},
    };

    if ((build->mode & S_IROTH) == 0)
        return;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char key[OPTION_KEY_SIZE];
        if (!keys[i].secret)
            continue;
        key_of(environment, keys[i].scope, keys[i].name, key);
        report_add(&build->report, build_line(build, environment, keys[i].scope, keys[i].name), key,
                   "holds a secret, and the mode %04o of this file lets every user read it: expected 0640 or stricter",
                   (unsigned)(build->mode & 07777));
    }
}

void validate_config(struct config_build *build)
{
    check_listeners(build);
    for (size_t i = 0; i < build->config->environment_count; i++) {
        struct environment_config *environment = &build->config->environments[i];
        if (environment->token_file == NULL)
            continue; /* not a group, or its token_file is no string: told already */
        check_tokens(build, environment);
        check_mode(build, environment);
        environment->token_line = build_line(build, environment, SCOPE_ENVIRONMENT,
                                             environment->client_token == NULL ? "token_file" : "client_token");
        environment->base_url_line = build_line(build, environment, SCOPE_ENVIRONMENT, "base_url");
        environment->ca_file_line = build_line(build, environment, SCOPE_TLS, "ca_file");
    }
}
