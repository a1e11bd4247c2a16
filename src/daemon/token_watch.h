/* Notices that a file has changed: written in place, renamed over, reached through another symbolic link, removed.
 *
 * inotify(7) on its directory makes it quick; a look every two seconds makes it certain (watches run out, and network
 * file systems and links into other directories raise no event here). On the loop's thread. */
#ifndef PP_DAEMON_TOKEN_WATCH_H
#define PP_DAEMON_TOKEN_WATCH_H

#include "net/loop.h"

struct token_watch;

/* `changed` is called when it is worth reading the file again: shortly after the last of a burst of events, so that a
 * file is seldom seen half-written. Not called for the state at the start. NULL when out of memory; the path is copied.
 */
struct token_watch *token_watch_new(struct loop *loop, const char *path, void (*changed)(void *owner),
                                    void *owner) PP_MUST_CHECK;
/* NULL is fine. Not from inside `changed`. */
void token_watch_free(struct token_watch *w);

/* Does inotify work? Else changes are noticed within two seconds. */
bool token_watch_quick(const struct token_watch *w);

#endif
