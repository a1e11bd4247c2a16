/* Listening sockets that systemd opened for us (sd_listen_fds(3)). */
#ifndef PP_NET_ACTIVATION_H
#define PP_NET_ACTIVATION_H

#include "base/result.h"

#include <stddef.h>

#define ACTIVATION_MAX 64 /* sockets systemd may pass; further ones are ignored */

/* The descriptors passed under that FileDescriptorName=, in order. LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES are read
 * at the first call and remembered, so the environment may be cleared afterwards. The descriptors stay open for the
 * life of the process. PP_NOT_FOUND when there is none of that name; the problem says which there are. Main thread
 * only. */
enum pp_result activation_find(const char *name, int fds[static ACTIVATION_MAX], size_t *count,
                               struct problem *problem) PP_MUST_CHECK;

/* Reads the environment now. Called by activation_find; call it before clearing the environment. */
void activation_capture(void);

#endif
