/* The table of keys. */
#include "config/options.h"

#include "config/value.h"

#include <inttypes.h>
#include <stdio.h>

#define SECOND ((int64_t)1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define KIB    ((int64_t)1024)

/* Offset and size of a field; WHOLE for types that set more than one. */
#define OF_CONFIG(member) offsetof(struct config, member), sizeof(((struct config *)NULL)->member)
#define OF_ENVIRONMENT(member)                                                                                         \
    offsetof(struct environment_config, member), sizeof(((struct environment_config *)NULL)->member)
#define WHOLE 0, sizeof(struct environment_config)

#define NO_RANGE                   0, 0, false
#define RANGE(least, most)         (least), (most), false
#define ZERO_OR_RANGE(least, most) (least), (most), true

#define RELOAD  false
#define RESTART true

static const struct option_choice log_levels[] = {
    {"error", LOG_LEVEL_ERROR},
    {"warning", LOG_LEVEL_WARNING},
    {"info", LOG_LEVEL_INFO},
    {"debug", LOG_LEVEL_DEBUG},
    {NULL, 0},
};
static const struct option_choice log_formats[] = {
    {"json", LOG_FORMAT_JSON},
    {"text", LOG_FORMAT_TEXT},
    {NULL, 0},
};
static const struct option_choice authorization_choices[] = {
    {"strip", false},
    {"reject", true},
    {NULL, 0},
};
static const struct option_choice tls_versions[] = {
    {"1.2", 0},
    {"1.3", 0},
    {NULL, 0},
};
static const struct option_choice retry_reasons[] = {
    {"connect", RETRY_ON_CONNECT}, {"502", RETRY_ON_502}, {"503", RETRY_ON_503}, {"504", RETRY_ON_504}, {NULL, 0},
};

