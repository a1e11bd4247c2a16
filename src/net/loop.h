/* One thread's event loop: epoll, timers, messages from other threads, and work put off to the end of a turn.
 *
 * A turn: wait, read the clock once, run ready watches, due timers, messages, the after_turn hook, then the deferred
 * calls in the order they were asked for. Everything here is for the loop's own thread, except loop_post and loop_stop.
 */
#ifndef PP_NET_LOOP_H
#define PP_NET_LOOP_H

#include "base/clock.h"
#include "base/result.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;

struct loop *loop_new(void) PP_MUST_CHECK;
/* Runs what is still deferred or posted (dropping nothing that holds a reference), then frees. */
void loop_free(struct loop *l);

/* Turns until loop_stop. `before_wait` (may be NULL) is asked before each wait and says how long it may last at most,
 * in milliseconds, -1 for ever; `after_turn` (may be NULL) runs after events, timers and messages, before the deferred
 * calls. */
struct loop_hooks {
    msec (*before_wait)(void *owner);
    void (*after_turn)(void *owner);
    void *owner;
};
void loop_run(struct loop *l, const struct loop_hooks *hooks);
void loop_turn(struct loop *l, const struct loop_hooks *hooks); /* exactly one; for tests */
/* One turn that does not wait: what is due, posted or deferred by now is done. For an orderly end. */
void loop_settle(struct loop *l);
/* From any thread and from signal handlers: the current turn is the last. */
void loop_stop(struct loop *l);
/* Turns so far, for the watchdog: any thread may read it. */
uint64_t loop_turns(const struct loop *l);

/* --- descriptors (epoll(7)) --- */
struct watch {
    int fd; /* -1: not watched */
    /* `events` are EPOLL* bits. May unwatch itself or any other watch; memory is freed in loop_defer only. */
    void (*ready)(struct watch *w, uint32_t events);
};
/* Registers with exactly these bits (the caller adds EPOLLET if wanted). PP_SYSTEM when the kernel refuses (ENOSPC,
 * ENOMEM); w->fd is -1 then. */
enum pp_result loop_watch(struct loop *l, struct watch *w, int fd, uint32_t events,
                          void (*ready)(struct watch *, uint32_t)) PP_MUST_CHECK;
/* The kernel took the watch before, so that other bits are no news to it: failing is a bug, told as PP_SYSTEM. */
enum pp_result loop_rewatch(struct loop *l, struct watch *w, uint32_t events);
/* Forgets it, also events of this turn not delivered yet. Call before close(2). Nothing happens if it is not watched.
 */
void loop_unwatch(struct loop *l, struct watch *w);
/* The same when the descriptor has been or is about to be closed by somebody else: no epoll_ctl. */
void loop_forget(struct loop *l, struct watch *w);

/* --- timers: absolute, one-shot, intrusive --- */
struct timer {
    msec due;    /* monotonic; set by timer_set */
    size_t slot; /* private; 0 = not armed */
    void (*fire)(struct timer *t);
};
/* Arms, or moves an armed one. Only growing the set for the first time can fail; PP_NOMEM then. */
enum pp_result timer_set(struct loop *l, struct timer *t, msec due, void (*fire)(struct timer *)) PP_MUST_CHECK;
void timer_stop(struct loop *l, struct timer *t);
static inline bool timer_armed(const struct timer *t)
{
    return t->slot != 0;
}

/* --- later this turn --- */
/* Runs once at the end of this turn (asked for twice: still once). The place to free things that events of this turn
 * may still point to. */
struct deferred {
    struct deferred *next;
    bool queued;
    void (*run)(struct deferred *d);
};
void loop_defer(struct loop *l, struct deferred *d, void (*run)(struct deferred *));
/* Runs at the end of the next turn, which then comes at once: for work that could go on for long and must let others
 * have their turn, and where the after_turn hook is to see the result. Nothing happens if it is queued already. */
void loop_later(struct loop *l, struct deferred *d, void (*run)(struct deferred *));

/* --- from other threads --- */
/* A message is embedded in memory the receiver will own. In order per sender. Wakes the loop. Any thread; takes a lock
 * for some nanoseconds, so not for the hot path. */
struct message {
    struct message *next;
    void (*deliver)(struct message *m); /* on the receiving loop's thread; frees it */
    void *receiver;
};
void loop_post(struct loop *l, struct message *m);

#endif
