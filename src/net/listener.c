/* Opens, shares and keeps listening sockets. */
#include "net/listener.h"

#include "base/limits.h"
#include "net/activation.h"
#include "net/unix_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

/* The public part first, so that one converts to the other. */
struct listener_private {
    struct listener listener;
    atomic_uint references;
    bool inherited;               /* from systemd: never closed */
    char *host;                   /* TCP: as asked for */
    unsigned asked_port;          /* TCP: as asked for */
    char *path;                   /* Unix socket of ours: in the file system */
    struct unix_socket_file file; /* where `path` is set */
    struct unix_access access;    /* where `path` is set: what is in force */
};

struct entry {
    size_t owner; /* index into set->owners and into the requests the set was opened from */
    struct listener_private *listener;
};

struct listener_set {
    struct entry *entries;
    size_t count, size;
    char **owners;
    size_t owner_count;
};

static struct listener_private *of(struct listener *l)
{
    return (struct listener_private *)l;
}

struct listener *listener_ref(struct listener *l)
{
    atomic_fetch_add_explicit(&of(l)->references, 1, memory_order_relaxed);
    return l;
}

static void listener_free(struct listener_private *p)
{
    if (p->listener.fd >= 0 && !p->inherited)
        (void)close(p->listener.fd);
    free(p->listener.text);
    free(p->listener.address);
    free(p->host);
    free(p->path);
    free(p);
}

void listener_unref(struct listener **l)
{
    struct listener_private *p = *l == NULL ? NULL : of(*l);
    *l = NULL;
    if (p != NULL && atomic_fetch_sub_explicit(&p->references, 1, memory_order_acq_rel) == 1)
        listener_free(p);
}

/* Fills in family, port and the address for people from the socket itself. */
static enum pp_result describe(struct listener *l, struct problem *problem)
{
    struct sockaddr_storage address = {0};
    socklen_t n = sizeof address;
    char host[INET6_ADDRSTRLEN + 16], port[8], text[sizeof(struct sockaddr_un) + 16];
    if (getsockname(l->fd, (struct sockaddr *)&address, &n) != 0)
        return problem_set(problem, PP_SYSTEM, "%s: getsockname: %m", l->text);
    l->family = address.ss_family;
    if (address.ss_family == AF_UNIX) {
        const struct sockaddr_un *local = (const struct sockaddr_un *)&address;
        size_t offset = offsetof(struct sockaddr_un, sun_path);
        int length = n > offset ? (int)(n - offset) : 0;
        bool abstract = length > 0 && local->sun_path[0] == '\0';
        (void)snprintf(text, sizeof text, "unix:%s%.*s", abstract ? "@" : "", abstract ? length - 1 : length,
                       local->sun_path + (abstract ? 1 : 0));
    } else {
        if (getnameinfo((struct sockaddr *)&address, n, host, sizeof host, port, sizeof port,
                        NI_NUMERICHOST | NI_NUMERICSERV) != 0)
            return problem_set(problem, PP_INVALID, "%s: its socket is neither TCP nor Unix", l->text);
        l->port = (unsigned)strtoul(port, NULL, 10);
        bool brackets = address.ss_family == AF_INET6;
        (void)snprintf(text, sizeof text, "%s%s%s:%s", brackets ? "[" : "", host, brackets ? "]" : "", port);
    }
    l->address = strdup(text);
    return l->address != NULL ? PP_OK : problem_set(problem, PP_NOMEM, "%s: out of memory", l->text);
}

/* Accepted sockets inherit it: the kernel keeps no more than this for a client that reads nothing, instead of megabytes
 * each (tcp_wmem), which hundreds of such clients would take from everybody's TCP. A kernel without it works as well.
 */
static void bound_unsent(int fd)
{
    unsigned bytes = LIMIT_SOCKET_UNSENT;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
}

