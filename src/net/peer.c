/* The process at the other end of a local connection. */
#include "net/peer.h"

#include "base/clock.h"

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

#define ACCOUNTS_KEPT     16
#define ACCOUNT_KEPT_MSEC 30000
#define DENIAL_KEPT_MSEC                                                                                               \
    200 /* short: without memory or descriptors the system says "no such account" or leaves groups out */
#define GROUPS_USUAL 64
#define GROUPS_MOST  65536 /* NGROUPS_MAX */
#define ENTRY_MOST   (1024 * 1024)

/* --- what each thread keeps --- */

/* The groups of one user's account, so that a busy client costs the user database one question per half minute. */
struct account {
    uid_t uid;
    msec asked, until; /* until 0: slot not in use */
    gid_t *groups;
    size_t count;
};

struct peer_thread {
    int netlink; /* -1: not open */
    struct account accounts[ACCOUNTS_KEPT];
};

static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;

static void free_thread(void *value)
{
    struct peer_thread *t = value;
    if (t->netlink >= 0)
        (void)close(t->netlink);
    for (size_t i = 0; i < ACCOUNTS_KEPT; i++)
        free(t->accounts[i].groups);
    free(t);
}

static void make_thread_key(void)
{
    (void)pthread_key_create(&thread_key, free_thread); /* the first of some 1024: cannot fail */
}

/* NULL: no memory. */
static struct peer_thread *this_thread(void)
{
    (void)pthread_once(&thread_once, make_thread_key);
    struct peer_thread *t = pthread_getspecific(thread_key);
    if (t != NULL)
        return t;
    t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->netlink = -1;
    if (pthread_setspecific(thread_key, t) != 0) {
        free(t);
        return NULL;
    }
    return t;
}

/* --- loopback TCP: the client's own socket in the kernel's table --- */

/* This thread's netlink socket, or -1. */
static int netlink_socket(void)
{
    struct peer_thread *t = this_thread();
    if (t == NULL)
        return -1;
    if (t->netlink >= 0)
        return t->netlink;
    t->netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    struct timeval patience = {.tv_usec = 100000}; /* the kernel answers within the call; this is for the impossible */
    if (t->netlink >= 0)
        (void)setsockopt(t->netlink, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return t->netlink;
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
        struct sockaddr_nl from = {.nl_pid = 1};
        socklen_t size = sizeof from;
        ssize_t n = recvfrom(fd, answer, sizeof answer, 0, (struct sockaddr *)&from, &size);
        if ((n < 0 && errno == EINTR) || (n >= 0 && from.nl_pid != 0)) /* only the kernel's word counts */
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
        memcpy(out, answer + NLMSG_HDRLEN, sizeof *out);
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

/* The name and primary group of a uid. PP_NOT_FOUND: no account. The name is the caller's to free. */
static enum pp_result find_account(uid_t uid, char **name, gid_t *primary)
{
    struct passwd entry, *found = NULL;
    for (size_t size = 4096; size <= ENTRY_MOST; size *= 4) {
        char *text = malloc(size);
        if (text == NULL)
            return PP_NOMEM;
        int error = getpwuid_r(uid, &entry, text, size, &found);
        if (error == 0 && found != NULL) {
            *primary = entry.pw_gid;
            *name = strdup(entry.pw_name);
        }
        free(text);
        if (error == 0 && found != NULL)
            return *name != NULL ? PP_OK : PP_NOMEM;
        /* getpwuid_r(3) lists these as ways to say "no such user". */
        if (error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM)
            return PP_NOT_FOUND;
        if (error != ERANGE)
            return PP_SYSTEM;
    }
    return PP_SYSTEM;
}

static enum pp_result list_groups(const char *name, gid_t primary, gid_t **groups, size_t *count)
{
    for (int size = GROUPS_USUAL; size <= GROUPS_MOST; size *= 4) {
        int n = size;
        gid_t *list = calloc((size_t)size, sizeof *list);
        if (list == NULL)
            return PP_NOMEM;
        if (getgrouplist(name, primary, list, &n) >= 0 && n >= 0) {
            *groups = list;
            *count = (size_t)n;
            return PP_OK;
        }
        free(list);
    }
    return PP_SYSTEM;
}

/* Asks the system's accounts. A failure leaves what is known as it is. */
static enum pp_result fill_account(struct account *a, uid_t uid)
{
    char *name = NULL;
    gid_t primary = 0, *groups = NULL;
    size_t count = 0;
    enum pp_result rc = find_account(uid, &name, &primary);
    if (rc == PP_OK)
        rc = list_groups(name, primary, &groups, &count);
    if (rc == PP_NOT_FOUND)
        rc = PP_OK; /* a uid without an account is in no group */
    free(name);
    if (rc != PP_OK)
        return rc;
    free(a->groups);
    *a = (struct account){uid, clock_now(), clock_now() + ACCOUNT_KEPT_MSEC, groups, count};
    return PP_OK;
}

static bool any_of(const gid_t *have, size_t count, const struct id_list *groups)
{
    for (size_t i = 0; i < groups->count; i++)
        for (size_t k = 0; k < count; k++)
            if (groups->items[i] == have[k])
                return true;
    return false;
}

static enum pp_result account_in_groups(uid_t uid, const struct id_list *groups, bool *out)
{
    struct peer_thread *t = this_thread();
    if (t == NULL)
        return PP_NOMEM;
    struct account *slot = &t->accounts[0];
    for (size_t i = 0; i < ACCOUNTS_KEPT; i++) {
        struct account *a = &t->accounts[i];
        if (a->until > clock_now() && a->uid == uid) {
            *out = any_of(a->groups, a->count, groups);
            if (*out || clock_now() - a->asked < DENIAL_KEPT_MSEC)
                return PP_OK;
            slot = a;
            break;
        }
        if (a->until < slot->until)
            slot = a; /* the one longest out of date, or never used */
    }
    enum pp_result rc = fill_account(slot, uid);
    if (rc == PP_OK)
        *out = any_of(slot->groups, slot->count, groups);
    return rc;
}

/* The supplementary groups of the process that connected. */
static enum pp_result process_in_groups(int fd, const struct id_list *groups, bool *out)
{
    gid_t usual[GROUPS_USUAL], *list = usual;
    socklen_t size = sizeof usual;
    enum pp_result rc = PP_OK;
    int failed = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, list, &size);
    if (failed != 0 && errno == ERANGE) { /* size says now how many there are, and can't change any more */
        list = malloc(size);
        if (list == NULL)
            return PP_NOMEM;
        failed = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, list, &size);
    }
    if (failed == 0)
        *out = any_of(list, size / sizeof *list, groups);
    else
        rc = PP_SYSTEM;
    if (list != usual)
        free(list);
    return rc;
}

