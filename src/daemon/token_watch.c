/* A watched file: inotify on its directory, and a look at it now and then. */
#include "daemon/token_watch.h"

#include "base/log.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_EVERY      ((msec)2000)
#define QUIET_COMPLETE  ((msec)20)  /* after a rename or a close: the change is complete, more may come */
#define QUIET_WRITING   ((msec)300) /* after a write: its end is to be waited for */
#define LONGEST_WAIT    ((msec)1000)
#define REST            ((msec)50) /* between two readings of what other files in the directory do */
#define TIMESTAMP_BLUR  100        /* ms: two changes this close may bear the same time */
#define EVENTS_COMPLETE (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ATTRIB)
#define EVENTS          (EVENTS_COMPLETE | IN_MODIFY | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

/* What stat(2) says; all zero when there is no file. */
struct signature {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};

struct token_watch {
    struct loop *loop;
    char *path, *directory;
    const char *name; /* of the file in its directory; within `path` */
    void (*changed)(void *owner);
    void *owner;
    struct watch inotify;
    int fd; /* of inotify, -1 = none */
    int watched;
    dev_t watched_device; /* the directory behind `watched` */
    ino_t watched_inode;
    struct timer look, rest;
    msec burst; /* when the first event since the last look came, -1 = none came */
    bool again; /* the last change was so recent that another might hide behind the same times */
    struct signature seen;
};

static void look(struct timer *t);

static void arm(struct token_watch *w, msec due)
{
    if (timer_set(w->loop, &w->look, due, look) != PP_OK) /* cannot be: it was armed before */
        log_error("token", NULL, "%s is no longer watched: out of memory", w->path);
}

static struct signature signature_of(const char *path)
{
    struct signature s = {.inode = 0};
    struct stat st;
    if (stat(path, &st) == 0) {
        s.device = st.st_dev;
        s.inode = st.st_ino;
        s.size = st.st_size;
        s.modified = st.st_mtim;
        s.changed = st.st_ctim;
    }
    return s;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_signature(const struct signature *a, const struct signature *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           same_time(&a->modified, &b->modified) && same_time(&a->changed, &b->changed);
}

/* Watches the directory that has the name now. */
static void watch_directory(struct token_watch *w)
{
    struct stat st;
    bool there = stat(w->directory, &st) == 0;
    if (w->fd < 0 || (there && w->watched >= 0 && st.st_dev == w->watched_device && st.st_ino == w->watched_inode))
        return;
    if (w->watched >= 0)
        (void)inotify_rm_watch(w->fd, w->watched);
    w->watched = there ? inotify_add_watch(w->fd, w->directory, EVENTS) : -1;
    w->watched_device = there ? st.st_dev : 0;
    w->watched_inode = there ? st.st_ino : 0;
}

static void look(struct timer *t)
{
    struct token_watch *w = (struct token_watch *)((char *)t - offsetof(struct token_watch, look));
    watch_directory(w);
    struct signature now = signature_of(w->path);
    bool differs = !same_signature(&now, &w->seen) || w->again;
    int64_t changed = (int64_t)now.changed.tv_sec * 1000 + now.changed.tv_nsec / 1000000, age = clock_wall() - changed;
    w->seen = now;
    w->burst = -1;
    w->again = differs && now.inode != 0 && age >= 0 && age < TIMESTAMP_BLUR;
    arm(w, clock_now() + (w->again ? TIMESTAMP_BLUR : LOOK_EVERY));
    if (differs)
        w->changed(w->owner);
}

/* What a read of inotify's events told. */
struct events_seen {
    bool ours;                           /* of the file or its directory */
    bool others;                         /* of other files there */
    bool ours_complete, others_complete; /* the last of them was more than a write in progress */
};

static void take_event(struct token_watch *w, const struct inotify_event *e, const char *name, struct events_seen *seen)
{
    if ((e->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF)) != 0 && e->wd == w->watched)
        w->watched_inode = 0; /* looked for anew */
    if ((e->mask & IN_IGNORED) != 0 && e->wd == w->watched)
        w->watched = -1;
    bool ours = e->len == 0 || strcmp(name, w->name) == 0, complete = (e->mask & IN_MODIFY) == 0;
    if (ours) {
        seen->ours = true;
        seen->ours_complete = complete;
    } else {
        seen->others = true;
        seen->others_complete = complete;
    }
}