/* The one reference is the caller's. The descriptor is taken over in any case unless it is inherited. */
static enum pp_result listener_new(const struct listen_address *address, int fd, bool inherited,
                                   struct listener_private **out, struct problem *problem)
{
    struct listener_private *p = calloc(1, sizeof *p);
    if (p == NULL) {
        if (!inherited)
            (void)close(fd);
        return problem_set(problem, PP_NOMEM, "%s: out of memory", address->text);
    }
    atomic_init(&p->references, 1);
    p->inherited = inherited;
    p->listener.fd = fd;
    p->listener.kind = address->kind;
    p->listener.text = strdup(address->text);
    p->host = address->kind == LISTEN_TCP ? strdup(address->host) : NULL;
    p->asked_port = address->kind == LISTEN_TCP ? address->port : 0;
    enum pp_result rc;
    if (p->listener.text == NULL || (address->kind == LISTEN_TCP && p->host == NULL))
        rc = problem_set(problem, PP_NOMEM, "%s: out of memory", address->text);
    else
        rc = describe(&p->listener, problem);
    if (rc == PP_OK && p->listener.family != AF_UNIX)
        bound_unsent(fd);
    if (rc == PP_OK)
        *out = p;
    else
        listener_free(p);
    return rc;
}

/* --- TCP --- */

static enum pp_result bind_failed(const struct listen_address *a, struct problem *problem)
{
    switch (errno) {
    case EADDRINUSE:
        return problem_set(problem, PP_LIMIT,
                           "%s: address already in use by another process; see which with: ss -ltnp 'sport = :%u'",
                           a->text, a->port);
    case EADDRNOTAVAIL:
        return problem_set(
            problem, PP_NOT_FOUND, "%s: this host has no such address (%m); see what it has with: ip addr%s", a->text,
            strchr(a->host, ':') != NULL ? "; IPv6 may be switched off (net.ipv6.conf.all.disable_ipv6)" : "");
    case EACCES:
        return problem_set(problem, PP_DENIED,
                           "%s: not permitted (%m); ports below net.ipv4.ip_unprivileged_port_start need "
                           "CAP_NET_BIND_SERVICE: choose a higher port",
                           a->text);
    default:
        return problem_set(problem, PP_SYSTEM, "%s: can't bind: %m", a->text);
    }
}

static enum pp_result open_tcp_socket(const struct listen_address *a, const struct addrinfo *info, int *out,
                                      struct problem *problem)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        if (errno == EAFNOSUPPORT)
            return problem_set(problem, PP_NOT_FOUND,
                               "%s: the kernel doesn't offer this address family (%m); remove the address from the "
                               "config, or allow it (RestrictAddressFamilies= of the unit, ipv6.disable=)",
                               a->text);
        return problem_set(problem, PP_SYSTEM, "%s: can't create a socket: %m", a->text);
    }
    int on = 1;
    enum pp_result rc = PP_OK;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        (info->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0))
        rc = problem_set(problem, PP_SYSTEM, "%s: can't set up the socket: %m", a->text);
    else if (bind(fd, info->ai_addr, info->ai_addrlen) != 0)
        rc = bind_failed(a, problem);
    else if (listen(fd, LISTEN_BACKLOG) != 0) /* two sockets may both have bound; the second one fails here */
        rc = bind_failed(a, problem);
    if (rc == PP_OK)
        *out = fd;
    else
        (void)close(fd);
    return rc;
}

static enum pp_result open_tcp(const struct listen_address *a, struct listener_private **out, struct problem *problem)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *info = NULL;
    char port[16];
    (void)snprintf(port, sizeof port, "%u", a->port);
    int error = a->port > 65535 ? EAI_SERVICE : getaddrinfo(a->host, port, &hints, &info);
    if (error == EAI_MEMORY)
        return problem_set(problem, PP_NOMEM, "out of memory");
    if (error != 0)
        return problem_set(problem, PP_INVALID,
                           "%s: expected a numeric address and a port, such as 127.0.0.1:8780 or [::1]:8780", a->text);
    int fd = -1;
    enum pp_result rc = open_tcp_socket(a, info, &fd, problem);
    freeaddrinfo(info);
    return rc != PP_OK ? rc : listener_new(a, fd, false, out, problem);
}

/* --- Unix --- */

static enum pp_result open_unix(const struct listen_address *a, const struct unix_access *access,
                                struct listener_private **out, struct problem *problem)
{
    int fd = -1;
    struct unix_socket_file file = {0};
    char *path = strdup(a->path);
    if (path == NULL)
        return problem_set(problem, PP_NOMEM, "%s: out of memory", a->text);
    enum pp_result rc = unix_socket_listen(path, access, &fd, &file, problem);
    if (rc == PP_OK) {
        struct listener_private *p = NULL;
        rc = listener_new(a, fd, false, &p, problem);
        if (rc == PP_OK) {
            p->path = path;
            p->file = file;
            p->access = *access;
            *out = p;
            return PP_OK;
        }
        unix_socket_remove(path, &file);
    }
    free(path);
    return rc;
}

