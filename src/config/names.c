/* Base URLs whose name leads back to a listener of ours: the one fault that a look at the text alone cannot find. */
#include "config/names.h"

#include "config/address.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

static bool leads_to(const struct addrinfo *found, const struct base_url *url, const struct listen_address *listener)
{
    bool everywhere = strcmp(listener->host, "0.0.0.0") == 0 || strcmp(listener->host, "::") == 0;
    struct base_url numeric = *url;
    char host[NI_MAXHOST];

    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        if (getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST) != 0)
            continue;
        numeric.host = host;
        if ((!everywhere || is_loopback(host)) && address_url_reaches(&numeric, listener))
            return true;
    }
    return false;
}

static bool shares_port(const struct base_url *url, const struct listen_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].kind == LISTEN_TCP && list->items[i].port == url->port)
            return true;
    return false;
}

static const struct listen_address *reached(const struct addrinfo *found, const struct base_url *url,
                                            const struct listen_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].kind == LISTEN_TCP && leads_to(found, url, &list->items[i]))
            return &list->items[i];
    return NULL;
}

/* The listener that the environment's base URL leads to, NULL if none. */
static const struct listen_address *own_listener(const struct config *config, const struct base_url *url)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    bool possible = shares_port(url, &config->admin_listen);

    for (size_t i = 0; i < config->environment_count; i++)
        possible = possible || shares_port(url, &config->environments[i].listen);
    if (!possible || getaddrinfo(url->host, NULL, &hints, &found) != 0)
        return NULL;
    const struct listen_address *listener = reached(found, url, &config->admin_listen);
    for (size_t i = 0; listener == NULL && i < config->environment_count; i++)
        listener = reached(found, url, &config->environments[i].listen);
    freeaddrinfo(found);
    return listener;
}

enum pp_result names_check(const struct config *config, struct config_problems *problems)
{
    enum pp_result rc = PP_OK;
    char key[128];

    for (size_t i = 0; i < config->environment_count; i++) {
        const struct environment_config *e = &config->environments[i];
        const struct listen_address *listener = own_listener(config, &e->base_url);
        if (listener == NULL)
            continue;
        (void)snprintf(key, sizeof key, "environments.%s.base_url", e->name);
        config_problems_add(problems, config->path, e->base_url_line, key,
                            "\"%s\" leads back to our own listener \"%s\", by the addresses of that name: expected "
                            "Proof's base URL",
                            e->base_url.text, listener->text);
        rc = PP_INVALID;
    }
    return rc;
}
