/* One thread's event loop over epoll(7). */
#include "net/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOP_EVENTS_PER_TURN 32 /* few: a turn is how long an event that just missed it waits */
#define LOOP_TIMERS_FIRST    64u
#define WAKE_TRIES           4

struct loop {
    int epoll_fd;
    int wake_fd; /* eventfd(2): a message waits, or stop was asked for */
    struct watch wake;
    atomic_bool stopping;
    atomic_uint_fast64_t turns;

    /* events of the turn at hand, so that an unwatch can void those not delivered yet */
    struct epoll_event events[LOOP_EVENTS_PER_TURN];
    int event_count;
    int event_at;

    struct timer **heap; /* binary heap by due time; slot 0 unused, so that a slot of 0 means "not armed" */
    size_t heap_count;
    size_t heap_size;

    struct deferred *deferred_first;
    struct deferred **deferred_last;
    struct deferred *later_first; /* of the next turn */
    struct deferred **later_last;

    pthread_mutex_t lock; /* of the two below */
    struct message *inbox_first;
    struct message **inbox_last;
};

static void wake_ready(struct watch *w, uint32_t events)
{
    uint64_t count;
    (void)events;
    (void)!read(w->fd, &count, sizeof count); /* only empties it; the inbox is looked at every turn */
}

struct loop *loop_new(void)
{
    struct loop *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->wake.fd = -1;
    l->deferred_last = &l->deferred_first;
    l->later_last = &l->later_first;
    l->inbox_last = &l->inbox_first;
    l->heap = calloc(LOOP_TIMERS_FIRST, sizeof(struct timer *));
    l->heap_size = LOOP_TIMERS_FIRST;
    (void)pthread_mutex_init(&l->lock, NULL); /* cannot fail with default attributes on Linux */
    if (l->epoll_fd < 0 || l->wake_fd < 0 || l->heap == NULL ||
        loop_watch(l, &l->wake, l->wake_fd, EPOLLIN, wake_ready) != PP_OK) {
        loop_free(l);
        return NULL;
    }
    return l;
}

/* --- descriptors --- */

enum pp_result loop_watch(struct loop *l, struct watch *w, int fd, uint32_t events,
                          void (*ready)(struct watch *, uint32_t))
{
    struct epoll_event e = {.events = events, .data.ptr = w};
    w->ready = ready;
    w->fd = fd;
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0) {
        w->fd = -1;
        return PP_SYSTEM;
    }
    return PP_OK;
}

enum pp_result loop_rewatch(struct loop *l, struct watch *w, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = w};
    return epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, w->fd, &e) == 0 ? PP_OK : PP_SYSTEM;
}

void loop_forget(struct loop *l, struct watch *w)
{
    for (int i = l->event_at; i < l->event_count; i++)
        if (l->events[i].data.ptr == w)
            l->events[i].data.ptr = NULL;
    w->fd = -1;
}

void loop_unwatch(struct loop *l, struct watch *w)
{
    if (w->fd < 0)
        return;
    (void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL); /* fails only if it was closed already: gone either way */
    loop_forget(l, w);
}

/* --- timers: the usual heap moves, each keeping slot numbers true --- */

static void heap_put(struct loop *l, size_t slot, struct timer *t)
{
    l->heap[slot] = t;
    t->slot = slot;
}

static void heap_rise(struct loop *l, struct timer *t)
{
    size_t slot = t->slot;
    while (slot > 1 && l->heap[slot / 2]->due > t->due) {
        heap_put(l, slot, l->heap[slot / 2]);
        slot /= 2;
    }
    heap_put(l, slot, t);
}

static void heap_sink(struct loop *l, struct timer *t)
{
    size_t slot = t->slot;
    for (;;) {
        size_t child = slot * 2;
        if (child > l->heap_count)
            break;
        if (child < l->heap_count && l->heap[child + 1]->due < l->heap[child]->due)
            child++;
        if (l->heap[child]->due >= t->due)
            break;
        heap_put(l, slot, l->heap[child]);
        slot = child;
    }
    heap_put(l, slot, t);
}

enum pp_result timer_set(struct loop *l, struct timer *t, msec due, void (*fire)(struct timer *))
{
    t->fire = fire;
    if (t->slot == 0) {
        if (l->heap_count + 1 >= l->heap_size) {
            struct timer **heap = realloc(l->heap, l->heap_size * 2 * sizeof *heap);
            if (heap == NULL)
                return PP_NOMEM;
            l->heap = heap;
            l->heap_size *= 2;
        }
        t->due = due;
        heap_put(l, ++l->heap_count, t);
        heap_rise(l, t);
    } else {
        msec before = t->due;
        t->due = due;
        if (due < before)
            heap_rise(l, t);
        else
            heap_sink(l, t);
    }
    return PP_OK;
}

void timer_stop(struct loop *l, struct timer *t)
{
    size_t slot = t->slot;
    if (slot == 0)
        return;
    struct timer *last = l->heap[l->heap_count--];
    t->slot = 0;
    if (last != t) {
        heap_put(l, slot, last);
        heap_rise(l, last);
        heap_sink(l, last);
    }
}

