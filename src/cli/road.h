/* One connection to Proof by the daemon's own road (lookup, egress, TLS rules), blocking, for commands. */
#ifndef PP_CLI_ROAD_H
#define PP_CLI_ROAD_H

#include "config/config.h"
#include "http/response.h"
#include "net/upstream.h"

#define ROAD_ADDRESS_SIZE 64u

struct ssl_st;

struct road {
    const struct environment_config *environment;
    int fd;                         /* -1: closed */
    struct ssl_st *tls;             /* NULL: plain, or not secured yet */
    char peer[ROAD_ADDRESS_SIZE];   /* address and port of the other end; of the egress proxy, where there is one */
    char source[ROAD_ADDRESS_SIZE]; /* this host's address on it */
};

/* TCP only. PP_BROKEN: *why and the problem say what failed. PP_SYSTEM, PP_NOMEM: here. The caller closes the road. */
enum pp_result road_connect(const struct environment_config *e, struct road *out, enum upstream_failure *why,
                            struct problem *problem) PP_MUST_CHECK;

/* The handshake on it, within the environment's connect_timeout. */
enum pp_result road_secure(struct road *r, struct upstream_tls *tls, struct problem *problem) PP_MUST_CHECK;

struct road_request {
    const char *path;
    struct str authorization; /* "Bearer ..." */
    bool websocket;           /* ask for an upgrade */
};

struct road_answer {
    struct buf raw; /* what `head` points into */
    struct response_head head;
    struct buf body;           /* at most 64 KiB of it; of a 101 nothing */
    bool upgraded;             /* a right 101 to an upgrade */
    const char *upgrade_fault; /* a 101 that is not right: why */
    int64_t usec;              /* from the first byte sent to the end of the head */
};

/* One GET within the environment's request_timeout. PP_OK: *out is the caller's, freed by road_answer_free. */
enum pp_result road_ask(struct road *r, const struct road_request *request, struct road_answer *out,
                        struct problem *problem) PP_MUST_CHECK;
void road_answer_free(struct road_answer *a);

/* "code" of Proof's JSON errors into out; "" where there is none. */
void road_answer_code(const struct road_answer *a, char out[static 64]);

/* Safe on one that was never opened (fd is -1). */
void road_close(struct road *r);

#endif