/* clang-format off */
const struct option options[] = {
    {"workers", SCOPE_TOP, &option_workers, OF_CONFIG(workers), "1", RANGE(0, LIMIT_WORKERS), RESTART,
     "event-loop threads; 0 = one per CPU", NULL},
    {"drain_timeout", SCOPE_TOP, &option_duration, OF_CONFIG(drain_timeout), "\"20s\"", RANGE(0, HOUR), RELOAD,
     "how long open requests and WebSockets may take to end when the daemon stops", NULL},

    {"level", SCOPE_LOG, &option_choice_number, OF_CONFIG(log_level), "\"info\"", NO_RANGE, RELOAD,
     "the least severe lines that are logged", log_levels},
    {"format", SCOPE_LOG, &option_choice_number, OF_CONFIG(log_format), "\"json\"", NO_RANGE, RELOAD,
     "how a line is written", log_formats},
    {"access", SCOPE_LOG, &option_boolean, OF_CONFIG(log_access), "true", NO_RANGE, RELOAD,
     "whether each exchange is logged in one line", NULL},

    {"listen", SCOPE_ADMIN, &option_listeners, OF_CONFIG(admin_listen), "[ \"unix:/run/proofproxy/admin.sock\" ]",
     RANGE(0, LIMIT_LISTENERS), RESTART, "where status, metrics and reload are served", NULL},
    {"unix_mode", SCOPE_ADMIN, &option_mode, OF_CONFIG(admin_access.mode), "\"0660\"", NO_RANGE, RELOAD,
     "permissions of the admin socket", NULL},
    {"unix_owner", SCOPE_ADMIN, &option_owner, OF_CONFIG(admin_access), "\"\"", NO_RANGE, RELOAD,
     "owner of the admin socket; \"\" = the daemon's user", NULL},
    {"unix_group", SCOPE_ADMIN, &option_owner_group, OF_CONFIG(admin_access), "\"\"", NO_RANGE, RELOAD,
     "group of the admin socket; \"\" = the daemon's group", NULL},

    {"base_url", SCOPE_ENVIRONMENT, &option_base_url, OF_ENVIRONMENT(base_url), NULL, NO_RANGE, RELOAD,
     "Proof's base URL; https, or http to a loopback address", NULL},
    {"listen", SCOPE_ENVIRONMENT, &option_listeners, OF_ENVIRONMENT(listen), NULL, RANGE(1, LIMIT_LISTENERS), RELOAD,
     "where local apps connect", NULL},
    {"token_file", SCOPE_ENVIRONMENT, &option_token_file, WHOLE, "\"\"", NO_RANGE, RELOAD,
     "the file with the tokens, or credential:NAME; this or client_token is required", NULL},
    {"client_token", SCOPE_ENVIRONMENT, &option_secret, OF_ENVIRONMENT(client_token), "\"\"", NO_RANGE, RELOAD,
     "the token itself; the config must then not be readable by every user", NULL},
    {"previous_client_token", SCOPE_ENVIRONMENT, &option_secret, OF_ENVIRONMENT(previous_client_token), "\"\"",
     NO_RANGE,
     RELOAD, "the token before client_token, during a rotation", NULL},
    {"allowed_paths", SCOPE_ENVIRONMENT, &option_paths, OF_ENVIRONMENT(allowed_paths), "[ \"/widget/\", \"/ws\" ]",
     RANGE(1, 64), RELOAD, "paths that are forwarded; with a trailing slash everything below", NULL},
    {"allowed_hosts", SCOPE_ENVIRONMENT, &option_hosts, OF_ENVIRONMENT(allowed_hosts), "[]", RANGE(0, 64), RELOAD,
     "Host names accepted besides localhost, 127.0.0.1 and [::1]", NULL},
    {"allowed_origins", SCOPE_ENVIRONMENT, &option_origins, OF_ENVIRONMENT(allowed_origins), "[]", RANGE(0, 64), RELOAD,
     "web origins whose requests are accepted; requests with any other Origin are refused", NULL},
    {"origin", SCOPE_ENVIRONMENT, &option_origin, OF_ENVIRONMENT(origin), "\"\"", NO_RANGE, RELOAD,
     "the Origin sent to Proof; \"\" = none", NULL},
    {"allow_users", SCOPE_ENVIRONMENT, &option_users, OF_ENVIRONMENT(allow_users), "[]", RANGE(0, 64), RELOAD,
     "users who may connect; with allow_groups also empty: everyone on this host", NULL},
    {"allow_groups", SCOPE_ENVIRONMENT, &option_groups_of_host, OF_ENVIRONMENT(allow_groups), "[]", RANGE(0, 64),
     RELOAD,
     "groups whose members may connect", NULL},
    {"require_header", SCOPE_ENVIRONMENT, &option_header_line, WHOLE, "\"\"", NO_RANGE, RELOAD,
     "a header line that apps must send, \"Name: value\"; not forwarded; \"\" = none", NULL},
    {"refuse_forwarded", SCOPE_ENVIRONMENT, &option_boolean, OF_ENVIRONMENT(refuse_forwarded), "true", NO_RANGE, RELOAD,
     "refuse requests with Forwarded or X-Forwarded-*", NULL},
    {"client_authorization", SCOPE_ENVIRONMENT, &option_choice_number, OF_ENVIRONMENT(reject_authorization),
     "\"strip\"",
     NO_RANGE, RELOAD, "what to do with a client's own Authorization, which is never forwarded", authorization_choices},
    {"allow_non_loopback", SCOPE_ENVIRONMENT, &option_boolean, OF_ENVIRONMENT(allow_non_loopback), "false", NO_RANGE,
     RELOAD, "allow TCP listeners that other hosts can reach", NULL},
    {"unix_mode", SCOPE_ENVIRONMENT, &option_mode, OF_ENVIRONMENT(unix_access.mode), "\"0660\"", NO_RANGE, RELOAD,
     "permissions of Unix sockets", NULL},
    {"unix_owner", SCOPE_ENVIRONMENT, &option_owner, OF_ENVIRONMENT(unix_access), "\"\"", NO_RANGE, RELOAD,
     "owner of Unix sockets; \"\" = the daemon's user", NULL},
    {"unix_group", SCOPE_ENVIRONMENT, &option_owner_group, OF_ENVIRONMENT(unix_access), "\"\"", NO_RANGE, RELOAD,
     "group of Unix sockets; \"\" = the daemon's group", NULL},
    {"max_body", SCOPE_ENVIRONMENT, &option_size, OF_ENVIRONMENT(max_body), "\"1m\"", RANGE(1, KIB * KIB * KIB), RELOAD,
     "bytes of a request's body; beyond: 413", NULL},
    {"max_inflight", SCOPE_ENVIRONMENT, &option_number, OF_ENVIRONMENT(max_inflight), "1024", RANGE(1, 65536), RELOAD,
     "requests under way at once; beyond: 503", NULL},
    {"max_websockets", SCOPE_ENVIRONMENT, &option_number, OF_ENVIRONMENT(max_websockets), "4096", RANGE(0, 1000000),
     RELOAD, "open WebSockets; beyond: 503", NULL},
    {"connect_timeout", SCOPE_ENVIRONMENT, &option_duration, OF_ENVIRONMENT(connect_timeout), "\"3s\"",
     RANGE(10, 5 * MINUTE), RELOAD, "name, connection and TLS handshake; beyond: 504", NULL},
    {"request_timeout", SCOPE_ENVIRONMENT, &option_duration, OF_ENVIRONMENT(request_timeout), "\"30s\"", RANGE(10,
     HOUR),
     RELOAD, "an exchange with Proof up to its answer, or the head of a large one; beyond: 504", NULL},
    {"header_timeout", SCOPE_ENVIRONMENT, &option_duration, OF_ENVIRONMENT(header_timeout), "\"10s\"", RANGE(10, HOUR),
     RELOAD, "a client's request head, from its first byte; beyond: 408", NULL},
    {"body_timeout", SCOPE_ENVIRONMENT, &option_duration, OF_ENVIRONMENT(body_timeout), "\"30s\"", RANGE(10, HOUR),
     RELOAD,
     "a client's request body, from its first byte; beyond: 408", NULL},
    {"client_idle_timeout", SCOPE_ENVIRONMENT, &option_duration, OF_ENVIRONMENT(client_idle_timeout), "\"75s\"",
     RANGE(10, 24 * HOUR), RELOAD, "a client's connection between two requests", NULL},
    {"websocket_idle_timeout", SCOPE_ENVIRONMENT, &option_duration, OF_ENVIRONMENT(websocket_idle_timeout), "\"0\"",
     ZERO_OR_RANGE(100, 168 * HOUR), RELOAD, "a WebSocket with no byte either way; 0 = for ever", NULL},
    {"probe_interval", SCOPE_ENVIRONMENT, &option_duration, OF_ENVIRONMENT(probe_interval), "\"60s\"",
     ZERO_OR_RANGE(100, 24 * HOUR), RELOAD, "between two trials of each held token; 0 = off", NULL},
    {"old_token_grace", SCOPE_ENVIRONMENT, &option_duration, OF_ENVIRONMENT(old_token_grace), "\"24h\"",
     RANGE(0, 720 * HOUR), RELOAD, "how long a token that left the file is kept as a fallback", NULL},
    {"websocket_retire_delay", SCOPE_ENVIRONMENT, &option_duration, OF_ENVIRONMENT(websocket_retire_delay), "\"10m\"",
     RANGE(0, 24 * HOUR), RELOAD, "from a token's retirement to the close of WebSockets that ride it", NULL},

    {"attempts", SCOPE_RETRIES, &option_number, OF_ENVIRONMENT(retries.attempts), "2", RANGE(1, 5), RELOAD,
     "tries in all; 1 = never repeat", NULL},
    {"on", SCOPE_RETRIES, &option_choice_set, OF_ENVIRONMENT(retries.on), "[ \"connect\", \"502\", \"503\", \"504\" ]",
     NO_RANGE, RELOAD, "failures after which a request is repeated", retry_reasons},
    {"methods", SCOPE_RETRIES, &option_methods, OF_ENVIRONMENT(retries.methods), "[ \"GET\", \"HEAD\" ]", RANGE(0, 5),
     RELOAD,
     "methods that are repeated: GET, HEAD, OPTIONS, PUT, DELETE", NULL},
    {"budget_percent", SCOPE_RETRIES, &option_number, OF_ENVIRONMENT(retries.budget_percent), "20", RANGE(0, 100),
     RELOAD,
     "repeated requests per 100 requests, at most", NULL},

    {"ca_file", SCOPE_TLS, &option_file, OF_ENVIRONMENT(ca_file), "\"\"", NO_RANGE, RELOAD,
     "PEM file of the authorities Proof's certificate may come from; \"\" = the system's", NULL},
    {"min_version", SCOPE_TLS, &option_choice_text, OF_ENVIRONMENT(tls_min_version), "\"1.2\"", NO_RANGE, RELOAD,
     "the oldest version of TLS that is spoken", tls_versions},
    {"pinned_spki", SCOPE_TLS, &option_pins, OF_ENVIRONMENT(pinned_spki), "[]", RANGE(0, 16), RELOAD,
     "base64 SHA-256 of public keys, one of which Proof's certificate must have", NULL},

    {"proxy", SCOPE_EGRESS, &option_proxy, OF_ENVIRONMENT(egress_proxy), "\"\"", NO_RANGE, RELOAD,
     "leave this host by a proxy: http, socks5 or socks5h; \"\" = directly", NULL},
    {"interface", SCOPE_EGRESS, &option_interface, OF_ENVIRONMENT(egress_interface), "\"\"", NO_RANGE, RELOAD,
     "leave this host by this interface or source address; \"\" = as routed", NULL},
};
/* clang-format on */

