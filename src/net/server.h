/* The local side of HTTP: clients' connections and requests, by libmicrohttpd in the worker's loop.
 *
 * The only file that knows libmicrohttpd; another front parser could take its place behind this header. What it adds to
 * that library: an exactness check of each head (what was parsed is byte for byte what was sent), absolute deadlines,
 * and notice of clients that go away while an answer is awaited. All calls on the loop's thread. */
#ifndef PP_NET_SERVER_H
#define PP_NET_SERVER_H

#include "http/headers.h"
#include "http/reply.h"
#include "net/loop.h"

#include <sys/types.h>

struct server;            /* one per worker */
struct server_connection; /* one client */
struct server_request;    /* one request of a client, until its answer went out or one side gave up */

/* A request head, complete. Views live until `finished`. */
struct server_head {
    struct str method, target, version; /* as sent; the target raw */
    const struct header_list *headers;
    bool exact;           /* false: the head holds something libmicrohttpd drops or rewrites silently (NUL, folded line,
                             bare LF, several blanks): it must be refused with 400 */
    bool too_large;       /* over LIMIT_HEADERS lines or LIMIT_REQUEST_HEAD bytes: must be refused with 431 */
    bool body_follows;    /* by its framing */
    int64_t started_usec; /* clock_usec at the end of the request line */
};

/* Room for the X-Request-Id of an answer of ours: "pp-" and 16 hexadecimal digits. */
#define SERVER_REQUEST_ID 24

/* Why a client was turned away without a request that could be read: it sent none, or was too slow with it, or there
 * was no room for it. */
struct server_end {
    enum refusal refused;               /* REFUSAL_NONE: it was not */
    bool evicted;                       /* it had a place, and made room for another */
    char request_id[SERVER_REQUEST_ID]; /* of the answer it got; empty: none was given */
};

/* What a user of the server does. `exchange` is what begin returned. */
struct server_handlers {
    /* A head arrived. Returns the exchange, or NULL when there is no memory (the connection is then closed). It may
     * answer at once by server_reply. */
    void *(*begin)(struct server_request *request, const struct server_head *head);
    /* More of the request's body. Not called any more once an answer was given. */
    void (*body)(void *exchange, struct str bytes);
    /* The request is complete: answer by server_reply, now or later. */
    void (*complete)(void *exchange);
    /* The body did not end within its time: answer by server_refuse, also in place of an answer given while it was
     * handed on (server_uploading), which waits for the body's end and cannot go out any more. */
    void (*late)(void *exchange);
    /* The body's framing is malformed: the same. */
    void (*malformed)(void *exchange);
    /* The client went away while its answer was awaited or streamed. `finished` follows by itself. */
    void (*gone)(void *exchange);
    /* The client keeps the daemon waiting, with its body or by not taking its answer, and others need its place: its
     * connection is being closed. Returns what of the request upstream may have seen, for the refusal the client still
     * gets under this `request_id`; NULL: an answer had begun, it gets none. `finished` follows, soon. */
    enum sent (*evicted)(void *exchange, const char *request_id);
    /* For a streamed answer: copies up to `room` bytes and returns how many; SERVER_LATER when there is nothing now
     * (server_wake follows), SERVER_END after the last byte, SERVER_CUT when the rest will never come: the connection
     * is then closed so that the client sees the truncation. */
    ssize_t (*read)(void *exchange, char *into, size_t room);
    /* The last call for this exchange. `delivered`: the whole answer was handed to the kernel. */
    void (*finished)(void *exchange, bool delivered);
    /* A connection is gone, after the finished of its last request: let go of the context given to server_add. `end` is
     * valid during the call. */
    void (*closed)(void *context, const struct server_end *end);
};
#define SERVER_LATER 0
#define SERVER_END   (-1)
#define SERVER_CUT   (-2)

struct server_limits {
    unsigned connections; /* clients at once; beyond, they get a 503 and are closed */
};

/* Connections beyond the limit: those that made room and are not closed yet. */
#define SERVER_LEAVING_AT_ONCE 64u
/* The most bytes of memory one client can take, its request's head and its answer's head included. */
size_t server_client_cost(void);
/* And on top of it one answer: of a body given whole, a copy. */
size_t server_answer_cost(size_t whole_body);

struct server *server_new(struct loop *loop, const struct server_limits *limits,
                          const struct server_handlers *handlers) PP_MUST_CHECK;
/* All connections must be gone or are cut here; each open exchange gets `finished`. */
void server_free(struct server *s);

/* For the loop's hooks: how long the next wait may last, and the work of a turn. */
msec server_before_wait(struct server *s);
void server_turn(struct server *s);

