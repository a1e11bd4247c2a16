/* Tells the service manager how we are. The only file that knows libsystemd. */
#include "daemon/notify.h"

#include "base/log.h"
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>

/* The first argument of the library's calls: whether to remove the variables, so that no child inherits them. We have
 * no children, and go on speaking. */
#define KEEP_ENVIRONMENT 0

bool notify_active(void)
{
    const char *socket = getenv("NOTIFY_SOCKET");
    return socket != NULL && *socket != '\0';
}

static void send_state(const char *state)
{
    static struct log_limit limit;
    int sent = sd_notify(KEEP_ENVIRONMENT, state);

    if (sent >= 0 || !log_allowed(&limit, 60 * 1000))
        return;
    errno = -sent;
    log_warning(
        "notify", NULL,
        "systemd could not be told \"%.*s\" (%m): expected to reach it by NOTIFY_SOCKET; check that the unit has "
        "NotifyAccess=main and lets AF_UNIX through%s",
        (int)strcspn(state, "\n"), state, limit.note);
}

msec notify_watchdog_interval(void)
{
    uint64_t allowed = 0; /* microseconds */

    if (sd_watchdog_enabled(KEEP_ENVIRONMENT, &allowed) <= 0)
        return 0;
    /* Half of it, so that one late turn is not death; at least 1 ms, as 0 would mean no watchdog. */
    uint64_t half = allowed / 2 / 1000;
    return half == 0 ? 1 : half > INT64_MAX ? INT64_MAX : (msec)half;
}

#else

bool notify_active(void)
{
    return false;
}

static void send_state(const char *state)
{
    (void)state;
}

msec notify_watchdog_interval(void)
{
    return 0;
}

#endif

void notify_ready(void)
{
    send_state("READY=1");
}

void notify_reloading(void)
{
    char state[64];

    /* sd_notify(3): the monotonic time of the reload's begin, for Type=notify-reload. */
    (void)snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_usec());
    send_state(state);
}

void notify_stopping(void)
{
    send_state("STOPPING=1");
}

void notify_extend(msec more)
{
    char state[64];

    (void)snprintf(state, sizeof(state), "EXTEND_TIMEOUT_USEC=%" PRId64, more * 1000);
    send_state(state);
}

void notify_status(const char *format, ...)
{
    static const char name[] = "STATUS=";
    char state[1024];
    va_list args;

    memcpy(state, name, sizeof(name));
    va_start(args, format);
    int n = vsnprintf(state + sizeof(name) - 1, sizeof(state) - sizeof(name) + 1, format, args);
    va_end(args);
    if (n < 0)
        return;
    /* A newline would begin the next variable of the protocol, and half a UTF-8 character void the whole sentence. */
    for (char *p = state; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < ' ')
            *p = ' ';
        else if (c >= 0x7f)
            *p = '?';
    }
    send_state(state);
}

void notify_alive(void)
{
    send_state("WATCHDOG=1");
}