static enum pp_result lookup_unix(int fd, const struct id_list *groups, struct peer *out)
{
    struct ucred credentials;
    socklen_t n = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &n) != 0)
        return PP_SYSTEM;
    out->uid = credentials.uid;
    out->pid = credentials.pid;
    if (groups == NULL || groups->count == 0)
        return PP_OK;
    out->in_groups = any_of(&credentials.gid, 1, groups);
    if (!out->in_groups && process_in_groups(fd, groups, &out->in_groups) != PP_OK)
        out->in_groups = false;
    return PP_OK;
}

static enum pp_result lookup_tcp(int fd, const struct id_list *groups, struct peer *out)
{
    struct inet_diag_msg client;
    enum pp_result rc = client_socket(fd, &client);
    if (rc != PP_OK)
        return rc;
    if (client.idiag_inode == 0)
        return PP_NOT_FOUND; /* closed already: the uid shown, 0, is nobody's any more */
    out->uid = client.idiag_uid;
    if (groups != NULL && groups->count > 0 && account_in_groups(out->uid, groups, &out->in_groups) != PP_OK)
        out->in_groups = false;
    return PP_OK;
}

void peer_prepare(bool groups)
{
    const uid_t without_account = (uid_t)-2; /* every source is asked */
    char text[4096];
    struct passwd entry, *found;
    gid_t list[1];
    int n = 1;
    (void)getpwuid_r(groups ? without_account : 0, &entry, text, sizeof text, &found);
    if (groups)
        (void)getgrouplist("", without_account, list, &n);
}

enum pp_result peer_lookup(int fd, const struct id_list *groups, struct peer *out)
{
    int domain = 0;
    socklen_t n = sizeof domain;
    struct peer found = {0};
    *out = found;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) != 0)
        return PP_SYSTEM;
    enum pp_result rc = domain == AF_UNIX ? lookup_unix(fd, groups, &found) : lookup_tcp(fd, groups, &found);
    if (rc != PP_OK)
        return rc;
    found.known = true;
    *out = found;
    return PP_OK;
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
    return groups->count > 0 && p->in_groups;
}

bool peer_is_gone(int fd)
{
    struct inet_diag_msg client;
    return client_socket(fd, &client) != PP_OK || client.idiag_inode == 0;
}