/* --- systemd --- */

static enum pp_result open_inherited(const struct listen_address *a, int fd, struct listener_private **out,
                                     struct problem *problem)
{
    int type = 0, listening = 0;
    socklen_t type_size = sizeof type, listening_size = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) != 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &listening_size) != 0 || listening == 0)
        return problem_set(problem, PP_INVALID,
                           "%s: what systemd passed is not a listening stream socket; the .socket unit needs "
                           "ListenStream= and Accept=no",
                           a->text);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return problem_set(problem, PP_SYSTEM, "%s: can't set up the socket passed by systemd: %m", a->text);
    return listener_new(a, fd, true, out, problem);
}

/* --- sets --- */

/* What the previous set has already for this address (and, from systemd, this descriptor). */
static struct listener_private *find(const struct listener_set *set, const struct listen_address *a, int fd)
{
    for (size_t i = 0; set != NULL && i < set->count; i++) {
        struct listener_private *p = set->entries[i].listener;
        if (p->listener.kind != a->kind)
            continue;
        bool same = false;
        switch (a->kind) {
        case LISTEN_TCP:
            same = p->asked_port == a->port && strcmp(p->host, a->host) == 0;
            break;
        case LISTEN_UNIX:
            /* One whose file somebody removed is opened anew: a reload repairs it. */
            same = strcmp(p->path, a->path) == 0 && unix_socket_is_there(p->path, &p->file);
            break;
        case LISTEN_SYSTEMD:
            same = p->listener.fd == fd;
            break;
        }
        if (same)
            return p;
    }
    return NULL;
}

/* Before anything is opened for it: what was opened must never have nowhere to go. */
static enum pp_result make_room(struct listener_set *set, struct problem *problem)
{
    if (set->count < set->size)
        return PP_OK;
    size_t size = set->size == 0 ? 8 : set->size * 2;
    struct entry *entries = reallocarray(set->entries, size, sizeof *entries);
    if (entries == NULL)
        return problem_set(problem, PP_NOMEM, "out of memory");
    set->entries = entries;
    set->size = size;
    return PP_OK;
}

/* Takes over one reference in any case. There is room. */
static enum pp_result add_entry(struct listener_set *set, size_t owner, struct listener_private *p,
                                struct problem *problem)
{
    struct listener *l = &p->listener;
    if (listener_set_has(set, l)) {
        enum pp_result rc =
            problem_set(problem, PP_INVALID, "%s: listed twice; each address may be named once", l->text);
        listener_unref(&l);
        return rc;
    }
    set->entries[set->count++] = (struct entry){owner, p};
    return PP_OK;
}

static enum pp_result add_address(struct listener_set *set, size_t owner, const struct listen_address *a,
                                  const struct unix_access *access, const struct listener_set *previous,
                                  struct problem *problem)
{
    int fds[ACTIVATION_MAX] = {-1};
    size_t count = 1;
    enum pp_result rc = PP_OK;
    if (a->kind == LISTEN_SYSTEMD)
        rc = activation_find(a->name, fds, &count, problem);
    for (size_t i = 0; rc == PP_OK && i < count; i++) {
        if ((rc = make_room(set, problem)) != PP_OK)
            break;
        /* An address named twice is found in the set being made, which add_entry then refuses. */
        struct listener_private *p = find(set, a, fds[i]);
        if (p == NULL)
            p = find(previous, a, fds[i]);
        if (p != NULL)
            (void)listener_ref(&p->listener);
        else if (a->kind == LISTEN_TCP)
            rc = open_tcp(a, &p, problem);
        else if (a->kind == LISTEN_UNIX)
            rc = open_unix(a, access, &p, problem);
        else
            rc = open_inherited(a, fds[i], &p, problem);
        if (rc == PP_OK)
            rc = add_entry(set, owner, p, problem);
    }
    return rc;
}

