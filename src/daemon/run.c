/* Ordered start, the main loop, the drain, reverse stop. */
#include "daemon/run.h"

#include "base/crypto.h"
#include "daemon/daemon.h"
#include "daemon/footprint.h"
#include "daemon/hardening.h"
#include "daemon/heap.h"
#include "daemon/notify.h"
#include "daemon/posture.h"
#include "net/connect.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define RUN_FILES_OURSELVES 128u /* descriptors for everything but clients and their upstream connections */

/* --- the drain --- */

static void deadline_passed(struct timer *t)
{
    struct daemon *d = (struct daemon *)((char *)t - offsetof(struct daemon, drain_deadline));
    log_warning("drain", NULL, "drain_timeout passed with work left; cutting what is still open");
    d->exit_status = 1;
    loop_stop(d->loop);
}

#define DRAIN_LEAST                                                                                                    \
    100 /* milliseconds that workers with nothing left to do may take to say so, whatever the config says */
#define DRAIN_END 10000 /* milliseconds that the end after a drain may take, closing everything */

static void drain(struct daemon *d, const char *why)
{
    if (d->draining) {
        log_warning("drain", NULL, "asked a second time to stop (%s): stopping now", why);
        d->exit_status = 1;
        loop_stop(d->loop);
        return;
    }
    d->draining = true;
    log_info("drain", NULL, "stopping (%s): no new client is accepted, what is open may finish within drain_timeout",
             why);
    notify_stopping();
    /* systemd's own patience may be shorter than the drain; the rest is for the ordered end after it. */
    notify_extend(d->config->drain_timeout + DRAIN_END);
    daemon_tell_status(d);
    for (size_t i = 0; i < d->environment_count; i++)
        token_manager_quiesce(d->environments[i].tokens);
    msec patience = d->config->drain_timeout > DRAIN_LEAST ? d->config->drain_timeout : DRAIN_LEAST;
    bool posted = timer_set(d->loop, &d->drain_deadline, clock_now() + patience, deadline_passed) == PP_OK;
    for (unsigned i = 0; i < d->worker_count; i++)
        posted = worker_drain(d->workers[i]) == PP_OK && posted;
    if (!posted) {
        log_error("drain", NULL, "out of memory: cannot drain, stopping now");
        d->exit_status = 1;
        loop_stop(d->loop);
    }
}

/* --- signals --- */

static void signals_ready(struct watch *w, uint32_t events)
{
    struct daemon *d = (struct daemon *)((char *)w - offsetof(struct daemon, signals));
    struct signalfd_siginfo info;
    (void)events;
    while (read(w->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGHUP)
            (void)daemon_reload(d);
        else
            drain(d, info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
    }
}

static enum pp_result watch_signals(struct daemon *d)
{
    sigset_t ours;
    (void)sigemptyset(&ours);
    (void)sigaddset(&ours, SIGHUP);
    (void)sigaddset(&ours, SIGTERM);
    (void)sigaddset(&ours, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &ours, NULL) != 0)
        return PP_SYSTEM;
    d->signal_fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    if (d->signal_fd < 0)
        return PP_SYSTEM;
    return loop_watch(d->loop, &d->signals, d->signal_fd, EPOLLIN, signals_ready);
}

/* --- what workers say, on its way to the main thread --- */

struct learned_message {
    struct message message;
    struct token *token; /* a reference */
    struct token_knowledge knowledge;
    char environment[64];
};

static void deliver_learned(struct message *m)
{
    struct learned_message *lm = (struct learned_message *)m;
    struct daemon_environment *e = daemon_find(m->receiver, lm->environment);
    if (e != NULL)
        token_manager_merge(e->tokens, lm->token, &lm->knowledge);
    token_unref(&lm->token);
    free(lm);
}

static void learned(void *owner, const char *environment, struct token *token, const struct token_knowledge *knowledge)
{
    struct daemon *d = owner;
    struct learned_message *m = calloc(1, sizeof *m);
    if (m == NULL)
        return; /* the other workers will learn it by themselves */
    m->message = (struct message){.deliver = deliver_learned, .receiver = d};
    m->token = token_ref(token);
    m->knowledge = *knowledge;
    (void)snprintf(m->environment, sizeof m->environment, "%s", environment);
    loop_post(d->loop, &m->message);
}

