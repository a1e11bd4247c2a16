/* The admin interface: which path shows what, to whom, and POST /reload. Main thread.
 *
 * It trusts whoever may open its Unix socket. On TCP it takes no browser's word: Host must be localhost or an IP
 * address (a name could have been rebound), a request that names a foreign Origin or Sec-Fetch-Site is refused; and a
 * reload is only for root and the daemon's own user. */
#ifndef PP_DAEMON_ADMIN_H
#define PP_DAEMON_ADMIN_H

#include "daemon/pages.h"
#include "net/local_server.h"

struct admin;
struct admin_reload; /* somebody waits for the verdict of a reload */

struct admin_hooks {
    /* Fills *out, whose pointers stay valid until the hook is called again or the loop's turn ends. */
    void (*snapshot)(void *owner, struct status_snapshot *out);
    /* Starts a reload; ends in one call of admin_reload_done, at once or later. */
    void (*reload)(void *owner, struct admin_reload *waiter);
    void *owner;
};

/* `ok`: 200, else 422. `text`: lines saying what changed and what waits for a restart, or the problems. */
void admin_reload_done(struct admin_reload *waiter, bool ok, const char *text);

/* NULL when out of memory or descriptors. `metrics` outlives it. */
struct admin *admin_new(struct loop *loop, const struct admin_hooks *hooks, struct metrics *metrics) PP_MUST_CHECK;
/* The listening socket stays the caller's, and stays open until admin_unlisten or the admin's end. */
enum pp_result admin_listen(struct admin *a, int fd) PP_MUST_CHECK;
void admin_unlisten(struct admin *a, int fd);
/* Call it from loop_hooks.before_wait and wait no longer than it says (-1: for ever). */
msec admin_before_wait(struct admin *a);
/* Whoever still waits for a reload's verdict gets 503, and its waiter must not be used any more. NULL is fine. */
void admin_free(struct admin *a);

/* The pure half, for tests: which answer a request gets. False: it asks for a reload, which only the loop can do. */
bool admin_answer(const struct status_snapshot *s, struct metrics *m, const struct local_request *request,
                  struct local_reply *reply);

#endif
