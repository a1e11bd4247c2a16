/* The admin interface: routes, the browser's guard, and whoever waits for a reload. */
#include "daemon/admin.h"

#include "base/json_text.h"
#include "base/log.h"
#include "net/peer.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGE_MAX (8u * 1024 * 1024) /* bytes of the largest page: /metrics of all environments, many workers */

struct admin_reload {
    struct admin *admin;
    struct local_exchange *exchange;
    struct admin_reload *next;
};

struct admin {
    struct local_server *server;
    struct admin_hooks hooks;
    struct metrics *metrics;
    struct admin_reload *waiting;
};

/* --- answers --- */

static void add_header(struct local_reply *reply, struct str name, struct str value)
{
    reply->headers[reply->header_count++] = (struct header){name, value};
}

static void begin(struct local_reply *reply, int status, struct str type)
{
    *reply = (struct local_reply){.status = status};
    buf_init(&reply->body, PAGE_MAX);
    add_header(reply, STR("Content-Type"), type);
    add_header(reply, STR("Cache-Control"), STR("no-store"));
    add_header(reply, STR("X-Content-Type-Options"), STR("nosniff"));
    add_header(reply, STR("Cross-Origin-Resource-Policy"), STR("same-origin"));
}

/* The shape of errors on the apps' side, so that one reader fits both. */
static void fail(struct local_reply *reply, int status, const char *error, const char *code, const char *message)
{
    begin(reply, status, STR("application/json"));
    json_t *object = json_pack("{s:s, s:s, s:s}", "error", error, "code", code, "message", message);
    if (json_text_dump(object, JSON_COMPACT, &reply->body) != PP_OK)
        buf_clear(&reply->body); /* the status alone must do */
    buf_append_char(&reply->body, '\n');
    json_decref(object);
}

static bool fail_here(struct local_reply *reply, int status, const char *error, const char *code, const char *message)
{
    fail(reply, status, error, code, message);
    return true;
}

/* --- the browser's guard --- */

/* A name can be made to resolve to a loopback address by whoever owns it, an address or localhost cannot. */
static bool host_allowed(struct str host)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char address[sizeof(struct in6_addr)];
    bool brackets = host.n > 0 && host.p[0] == '[';
    if (brackets) {
        const char *close = memchr(host.p, ']', host.n);
        if (close == NULL)
            return false;
        size_t end = (size_t)(close - host.p);
        struct str rest = {close + 1, host.n - end - 1};
        if (rest.n > 0 && rest.p[0] != ':')
            return false;
        host = (struct str){host.p + 1, end - 1};
    } else {
        const char *colon = memchr(host.p, ':', host.n);
        host.n = colon == NULL ? host.n : (size_t)(colon - host.p);
    }
    if (str_equal_nocase(host, STR("localhost")))
        return !brackets;
    if (host.n == 0 || host.n >= sizeof text)
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    return inet_pton(brackets ? AF_INET6 : AF_INET, text, address) == 1;
}

/* True when the request may be answered; else *reply is the refusal. */
static bool guard(const struct local_request *request, struct local_reply *reply)
{
    const struct header *host = headers_find(request->headers, STR("Host"), 0);
    const struct header *site = headers_find(request->headers, STR("Sec-Fetch-Site"), 0);
    if (headers_count(request->headers, STR("Host")) > 1)
        return !fail_here(reply, 400, "invalid_request", "admin_host_repeated", "more than one Host header");
    if (!request->unix_socket && (host == NULL || !host_allowed(host->value)))
        return !fail_here(reply, 421, "forbidden", "admin_host_not_allowed",
                          "on TCP the Host header must be localhost or an IP address");
    if (headers_count(request->headers, STR("Origin")) > 0)
        return !fail_here(reply, 403, "forbidden", "admin_origin_not_allowed",
                          "requests with an Origin header are refused: use a command-line client");
    if (site != NULL && !str_equal(site->value, STR("same-origin")) && !str_equal(site->value, STR("none")))
        return !fail_here(reply, 403, "forbidden", "admin_cross_site",
                          "a page of another site asked for this: open the address directly");
    return true;
}

/* --- pages --- */

