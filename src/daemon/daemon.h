/* The running daemon as the main thread sees it. Shared by run.c (start, stop), reload.c (generations of the config),
 * chores.c (what is done now and then) and snapshot.c (what is told). Nothing else includes it. Main thread only. */
#ifndef PP_DAEMON_DAEMON_H
#define PP_DAEMON_DAEMON_H

#include "daemon/admin.h"
#include "daemon/memory_bound.h"
#include "daemon/token_manager.h"
#include "proxy/worker.h"

/* Bytes of any text about a reload: a config file has at most LIMIT_CONFIG_FILE, and a difference names both sides. */
#define RELOAD_TEXT_MAX (4u * LIMIT_CONFIG_FILE)

/* What the main thread keeps of one environment across reloads. */
struct daemon_environment {
    char *name;
    struct environment_config const *config; /* of the generation in force */
    unsigned metrics_index;
    struct environment_shared *shared;
    struct upstream_tls *tls;
    struct upstream_settings road;
    struct token_manager *tokens;
    struct history *history;
};

struct daemon {
    const char *config_path;
    struct loop *loop;
    struct config *config;       /* in force */
    struct config *started_with; /* holds what is in force of the keys that need a restart */
    struct metrics *metrics;
    struct listener_set *listeners;
    struct admin *admin;
    struct worker *workers[LIMIT_WORKERS];
    uint64_t turns_seen[LIMIT_WORKERS];
    struct acceptor_share clients; /* of each worker */
    unsigned worker_count, stalled_workers, drained_workers;
    unsigned places; /* for clients, of all workers together */
    struct daemon_environment environments[LIMIT_ENVIRONMENTS];
    size_t environment_count;

    int64_t started; /* wall ms */
    bool draining;
    int exit_status;
    struct {
        bool ok;
        int64_t when, success_when;            /* wall ms */
        struct buf problems, restart, changed; /* `restart`: since the start, not only by the last reload */
    } reload;
    struct buf posture;
    struct memory_bound memory;
    unsigned files; /* descriptors the process may open */

    int signal_fd;
    struct watch signals;
    struct timer drain_deadline, watchdog, sampling;
    struct worker_setup *setup; /* in force: what the workers were told */
    struct timer tell_again;    /* armed: some worker could not be told of something */
    char status_line[512];
};

/* --- reload.c --- */
/* Puts a config into force: listeners, TLS contexts, token managers, workers. All or nothing; on failure `problems`
 * says why in lines and everything is as it was. The first call is the start. Takes a reference on `config`. */
enum pp_result daemon_apply(struct daemon *d, struct config *config, struct buf *problems) PP_MUST_CHECK;
/* Reads the file again and applies it; fills d->reload, logs, tells systemd. True if it is in force. During a drain
 * nothing happens: what it would open, nobody would serve any more. */
bool daemon_reload(struct daemon *d);
/* Lets go of every environment, at the end. */
void daemon_forget_environments(struct daemon *d);
/* Logs each line of a text as one event: "WHAT: LINE". */
void daemon_log_lines(enum log_level level, const char *what, const struct buf *text);
/* The environment of that name, or NULL. */
struct daemon_environment *daemon_find(struct daemon *d, const char *name);

/* --- chores.c --- */
/* Watchdog, history samples, systemd's status line. */
void daemon_start_chores(struct daemon *d);
void daemon_stop_chores(struct daemon *d);
/* Says to systemd what has become of the status line, if it changed. */
void daemon_tell_status(struct daemon *d);

/* Computes the most memory the config in force may need, and logs it. */
void daemon_bound_memory(struct daemon *d);

/* --- snapshot.c --- */
void daemon_snapshot(void *daemon, struct status_snapshot *out);

#endif
