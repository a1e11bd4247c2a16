/* What the fake knows and counts: tokens, allowlist, origins, faults, transactions, connections, statistics. One lock.
 */
#ifndef PP_TESTS_FAKEPROOF_STATE_H
#define PP_TESTS_FAKEPROOF_STATE_H

#include "http.h"

#include <jansson.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>

#define FINGERPRINT_SIZE 13u /* 12 hex digits of the token's SHA-256 and a NUL */
#define TRANSACTION_ID   37u
#define HISTORY_MAX      8u
#define HEADS_KEPT       256u

/* One transaction and every status it has had. */
struct transaction {
    struct transaction *next; /* in its bucket */
    char id[TRANSACTION_ID];
    char user[128], type[8], currency[16], network[16], amount[40];
    const char *history[HISTORY_MAX];
    int64_t history_at[HISTORY_MAX]; /* wall ms */
    unsigned history_count;
    int64_t next_change; /* monotonic ms; INT64_MAX: never by itself */
};

/* One connection, for as long as its thread runs. */
struct connection {
    struct connection *next, *prev;
    pthread_t thread;
    struct fake *fake;
    struct stream stream;
    struct sockaddr_storage peer;
    int fd; /* as accepted; the thread's until the stream owns it */
    enum { CONNECTION_BUSY, CONNECTION_IDLE, CONNECTION_WEBSOCKET } state;
    bool close_now; /* set by control: an idle connection ends */
    /* WebSocket only */
    char transaction[TRANSACTION_ID]; /* watched */
    char fingerprint[FINGERPRINT_SIZE];
    char *queue; /* frames to send, put there by control */
    size_t queued;
    unsigned long long flood; /* bytes of one large frame to send */
    bool end_asked;
    enum stream_end end_how;
    unsigned requests; /* answered on this connection */
};

enum counter {
    COUNT_CONNECTIONS, /* accepted */
    COUNT_OPEN,        /* now open */
    COUNT_HANDSHAKES_FAILED,
    COUNT_RESUMED,  /* TLS sessions resumed */
    COUNT_REQUESTS, /* complete heads received */
    COUNT_MALFORMED,
    COUNT_ABORTED, /* the peer went away while an answer was owed or under way */
    COUNT_SESSIONS_CREATED,
    COUNT_WEBSOCKETS_OPENED,
    COUNT_WEBSOCKETS_OPEN,
    COUNT_WEBSOCKET_FRAMES, /* received */
    COUNT_WEBSOCKET_BYTES,  /* payload bytes received */
    COUNT_WEBSOCKET_CLOSES, /* Close frames received */
    COUNT_STALLED,          /* requests that reached a stall */
    COUNT_IDLE,             /* connections now waiting for a next request */
    COUNTERS
};
extern const char *const counter_names[COUNTERS];

struct fault {
    struct fault *next;
    char path[128];               /* exact, or a prefix when it ends in `*`; "" = any */
    char method[16];              /* "" = any */
    char token[FINGERPRINT_SIZE]; /* "" = any */
    long left;                    /* how often still; negative: for ever */
    json_t *spec;
};

struct options {
    const char *host, *cert, *key, *tokens_file, *tls_min, *tls_max;
    int port, control_port;
    bool plain;
    int progress_ms;   /* from one status of a transaction to the next; 0: never */
    int keep_alive_ms; /* how long an idle connection stays open */
    int keep_alive_requests;
};

struct fake {
    struct options options;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* any counter */
    SSL_CTX *tls;
    json_t *tokens; /* strings: valid now */
    json_t *first_tokens;
    json_t *allow;        /* CIDR strings; empty: everybody */
    json_t *origins;      /* registered */
    json_t *per_token;    /* fingerprint -> {requests, refused} */
    json_t *per_endpoint; /* "GET /widget/transactions/" -> count */
    json_t *kyc;          /* user -> status */
    struct fault *faults;
    long long counters[COUNTERS];
    int last_close_code;
    json_t *heads; /* the last requests, oldest first */
    struct connection *connections;
    struct transaction *buckets[4096];
    size_t transaction_count;
    unsigned char secret[32]; /* of the signatures */
};

int64_t now_monotonic(void); /* ms */
int64_t now_wall(void);      /* ms */

bool state_init(struct fake *f, const struct options *options);
/* Back to how it was at the start: tokens, allowlist, origins, faults, statistics. Transactions stay. */
void state_reset(struct fake *f);

void fingerprint_of(const char *token, char out[static FINGERPRINT_SIZE]);

/* Adds to a counter and wakes who waits for it. Takes the lock; the _locked form wants it held. */
void count(struct fake *f, enum counter which, long long by);
void count_locked(struct fake *f, enum counter which, long long by);

bool token_is_valid(struct fake *f, const char *token);
bool peer_is_allowed(struct fake *f, const struct sockaddr_storage *peer);
bool origin_is_registered(struct fake *f, const char *origin);

/* Notes the request: endpoint, token, its raw head with the credential masked. `refused`: answered 401. */
void record_request(struct fake *f, const struct http_request *r, const char *fingerprint);
void record_refusal(struct fake *f, const char *fingerprint);

/* The fault that applies to this request, used up by one; NULL if none. The caller owns it. */
json_t *take_fault(struct fake *f, const struct http_request *r, const char *fingerprint);
/* NULL when the spec was taken, else what is wrong with it. */
const char *add_fault(struct fake *f, json_t *spec);
void clear_faults(struct fake *f);

/* Transactions; all of these want the lock held. */
struct transaction *transaction_new(struct fake *f);
struct transaction *transaction_find(struct fake *f, const char *id);
void transaction_advance(struct fake *f, struct transaction *t);
/* False when the status is not one of Proof's. */
bool transaction_set(struct fake *f, struct transaction *t, const char *status);

json_t *stats(struct fake *f);

#endif