static void deliver_drained(struct message *m)
{
    struct daemon *d = m->receiver;
    free(m);
    if (++d->drained_workers == d->worker_count) {
        log_info("drain", NULL, "drained: every client was served");
        loop_stop(d->loop);
    }
}

static void drained(void *owner, unsigned index)
{
    struct daemon *d = owner;
    struct message *m = calloc(1, sizeof *m);
    (void)index;
    if (m == NULL)
        return; /* then the drain ends by its deadline */
    *m = (struct message){.deliver = deliver_drained, .receiver = d};
    loop_post(d->loop, m);
}

/* --- admin --- */

static void reload_asked(void *owner, struct admin_reload *waiter)
{
    struct daemon *d = owner;
    bool ok = daemon_reload(d);
    struct buf text;
    buf_init(&text, 3 * RELOAD_TEXT_MAX);
    if (ok) {
        buf_append_str(&text, buf_str(&d->reload.changed));
        if (buf_len(&d->reload.restart) > 0)
            buf_printf(&text, "needs a restart:\n");
        buf_append_str(&text, buf_str(&d->reload.restart));
    } else {
        buf_append_str(&text, buf_str(&d->reload.problems));
    }
    buf_append_char(&text, '\0');
    admin_reload_done(waiter, ok, text.failed ? "" : text.data);
    buf_free(&text);
}

/* --- start and stop --- */

static enum pp_result start_workers(struct daemon *d, unsigned nofile)
{
    struct worker_hooks hooks = {learned, drained, d};
    unsigned count = d->config->workers;
    unsigned files = nofile > 2 * RUN_FILES_OURSELVES ? nofile - RUN_FILES_OURSELVES : nofile / 2;
    unsigned connections = files / 2 / count; /* each may need an upstream connection as well */
    if (connections < 8)
        connections = 8;
    d->places = connections * count;
    d->files = nofile;
    log_info("main", NULL, "%u worker%s, at most %u clients each (open files: %u)", count, count == 1 ? "" : "s",
             connections, nofile);
    for (unsigned i = 0; i < count; i++) {
        struct metrics_shard *shard = metrics_shard_new(d->metrics);
        struct worker *w = shard == NULL ? NULL : worker_new(i, connections, &hooks, shard);
        if (w == NULL)
            return PP_NOMEM;
        d->workers[d->worker_count++] = w;
        acceptor_join(w->acceptor, &d->clients);
    }
    return PP_OK;
}

static enum pp_result make_metrics(struct daemon *d)
{
    static const char *names[REFUSAL_COUNT];
    for (int i = 0; i < REFUSAL_COUNT; i++)
        names[i] = i == REFUSAL_NONE ? "none" : reply_rule((enum refusal)i)->reason;
    const struct metrics_reasons reasons[METRICS_RETRIES + 1] = {
        [METRICS_UPSTREAM_ERRORS] = {names, REFUSAL_COUNT, REFUSAL_CONNECT, REFUSAL_COUNT},
        [METRICS_LOCAL_REJECTIONS] = {names, REFUSAL_COUNT, REFUSAL_NONE + 1, REFUSAL_CONNECT},
        [METRICS_RETRIES] = {retry_reason_names, RETRY_REASON_COUNT, 0, RETRY_REASON_COUNT},
    };
    d->metrics = metrics_new(reasons);
    return d->metrics == NULL ? PP_NOMEM : PP_OK;
}

