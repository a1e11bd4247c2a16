/* A client's WebSocket handshake, checked. */
#include "http/upgrade.h"

#include "http/chars.h"

/* Sixteen bytes in base64: 22 characters and two of padding. */
static bool key_valid(struct str key)
{
    for (size_t i = 0; i < 22 && i < key.n; i++) {
        if (!chars_is(key.p[i], CHARS_BASE64))
            return false;
    }
    return key.n == 24 && key.p[22] == '=' && key.p[23] == '=';
}

static bool path_tunnels(const struct admission_policy *policy, struct str path)
{
    if (str_equal(path, STR("/ws")))
        return true;
    for (size_t i = 0; i < policy->allowed_paths_count; i++) {
        struct str rule = policy->allowed_paths[i];
        if (rule.n > 0 && rule.p[rule.n - 1] != '/' && str_equal(path, rule))
            return true;
    }
    return false;
}

enum refusal upgrade_check(const struct admission_policy *policy, const struct upgrade_request *request,
                           const char **detail)
{
    *detail = NULL;
    if (!request->get)
        *detail = "A WebSocket handshake must be a GET.";
    else if (request->http10)
        *detail = "A WebSocket handshake must be HTTP/1.1.";
    else if (request->has_body)
        *detail = "A WebSocket handshake must not have a body.";
    else if (request->upgrades != 1 || !str_equal_nocase(request->upgrade, STR("websocket")))
        *detail = "A WebSocket handshake must name websocket alone, in one Upgrade header.";
    else if (!request->connection_upgrade)
        *detail = "A WebSocket handshake must name upgrade in its Connection header.";
    else if (request->keys != 1 || !key_valid(request->key))
        *detail = "A WebSocket handshake needs one Sec-WebSocket-Key of 16 bytes in base64.";
    else if (request->versions != 1)
        *detail = "A WebSocket handshake needs one Sec-WebSocket-Version.";
    else if (!path_tunnels(policy, request->path))
        *detail = "A WebSocket may only be opened on /ws or a path that allowed_paths names exactly.";
    if (*detail != NULL)
        return REFUSAL_UPGRADE;
    return str_equal(request->version, STR("13")) ? REFUSAL_NONE : REFUSAL_UPGRADE_VERSION;
}