typedef bool (*health_check)(const struct status_snapshot *s, const char *environment, struct buf *out);

static bool check_alive(const struct status_snapshot *s, const char *environment, struct buf *out)
{
    (void)environment;
    return status_alive(s, out);
}

/* "?environment=NAME" narrows a check to one environment. */
static void health(struct local_reply *reply, const struct status_snapshot *s, const struct local_request *request,
                   health_check check, const char *good)
{
    static const struct str key = {"environment=", sizeof "environment=" - 1};
    char name[128];
    bool named = str_starts(request->query, key);
    begin(reply, 200, STR("text/plain; charset=utf-8"));
    if (request->query.n > 0 && (!named || request->query.n - key.n >= sizeof name)) {
        reply->status = 400;
        buf_append_str(&reply->body, STR("the query may be environment=NAME only\n"));
        return;
    }
    if (named) {
        memcpy(name, request->query.p + key.n, request->query.n - key.n);
        name[request->query.n - key.n] = '\0';
    }
    if (!check(s, named ? name : NULL, &reply->body))
        reply->status = 503;
    else if (buf_len(&reply->body) == 0)
        buf_printf(&reply->body, "%s\n", good);
}

static void page_status(struct local_reply *reply, const struct status_snapshot *s)
{
    begin(reply, 200, STR("application/json"));
    if (pages_status_json(s, &reply->body) != PP_OK)
        reply->body.failed = true;
}

static void page_metrics(struct local_reply *reply, const struct status_snapshot *s, struct metrics *m)
{
    begin(reply, 200, STR("text/plain; version=0.0.4; charset=utf-8"));
    if (pages_metrics(s, m, &reply->body) != PP_OK)
        reply->body.failed = true;
}

static void page_html(struct local_reply *reply, const struct status_snapshot *s)
{
    begin(reply, 200, STR("text/html; charset=utf-8"));
    add_header(reply, STR("Content-Security-Policy"), str_of(pages_html_policy()));
    add_header(reply, STR("X-Frame-Options"), STR("DENY"));
    add_header(reply, STR("Referrer-Policy"), STR("no-referrer"));
    if (pages_html(s, &reply->body) != PP_OK)
        reply->body.failed = true;
}

static bool method_fits(const struct local_request *request, bool post, struct local_reply *reply)
{
    bool get = str_equal(request->method, STR("GET")) || str_equal(request->method, STR("HEAD"));
    if (post ? str_equal(request->method, STR("POST")) : get)
        return true;
    fail(reply, 405, "invalid_request", "admin_method_not_allowed",
         post ? "a reload is asked for by POST" : "this is read by GET");
    add_header(reply, STR("Allow"), post ? STR("POST") : STR("GET, HEAD"));
    return false;
}

bool admin_answer(const struct status_snapshot *s, struct metrics *m, const struct local_request *request,
                  struct local_reply *reply)
{
    struct str path = request->path;
    bool reload = str_equal(path, STR("/reload"));
    static const char *const known[] = {"/", "/status", "/metrics", "/livez", "/readyz", "/upstreamz", "/reload"};
    bool found = false;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        found = found || str_equal(path, str_of(known[i]));
    if (!guard(request, reply))
        return true;
    if (!found)
        return fail_here(reply, 404, "not_found", "admin_not_found",
                         "here are /, /status, /metrics, /livez, /readyz, /upstreamz and POST /reload");
    if (!method_fits(request, reload, reply))
        return true;
    if (reload && s->draining)
        return fail_here(reply, 503, "upstream_unavailable", "admin_draining", "the daemon is stopping: not reloaded");
    if (reload)
        return false;
    if (str_equal(path, STR("/status")))
        page_status(reply, s);
    else if (str_equal(path, STR("/metrics")))
        page_metrics(reply, s, m);
    else if (str_equal(path, STR("/livez")))
        health(reply, s, request, check_alive, "alive");
    else if (str_equal(path, STR("/readyz")))
        health(reply, s, request, status_ready, "ready");
    else if (str_equal(path, STR("/upstreamz")))
        health(reply, s, request, status_upstream_ok, "answers");
    else
        page_html(reply, s);
    if (reply->body.failed) {
        buf_free(&reply->body);
        fail(reply, 500, "internal_error", "admin_no_memory", "out of memory while writing this page");
    }
    return true;
}

