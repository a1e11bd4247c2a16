/* One request's life, from its head to the last byte of its answer.
 *
 * Its files share struct exchange: exchange.c (its states and its end), attempt.c (one try upstream) with
 * attempt_request.c (what leaves) and attempt_answer.c (what comes back), answer.c (what the client gets), access_log.c
 * (the line about it). Exactly one function changes the state (exchange_enter) and
 * exactly one ends it (exchange_end, with a reason that feeds log and metrics alike). Worker's thread. */
#ifndef PP_PROXY_EXCHANGE_H
#define PP_PROXY_EXCHANGE_H

#include "proxy/worker.h"

#include "http/request.h"
#include "http/response.h"
#include "http/wsframe.h"

enum exchange_state {
    EXCHANGE_RECEIVING,  /* admitted; the body is still coming and upstream has not been asked */
    EXCHANGE_CONNECTING, /* waiting for an upstream connection */
    EXCHANGE_ASKING,     /* the request is on its way; an answer's head is awaited */
    EXCHANGE_PAUSING,    /* waiting before a retry */
    EXCHANGE_COLLECTING, /* a small answer is coming in and will go out in one piece; or any answer that began before
                            the client's request was complete, which is held until then */
    EXCHANGE_RELAYING,   /* a large or unbounded answer is streamed to the client */
    EXCHANGE_UPGRADING,  /* upstream said 101; the client is being told */
    EXCHANGE_ANSWERED    /* the whole answer was handed to the server */
};

/* Why it ended: the access log's `end`. */
enum exchange_reason {
    EXCHANGE_OK,             /* upstream's answer, whole */
    EXCHANGE_REFUSED,        /* an answer of ours; `refusal` says which */
    EXCHANGE_CLIENT_GONE,    /* the client did not stay for the answer */
    EXCHANGE_UPSTREAM_BROKE, /* upstream died within its answer: the client's was cut */
    EXCHANGE_UPGRADED,       /* it became a tunnel */
    EXCHANGE_EVICTED,        /* the client was slow, and others needed its place */
    EXCHANGE_REASON_COUNT
};

struct exchange {
    struct worker *worker;
    struct client *client;
    struct environment *environment;       /* the client's */
    struct environment_settings *settings; /* a reference, as of its beginning */
    struct server_request *request;
    enum exchange_state state;

    /* the client's request; views into the server's memory, valid to the end */
    struct str method;
    const struct header_list *headers;
    struct admission admission;
    bool admitted; /* and so in the metrics */
    bool counted_inflight, counted_receiving, counted_websocket;
    struct buf body; /* kept whole for replays */
    bool body_complete;

    /* the try at hand */
    struct token_plan plan;
    struct token *token; /* a reference */
    struct upstream_waiter waiter;
    struct upstream_user user;
    struct upstream_connection *upstream;
    struct buf out;              /* request head, then framing and small bodies, not written yet */
    size_t body_sent;            /* bytes of the body handed to the connection or to `out` */
    bool chunked_up, body_ended; /* framing towards upstream; its end was written */
    bool got_bytes;              /* upstream has begun to answer */
    bool paused;                 /* reading stopped because the client is slower */
    bool broken;                 /* the rest of a streamed answer will never come */
    unsigned interims;
    struct buf in; /* a head that came in pieces; afterwards what the views of `response` point to */
    struct response_head response;
    struct body_reader reader;
    struct buf answer; /* payload not handed on yet */
    bool answer_complete;
    bool leak_told; /* it held one of our tokens: counted and logged once */
    msec asked;     /* when the request began to leave */
    msec progress;  /* when upstream last gave something */

    /* the tries together */
    unsigned attempts, replays;
    enum sent sent;        /* of this try */
    enum sent sent_before; /* of earlier tries that were not answered 401 */
    msec deadline;
    struct timer timer;

