/* Small local HTTP: whole requests in, whole answers out, on one loop; for the admin listener.
 *
 * Far from the apps' path: its own libmicrohttpd daemon with few connections of its own, so that it answers when the
 * app side is full. Every connection serves one request and is closed, and is cut LOCAL_SERVER_DEADLINE ms after it was
 * accepted unless its answer is being worked on. All of it on the loop's thread. */
#ifndef PP_NET_LOCAL_SERVER_H
#define PP_NET_LOCAL_SERVER_H

#include "base/buf.h"
#include "http/headers.h"
#include "net/loop.h"

#define LOCAL_SERVER_CONNECTIONS 32u                   /* at once; further ones wait in the backlog */
#define LOCAL_SERVER_DEADLINE    15000                 /* ms to send the request and read the answer */
#define LOCAL_SERVER_BODY        4096u                 /* bytes of a request body; beyond: 413 */
#define LOCAL_SERVER_LISTENERS   (2 * LIMIT_LISTENERS) /* those of a new config come before the old ones go */

struct local_request { /* views, valid until the handler returns */
    struct str method, path, query;
    bool unix_socket; /* came by a Unix socket */
    int fd;           /* the client's, for peer_lookup */
    const struct header_list *headers;
    struct str body;
};

struct local_reply {
    int status;
    struct buf body;          /* handed over: the server frees it */
    struct header headers[8]; /* static text; Content-Length and Connection are the server's */
    size_t header_count;
};

struct local_exchange;

/* Called once per complete request. Either fills *reply and returns true; or returns false, keeps `exchange`, and calls
 * local_exchange_answer once, later. */
typedef bool (*local_handler)(void *owner, struct local_exchange *exchange, const struct local_request *request,
                              struct local_reply *reply);
void local_exchange_answer(struct local_exchange *exchange, struct local_reply *reply);

struct local_server;

/* NULL when out of memory or descriptors. */
struct local_server *local_server_new(struct loop *loop, local_handler handler, void *owner) PP_MUST_CHECK;

/* Takes connections from that listening socket (non-blocking), which stays the caller's and must stay open until
 * local_server_unlisten or the server's end. PP_LIMIT past LOCAL_SERVER_LISTENERS; PP_SYSTEM: the kernel does not watch
 * it. */
enum pp_result local_server_listen(struct local_server *s, int fd) PP_MUST_CHECK;
/* Takes no more connections from it; those it brought stay. Nothing happens when it is not known. */
void local_server_unlisten(struct local_server *s, int fd);

/* To be called before every wait of the loop (loop_hooks.before_wait): runs what libmicrohttpd has left and says how
 * long the wait may last at most, in ms, -1 for ever. */
msec local_server_before_wait(struct local_server *s);

/* Answers 503 where an answer is still owed (the exchange is gone then), cuts every connection. NULL is fine. */
void local_server_free(struct local_server *s);

#endif