const size_t option_count = sizeof options / sizeof options[0];
_Static_assert(sizeof options / sizeof options[0] <= OPTION_COUNT_MAX, "OPTION_COUNT_MAX is too small");

const struct option_group option_groups[SCOPE_COUNT] = {
    [SCOPE_TOP] = {"", SCOPE_TOP},
    [SCOPE_LOG] = {"log", SCOPE_TOP},
    [SCOPE_ADMIN] = {"admin", SCOPE_TOP},
    [SCOPE_ENVIRONMENT] = {"", SCOPE_TOP},
    [SCOPE_RETRIES] = {"retries", SCOPE_ENVIRONMENT},
    [SCOPE_TLS] = {"tls", SCOPE_ENVIRONMENT},
    [SCOPE_EGRESS] = {"egress", SCOPE_ENVIRONMENT},
};

void option_scope_key(enum option_scope scope, const char *environment, const char *name,
                      char out[static OPTION_KEY_SIZE])
{
    const char *group = option_groups[scope].name;
    const char *dot = group[0] == '\0' ? "" : ".";

    if (scope <= SCOPE_ADMIN || environment == NULL)
        (void)snprintf(out, OPTION_KEY_SIZE, "%s%s%s", group, dot, name);
    else
        (void)snprintf(out, OPTION_KEY_SIZE, "environments.%s.%s%s%s", environment, group, dot, name);
}