static void run_timers(struct loop *l)
{
    msec now = clock_now();
    while (l->heap_count > 0 && l->heap[1]->due <= now) {
        struct timer *t = l->heap[1];
        timer_stop(l, t);
        t->fire(t);
    }
}

/* --- later this turn --- */

void loop_defer(struct loop *l, struct deferred *d, void (*run)(struct deferred *))
{
    if (d->queued)
        return;
    *d = (struct deferred){.next = NULL, .queued = true, .run = run};
    *l->deferred_last = d;
    l->deferred_last = &d->next;
}

void loop_later(struct loop *l, struct deferred *d, void (*run)(struct deferred *))
{
    if (d->queued)
        return;
    *d = (struct deferred){.next = NULL, .queued = true, .run = run};
    *l->later_last = d;
    l->later_last = &d->next;
}

/* What was put off to the next turn belongs to this one now. */
static void take_later(struct loop *l)
{
    if (l->later_first == NULL)
        return;
    *l->deferred_last = l->later_first;
    l->deferred_last = l->later_last;
    l->later_first = NULL;
    l->later_last = &l->later_first;
}

/* What a deferred call defers runs too, in the same turn: nothing waits for the next event. */
static void run_deferred(struct loop *l)
{
    while (l->deferred_first != NULL) {
        struct deferred *d = l->deferred_first;
        l->deferred_first = d->next;
        if (l->deferred_first == NULL)
            l->deferred_last = &l->deferred_first;
        d->queued = false;
        d->run(d); /* may free d */
    }
}

/* --- from other threads --- */

static void wake(struct loop *l)
{
    uint64_t one = 1;
    /* EAGAIN: it is awake a few billion times over. Nothing else can be; but a message nobody is woken for is lost. */
    for (int i = 0; i < WAKE_TRIES && write(l->wake_fd, &one, sizeof one) < 0 && errno != EAGAIN; i++)
        continue;
}

void loop_post(struct loop *l, struct message *m)
{
    m->next = NULL;
    pthread_mutex_lock(&l->lock);
    bool was_empty = l->inbox_first == NULL;
    *l->inbox_last = m;
    l->inbox_last = &m->next;
    pthread_mutex_unlock(&l->lock);
    if (was_empty)
        wake(l);
}

static void run_messages(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct message *m = l->inbox_first;
    l->inbox_first = NULL;
    l->inbox_last = &l->inbox_first;
    pthread_mutex_unlock(&l->lock);
    while (m != NULL) {
        struct message *next = m->next;
        m->deliver(m); /* frees m */
        m = next;
    }
}

/* --- turning --- */

static int wait_time(struct loop *l, const struct loop_hooks *hooks)
{
    msec wait = hooks != NULL && hooks->before_wait != NULL ? hooks->before_wait(hooks->owner) : -1;
    if (l->heap_count > 0) {
        msec until = l->heap[1]->due - clock_now();
        if (until < 0)
            until = 0;
        if (wait < 0 || until < wait)
            wait = until;
    }
    if (l->deferred_first != NULL)
        wait = 0;
    return wait > 60000 ? 60000 : (int)wait;
}

void loop_turn(struct loop *l, const struct loop_hooks *hooks)
{
    take_later(l);
    int n = epoll_wait(l->epoll_fd, l->events, LOOP_EVENTS_PER_TURN, wait_time(l, hooks));
    if (n < 0 && errno == EINTR) /* stopped and continued: what came meanwhile goes before the timers that are due */
        n = epoll_wait(l->epoll_fd, l->events, LOOP_EVENTS_PER_TURN, 0);
    (void)clock_tick();
    l->event_count = n > 0 ? n : 0;
    for (l->event_at = 0; l->event_at < l->event_count;) {
        struct epoll_event *e = &l->events[l->event_at++];
        struct watch *w = e->data.ptr;
        if (w != NULL)
            w->ready(w, e->events);
    }
    l->event_count = 0;
    run_timers(l);
    run_messages(l);
    if (hooks != NULL && hooks->after_turn != NULL)
        hooks->after_turn(hooks->owner);
    run_deferred(l);
    atomic_fetch_add_explicit(&l->turns, 1, memory_order_relaxed);
}

static msec no_wait(void *owner)
{
    (void)owner;
    return 0;
}

void loop_settle(struct loop *l)
{
    struct loop_hooks hooks = {.before_wait = no_wait};
    loop_turn(l, &hooks);
}

void loop_run(struct loop *l, const struct loop_hooks *hooks)
{
    (void)clock_tick();
    while (!atomic_load_explicit(&l->stopping, memory_order_relaxed))
        loop_turn(l, hooks);
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stopping, true);
    wake(l);
}

uint64_t loop_turns(const struct loop *l)
{
    return atomic_load_explicit(&l->turns, memory_order_relaxed);
}

void loop_free(struct loop *l)
{
    if (l == NULL)
        return;
    run_messages(l);
    run_deferred(l);
    while (l->later_first != NULL) {
        take_later(l);
        run_deferred(l);
    }
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    (void)pthread_mutex_destroy(&l->lock);
    free(l->heap);
    free(l);
}
