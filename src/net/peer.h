/* Who is at the other end of a client's connection: SO_PEERCRED on Unix sockets (unix(7)), the kernel's socket table by
 * sock_diag(7) on loopback TCP. Any thread; each keeps one netlink socket of its own. */
#ifndef PP_NET_PEER_H
#define PP_NET_PEER_H

#include "base/result.h"
#include "config/config.h"

#define PEER_GROUPS 64u

struct peer {
    bool known;
    uint32_t uid;
    pid_t pid;                    /* 0: not known, as always on TCP */
    uint32_t groups[PEER_GROUPS]; /* with `with_groups`: the primary and the supplementary ones */
    size_t group_count;
};

/* PP_OK: *out is known. PP_NOT_FOUND: the kernel knows no such socket of this host (the client is on another host, or
 * has gone). PP_SYSTEM otherwise. On any failure *out is not known. `with_groups` also asks for the groups: of the
 * process on Unix sockets, of the user's account on TCP. */
enum pp_result peer_lookup(int fd, bool with_groups, struct peer *out) PP_MUST_CHECK;

/* Both lists empty: everyone. Otherwise a known uid in `users`, or one of its groups in `groups`. */
bool peer_allowed(const struct peer *p, const struct id_list *users, const struct id_list *groups);

/* After the client of a TCP connection shut down its writing (EPOLLRDHUP): has it closed the socket altogether? True
 * when no process holds it any more, or when the kernel cannot say (another host): then nobody waits for an answer.
 * False when it merely said that its request was all. */
bool peer_is_gone(int fd);

#endif
