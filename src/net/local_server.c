/* The admin side's use of libmicrohttpd: whole requests in, whole answers out. */
#include "net/local_server.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEMORY_PER_CONNECTION (16u * 1024)
#define TARGET_MAX            1024u /* bytes of an admin target */
#define PAUSE                 200   /* ms without accepting after the process ran out of descriptors */
#define RUNS_PER_TURN         16    /* of libmicrohttpd, before the loop's other work gets its turn */

struct local_listener {
    struct watch watch; /* not watched while accepting pauses */
    struct local_server *server;
    int fd; /* -1: this place is free */
};

struct local_connection {
    struct timer deadline;
    struct local_server *server;
    int fd; /* libmicrohttpd's; valid until it says CLOSED */
    bool unix_socket;
};

struct local_exchange {
    struct local_server *server;
    struct MHD_Connection *connection;
    struct local_exchange *next, *prev; /* of those suspended */
    char *target;
    bool started, suspended, answered, too_large;
    struct buf body;
    struct local_reply reply;
};

struct local_server {
    struct loop *loop;
    struct MHD_Daemon *mhd;
    struct watch watch; /* libmicrohttpd's epoll descriptor */
    local_handler handler;
    void *owner;
    struct local_listener listeners[LOCAL_SERVER_LISTENERS];
    unsigned connections;
    bool paused, resumed;
    int reserve; /* given up to accept once more when the process has no descriptor left; -1: given up */
    struct timer resume;
    struct local_exchange *suspended;
};

/* --- answering --- */

static void reply_free(struct local_reply *reply)
{
    buf_free(&reply->body);
    *reply = (struct local_reply){0};
}

static enum MHD_Result add_header(struct MHD_Response *response, struct header h)
{
    char name[64], value[512];
    if (h.name.n >= sizeof name || h.value.n >= sizeof value)
        return MHD_NO;
    memcpy(name, h.name.p, h.name.n);
    name[h.name.n] = '\0';
    memcpy(value, h.value.p, h.value.n);
    value[h.value.n] = '\0';
    return MHD_add_response_header(response, name, value);
}

/* MHD_NO closes the connection. */
static enum MHD_Result queue_reply(struct MHD_Connection *connection, struct local_reply *reply)
{
    struct str body = buf_str(&reply->body);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body.n, (void *)(uintptr_t)body.p, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result ok = response == NULL ? MHD_NO : MHD_YES;
    for (size_t i = 0; ok == MHD_YES && i < reply->header_count; i++)
        ok = add_header(response, reply->headers[i]);
    if (ok == MHD_YES)
        ok = MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (ok == MHD_YES)
        ok = MHD_queue_response(connection, (unsigned)reply->status, response);
    if (response != NULL)
        MHD_destroy_response(response);
    reply_free(reply);
    return ok;
}

static void simple_reply(struct local_reply *reply, int status, struct str text)
{
    *reply = (struct local_reply){.status = status, .header_count = 1};
    reply->headers[0] = (struct header){STR("Content-Type"), STR("text/plain; charset=utf-8")};
    buf_init(&reply->body, 256);
    buf_append_str(&reply->body, text);
}

void local_exchange_answer(struct local_exchange *x, struct local_reply *reply)
{
    x->reply = *reply;
    *reply = (struct local_reply){0};
    x->answered = true;
    if (!x->suspended)
        return; /* still inside the handler */
    x->suspended = false;
    if (x->prev != NULL)
        x->prev->next = x->next;
    else
        x->server->suspended = x->next;
    if (x->next != NULL)
        x->next->prev = x->prev;
    MHD_resume_connection(x->connection);
    x->server->resumed = true; /* without a thread of its own libmicrohttpd tells nobody: see before_wait */
}

/* --- a connection's life --- */

static void cut(struct timer *t)
{
    struct local_connection *c =
        (struct local_connection *)(void *)((char *)t - offsetof(struct local_connection, deadline));
    (void)shutdown(c->fd, SHUT_RDWR); /* libmicrohttpd sees the end and closes */
}

static void pause_accepting(struct local_server *s);
static void resume_accepting(struct local_server *s);

static void resume_due(struct timer *t)
{
    resume_accepting((struct local_server *)(void *)((char *)t - offsetof(struct local_server, resume)));
}

static void connection_started(struct local_server *s, struct MHD_Connection *connection, void **context)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct local_connection *c = info == NULL ? NULL : calloc(1, sizeof *c);
    *context = c;
    if (c == NULL)
        return; /* its first request is refused */
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    c->server = s;
    c->fd = info->connect_fd;
    c->unix_socket = getsockname(c->fd, (struct sockaddr *)&address, &length) == 0 && address.ss_family == AF_UNIX;
    s->connections++;
    if (timer_set(s->loop, &c->deadline, clock_now() + LOCAL_SERVER_DEADLINE, cut) != PP_OK)
        (void)shutdown(c->fd, SHUT_RDWR); /* never a connection without a deadline */
}

