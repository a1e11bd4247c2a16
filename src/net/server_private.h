/* What net/server.c (libmicrohttpd), net/server_client.c (clients' connections), net/server_park.c (those between two
 * requests) and net/server_slots.c share. Nothing else includes it. */
#ifndef PP_NET_SERVER_PRIVATE_H
#define PP_NET_SERVER_PRIVATE_H

#include "net/server.h"

struct MHD_Connection;
struct MHD_Daemon;
struct MHD_Response;

enum phase {
    /* the client owes something: */
    PHASE_IDLE,  /* between requests */
    PHASE_HEAD,  /* a request's first byte was seen (or the client has just come) */
    PHASE_BODY,  /* the head is complete, the body is not */
    PHASE_REPLY, /* the answer is on its way, and it does not take it */
    /* it does not: */
    PHASE_WAIT,  /* the request is complete; the exchange owes an answer, or more of it */
    PHASE_LINGER /* refused in the midst of a body */
};
/* The queues of a group: one for each phase in which the client owes something, and one more. */
enum { QUEUE_UPLOAD = PHASE_REPLY + 1, QUEUE_NONE };
_Static_assert(QUEUE_NONE == SERVER_QUEUES, "one queue for each");

enum park {
    PARK_NOT,  /* libmicrohttpd reads it */
    PARK_SOON, /* its request is over: at the end of libmicrohttpd's run it will be parked if it is still at rest */
    PARK_ED    /* suspended until something comes */
};

struct server_connection {
    struct watch watch; /* first member: arrival of bytes, and the client's going */
    struct timer timer; /* fires at or before `deadline`; moved only when it must come earlier */
    msec deadline;
    msec rest_at; /* when a client that asks nothing gives back memory; MSEC_NEVER: it did, or is not idle */
    void *memory; /* its slot; NULL: its memory is the heap's */
    enum phase phase;
    bool unix_socket;
    bool client_ended;       /* EPOLLRDHUP was seen: it sends no more, and may be gone altogether */
    bool reading_ended;      /* by ourselves, so that EPOLLRDHUP says nothing about the client */
    bool leaving;            /* it made room for another, and is about to be closed */
    bool uploading;          /* the request at hand: its body is handed on while it comes */
    bool heard;              /* a byte of the request at hand arrived */
    bool edge_triggered;     /* the watch, while something lies there that is not taken yet; else level-triggered */
    uint64_t readable_round; /* in which bytes arrived last */
    uint64_t told_turn;      /* in which the watch was ready last */
    struct server_end end;
    struct server *server;
    struct MHD_Connection *mhd;
    struct server_request *request;
    struct server_timeouts timeouts;
    void *context;
    struct server_connection *next, *prev;
    struct server_group *group;
    unsigned queued;                                   /* the queue it is in, or QUEUE_NONE */
    struct server_connection *queue_next, *queue_prev; /* who waits shorter, and longer */
    msec waiting_since;                                /* when it entered that queue: the phase began, or, for
                                                          PHASE_REPLY, it took something last */
    enum park park;
    struct server_connection *park_next, *park_prev;
};

struct server_request {
    struct server_connection *connection;
    void *exchange;
    struct MHD_Response *pending; /* built, not queued yet */
    unsigned status;
    size_t head_bytes; /* what the head and its records take of the connection's memory */
    int64_t started_usec;
    uint64_t line_round; /* in which its first line was read */
    const char *raw;     /* where the target stands in libmicrohttpd's memory, which decodes it in place */
    size_t raw_length;
    struct str target; /* our copy of it, as it was sent; cut where it is too long anyway */
    bool begun, complete, suspended, answered, cut;
    int tunnel_fd; /* a second one of a client to be upgraded; 0 or less: none, or the tunnel's */
    void (*upgraded)(void *owner, int fd, struct str early);
    void *upgrade_owner;
    struct server_request *next_spare;
    /* from here on filled anew, not zeroed, when a spare one is used again */
    char short_target[192];
    struct header_list headers;
};

struct server_parked {
    struct server_connection *oldest, *newest;
    unsigned count;
};

struct server {
    struct loop *loop;
    struct MHD_Daemon *mhd;
    struct watch mhd_watch; /* libmicrohttpd's own epoll descriptor, level-triggered inside ours */
    struct server_limits limits;
    struct server_handlers handlers;
    struct server_connection *connections;
    struct server_group *groups; /* those with connections */
    unsigned connection_count;
    unsigned leaving_count;               /* of those */
    uint64_t added_turn;                  /* the loop's turn in which a connection came last */
    struct server_parked parking, parked; /* in the states PARK_SOON and PARK_ED */
    struct server_connection *adding;     /* the connection being given to libmicrohttpd right now */
    uint64_t round;    /* of libmicrohttpd: from when it had nothing left to do to when it has nothing left again; most
                          often a turn of the loop */
    struct timer calm; /* armed while there may be memory that clients left and nobody needs */
    bool draining;
    bool ready; /* libmicrohttpd has events to look at */
    struct server_request *spare;
    unsigned spare_count;
};

