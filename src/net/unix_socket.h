/* A listening Unix socket in the file system that nobody can reach before its mode and owner are right. */
#ifndef PP_NET_UNIX_SOCKET_H
#define PP_NET_UNIX_SOCKET_H

#include "base/result.h"
#include "config/config.h"

#include <sys/types.h>

/* Which file a socket was bound to: a path may be replaced by somebody else's file later. */
struct unix_socket_file {
    dev_t device;
    ino_t inode;
};

/* Binds in place with mode 0, applies mode, owner and group, and only then listens. A socket file left behind by a
 * process that is gone is removed first; one that somebody answers on is not: PP_LIMIT. The parent directory is locked
 * meanwhile (flock(2)), so that two daemons starting at once can't take each other's fresh socket for a stale one.
 * PP_OK: *fd is the caller's, non-blocking and close-on-exec. Failures as in listener_set_open. */
enum pp_result unix_socket_listen(const char *path, const struct unix_access *access, int *fd,
                                  struct unix_socket_file *file, struct problem *problem) PP_MUST_CHECK;

/* Applies mode, owner and group to the existing socket at `path`, if it is still `file`; *before (may be NULL) is what
 * they were, ready to be applied again. */
enum pp_result unix_socket_apply(const char *path, const struct unix_socket_file *file,
                                 const struct unix_access *access, struct unix_access *before,
                                 struct problem *problem) PP_MUST_CHECK;

/* Whether `path` still names `file`, so that clients reach our socket. */
bool unix_socket_is_there(const char *path, const struct unix_socket_file *file);

/* Removes the socket file if it is still `file`. Call it while the socket is open: that keeps the inode from reuse. */
void unix_socket_remove(const char *path, const struct unix_socket_file *file);

#endif
