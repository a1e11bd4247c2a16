/* The sockets we listen on: opened once by the main thread, shared by all workers, kept over a reload.
 *
 * A set is what one configuration listens on. At reload a new set is opened from the new configuration against the
 * previous set: a listener found in both is the same object with the same socket, so nobody is refused meanwhile.
 * Opening is all or nothing. Then the workers take up the new set's listeners and drop their references on those
 * missing from it, and the previous set is closed. */
#ifndef PP_NET_LISTENER_H
#define PP_NET_LISTENER_H

#include "base/result.h"
#include "config/config.h"

/* One listening socket, non-blocking and close-on-exec. Immutable; counted atomically. */
struct listener {
    int fd;
    enum listen_kind kind; /* how it came here */
    int family;            /* AF_INET, AF_INET6 or AF_UNIX: what it is, also when it came from systemd */
    unsigned port;         /* of a TCP listener: the real one, also where port 0 was asked for */
    char *text;            /* as written in the config file */
    char *address;         /* what it is bound to, for people: "127.0.0.1:8780", "[::1]:8780", "unix:/run/x.sock" */
};

/* Any thread. The last unref closes the socket (one from systemd stays open: systemd holds it too). */
struct listener *listener_ref(struct listener *l);
void listener_unref(struct listener **l);

struct listener_set;

/* What one owner (an environment, or the admin interface) wants to listen on. */
struct listener_request {
    const char *owner; /* copied; comes back with every listener of the set */
    const struct listen_list *list;
    const struct unix_access *access; /* mode, owner and group of its Unix sockets */
};

/* Opens everything asked for, taking over what `previous` (may be NULL) has already. PP_OK: *out is the caller's, and
 * `previous` is still whole and the caller's to close. Otherwise nothing has changed, and the problem names the
 * address, the reason and what to do: PP_INVALID (address not usable at all), PP_DENIED (not permitted), PP_LIMIT (in
 * use by somebody), PP_NOT_FOUND (no such address, directory or systemd socket), PP_SYSTEM, PP_NOMEM. A name of systemd
 * sockets stands for every socket passed under that name. Main thread only. */
enum pp_result listener_set_open(const struct listener_request *requests, size_t count,
                                 const struct listener_set *previous, struct listener_set **out,
                                 struct problem *problem) PP_MUST_CHECK;

size_t listener_set_count(const struct listener_set *set);
/* The set's reference stays the set's. *owner (may be NULL) lives as long as the set. */
struct listener *listener_set_at(const struct listener_set *set, size_t i, const char **owner);
bool listener_set_has(const struct listener_set *set, const struct listener *l);

/* Drops the set's references and removes from the file system the Unix sockets that are ours (same inode) and not in
 * `successor` (NULL: the daemon stops). Main thread only; *set becomes NULL. */
void listener_set_close(struct listener_set **set, const struct listener_set *successor);

#endif