/* A log in the same directory may be written to all the time, and must not hold up what happens to our file. What the
 * name leads to may still have changed with another one: Kubernetes and Vault swap a link beside it. */
static bool led_elsewhere(const struct token_watch *w)
{
    struct signature now = signature_of(w->path);
    return w->burst < 0 && !same_signature(&now, &w->seen);
}

static void end_rest(struct timer *t)
{
    struct token_watch *w = (struct token_watch *)((char *)t - offsetof(struct token_watch, rest));
    (void)loop_rewatch(w->loop, &w->inotify, EPOLLIN);
}

/* Who writes a file in the same directory ten thousand times a second must not wake us as often: the kernel keeps and
 * merges events meanwhile. Without memory for the timer each is read at once, as always when the file is ours. */
static void rest(struct token_watch *w)
{
    if (timer_set(w->loop, &w->rest, clock_now() + REST, end_rest) == PP_OK)
        (void)loop_rewatch(w->loop, &w->inotify, 0);
}

static void on_events(struct watch *watch, uint32_t ready)
{
    struct token_watch *w = (struct token_watch *)((char *)watch - offsetof(struct token_watch, inotify));
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    struct events_seen seen = {0};
    (void)ready;
    for (ssize_t n; (n = read(w->fd, events, sizeof events)) > 0;) {
        for (char *at = events; at < events + n;) {
            struct inotify_event e;
            memcpy(&e, at, sizeof e);
            take_event(w, &e, at + sizeof e, &seen);
            at += sizeof e + e.len;
        }
    }
    if (!seen.ours && !(seen.others && led_elsewhere(w))) {
        rest(w);
        return;
    }
    msec now = clock_now();
    if (w->burst < 0)
        w->burst = now;
    bool complete = seen.ours ? seen.ours_complete : seen.others_complete;
    msec due = now + (complete ? QUIET_COMPLETE : QUIET_WRITING), latest = w->burst + LONGEST_WAIT;
    arm(w, due < latest ? due : latest);
}

struct token_watch *token_watch_new(struct loop *loop, const char *path, void (*changed)(void *owner), void *owner)
{
    struct token_watch *w = calloc(1, sizeof *w);
    struct str folder = str_folder(path);
    if (w == NULL)
        return NULL;
    w->loop = loop;
    w->path = strdup(path);
    w->directory = strndup(folder.p, folder.n);
    w->name = w->path == NULL ? NULL : w->path + (strrchr(path, '/') == NULL ? 0 : strrchr(path, '/') + 1 - path);
    w->changed = changed;
    w->owner = owner;
    w->inotify.fd = -1;
    w->watched = -1;
    w->burst = -1;
    w->fd = -1;
    if (w->path == NULL || w->directory == NULL || timer_set(loop, &w->look, clock_now() + LOOK_EVERY, look) != PP_OK) {
        token_watch_free(w);
        return NULL;
    }
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd >= 0 && loop_watch(loop, &w->inotify, w->fd, EPOLLIN, on_events) != PP_OK) {
        (void)close(w->fd);
        w->fd = -1;
    }
    watch_directory(w);
    w->seen = signature_of(path);
    return w;
}

void token_watch_free(struct token_watch *w)
{
    if (w == NULL)
        return;
    timer_stop(w->loop, &w->look);
    timer_stop(w->loop, &w->rest);
    if (w->fd >= 0) {
        loop_unwatch(w->loop, &w->inotify);
        (void)close(w->fd);
    }
    free(w->path);
    free(w->directory);
    free(w);
}

bool token_watch_quick(const struct token_watch *w)
{
    return w->watched >= 0;
}
