/* Who is at the other end of a client's connection: SO_PEERCRED on Unix sockets (unix(7)), the kernel's socket table by
 * sock_diag(7) on loopback TCP. Any thread; each keeps one netlink socket of its own. */
#ifndef PP_NET_PEER_H
#define PP_NET_PEER_H

#include "base/result.h"
#include "config/config.h"

struct peer {
    bool known;
    bool in_groups; /* member of one of the groups asked about */
    uint32_t uid;
    pid_t pid; /* 0: not known, as always on TCP */
};

/* The C library reads nsswitch.conf(5) with the first question, and loads what is named there for accounts with the
 * first one about those: without memory or descriptors in that moment it would end the process, or do without a source
 * of accounts for ever. So it is asked before there are clients. `groups`: peer_lookup will be asked for groups; may
 * block like the user database then. */
void peer_prepare(bool groups);

/* PP_OK: *out is known. PP_NOT_FOUND: the kernel knows no such socket of this host (the client is on another host, or
 * has gone). PP_SYSTEM or PP_NOMEM otherwise. On any failure *out is not known, and no member of anything.
 * `groups` (NULL or empty: nobody asks): those of the process on Unix sockets, at the time it connected; those of the
 * user's account on TCP, which asks the system's user database, may block with it, and is remembered for 30 s; that
 * somebody is no member only for a fifth of a second, since the database says so too while it cannot be read. Where
 * that question fails, the peer is known, but no member. */
enum pp_result peer_lookup(int fd, const struct id_list *groups, struct peer *out) PP_MUST_CHECK;

/* Both lists empty: everyone. Otherwise a known uid in `users`, or a member of `groups`, the list given to peer_lookup.
 */
bool peer_allowed(const struct peer *p, const struct id_list *users, const struct id_list *groups);

/* After the client of a TCP connection shut down its writing (EPOLLRDHUP): has it closed the socket altogether? True
 * when no process holds it any more, or when the kernel cannot say (another host): then nobody waits for an answer.
 * False when it merely said that its request was all. */
bool peer_is_gone(int fd);

#endif