/* --- POST /reload --- */

/* {"ok": …, "changes" or "problems": [lines]} */
static void reload_reply(struct local_reply *reply, bool ok, const char *text)
{
    json_t *object = json_pack("{s:b, s:o}", "ok", ok ? 1 : 0, ok ? "changes" : "problems", json_text_lines(text));
    begin(reply, ok ? 200 : 422, STR("application/json"));
    if (json_text_dump(object, JSON_INDENT(2), &reply->body) != PP_OK) {
        buf_clear(&reply->body); /* what has happened must be told, with or without memory for its details */
        buf_append_str(&reply->body, ok ? STR("{\"ok\": true}") : STR("{\"ok\": false}"));
    }
    buf_append_char(&reply->body, '\n');
    json_decref(object);
}

static void forget(struct admin_reload *waiter)
{
    struct admin_reload **at = &waiter->admin->waiting;
    while (*at != waiter)
        at = &(*at)->next;
    *at = waiter->next;
    free(waiter);
}

void admin_reload_done(struct admin_reload *waiter, bool ok, const char *text)
{
    struct local_reply reply;
    reload_reply(&reply, ok, text);
    local_exchange_answer(waiter->exchange, &reply);
    forget(waiter);
}

/* A reload reads files, resolves names and takes the main thread's time: on TCP, which every local user can reach, only
 * root and the daemon's own user may have one. A Unix socket has its mode for that. */
static bool may_reload(const struct local_request *request)
{
    struct peer peer;
    return request->unix_socket ||
           (peer_lookup(request->fd, NULL, &peer) == PP_OK && (peer.uid == 0 || peer.uid == geteuid()));
}

static bool on_request(void *owner, struct local_exchange *exchange, const struct local_request *request,
                       struct local_reply *reply)
{
    struct admin *a = owner;
    struct status_snapshot *s = calloc(1, sizeof *s);
    if (s == NULL)
        return fail_here(reply, 500, "internal_error", "admin_no_memory", "out of memory");
    a->hooks.snapshot(a->hooks.owner, s);
    bool answered = admin_answer(s, a->metrics, request, reply);
    free(s);
    if (answered)
        return true;
    if (!may_reload(request))
        return fail_here(reply, 403, "forbidden", "admin_reload_not_allowed",
                         "over TCP only root and the daemon's own user may ask for a reload: use the admin socket, or "
                         "systemctl reload");
    struct admin_reload *waiter = calloc(1, sizeof *waiter);
    if (waiter == NULL)
        return fail_here(reply, 500, "internal_error", "admin_no_memory", "out of memory");
    *waiter = (struct admin_reload){a, exchange, a->waiting};
    a->waiting = waiter;
    log_info("admin", NULL, "a reload is asked for by %s",
             request->unix_socket ? "the admin socket" : "the admin port");
    a->hooks.reload(a->hooks.owner, waiter);
    return false;
}

/* --- the whole --- */

struct admin *admin_new(struct loop *loop, const struct admin_hooks *hooks, struct metrics *metrics)
{
    struct admin *a = calloc(1, sizeof *a);
    if (a == NULL)
        return NULL;
    a->hooks = *hooks;
    a->metrics = metrics;
    a->server = local_server_new(loop, on_request, a);
    if (a->server == NULL) {
        free(a);
        return NULL;
    }
    return a;
}

enum pp_result admin_listen(struct admin *a, int fd)
{
    return local_server_listen(a->server, fd);
}

void admin_unlisten(struct admin *a, int fd)
{
    local_server_unlisten(a->server, fd);
}

msec admin_before_wait(struct admin *a)
{
    return local_server_before_wait(a->server);
}

void admin_free(struct admin *a)
{
    if (a == NULL)
        return;
    local_server_free(a->server);
    while (a->waiting != NULL) {
        struct admin_reload *next = a->waiting->next;
        free(a->waiting);
        a->waiting = next;
    }
    free(a);
}
