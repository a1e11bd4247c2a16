/* Accepting clients on shared listening sockets. */
#include "net/acceptor.h"

#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTOR_LISTENERS (LIMIT_LISTENERS * LIMIT_ENVIRONMENTS)
/* Then other work gets its turn; epoll is level-triggered here, so nothing is lost. Enough to outrun a flood whose
 * every client costs a turn's work as well: who waits in the kernel's queue waits behind all of it. */
#define ACCEPTOR_PER_TURN 64
#define ACCEPTOR_PAUSE    100 /* ms without accepting when nothing could be freed */
#define ACCEPTOR_BREATH   1   /* ms without accepting until what was freed is closed */
#define ACCEPTOR_YIELD    1   /* ms without accepting, for the benefit of one with fewer clients */
#define ACCEPTOR_PATIENCE 10u /* so many times in a row; then the other one is taken to be busy for long */

struct listening {
    struct watch watch; /* first member: the watch is the listening */
    struct acceptor *acceptor;
    void *tag;
};

struct acceptor {
    struct loop *loop;
    struct acceptor_handlers handlers;
    int reserve; /* an open descriptor to give up in need; -1 while it is given up */
    struct timer pause;
    struct acceptor_share *share; /* NULL: alone */
    unsigned member;
    unsigned yielded; /* times in a row without any of the others taking a client */
    unsigned others;  /* their clients, the last time */
    struct log_limit warned;
    struct listening listening[ACCEPTOR_LISTENERS];
};

static int open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

struct acceptor *acceptor_new(struct loop *loop, const struct acceptor_handlers *handlers)
{
    struct acceptor *a = calloc(1, sizeof *a);
    if (a == NULL)
        return NULL;
    a->loop = loop;
    a->handlers = *handlers;
    a->reserve = open_reserve();
    for (size_t i = 0; i < ACCEPTOR_LISTENERS; i++) {
        a->listening[i].watch.fd = -1;
        a->listening[i].acceptor = a;
    }
    if (a->reserve < 0) {
        free(a);
        return NULL;
    }
    return a;
}

void acceptor_free(struct acceptor *a)
{
    if (a == NULL)
        return;
    for (size_t i = 0; i < ACCEPTOR_LISTENERS; i++)
        loop_unwatch(a->loop, &a->listening[i].watch);
    timer_stop(a->loop, &a->pause);
    if (a->reserve >= 0)
        close(a->reserve);
    free(a);
}

void acceptor_join(struct acceptor *a, struct acceptor_share *share)
{
    a->share = share;
    a->member = share->members++;
}

void acceptor_count(struct acceptor *a, int change)
{
    if (a->share != NULL)
        atomic_fetch_add_explicit(&a->share->clients[a->member], (unsigned)change, memory_order_relaxed);
}

/* --- resting --- */

static void resume_listening(struct timer *t)
{
    struct acceptor *a = (struct acceptor *)((char *)t - offsetof(struct acceptor, pause));
    if (a->reserve < 0)
        a->reserve = open_reserve();
    for (size_t i = 0; i < ACCEPTOR_LISTENERS; i++)
        if (a->listening[i].watch.fd >= 0)
            (void)loop_rewatch(a->loop, &a->listening[i].watch, EPOLLIN); /* the kernel took these bits before */
}

/* Accepting goes on in so many ms. */
static void rest(struct acceptor *a, msec pause)
{
    if (timer_set(a->loop, &a->pause, clock_now() + pause, resume_listening) != PP_OK)
        return; /* not paused then: the next turn tries again */
    for (size_t i = 0; i < ACCEPTOR_LISTENERS; i++)
        if (a->listening[i].watch.fd >= 0)
            (void)loop_rewatch(a->loop, &a->listening[i].watch, 0);
}

/* More than a twentieth ahead of the one with the fewest clients, and more than one: small differences are not worth a
 * millisecond of anybody's time. `others`: the clients of all others together. */
