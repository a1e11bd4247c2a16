/* Opens bare TCP connections to one upstream: name lookup, happy eyeballs, egress proxy, source address. libcurl does
 * it; what comes out is a descriptor. Everything on the loop's thread, nothing blocks it. */
#ifndef PP_NET_CONNECT_H
#define PP_NET_CONNECT_H

#include "net/loop.h"
#include "net/upstream.h"

struct connector; /* of one pool */

struct connect_attempt { /* embedded in the connection being opened */
    /* Exactly one call, from the loop, unless cancelled. opened: the descriptor is the receiver's: non-blocking,
     * close-on-exec, TCP_NODELAY, keepalive on, and in no epoll set. failed: `detail` is for the log. */
    void (*opened)(struct connect_attempt *a, int fd);
    void (*failed)(struct connect_attempt *a, enum upstream_failure why, const char *detail);
    void *easy;                  /* private; NULL: not under way */
    struct connector *connector; /* private */
    int system_error;            /* private: errno of a socket that could not be made */
};

/* Once, before the first thread: the process-wide set-up of libcurl and of name lookups, at a time when there is memory
 * for it. connector_new does it otherwise. */
void connect_init(void);

/* Copies nothing: the strings of `settings` must live as long as the connector. NULL: no memory or descriptors. */
struct connector *connector_new(struct loop *loop, const struct upstream_settings *settings) PP_MUST_CHECK;
/* No attempt may be under way. Not from inside opened or failed. */
void connector_free(struct connector **c);

/* Begins. On anything but PP_OK nothing is called: PP_LIMIT out of descriptors, PP_NOMEM out of memory. */
enum pp_result connector_start(struct connector *c, struct connect_attempt *a) PP_MUST_CHECK;
/* Nothing is called any more, nothing stays open. Returns at once, also while a name lookup hangs. Nothing happens if
 * the attempt is not under way. */
void connect_cancel(struct connect_attempt *a);
/* What an attempt under way is waiting for, for the log: "name lookup" or "TCP" or "egress proxy". */
const char *connect_phase(const struct connect_attempt *a);

/* "7.88.1": of the libcurl in use. */
const char *connect_library_version(void);

#endif
