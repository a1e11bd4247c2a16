/* The config as an object: loaded in one piece, shared by count, wiped with the last reference. */
#include "config/config.h"

#include "base/crypto.h"
#include "config/build.h"
#include "config/loader.h"
#include "config/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct config_object {
    struct config config; /* first: a config pointer is an object pointer */
    atomic_size_t references;
    struct memory memory; /* everything the config points to, but for the tokens */
};

static struct config_object *object_of(struct config *c)
{
    return (struct config_object *)c;
}

struct config *config_ref(struct config *c)
{
    atomic_fetch_add_explicit(&object_of(c)->references, 1, memory_order_relaxed);
    return c;
}

static void free_secret(char **secret)
{
    if (*secret != NULL)
        secret_free(*secret, strlen(*secret) + 1);
    *secret = NULL;
}

static void free_object(struct config_object *object)
{
    for (size_t i = 0; i < object->config.environment_count; i++) {
        free_secret(&object->config.environments[i].client_token);
        free_secret(&object->config.environments[i].previous_client_token);
    }
    memory_release(&object->memory);
    free(object);
}

void config_unref(struct config **c)
{
    struct config *last = *c;

    *c = NULL;
    if (last != NULL && atomic_fetch_sub_explicit(&object_of(last)->references, 1, memory_order_acq_rel) == 1)
        free_object(object_of(last));
}

const struct environment_config *config_environment(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->environment_count; i++)
        if (strcmp(c->environments[i].name, name) == 0)
            return &c->environments[i];
    return NULL;
}

static enum pp_result fill_object(struct config_object *object, struct config_build *build, struct str text)
{
    struct problem problem;
    struct node root = {0};
    struct scan_place place = {0};

    object->config.path = memory_copy(&object->memory, str_of(build->report.file));
    if (object->config.path == NULL)
        return PP_NOMEM;
    enum pp_result rc = loader_parse(text, &build->scratch, &root, &place, &problem);
    if (rc == PP_INVALID)
        report_add(&build->report, place.line, place.key, "%s", problem.text);
    if (rc != PP_OK)
        return rc;
    rc = build_config(build, &root);
    if (rc != PP_OK)
        return rc;
    validate_config(build);
    if (build->report.out_of_memory)
        return PP_NOMEM;
    return build->report.count == 0 ? PP_OK : PP_INVALID;
}

enum pp_result config_load_text(struct str text, const char *path, mode_t mode, struct config **out,
                                struct config_problems *problems)
{
    struct config_object *object = calloc(1, sizeof *object);
    struct config_build *build = calloc(1, sizeof *build);
    enum pp_result rc = PP_NOMEM;

    if (object == NULL || build == NULL) {
        config_problems_add(problems, path, 0, "", "out of memory");
        free(object);
        goto out;
    }
    atomic_init(&object->references, 1);
    build->config = &object->config;
    build->memory = &object->memory;
    build->report = (struct report){.file = path, .memory = &build->scratch};
    build->mode = mode;
    rc = fill_object(object, build, text);
    if (rc == PP_NOMEM)
        build->report.out_of_memory = true;
    if (rc == PP_OK)
        *out = &object->config;
    else
        free_object(object);
    report_tell(&build->report, problems);
    memory_release(&build->scratch);
out:
    free(build);
    return rc;
}

/* Reads at most LIMIT_CONFIG_FILE bytes; the buffer then belongs to the caller, who wipes it. */
static enum pp_result read_descriptor(int fd, struct buf *text)
{
    for (;;) {
        size_t room = 0;
        char *at = NULL;
        if (buf_room(text) == 0)
            return PP_LIMIT;
        enum pp_result rc = buf_reserve(text, 1, &at, &room);
        if (rc != PP_OK)
            return rc;
        ssize_t n = read(fd, at, room);
        if (n == 0)
            return PP_OK;
        if (n > 0)
            buf_added(text, (size_t)n);
        else if (errno != EINTR)
            return PP_SYSTEM;
    }
}

static void tell_open_fault(const char *path, int error, struct config_problems *problems)
{
    if (error == ENOENT)
        config_problems_add(problems, path, 0, "",
                            "there is no such file: write one (see proofproxy.conf(5)), or name another with -c");
    else if (error == EACCES)
        config_problems_add(
            problems, path, 0, "",
            "this user (uid %u) may not read it: expected a file readable by the daemon's user, such as "
            "root:proofproxy 0640",
            (unsigned)geteuid());
    else
        config_problems_add(problems, path, 0, "", "could not be read: %s", strerror(error));
}

/* What can be said of the file before its contents are looked at. */
static enum pp_result check_file(const char *path, int fd, mode_t *mode, struct config_problems *problems)
{
    struct stat status;

    if (fstat(fd, &status) != 0) {
        tell_open_fault(path, errno, problems);
        return PP_SYSTEM;
    }
    if (!S_ISREG(status.st_mode)) {
        config_problems_add(problems, path, 0, "", "is %s: expected a regular file",
                            S_ISDIR(status.st_mode) ? "a directory" : "a pipe, socket or device");
        return PP_INVALID;
    }
    if ((status.st_mode & S_IWOTH) != 0) {
        config_problems_add(problems, path, 0, "",
                            "its mode %04o lets every user change it, and so send the tokens elsewhere: expected 0640 "
                            "or stricter",
                            (unsigned)(status.st_mode & 07777));
        return PP_INVALID;
    }
    *mode = status.st_mode;
    return PP_OK;
}

enum pp_result config_load(const char *path, struct config **out, struct config_problems *problems)
{
    struct config *loaded = NULL;
    struct buf text;
    mode_t mode = 0;

    buf_init(&text, LIMIT_CONFIG_FILE + 1);
    /* Not blocking: a FIFO of that name must not hang a reload. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        tell_open_fault(path, errno, problems);
        return PP_SYSTEM;
    }
    enum pp_result rc = check_file(path, fd, &mode, problems);
    if (rc != PP_OK)
        goto out;
    rc = read_descriptor(fd, &text);
    if (rc == PP_OK) {
        rc = config_load_text(buf_str(&text), path, mode, &loaded, problems);
        if (rc == PP_OK)
            rc = names_check(loaded, problems);
        if (rc == PP_OK)
            *out = loaded;
        else
            config_unref(&loaded);
    } else if (rc == PP_LIMIT) {
        config_problems_add(problems, path, 0, "", "is larger than %u KiB: this is no config file",
                            LIMIT_CONFIG_FILE / 1024);
        rc = PP_INVALID;
    } else if (rc == PP_SYSTEM) {
        tell_open_fault(path, errno, problems);
    } else {
        config_problems_add(problems, path, 0, "", "out of memory");
    }
out:
    buf_wipe(&text);
    (void)close(fd);
    return rc;
}
