/* Takes over the listening sockets of systemd, by name. */
#include "net/activation.h"

#include "base/buf.h"
#include "config.h"

#include <stdbool.h>

#ifdef HAVE_SYSTEMD
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

/* What the process inherited: a fact about the process, hence the one piece of state here. */
static struct {
    bool captured;
    int failure; /* errno of reading it, 0 = fine */
    size_t count;
    char *names[ACTIVATION_MAX];
} inherited;

void activation_capture(void)
{
    if (inherited.captured)
        return;
    inherited.captured = true;
    char **names = NULL;
    int n = sd_listen_fds_with_names(0, &names); /* sets FD_CLOEXEC on each */
    if (n < 0)
        inherited.failure = -n;
    for (int i = 0; i < n; i++) {
        if (i < ACTIVATION_MAX)
            inherited.names[inherited.count++] = names[i];
        else
            free(names[i]);
    }
    free(names);
}

/* "it passed: web, admin", for the problem. */
static void list_names(struct buf *out)
{
    if (inherited.count == 0)
        buf_append_str(out, STR("it passed none; is the .socket unit enabled and started?"));
    else
        buf_append_str(out, STR("it passed: "));
    for (size_t i = 0; i < inherited.count; i++) {
        if (i > 0)
            buf_append_str(out, STR(", "));
        buf_append_str(out, str_of(inherited.names[i]));
    }
    buf_append_char(out, '\0');
}

enum pp_result activation_find(const char *name, int fds[static ACTIVATION_MAX], size_t *count, struct problem *problem)
{
    activation_capture();
    if (inherited.failure != 0) {
        errno = inherited.failure;
        return problem_set(problem, PP_SYSTEM, "systemd:%s: the sockets passed by systemd can't be taken over: %m",
                           name);
    }
    size_t found = 0;
    for (size_t i = 0; i < inherited.count; i++)
        if (strcmp(inherited.names[i], name) == 0)
            fds[found++] = SD_LISTEN_FDS_START + (int)i;
    if (found == 0) {
        struct buf names;
        buf_init(&names, 300);
        list_names(&names);
        problem_set(problem, PP_NOT_FOUND, "systemd:%s: systemd passed no socket with FileDescriptorName=%s (%s)", name,
                    name, names.failed ? "too many to name" : names.data);
        buf_free(&names);
        return PP_NOT_FOUND;
    }
    *count = found;
    return PP_OK;
}

#else

void activation_capture(void)
{
}

enum pp_result activation_find(const char *name, int fds[static ACTIVATION_MAX], size_t *count, struct problem *problem)
{
    (void)fds;
    (void)count;
    return problem_set(problem, PP_NOT_FOUND,
                       "systemd:%s: this proofproxy was built without systemd support (configure --without-systemd); "
                       "use HOST:PORT or unix:PATH",
                       name);
}

#endif
