/* What the service manager is told: readiness, reloads, the end, a status sentence and a sign of life.
 *
 * Speaks the protocol of sd_notify(3) where systemd started us (NOTIFY_SOCKET is set) and the build has systemd;
 * otherwise every call does nothing. Call from the main thread. A message that can't be delivered is logged, at most
 * once a minute, and changes nothing else: a deaf manager is no reason to refuse work. The environment variables
 * NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID must still be there: don't clear them. */
#ifndef PP_DAEMON_NOTIFY_H
#define PP_DAEMON_NOTIFY_H

#include "base/clock.h"
#include "base/result.h"

#include <stdbool.h>

/* Whether somebody listens: systemd started us and the build can speak to it. */
bool notify_active(void);

/* READY=1. Once, when every listener accepts; and again at the end of every reload, good or bad, as systemd counts the
 * reload as running until then. It does not wait for tokens: a missing token file of one environment must not keep the
 * others from starting. That is for /readyz and "proofproxy wait" to say, and for STATUS=. */
void notify_ready(void);

/* RELOADING=1, with the time stamp that newer systemd wants. notify_ready must follow. */
void notify_reloading(void);

/* STOPPING=1: the drain begins. Systemd's stop timeout runs from its own signal, not from here. */
void notify_stopping(void);

/* EXTEND_TIMEOUT_USEC: asks for `more` milliseconds from now before systemd loses patience with a start or a stop. */
void notify_extend(msec more);

/* STATUS=: the sentence that `systemctl status` shows. Control bytes become blanks, bytes
 * outside ASCII question marks; text over 1000 bytes is cut. */
void notify_status(const char *format, ...) PP_PRINTF(1, 2);

/* How often to call notify_alive, in milliseconds: half of what WatchdogSec= allows. 0: no watchdog is set. */
msec notify_watchdog_interval(void);

/* WATCHDOG=1: call it only while every loop turns. */
void notify_alive(void);

#endif