/* Times of one connection, in ms. */
struct server_timeouts {
    msec header; /* absolute, from a request's first byte (for the first request: from the accept) to its head's end */
    msec body;   /* absolute, from the head's end to the body's end */
    msec idle;   /* between requests; also how long a client may take nothing of a waiting answer */
};

/* Clients that share limits: those of one environment. Begins zeroed, and outlives its connections. All of it is
 * private to the server. */
#define SERVER_QUEUES 5
struct server_group {
    struct server_queue {
        struct server_connection *first, *last;
    } queues[SERVER_QUEUES];
    unsigned connections;
    struct server_group *next;
};

/* Takes over a client's descriptor (closes it in every case). `context` is handed out by server_context, and to
 * handlers.closed exactly once, also when the connection could not be taken. When no place is left, another client
 * makes room as by server_make_room; if none can, this one gets a 503. */
void server_add(struct server *s, int fd, bool unix_socket, const struct server_timeouts *timeouts,
                struct server_group *group, void *context);

/* May a newcomer come now? False when it is better off waiting for the next turn, because as many as can leave at a
 * time are leaving, or because those who came in this turn, and took the last places, have not been listened to yet.
 * True also when all places will stay taken: server_add then says so to the newcomer. */
bool server_has_room(const struct server *s);

/* Room is needed: the client goes that has kept us waiting longest. First among those who have been sending a head for
 * a tenth of a second and more (or have not begun), then those idle between requests for as long, then those sending a
 * body, then those who take nothing of their answer; last whoever waits at all. Who waits for us is never sent away.
 * False when there is nobody. */
bool server_make_room(struct server *s);

/* A request of this group needs a place: the one ends whose client has kept it waiting longest, at least a tenth of a
 * second. `receiving`: among those whose body is not here yet and is not handed on yet; otherwise among the others,
 * which wait for more of a body or for their answer to be taken. False when there is none. */
bool server_make_way(struct server_group *g, bool receiving);
/* This request's body is handed on from now on, while it still comes. */
void server_uploading(struct server_request *r);

/* No new request is begun on idle connections (they are closed now), and each answer from now on says
 * `Connection: close`. Who has just come, or begun to ask, may still do so within a second: a restart loses no call. */
void server_drain(struct server *s);
unsigned server_connections(const struct server *s);

/* From now on, this request's body included. */
void server_set_timeouts(struct server_request *r, const struct server_timeouts *timeouts);

void *server_context(const struct server_request *r);
bool server_is_unix(const struct server_request *r);
int server_descriptor(const struct server_request *r); /* of its connection, to ask the kernel about */

#define SERVER_EXTRA (3 + REPLY_LINES)

/* An answer. Views are copied before server_reply returns. */
struct server_reply {
    int status;
    const struct header_list *headers; /* end-to-end ones; hop-by-hop and framing ones are left out by `skip` */
    const bool *skip;                  /* parallel to headers->items; NULL: none */
    struct header extra[SERVER_EXTRA]; /* further lines; name.n == 0 ends them */
    struct str body;                   /* the whole body; unused with `stream` */
    bool stream;                       /* the body comes by handlers.read */
    int64_t length;                    /* of a streamed body, -1 unknown; with HEAD and 304: what Content-Length says,
                                          -1: none is sent */
    bool bodiless;                     /* to HEAD, or a 304: `length` is told, and no body comes */
    bool close;                        /* close the connection afterwards */
};

/* Answers. Call once per request: in begin, complete or later; never in body (it then waits for the request's end by
 * itself). PP_LIMIT: headers too large for the connection's memory. PP_NOMEM likewise leaves the request unanswered:
 * give a smaller answer. */
enum pp_result server_reply(struct server_request *r, const struct server_reply *reply) PP_MUST_CHECK;

/* A refusal in the midst of a body: the answer is written at once, the rest of the body is read and dropped for a
 * moment, then the connection is closed. Also ends a head or body that took too long. */
void server_refuse(struct server_request *r, enum refusal refusal, enum sent sent, const char *request_id);

/* After handlers.read said SERVER_LATER: there is something now. */
void server_wake(struct server_request *r);

/* Closes the client's connection now, so that it sees a truncation. `finished` follows. */
void server_cut(struct server_request *r);

/* Answers 101 with these headers (Upgrade and Connection are added) and then hands the client's descriptor over, out of
 * libmicrohttpd: `upgraded` owns the fd; `early` are bytes that came right behind the request head. `finished` follows.
 * A client that goes away before only gets `finished`. PP_LIMIT: no descriptor is left for it. */
enum pp_result server_upgrade(struct server_request *r, const struct server_reply *reply,
                              void (*upgraded)(void *owner, int fd, struct str early), void *owner) PP_MUST_CHECK;

/* "0.9.75" */
const char *server_library_version(void);

#endif
