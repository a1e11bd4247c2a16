/* The process at the other end of a local connection. */
#include "net/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- loopback TCP: the client's own socket in the kernel's table --- */

static pthread_key_t netlink_key;
static pthread_once_t netlink_once = PTHREAD_ONCE_INIT;

static void close_netlink(void *value)
{
    (void)close((int)(intptr_t)value - 1);
}

static void make_netlink_key(void)
{
    (void)pthread_key_create(&netlink_key, close_netlink);
}

/* This thread's netlink socket, or -1. Kept as fd + 1, since a key's unset value is NULL. */
static int netlink_socket(void)
{
    (void)pthread_once(&netlink_once, make_netlink_key);
    int fd = (int)(intptr_t)pthread_getspecific(netlink_key) - 1;
    if (fd >= 0)
        return fd;
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    struct timeval patience = {.tv_usec = 100000}; /* the kernel answers within the call; this is for the impossible */
    if (fd >= 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        (void)pthread_setspecific(netlink_key, (void *)(intptr_t)(fd + 1));
    }
    return fd;
}

/* Fills one side of a socket's identity. A v4-mapped address is a v4 socket to the kernel's table on one side only, so
 * that both ways are asked by the caller. */
static int fill_id(struct inet_diag_sockid *id, const struct sockaddr_storage *client,
                   const struct sockaddr_storage *ours)
{
    memset(id, 0, sizeof *id);
    id->idiag_cookie[0] = id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    if (client->ss_family == AF_INET) {
        const struct sockaddr_in *c = (const struct sockaddr_in *)client, *o = (const struct sockaddr_in *)ours;
        id->idiag_sport = c->sin_port;
        id->idiag_dport = o->sin_port;
        id->idiag_src[0] = c->sin_addr.s_addr;
        id->idiag_dst[0] = o->sin_addr.s_addr;
        return AF_INET;
    }
    const struct sockaddr_in6 *c = (const struct sockaddr_in6 *)client, *o = (const struct sockaddr_in6 *)ours;
    id->idiag_sport = c->sin6_port;
    id->idiag_dport = o->sin6_port;
    if (IN6_IS_ADDR_V4MAPPED(&c->sin6_addr)) {
        memcpy(&id->idiag_src[0], &c->sin6_addr.s6_addr[12], 4);
        memcpy(&id->idiag_dst[0], &o->sin6_addr.s6_addr[12], 4);
        return AF_INET;
    }
    memcpy(id->idiag_src, &c->sin6_addr, 16);
    memcpy(id->idiag_dst, &o->sin6_addr, 16);
    id->idiag_if = c->sin6_scope_id;
    return AF_INET6;
}

static enum pp_result ask_kernel(const struct inet_diag_sockid *id, int family, struct inet_diag_msg *out)
{
    static _Thread_local uint32_t sequence;
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 request;
    } question = {
        .header = {.nlmsg_len = sizeof question,
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST,
                   .nlmsg_seq = ++sequence},
        .request = {.sdiag_family = (uint8_t)family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0u, .id = *id},
    };
    int fd = netlink_socket();
    if (fd < 0 || send(fd, &question, sizeof question, 0) != (ssize_t)sizeof question)
        return PP_SYSTEM;
    for (;;) {
        _Alignas(struct nlmsghdr) char answer[4096];
        ssize_t n = recv(fd, answer, sizeof answer, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < (ssize_t)sizeof(struct nlmsghdr))
            return PP_SYSTEM;
        const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)answer;
        if (h->nlmsg_seq != sequence)
            continue; /* a late answer to an earlier question */
        if (h->nlmsg_type == NLMSG_ERROR)
            return PP_NOT_FOUND;
        if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || h->nlmsg_len < NLMSG_LENGTH(sizeof *out))
            return PP_SYSTEM;
        memcpy(out, NLMSG_DATA(h), sizeof *out);
        /* Not an exact match (a listener would do for the kernel): not the socket asked for. */
        bool exact = out->id.idiag_sport == id->idiag_sport && out->id.idiag_dport == id->idiag_dport;
        return exact ? PP_OK : PP_NOT_FOUND;
    }
}