void option_key(const struct option *option, const char *environment, char out[static OPTION_KEY_SIZE])
{
    option_scope_key(option->scope, environment, option->name, out);
}

const struct option *option_find(enum option_scope scope, const char *name)
{
    for (size_t i = 0; i < option_count; i++)
        if (options[i].scope == scope && strcmp(options[i].name, name) == 0)
            return &options[i];
    return NULL;
}

static void print_bound(const struct option *option, int64_t bound, struct buf *out)
{
    char text[VALUE_NUMBER_SIZE];

    if (option->type == &option_duration)
        value_print_duration(bound, text);
    else if (option->type == &option_size)
        value_print_size(bound, text);
    else
        (void)snprintf(text, sizeof text, "%" PRId64, bound);
    (void)buf_append_str(out, str_of(text));
}

void option_range(const struct option *option, struct buf *out)
{
    if (option->choices != NULL) {
        for (const struct option_choice *c = option->choices; c->text != NULL; c++)
            (void)buf_printf(out, "%s%s", c == option->choices ? "" : c[1].text == NULL ? " or " : ", ", c->text);
        return;
    }
    if (option->most == 0)
        return;
    if (option->zero)
        (void)buf_append_str(out, STR("0, or "));
    print_bound(option, option->least, out);
    (void)buf_append_str(out, STR(" to "));
    print_bound(option, option->most, out);
    if (option->type->kinds == NODE_LIST)
        (void)buf_append_str(out, STR(" items"));
}