static void connection_closed(struct local_server *s, void **context)
{
    struct local_connection *c = *context;
    if (c == NULL)
        return;
    timer_stop(s->loop, &c->deadline);
    free(c);
    *context = NULL;
    s->connections--;
    if (s->paused && !timer_armed(&s->resume) && timer_set(s->loop, &s->resume, clock_now(), resume_due) != PP_OK)
        resume_accepting(s);
}

static void on_connection(void *owner, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        connection_started(owner, connection, context);
    else
        connection_closed(owner, context);
}

static struct local_connection *connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

/* --- a request --- */

/* The raw target: what the access handler gets is already decoded. */
static void *on_target(void *owner, const char *target, struct MHD_Connection *connection)
{
    struct local_exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        return NULL;
    x->server = owner;
    x->connection = connection;
    x->target = strndup(target, TARGET_MAX + 1);
    buf_init(&x->body, LOCAL_SERVER_BODY);
    return x;
}

static void on_completed(void *owner, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct local_exchange *x = *context;
    (void)owner;
    (void)connection;
    (void)code;
    if (x == NULL)
        return;
    buf_free(&x->body);
    reply_free(&x->reply);
    free(x->target);
    free(x);
    *context = NULL;
}

static enum MHD_Result on_header(void *owner, enum MHD_ValueKind kind, const char *name, size_t name_size,
                                 const char *value, size_t value_size)
{
    (void)kind;
    struct str text = {value, value == NULL ? 0 : value_size};
    return headers_add(owner, (struct str){name, name_size}, text) ? MHD_YES : MHD_NO;
}

static enum MHD_Result whole_request(struct local_exchange *x, const char *method)
{
    struct local_connection *c = connection_of(x->connection);
    struct header_list headers = {0};
    struct local_reply reply = {0};
    if (c == NULL || x->target == NULL)
        return MHD_NO;
    if (x->too_large || strlen(x->target) > TARGET_MAX) {
        simple_reply(&reply, x->too_large ? 413 : 414, STR("the request is larger than this interface takes\n"));
        return queue_reply(x->connection, &reply);
    }
    (void)MHD_get_connection_values_n(x->connection, MHD_HEADER_KIND, on_header, &headers);
    struct str target = str_of(x->target), path = target, query = STR_NONE;
    const char *mark = strchr(x->target, '?');
    if (mark != NULL) {
        path.n = (size_t)(mark - x->target);
        query = (struct str){mark + 1, target.n - path.n - 1};
    }
    struct local_request request = {str_of(method), path, query, c->unix_socket, c->fd, &headers, buf_str(&x->body)};
    if (x->server->handler(x->server->owner, x, &request, &reply))
        return queue_reply(x->connection, &reply);
    if (x->answered)
        return queue_reply(x->connection, &x->reply);
    timer_stop(x->server->loop, &c->deadline);
    x->suspended = true;
    x->prev = NULL;
    x->next = x->server->suspended;
    if (x->next != NULL)
        x->next->prev = x;
    x->server->suspended = x;
    MHD_suspend_connection(x->connection);
    return MHD_YES;
}

static enum MHD_Result on_request(void *owner, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **context)
{
    struct local_exchange *x = *context;
    (void)owner;
    (void)url;
    (void)version;
    if (x == NULL)
        return MHD_NO; /* no memory when it began */
    if (x->answered) {
        struct local_connection *c = connection_of(connection);
        if (c != NULL && timer_set(c->server->loop, &c->deadline, clock_now() + LOCAL_SERVER_DEADLINE, cut) != PP_OK)
            return MHD_NO;
        return queue_reply(connection, &x->reply);
    }
    if (!x->started) {
        x->started = true;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        if (buf_append(&x->body, upload, *upload_size) != PP_OK)
            x->too_large = true;
        *upload_size = 0;
        return MHD_YES;
    }
    return whole_request(x, method);
}

/* --- taking connections --- */