static enum pp_result client_socket(int fd, struct inet_diag_msg *out)
{
    struct sockaddr_storage client = {0}, ours = {0};
    socklen_t n = sizeof client, m = sizeof ours;
    struct inet_diag_sockid id;
    if (getpeername(fd, (struct sockaddr *)&client, &n) != 0 || getsockname(fd, (struct sockaddr *)&ours, &m) != 0)
        return PP_SYSTEM;
    if (client.ss_family != AF_INET && client.ss_family != AF_INET6)
        return PP_NOT_FOUND;
    int family = fill_id(&id, &client, &ours);
    enum pp_result rc = ask_kernel(&id, family, out);
    if (rc != PP_NOT_FOUND || family != AF_INET)
        return rc;
    /* The client's may be an IPv6 socket that speaks to an IPv4 address. */
    struct inet_diag_sockid mapped = id;
    mapped.idiag_src[0] = mapped.idiag_src[1] = mapped.idiag_dst[0] = mapped.idiag_dst[1] = 0;
    mapped.idiag_src[2] = mapped.idiag_dst[2] = htonl(0xffff);
    mapped.idiag_src[3] = id.idiag_src[0];
    mapped.idiag_dst[3] = id.idiag_dst[0];
    return ask_kernel(&mapped, AF_INET6, out);
}

/* --- who it is --- */

static enum pp_result groups_of_account(struct peer *out)
{
    struct passwd entry, *found = NULL;
    char text[4096];
    gid_t groups[PEER_GROUPS];
    int count = PEER_GROUPS;
    if (getpwuid_r(out->uid, &entry, text, sizeof text, &found) != 0)
        return PP_SYSTEM;
    if (found == NULL)
        return PP_OK; /* a uid without an account is in no group */
    if (getgrouplist(entry.pw_name, entry.pw_gid, groups, &count) < 0)
        count = PEER_GROUPS; /* the first ones; belonging to more than that many is not counted */
    for (int i = 0; i < count; i++)
        out->groups[out->group_count++] = groups[i];
    return PP_OK;
}

static enum pp_result lookup_unix(int fd, bool with_groups, struct peer *out)
{
    struct ucred credentials;
    socklen_t n = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &n) != 0)
        return PP_SYSTEM;
    out->uid = credentials.uid;
    out->pid = credentials.pid;
    if (with_groups) {
        gid_t groups[PEER_GROUPS];
        socklen_t size = sizeof groups;
        out->groups[out->group_count++] = credentials.gid;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) == 0)
            for (size_t i = 0; i < size / sizeof *groups && out->group_count < PEER_GROUPS; i++)
                out->groups[out->group_count++] = groups[i];
    }
    return PP_OK;
}

enum pp_result peer_lookup(int fd, bool with_groups, struct peer *out)
{
    int domain = 0;
    socklen_t n = sizeof domain;
    enum pp_result rc;
    memset(out, 0, offsetof(struct peer, groups));
    out->group_count = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) != 0)
        return PP_SYSTEM;
    if (domain == AF_UNIX) {
        rc = lookup_unix(fd, with_groups, out);
    } else {
        struct inet_diag_msg client;
        rc = client_socket(fd, &client);
        if (rc == PP_OK && client.idiag_inode == 0)
            rc = PP_NOT_FOUND; /* closed already: the uid shown is nobody's any more */
        if (rc == PP_OK) {
            out->uid = client.idiag_uid;
            rc = with_groups ? groups_of_account(out) : PP_OK;
        }
    }
    out->known = rc == PP_OK;
    return rc;
}

bool peer_allowed(const struct peer *p, const struct id_list *users, const struct id_list *groups)
{
    if (users->count == 0 && groups->count == 0)
        return true;
    if (!p->known)
        return false;
    for (size_t i = 0; i < users->count; i++)
        if (users->items[i] == p->uid)
            return true;
    for (size_t i = 0; i < groups->count; i++)
        for (size_t g = 0; g < p->group_count; g++)
            if (groups->items[i] == p->groups[g])
                return true;
    return false;
}

bool peer_is_gone(int fd)
{
    struct inet_diag_msg client;
    return client_socket(fd, &client) != PP_OK || client.idiag_inode == 0;
}
