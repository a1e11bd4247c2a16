/* The local security posture in one line: who on this host can use the daemon, and through what. Pure. */
#ifndef PP_DAEMON_POSTURE_H
#define PP_DAEMON_POSTURE_H

#include "config/config.h"

/* Per environment: listeners, the peer gate (on: which users and groups; off), accepted Host names, the marker header's
 * name, and what weakens it (listening off loopback, forwarded headers let through); then the admin listeners and
 * whether secrets are locked in memory. No secret, no newline. */
void posture_text(const struct config *c, bool memory_locked, struct buf *out);
/* The part of one environment. */
void posture_environment_text(const struct environment_config *e, struct buf *out);

#endif