static int start(struct daemon *d, struct config *config)
{
    struct buf problems;
    struct admin_hooks admin = {daemon_snapshot, reload_asked, d};
    int status = 1;
    buf_init(&problems, 64u * 1024);
    heap_keep();
    connect_init();
    unsigned nofile = hardening_raise_nofile();
    d->config = config_ref(config);
    d->started_with = config_ref(config);
    d->started = clock_wall();
    d->reload.ok = true; /* the start is a load as well; where it fails, nobody is left to ask */
    d->reload.when = d->reload.success_when = d->started;
    d->loop = loop_new();
    if (crypto_prepare() != PP_OK || d->loop == NULL || watch_signals(d) != PP_OK || make_metrics(d) != PP_OK) {
        log_error("main", NULL, "cannot start: out of memory or file descriptors");
        goto out;
    }
    d->admin = admin_new(d->loop, &admin, d->metrics);
    if (d->admin == NULL || start_workers(d, nofile) != PP_OK) {
        log_error("main", NULL, "cannot start: out of memory or file descriptors");
        goto out;
    }
    enum pp_result rc = daemon_apply(d, config, &problems);
    if (rc != PP_OK) {
        daemon_log_lines(LOG_LEVEL_ERROR, "cannot start", &problems);
        status = rc == PP_INVALID ? 78 : 1; /* a restart may cure what the host lacks, but no config */
        goto out;
    }
    footprint_trim();
    for (unsigned i = 0; i < d->worker_count; i++)
        if (worker_start(d->workers[i]) != PP_OK) {
            log_error("main", NULL, "cannot start a thread: %m");
            goto out;
        }
    posture_text(config, secret_memory_locked(), &d->posture);
    daemon_bound_memory(d);
    log_info("main", NULL, "started: %.*s", (int)buf_len(&d->posture), buf_str(&d->posture).p);
    daemon_start_chores(d);
    notify_ready();
    daemon_tell_status(d);
    status = 0;
out:
    buf_free(&problems);
    return status;
}

/* In the reverse order of the start. */
static void stop(struct daemon *d)
{
    if (d->loop != NULL)
        daemon_stop_chores(d);
    for (unsigned i = 0; i < d->worker_count; i++)
        worker_free(d->workers[i]);
    daemon_forget_environments(d);
    admin_free(d->admin);
    listener_set_close(&d->listeners, NULL);
    if (d->loop != NULL) {
        timer_stop(d->loop, &d->drain_deadline);
        loop_unwatch(d->loop, &d->signals);
        loop_settle(d->loop); /* what was put off: closing pools, late messages */
        loop_free(d->loop);
    }
    if (d->signal_fd >= 0)
        close(d->signal_fd);
    metrics_free(d->metrics);
    config_unref(&d->config);
    config_unref(&d->started_with);
    buf_free(&d->reload.problems);
    buf_free(&d->reload.restart);
    buf_free(&d->reload.changed);
    buf_free(&d->posture);
}

static msec before_wait(void *owner)
{
    struct daemon *d = owner;
    return admin_before_wait(d->admin);
}

int daemon_run(const char *config_path)
{
    struct daemon *d = calloc(1, sizeof *d);
    struct config *config = NULL;
    struct config_problems problems = {0};
    int status = 1;
    if (d == NULL)
        return 1;
    d->config_path = config_path;
    d->signal_fd = d->signals.fd = -1;
    buf_init(&d->reload.problems, RELOAD_TEXT_MAX);
    buf_init(&d->reload.restart, RELOAD_TEXT_MAX);
    buf_init(&d->reload.changed, RELOAD_TEXT_MAX);
    buf_init(&d->posture, 16u * 1024);
    config_problems_init(&problems);
    if (!secret_memory_locked())
        log_warning("main", NULL,
                    "memory for secrets cannot be locked; raise LimitMEMLOCK, or make sure swap is encrypted");
    if (config_load(config_path, &config, &problems) != PP_OK) {
        (void)!write(STDERR_FILENO, buf_str(&problems.text).p, buf_len(&problems.text));
        status = 78;
    } else {
        log_configure(config->log_level, config->log_format);
        status = start(d, config);
        if (status == 0) {
            struct loop_hooks hooks = {before_wait, NULL, d};
            loop_run(d->loop, &hooks);
            status = d->exit_status;
        }
    }
    buf_free(&problems.text);
    config_unref(&config);
    stop(d);
    free(d);
    return status;
}
