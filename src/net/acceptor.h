/* Accepting clients: accept4(2) in the worker's loop, surviving the lack of descriptors.
 *
 * Listening descriptors are shared by all workers, owned by the caller. Loop thread only. */
#ifndef PP_NET_ACCEPTOR_H
#define PP_NET_ACCEPTOR_H

#include "base/limits.h"
#include "net/loop.h"

#include <stdatomic.h>

struct acceptor;

/* How many clients each of the acceptors has that listen on the same sockets, so that none gets ahead of the others.
 * Zeroed before the first use; outlives them all. */
struct acceptor_share {
    unsigned members;
    atomic_uint clients[LIMIT_WORKERS];
};

struct acceptor_handlers {
    /* A new client: the descriptor is the callee's, non-blocking and close-on-exec. `tag` is that of the listener. */
    void (*accepted)(void *owner, void *tag, int fd);
    /* May one more be taken in this turn? If not, it waits for the next. */
    bool (*room)(void *owner);
    /* No descriptor is left for the next client. True: one will be free in a moment, and the client waits for it. */
    bool (*starved)(void *owner);
    void *owner;
};

/* Holds a reserve descriptor from now on: when accept4 says EMFILE or ENFILE and nothing can be freed, it is given up
 * for a moment, to accept and at once close the waiting client, so that it learns of it and the backlog does not wedge.
 */
struct acceptor *acceptor_new(struct loop *loop, const struct acceptor_handlers *handlers) PP_MUST_CHECK;
/* From now on it is the next member of `share`: while another member has fewer clients, it leaves new ones to that one
 * for a few milliseconds, then takes them itself. Before any of them accepts. */
void acceptor_join(struct acceptor *a, struct acceptor_share *share);
/* Its owner has a client more (+1) or less (-1): those accepted, for as long as they cost something. */
void acceptor_count(struct acceptor *a, int change);
/* Stops listening everywhere; the descriptors stay open. */
void acceptor_free(struct acceptor *a);

/* Starts to accept on a listening socket; where it does so already, only the tag changes. PP_SYSTEM: the kernel does
 * not watch it (loop_watch). PP_LIMIT past LIMIT_LISTENERS * LIMIT_ENVIRONMENTS. */
enum pp_result acceptor_add(struct acceptor *a, int listen_fd, void *tag) PP_MUST_CHECK;
/* Stops accepting on it. Nothing happens when it is not known. */
void acceptor_remove(struct acceptor *a, int listen_fd);

/* Accepts everybody who waits right now, once, without limit per turn. */
void acceptor_sweep(struct acceptor *a);

#endif
