/* Binds Unix sockets safely: permissions first, reachability second. */
#include "net/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LISTEN_BACKLOG  4096 /* the kernel cuts it to net.core.somaxconn */
#define LOCK_ATTEMPTS   50
#define LOCK_PAUSE_NSEC (20 * 1000 * 1000)
#define MODE_BITS       0777u

static enum pp_result fail(struct problem *problem, const char *path, const char *doing, const char *advice)
{
    enum pp_result rc = PP_SYSTEM;
    if (errno == EACCES || errno == EPERM || errno == EROFS)
        rc = PP_DENIED;
    else if (errno == ENOENT || errno == ENOTDIR)
        rc = PP_NOT_FOUND;
    return problem_set(problem, rc, "unix:%s: %s: %m%s%s", path, doing, *advice ? "; " : "", advice);
}

/* The directory the socket is in, open and locked against other daemons doing the same; -1 with the problem said. */
static int lock_directory(const char *path, struct problem *problem, enum pp_result *rc)
{
    char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];
    (void)snprintf(copy, sizeof copy, "%s", path);
    int directory = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) {
        *rc = fail(problem, path, "can't open its directory",
                   errno == ENOENT ? "create it, or let systemd do so with RuntimeDirectory=" : "");
        return -1;
    }
    for (int i = 0; i < LOCK_ATTEMPTS; i++) {
        if (flock(directory, LOCK_EX | LOCK_NB) == 0)
            return directory;
        if (errno != EWOULDBLOCK && errno != EINTR)
            break;
        struct timespec pause = {.tv_nsec = LOCK_PAUSE_NSEC};
        (void)nanosleep(&pause, NULL);
    }
    *rc = fail(problem, path, "can't lock its directory", "is another proofproxy starting there right now?");
    (void)close(directory);
    return -1;
}

/* Removes a socket file that nobody answers on. */
static enum pp_result remove_stale(const char *path, const struct sockaddr_un *address, struct problem *problem)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? PP_OK : fail(problem, path, "can't look at it", "");
    if (!S_ISSOCK(st.st_mode))
        return problem_set(problem, PP_INVALID,
                           "unix:%s: a file that is not a socket is in the way; move it or choose another path", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(problem, path, "can't create a socket", "");
    int refused = connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 ? errno : 0;
    (void)close(fd);
    if (refused == 0 || refused == EAGAIN || refused == EPROTOTYPE)
        return problem_set(problem, PP_LIMIT,
                           "unix:%s: another process already listens there; see which with: ss -xlp src %s", path,
                           path);
    if (refused == ENOENT)
        return PP_OK;
    if (refused != ECONNREFUSED) {
        errno = refused;
        return fail(problem, path, "can't tell whether somebody listens on the socket in the way", "remove it by hand");
    }
    if (unlink(path) != 0 && errno != ENOENT)
        return fail(problem, path, "can't remove the socket left behind by an earlier run", "remove it by hand");
    return PP_OK;
}

static enum pp_result apply_access(int file, const char *path, const struct unix_access *access,
                                   struct problem *problem)
{
    if (access->owner_set || access->group_set) {
        uid_t uid = access->owner_set ? access->owner : (uid_t)-1;
        gid_t gid = access->group_set ? access->group : (gid_t)-1;
        if (fchownat(file, "", uid, gid, AT_EMPTY_PATH) != 0)
            return fail(problem, path, "can't apply unix_owner or unix_group",
                        "only root may give a file away, and others only to their own groups");
    }
    char link[32]; /* fchmod(2) refuses O_PATH descriptors; the path itself may have been swapped meanwhile */
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (chmod(link, access->mode & MODE_BITS) != 0)
        return fail(problem, path, "can't apply unix_mode", "");
    return PP_OK;
}

/* An O_PATH descriptor of the socket file itself, or -1. */
static int open_file(const char *path, struct stat *st)
{
    int file = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0)
        return -1;
    if (fstat(file, st) == 0 && S_ISSOCK(st->st_mode))
        return file;
    (void)close(file);
    errno = ENOTSOCK;
    return -1;
}