static enum pp_result add_request(struct listener_set *set, const struct listener_request *request,
                                  const struct listener_set *previous, struct problem *problem)
{
    size_t owner = set->owner_count;
    set->owners[owner] = strdup(request->owner);
    if (set->owners[owner] == NULL)
        return problem_set(problem, PP_NOMEM, "out of memory");
    set->owner_count++;
    enum pp_result rc = PP_OK;
    for (size_t i = 0; rc == PP_OK && i < request->list->count; i++)
        rc = add_address(set, owner, &request->list->items[i], request->access, previous, problem);
    return rc;
}

static bool same_access(const struct unix_access *a, const struct unix_access *b)
{
    return a->mode == b->mode && a->owner_set == b->owner_set && a->group_set == b->group_set &&
           (!a->owner_set || a->owner == b->owner) && (!a->group_set || a->group == b->group);
}

static void restore_access(const struct listener_private *p, const struct unix_access *before)
{
    struct problem problem;
    if (unix_socket_apply(p->path, &p->file, before, NULL, &problem) != PP_OK)
        log_warning("listener", NULL, "the former mode and owner could not be restored: %s", problem.text);
}

/* Mode and owner of kept Unix sockets, where the config changed them; the last step of opening, since it can be undone.
 */
static enum pp_result apply_changes(struct listener_set *set, const struct listener_request *requests,
                                    struct problem *problem)
{
    struct unix_access *before = calloc(set->count + 1, sizeof *before);
    if (before == NULL)
        return problem_set(problem, PP_NOMEM, "out of memory");
    enum pp_result rc = PP_OK;
    size_t i;
    for (i = 0; rc == PP_OK && i < set->count; i++) {
        const struct listener_private *p = set->entries[i].listener;
        const struct unix_access *wanted = requests[set->entries[i].owner].access;
        if (p->path != NULL && !same_access(wanted, &p->access))
            rc = unix_socket_apply(p->path, &p->file, wanted, &before[i], problem);
    }
    while (rc != PP_OK && i-- > 0)
        if (before[i].owner_set)
            restore_access(set->entries[i].listener, &before[i]);
    for (i = 0; rc == PP_OK && i < set->count; i++) {
        struct listener_private *p = set->entries[i].listener;
        if (p->path != NULL)
            p->access = *requests[set->entries[i].owner].access;
    }
    free(before);
    return rc;
}

enum pp_result listener_set_open(const struct listener_request *requests, size_t count,
                                 const struct listener_set *previous, struct listener_set **out,
                                 struct problem *problem)
{
    struct listener_set *set = calloc(1, sizeof *set);
    if (set == NULL)
        return problem_set(problem, PP_NOMEM, "out of memory");
    enum pp_result rc = PP_OK;
    set->owners = calloc(count + 1, sizeof *set->owners);
    if (set->owners == NULL)
        rc = problem_set(problem, PP_NOMEM, "out of memory");
    for (size_t i = 0; rc == PP_OK && i < count; i++)
        rc = add_request(set, &requests[i], previous, problem);
    if (rc == PP_OK)
        rc = apply_changes(set, requests, problem);
    if (rc == PP_OK)
        *out = set;
    else
        listener_set_close(&set, previous);
    return rc;
}

size_t listener_set_count(const struct listener_set *set)
{
    return set == NULL ? 0 : set->count;
}

struct listener *listener_set_at(const struct listener_set *set, size_t i, const char **owner)
{
    if (owner != NULL)
        *owner = set->owners[set->entries[i].owner];
    return &set->entries[i].listener->listener;
}

bool listener_set_has(const struct listener_set *set, const struct listener *l)
{
    for (size_t i = 0; set != NULL && i < set->count; i++)
        if (&set->entries[i].listener->listener == l)
            return true;
    return false;
}

void listener_set_close(struct listener_set **set, const struct listener_set *successor)
{
    struct listener_set *s = *set;
    *set = NULL;
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->count; i++) {
        struct listener *l = &s->entries[i].listener->listener;
        const struct listener_private *p = s->entries[i].listener;
        if (p->path != NULL && !listener_set_has(successor, l))
            unix_socket_remove(p->path, &p->file);
        listener_unref(&l);
    }
    for (size_t i = 0; i < s->owner_count; i++)
        free(s->owners[i]);
    free(s->owners);
    free(s->entries);
    free(s);
}