/* A connection's memory in libmicrohttpd holds a request's head, one record per header line, and the answer's head. */
#define SERVER_CONNECTION_MEMORY (48u * 1024)
#define SERVER_HEADER_RECORD     64u /* at most what libmicrohttpd keeps for each header line or query argument */
#define SERVER_STREAM_BLOCK      (32u * 1024)
#define SERVER_LIBRARY_COST      2048u /* of a connection in libmicrohttpd, its memory apart */

#define SERVER_REST_AFTER ((msec)1000) /* memory that is not needed for so long is given back */

#define SERVER_PATIENCE      100 /* ms: who has kept us waiting for longer goes first when room is needed */
#define SERVER_LOOK_FOR_ROOM 64u /* connections looked at to find one that can go */

/* --- server.c --- */
/* libmicrohttpd neither reads nor writes it until resumed. Between two of its runs only, or from its callbacks. */
void connection_suspend(struct server_connection *c);
/* Its next run, which comes within this turn or at once after it, goes on with it. */
void connection_resume(struct server_connection *c);

/* --- server_park.c --- */
/* The watch is the connection's own, for its whole life: level-triggered, but edge-triggered for as long as something
 * lies there that will not be taken now, so that it is told once. */
enum pp_result park_watch(struct server_connection *c, int fd) PP_MUST_CHECK;
/* The watch is ready: a parked connection is resumed. */
void park_heard(struct server_connection *c);
/* A request is over and its connection stays. */
void park_soon(struct server_connection *c);
/* After libmicrohttpd's run: parks those that are still at rest. */
void park_all(struct server *s);
/* Resumes it if it is parked. */
void park_leave(struct server_connection *c);
/* Resumes all. */
void park_none(struct server *s);
/* It is closed. */
void park_forget(struct server_connection *c);

/* --- server_slots.c: all for the thread that runs the connection --- */
/* SERVER_CONNECTION_MEMORY bytes, aligned to a page, with any content; NULL when there are none. To slot_give it goes
 * back, in the same thread, which says false of what is not a slot of this thread's. */
void *slot_take(void) PP_MUST_CHECK;
bool slot_give(void *memory) PP_MUST_CHECK;
/* What slot_take said last. */
void *slot_taken_last(void);
/* Free slots that nobody needed since the last call lose their pages, but for a few. True while there are more. */
bool slots_cool(void);
/* The pages of a slot that hold nothing but zeros are given back to the kernel, and come again as zeros when touched:
 * madvise(2), MADV_DONTNEED. Does nothing to what is no slot. */
void slot_rest(void *memory);

/* --- server_client.c --- */
void server_link(struct server *s, struct server_connection *c);
void server_unlink(struct server *s, struct server_connection *c);
/* Enters a phase that must be over `within` ms (0 or less: no deadline). */
void connection_expect(struct server_connection *c, enum phase phase, msec within);
/* True while the rest of a body is awaited before anything was said to its client: not answered yet, or by an answer
 * that came while the body was handed on and has to wait for its end. */
bool connection_body_awaited(const struct server_connection *c);
/* An answer of our own written past libmicrohttpd, at points where that has nothing of its own to write. Best effort:
 * the connection ends anyway. */
void connection_write_refusal(int fd, enum refusal refusal, enum sent sent, const char *request_id);
/* A new one, always; without randomness it is all zeros. */
void connection_new_request_id(char id[SERVER_REQUEST_ID]);
/* The same for a client that has no request; handlers.closed is told of it. */
void connection_turn_away(int fd, struct server_end *end, enum refusal refusal);
/* Ends a connection after that, so that a client which has sent its request already gets to read it. */
void connection_end_after_refusal(struct server_connection *c);
/* Once closed, it leaves nothing in the kernel for a client that takes nothing: the client sees a reset. */
void connection_reset(struct server_connection *c);
/* The client may finish what it has sent already, and no more: what waits in the kernel is still read and answered. */
void connection_end_reading(struct server_connection *c);
/* Neither the client nor we ourselves have ended what it sends. */
bool connection_is_open(const struct server_connection *c);
/* The client sends no more: has it gone? Then its request is cut. */
void connection_check_client(struct server_connection *c);
/* The one connection whose parsing can account for an error met within this round: its request line was read in this
 * round and its head is not complete, or bytes of its body came. NULL when there are several. */
struct server_connection *server_at_fault(const struct server *s);

/* --- server_room.c --- */
/* The connection entered its phase, or made progress in it: it is the last of those who wait like it. */
void connection_enqueue(struct server_connection *c);
/* It is in no queue any more. */
void connection_dequeue(struct server_connection *c);
/* No place is left, those who leave not counted. */
bool server_is_full(const struct server *s);
/* A connection of the group came, or has gone. */
void server_group_enter(struct server *s, struct server_group *g);
void server_group_leave(struct server *s, struct server_group *g);

/* --- server_client.c --- */
/* Of the connection's watch. */
void connection_ready(struct watch *w, uint32_t events);

#endif