bool unix_socket_is_there(const char *path, const struct unix_socket_file *file)
{
    struct stat st;
    return lstat(path, &st) == 0 && st.st_dev == file->device && st.st_ino == file->inode;
}

/* Our open socket keeps the inode alive, so its number can't have been given to somebody else's file. */
static void remove_file(const char *path, const struct unix_socket_file *file)
{
    if (unix_socket_is_there(path, file))
        (void)unlink(path);
}

/* From a bound, unreachable socket (mode 0, not listening) to a listening one with the right mode and owner. */
static enum pp_result open_up(int fd, const char *path, const struct unix_access *access, struct unix_socket_file *file,
                              struct problem *problem)
{
    struct stat st;
    int node = open_file(path, &st);
    if (node < 0)
        return fail(problem, path, "can't find the socket just created", "does somebody else write to that directory?");
    *file = (struct unix_socket_file){st.st_dev, st.st_ino};
    enum pp_result rc = apply_access(node, path, access, problem);
    (void)close(node);
    if (rc == PP_OK && listen(fd, LISTEN_BACKLOG) != 0)
        rc = fail(problem, path, "can't listen", "");
    if (rc != PP_OK)
        remove_file(path, file);
    return rc;
}

enum pp_result unix_socket_listen(const char *path, const struct unix_access *access, int *fd,
                                  struct unix_socket_file *file, struct problem *problem)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n == 0 || path[0] != '/' || n >= sizeof address.sun_path)
        return problem_set(problem, PP_INVALID, "unix:%s: expected an absolute path of at most %zu bytes", path,
                           sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, n + 1);

    enum pp_result rc = PP_SYSTEM;
    int s = -1;
    int directory = lock_directory(path, problem, &rc);
    if (directory < 0)
        return rc;
    rc = remove_stale(path, &address, problem);
    if (rc != PP_OK)
        goto out;
    s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* The file takes the mode of the unbound socket: 0 keeps everybody out whatever the process's umask, which other
     * threads share. */
    if (s < 0 || fchmod(s, 0) != 0) {
        rc = fail(problem, path, "can't create a socket", "");
        goto out;
    }
    if (bind(s, (const struct sockaddr *)&address, sizeof address) != 0) {
        rc = fail(problem, path, "can't create the socket file",
                  errno == EACCES ? "the directory must be writable for the user proofproxy runs as" : "");
        goto out;
    }
    rc = open_up(s, path, access, file, problem);
    if (rc == PP_OK) {
        *fd = s;
        s = -1;
    }
out:
    if (s >= 0)
        (void)close(s);
    (void)close(directory); /* and with it the lock */
    return rc;
}

enum pp_result unix_socket_apply(const char *path, const struct unix_socket_file *file,
                                 const struct unix_access *access, struct unix_access *before, struct problem *problem)
{
    struct stat st;
    int node = open_file(path, &st);
    if (node >= 0 && (st.st_dev != file->device || st.st_ino != file->inode)) {
        (void)close(node);
        node = -1;
        errno = ENOENT;
    }
    if (node < 0)
        return fail(problem, path, "our socket is gone from there", "restart proofproxy to create it again");
    if (before != NULL)
        *before = (struct unix_access){.mode = st.st_mode & MODE_BITS,
                                       .owner_set = true,
                                       .group_set = true,
                                       .owner = st.st_uid,
                                       .group = st.st_gid};
    enum pp_result rc = apply_access(node, path, access, problem);
    (void)close(node);
    return rc;
}

void unix_socket_remove(const char *path, const struct unix_socket_file *file)
{
    enum pp_result unused;
    int directory = lock_directory(path, NULL, &unused); /* without the lock there is still the inode */
    remove_file(path, file);
    if (directory >= 0)
        (void)close(directory);
}
