/* A daemon of the simulation: a master store, its probes, workers with replicas and requests, messages between them;
 * compared with the oracle at every step. */
#ifndef PP_TESTS_SIM_PROCESS_H
#define PP_TESTS_SIM_PROCESS_H

#include "oracle.h"
#include "world.h"

#define PROCESS_REQUESTS 128
#define PROCESS_MESSAGES 1024
#define PROCESS_PROBES   64

struct request {
    bool used;
    unsigned worker;
    struct token_plan plan;
    struct token *token; /* of the attempt under way; a reference */
    unsigned number;     /* of that token */
    int status;          /* of the answer under way */
    msec start, sent;
    bool all_refused; /* the oracle's own opinion */
    uint32_t tried;   /* bit per token */
    unsigned tries;
};

struct letter {
    bool used, up; /* up: knowledge of one token to the master; else a snapshot to a worker */
    unsigned worker;
    struct token *token;
    struct token_knowledge knowledge;
    struct token_snapshot snapshot;
    struct holdings holdings;
    struct hearsay said;
    unsigned number;
};

/* A probe under way; the token may be dropped meanwhile, and even come back as another object. */
struct probe {
    struct token *token; /* a reference; NULL = free */
    unsigned number;
    int status;
    msec sent;
};
/* What was probed of a held token so far. */
struct probed {
    const struct token *running; /* NULL = no probe under way */
    bool ever, answered;
    msec ended;
};

struct process {
    struct world *world;
    struct oracle oracle;
    struct token_store *stores[ORACLE_KNOWERS];
    struct token_store_policy policy;
    msec least_interval; /* the smallest probe interval so far, 0 = never probed */
    msec now;
    int64_t wall_offset;
    msec timer;      /* when the main thread wakes; MSEC_NEVER = not set */
    msec last_probe; /* none begins after this time */
    struct request requests[PROCESS_REQUESTS];
    struct letter letters[PROCESS_MESSAGES];
    msec channel[2 * WORLD_REPLICAS]; /* when the last message of each arrives: order is kept */
    struct probe probes[PROCESS_PROBES];
    struct probed probed[WORLD_TOKENS];
    msec refused_since[WORLD_TOKENS];              /* as the master should see it; -1 = not refused */
    msec handed_out[WORLD_REPLICAS][WORLD_TOKENS]; /* last try beyond the first two of a walk */
    unsigned file[LIMIT_TOKENS_FILE];              /* the good file */
    size_t file_count;
    int64_t written[WORLD_TOKENS], expires[WORLD_TOKENS]; /* expires= in the file; as the master read it last */
    uint64_t checks; /* comparisons made, so that a run that checks nothing shows */
};

/* Starts it: stores, workers, the file read. */
void process_start(struct process *p, struct world *w);
/* Handles one event. */
void process_event(struct process *p, const struct event *e);
/* Everything has settled: the verdicts are the truth, everybody agrees, nothing retired is left in memory. */
void process_check_settled(struct process *p);
void process_stop(struct process *p);

/* --- between the parts of a process --- */
int64_t process_wall(const struct process *p);
/* Which token it is, by its secret. */
unsigned process_number(const struct token *t);
/* A secret that was dropped and is back in the file is another object, of which nothing is known. */
bool process_holds(const struct process *p, unsigned k, const struct token *t);
/* Compares a store with the oracle. */
void process_check(struct process *p, unsigned k);
void process_tell_master(struct process *p, unsigned worker, struct token *t);
void process_tell_workers(struct process *p);
/* The main thread's round: what the clock changed, probes that are due, the timer. */
void process_run_master(struct process *p);
void process_request(struct process *p, unsigned worker);
void process_answer(struct process *p, struct request *r);
void process_read_file(struct process *p, const unsigned *tokens, size_t count);
void process_edit_file(struct process *p);

/* Secrets allocated and not wiped yet, in the whole program. */
extern long live_secrets;

#endif