static bool ahead(const struct acceptor *a, unsigned *others)
{
    unsigned own = 0, least = UINT_MAX, all = 0;
    for (unsigned i = 0; a->share != NULL && i < a->share->members; i++) {
        unsigned clients = atomic_load_explicit(&a->share->clients[i], memory_order_relaxed);
        if (i == a->member)
            own = clients;
        if (clients < least)
            least = clients;
        all += clients;
    }
    *others = all - own;
    return own > least && own - least > 1 + least / 20;
}

/* Epoll is level-triggered and wakes everybody: who waits in the queue is in the others' sight too. */
static void yield_to_others(struct acceptor *a, unsigned others)
{
    a->yielded++;
    a->others = others;
    rest(a, ACCEPTOR_YIELD);
}

/* How many it may take this turn however far it is ahead: none, until it has yielded often in vain, then more and
 * more. */
static int regardless(struct acceptor *a)
{
    unsigned others;
    if (!ahead(a, &others) || others != a->others) /* they do take some */
        a->yielded = 0;
    if (a->yielded < ACCEPTOR_PATIENCE)
        return 0;
    unsigned doubled = a->yielded - ACCEPTOR_PATIENCE;
    return doubled < 6 ? 1 << doubled : ACCEPTOR_PER_TURN;
}

/* --- accepting --- */

/* No descriptor is left: somebody else goes, or the first in line is turned away by way of the reserve. */
static void starve(struct acceptor *a, int listen_fd)
{
    if (a->handlers.starved(a->handlers.owner)) {
        rest(a, ACCEPTOR_BREATH);
        return;
    }
    if (log_allowed(&a->warned, 10000))
        log_warning("listener", NULL,
                    "no file descriptor left for a new client, turning clients away; raise LimitNOFILE%s",
                    a->warned.note);
    if (a->reserve >= 0) {
        close(a->reserve);
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        a->reserve = open_reserve();
    }
    rest(a, ACCEPTOR_PAUSE);
}

static void listening_ready(struct watch *w, uint32_t events)
{
    struct listening *l = (struct listening *)w;
    struct acceptor *a = l->acceptor;
    (void)events;
    int granted = regardless(a);
    unsigned others;
    for (int i = 0; i < ACCEPTOR_PER_TURN && w->fd >= 0 && a->handlers.room(a->handlers.owner); i++) {
        if (i >= granted && ahead(a, &others)) {
            yield_to_others(a, others);
            return;
        }
        int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            a->handlers.accepted(a->handlers.owner, l->tag, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            starve(a, w->fd);
            return;
        } else if (errno != ECONNABORTED && errno != EINTR && errno != EPROTO) {
            a->yielded = 0; /* nobody waits in vain any more */
            return;         /* EAGAIN: another worker was quicker, or the queue is empty */
        }
    }
}

enum pp_result acceptor_add(struct acceptor *a, int listen_fd, void *tag)
{
    for (size_t i = 0; i < ACCEPTOR_LISTENERS; i++)
        if (a->listening[i].watch.fd == listen_fd) {
            a->listening[i].tag = tag;
            return PP_OK;
        }
    for (size_t i = 0; i < ACCEPTOR_LISTENERS; i++) {
        struct listening *l = &a->listening[i];
        if (l->watch.fd >= 0)
            continue;
        l->tag = tag;
        /* Level-triggered without EPOLLEXCLUSIVE: that cannot be modified later, and a shared accept queue is short of
         * work for a second worker only when the first one was quick enough. Who shares clients evenly is said by
         * acceptor_share, not by which worker the kernel wakes first. */
        return loop_watch(a->loop, &l->watch, listen_fd, EPOLLIN, listening_ready);
    }
    return PP_LIMIT;
}

void acceptor_remove(struct acceptor *a, int listen_fd)
{
    for (size_t i = 0; i < ACCEPTOR_LISTENERS; i++)
        if (a->listening[i].watch.fd == listen_fd)
            loop_unwatch(a->loop, &a->listening[i].watch);
}

void acceptor_sweep(struct acceptor *a)
{
    for (size_t i = 0; i < ACCEPTOR_LISTENERS; i++) {
        struct listening *l = &a->listening[i];
        for (int fd; l->watch.fd >= 0 && (fd = accept4(l->watch.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;)
            a->handlers.accepted(a->handlers.owner, l->tag, fd);
    }
}