    /* for the end */
    int status;
    enum refusal refusal;
    enum exchange_reason reason;
    uint64_t bytes_in, bytes_out;
    int64_t started_usec, upstream_usec, upstream_done_usec;
    char request_id[64];
    struct exchange *next_spare;
};

/* The server's handlers are exchanges. */
extern const struct server_handlers exchange_handlers;

/* The one place that changes the state. */
void exchange_enter(struct exchange *ex, enum exchange_state state);
const char *exchange_reason_name(enum exchange_reason reason);

/* Of all tries together, those answered 401 left out: what the app is told, and what decides about retries. */
static inline enum sent exchange_sent(const struct exchange *ex)
{
    return ex->sent > ex->sent_before ? ex->sent : ex->sent_before;
}

/* The environment, or a listener of it, is gone since this client came: it gets this answer, and no more. */
static inline bool exchange_is_last(const struct exchange *ex)
{
    return ex->environment->removed || ex->client->listeners_lost != ex->environment->listeners_lost;
}

/* The most bytes of memory that an exchange takes: each; with the answer it hands on and the body it keeps, once Proof
 * is asked, its upstream connection apart; and with what has come of its body before. */
size_t exchange_cost(void);
size_t exchange_request_cost(const struct environment_config *e);
size_t exchange_body_cost(const struct environment_config *e);

/* Frees a spare one for good. */
void exchange_dispose(struct exchange *ex);

/* --- attempt.c --- */
/* Starts the first or next try with the next token of the plan. `fresh`: on a new connection only. */
void attempt_start(struct exchange *ex, bool fresh);
/* More of the client's body is there to be sent. */
void attempt_more_body(struct exchange *ex);
/* Lets go of the connection or of waiting for one; the connection is closed unless `reusable`. */
void attempt_drop(struct exchange *ex, bool reusable);
/* Nothing usable came back: tries again after a connection that failed (`transient`) where that is safe, else answers
 * `why`, or cuts the answer that had begun. `detail` is for the log. */
void attempt_failed(struct exchange *ex, enum refusal why, bool transient, const char *detail);
/* Is there to be another try, for this reason? Then it is due already, and true is returned. */
bool attempt_retry(struct exchange *ex, enum retry_reason reason);

/* --- attempt_request.c --- */
/* The head into `out`, with the try's token. */
enum pp_result attempt_write_head(struct exchange *ex) PP_MUST_CHECK;
/* Writes until the connection takes no more or there is nothing to write. False: the connection broke. */
bool attempt_write_request(struct exchange *ex) PP_MUST_CHECK;
/* Has all of the request left? Only then can its connection serve another. */
bool attempt_request_written(const struct exchange *ex);

/* --- attempt_answer.c --- */
/* Reads what is there, as far as there is room for it, and acts on it; the try may be over afterwards. */
void attempt_read_answer(struct exchange *ex);
/* The connection ended. `orderly`: by close_notify or FIN, so that an answer without a length is complete. */
void attempt_ended(struct exchange *ex, bool orderly);
/* The client's request is complete while its answer is held: the answer may go out now. */
void attempt_request_complete(struct exchange *ex);
/* There is room in `answer` again. */
void attempt_resume(struct exchange *ex);

/* --- answer.c --- */
/* An answer of our own. `detail` replaces the table's sentence when not empty. */
void answer_refuse(struct exchange *ex, enum refusal refusal, const char *detail);
/* Upstream's answer, its whole body in `body`. */
void answer_whole(struct exchange *ex, struct str body);
/* Upstream's head now, the body as it comes. */
void answer_stream(struct exchange *ex);
/* More of the body has come: masks tokens in what stands in `answer` behind its first `had` bytes, or reaches there. */
void answer_guard(struct exchange *ex, size_t had);
/* Upstream's 101. */
void answer_upgrade(struct exchange *ex);
/* server_handlers.read */
ssize_t answer_read(void *exchange, char *into, size_t room);

#endif