/* A descriptor of a new connection, or -1. When the process has none left, the reserve is given up for it. */
static int accept_one(struct local_server *s, int listening, bool *out_of_descriptors)
{
    int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    *out_of_descriptors = fd < 0 && (errno == EMFILE || errno == ENFILE);
    if (*out_of_descriptors && s->reserve >= 0) {
        (void)close(s->reserve);
        s->reserve = -1;
        fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    return fd;
}

static void on_listener(struct watch *w, uint32_t events)
{
    struct local_listener *l = (struct local_listener *)(void *)((char *)w - offsetof(struct local_listener, watch));
    struct local_server *s = l->server;
    (void)events;
    if (s->reserve < 0)
        s->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    while (!s->paused) {
        bool out_of_descriptors;
        if (s->connections >= LOCAL_SERVER_CONNECTIONS) {
            pause_accepting(s);
            return;
        }
        int fd = accept_one(s, l->fd, &out_of_descriptors);
        if (fd < 0 && (errno == ECONNABORTED || errno == EINTR))
            continue;
        if (fd < 0) {
            if (out_of_descriptors) {
                pause_accepting(s);
                if (timer_set(s->loop, &s->resume, clock_now() + PAUSE, resume_due) != PP_OK)
                    resume_accepting(s);
            }
            return;
        }
        /* Nothing in libmicrohttpd needs the peer's address; the family keeps it from setting TCP options. */
        struct sockaddr_storage peer = {.ss_family = AF_UNIX};
        (void)MHD_add_connection(s->mhd, fd, (const struct sockaddr *)&peer, sizeof(sa_family_t));
    }
}

static void pause_accepting(struct local_server *s)
{
    s->paused = true;
    for (size_t i = 0; i < LOCAL_SERVER_LISTENERS; i++)
        loop_unwatch(s->loop, &s->listeners[i].watch);
}

static enum pp_result watch_listener(struct local_listener *l)
{
    return loop_watch(l->server->loop, &l->watch, l->fd, EPOLLIN, on_listener);
}

static void resume_accepting(struct local_server *s)
{
    bool all = true;
    s->paused = false;
    for (size_t i = 0; i < LOCAL_SERVER_LISTENERS; i++) {
        struct local_listener *l = &s->listeners[i];
        if (l->fd >= 0 && l->watch.fd < 0 && watch_listener(l) != PP_OK)
            all = false;
    }
    if (!all && timer_set(s->loop, &s->resume, clock_now() + PAUSE, resume_due) != PP_OK)
        log_error("admin", NULL, "cannot wait for connections any more: out of memory; restart the daemon");
}

static struct local_listener *find_listener(struct local_server *s, int fd)
{
    for (size_t i = 0; i < LOCAL_SERVER_LISTENERS; i++)
        if (s->listeners[i].fd == fd)
            return &s->listeners[i];
    return NULL;
}

enum pp_result local_server_listen(struct local_server *s, int fd)
{
    struct local_listener *l = find_listener(s, -1);
    if (l == NULL)
        return PP_LIMIT;
    l->fd = fd;
    enum pp_result rc = s->paused ? PP_OK : watch_listener(l);
    if (rc != PP_OK)
        l->fd = -1;
    return rc;
}

void local_server_unlisten(struct local_server *s, int fd)
{
    struct local_listener *l = find_listener(s, fd);
    if (l == NULL)
        return;
    loop_unwatch(s->loop, &l->watch);
    l->fd = -1;
}

/* --- the whole --- */

static void on_mhd(struct watch *w, uint32_t events)
{
    struct local_server *s = (struct local_server *)(void *)((char *)w - offsetof(struct local_server, watch));
    (void)events;
    (void)MHD_run(s->mhd);
}

msec local_server_before_wait(struct local_server *s)
{
    for (int i = 0; i < RUNS_PER_TURN; i++) {
        unsigned MHD_LONG_LONG timeout;
        if (s->resumed) {
            s->resumed = false;
            (void)MHD_run(s->mhd);
        }
        if (MHD_get_timeout(s->mhd, &timeout) != MHD_YES)
            return -1;
        if (timeout > 0)
            return timeout > 3600000 ? 3600000 : (msec)timeout;
        (void)MHD_run(s->mhd);
    }
    return 0;
}

struct local_server *local_server_new(struct loop *loop, local_handler handler, void *owner)
{
    struct local_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->loop = loop;
    s->handler = handler;
    s->owner = owner;
    s->watch.fd = -1;
    for (size_t i = 0; i < LOCAL_SERVER_LISTENERS; i++)
        s->listeners[i] = (struct local_listener){.watch = {.fd = -1}, .server = s, .fd = -1};
    s->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    s->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
                              on_request, s, MHD_OPTION_CONNECTION_LIMIT, LOCAL_SERVER_CONNECTIONS,
                              MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_PER_CONNECTION,
                              MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
                              s, MHD_OPTION_URI_LOG_CALLBACK, on_target, s, MHD_OPTION_END);
    const union MHD_DaemonInfo *info = s->mhd == NULL ? NULL : MHD_get_daemon_info(s->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || loop_watch(loop, &s->watch, info->epoll_fd, EPOLLIN, on_mhd) != PP_OK) {
        local_server_free(s);
        return NULL;
    }
    return s;
}

void local_server_free(struct local_server *s)
{
    if (s == NULL)
        return;
    while (s->suspended != NULL) { /* stopping with a suspended connection would abort the process */
        struct local_reply reply;
        simple_reply(&reply, 503, STR("the daemon stops\n"));
        local_exchange_answer(s->suspended, &reply);
    }
    for (size_t i = 0; i < LOCAL_SERVER_LISTENERS; i++)
        local_server_unlisten(s, s->listeners[i].fd);
    if (s->mhd != NULL) {
        (void)local_server_before_wait(s);
        loop_unwatch(s->loop, &s->watch);
        MHD_stop_daemon(s->mhd);
    }
    timer_stop(s->loop, &s->resume);
    if (s->reserve >= 0)
        (void)close(s->reserve);
    free(s);
}
