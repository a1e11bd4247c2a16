/* doctor's look at this host: the daemon, the token files, the listeners. */
#include "cli/doctor.h"

#include "cli/admin_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE 5000 /* ms for something on this host to answer */

/* Of an environment other than the one that is asked about? Those of an environment begin with its name. */
static bool of_another(const char *line, const json_t *environments, const char *only)
{
    const json_t *environment;
    size_t i;
    json_array_foreach(environments, i, environment)
    {
        const char *name = json_string_value(json_object_get(environment, "name"));
        size_t n = name == NULL ? 0 : strlen(name);
        if (n > 0 && strncmp(line, name, n) == 0 && line[n] == ':')
            return only != NULL && strcmp(name, only) != 0;
    }
    return false;
}

void doctor_daemon(struct doctor_report *r, const char *config_path, const char *admin, const char *only)
{
    char address[ADMIN_ADDRESS_SIZE];
    struct problem problem;
    json_t *root = NULL, *problems, *line;
    int status = 0;
    size_t i;
    admin_client_address(config_path, admin, address);
    if (admin_client_json(address, "GET", "/status", PATIENCE, &status, &root, &problem) != PP_OK) {
        doctor_say(r, FINDING_FAILED, "daemon",
                   "start it: systemctl start proofproxy; then look into its log: "
                   "journalctl -u proofproxy",
                   "%s", problem.text);
        return;
    }
    problems = json_object_get(root, "problems");
    const char *version = json_string_value(json_object_get(root, "version"));
    if (status == 200)
        doctor_say(r, FINDING_OK, "daemon", NULL, "version %s answers at %s", version == NULL ? "unknown" : version,
                   address);
    else
        doctor_say(r, FINDING_FAILED, "daemon", "look into its log: journalctl -u proofproxy", "%s answers %d", address,
                   status);
    json_array_foreach(problems, i, line)
    {
        const char *text = json_string_value(line);
        if (text != NULL && !of_another(text, json_object_get(root, "environments"), only))
            doctor_say(r, FINDING_FAILED, "daemon", "see \"proofproxy status\" and the checks below", "it says: %s",
                       text);
    }
    json_decref(root);
}

void doctor_token_file(struct doctor_report *r, const struct environment_config *e, struct token_set *out)
{
    struct problem problem, create;
    bool in_config = e->token_source == TOKEN_SOURCE_INLINE;
    enum pp_result rc = in_config ? token_set_inline(e->client_token, e->previous_client_token, out, &problem)
                                  : token_file_read(e->token_path, out, NULL, &problem);
    (void)problem_set(&create, PP_OK,
                      "create it: install -m 0640 -o root -g proofproxy /dev/null %s; then proofproxy token add %s, or "
                      "let your secret manager write it",
                      in_config ? "" : e->token_path, e->name);
    if (rc == PP_OK)
        doctor_say(r, FINDING_OK, "token_file", NULL, "%s holds %zu %s, closed to other users",
                   in_config ? "the config file" : e->token_path, out->count, out->count == 1 ? "token" : "tokens");
    else
        doctor_say(r, FINDING_FAILED, "token_file",
                   rc == PP_DENIED      ? "it should belong to root:proofproxy with mode 0640; run doctor as root"
                   : rc == PP_NOT_FOUND ? create.text
                                        : "correct the file; the running daemon keeps the tokens it has",
                   "%s", problem.text);
}

/* --- listeners --- */

/* Ends in time also where the queue of a daemon that hangs is full. */
static int connect_to(const struct listen_address *a)
{
    const struct timeval patience = {.tv_sec = PATIENCE / 1000};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)a->port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)a->port)};
    const struct sockaddr *address = (const struct sockaddr *)&local;
    socklen_t size = sizeof local;
    if (a->kind == LISTEN_UNIX) {
        (void)snprintf(local.sun_path, sizeof local.sun_path, "%s", a->path);
    } else if (strchr(a->host, ':') != NULL) {
        (void)inet_pton(AF_INET6, a->host, &v6.sin6_addr);
        address = (const struct sockaddr *)&v6;
        size = sizeof v6;
    } else {
        (void)inet_pton(AF_INET, a->host, &v4.sin_addr);
        address = (const struct sockaddr *)&v4;
        size = sizeof v4;
    }
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 &&
        (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0 || connect(fd, address, size) != 0)) {
        int error = errno;
        (void)close(fd);
        errno = error == EAGAIN || error == EINPROGRESS ? ETIMEDOUT : error;
        fd = -1;
    }
    return fd;
}

/* Asks for a path no environment forwards, so that nothing leaves this host; returns the bytes of the answer's front.
 */
static size_t ask(int fd, char *into, size_t size)
{
    static const char request[] = "GET /.proofproxy-doctor HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    size_t n = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) != (ssize_t)sizeof request - 1)
        return 0;
    while (n < size - 1 && poll(&p, 1, PATIENCE) == 1) {
        ssize_t got = recv(fd, into + n, size - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    into[n] = '\0';
    return n;
}

static void check_listener(struct doctor_report *r, const struct listen_address *a)
{
    char answer[4096];
    if (a->kind == LISTEN_SYSTEMD) {
        doctor_say(r, FINDING_SKIPPED, "listener", NULL,
                   "%s: systemd holds the socket; \"systemctl list-sockets\" shows it", a->text);
        return;
    }
    int fd = connect_to(a);
    if (fd < 0) {
        doctor_say(r, FINDING_FAILED, "listener",
                   errno == EACCES ? "run doctor as a user the socket's mode and group let in"
                                   : "is the daemon running with this config? try \"proofproxy status\"",
                   "%s: %s", a->text, strerrordesc_np(errno));
        return;
    }
    size_t n = ask(fd, answer, sizeof answer);
    (void)close(fd);
    if (n == 0)
        doctor_say(r, FINDING_FAILED, "listener", "look into the daemon's log: journalctl -u proofproxy",
                   "%s: connected, but no answer came", a->text);
    else if (strcasestr(answer, "\r\nProxy-Status: proofproxy") == NULL)
        doctor_say(r, FINDING_FAILED, "listener", "find out what listens there: ss -ltnp; or change \"listen\"",
                   "%s: something else than proofproxy answers there", a->text);
    else if (strstr(answer, "proxy_peer") != NULL)
        doctor_say(r, FINDING_WARNING, "listener", "run doctor as one of the apps' users to see what they see",
                   "%s: answers, and refuses this user by allow_users and allow_groups", a->text);
    else
        doctor_say(r, FINDING_OK, "listener", NULL, "%s: proofproxy answers", a->text);
}

void doctor_listeners(struct doctor_report *r, const struct environment_config *e)
{
    for (size_t i = 0; i < e->listen.count; i++)
        check_listener(r, &e->listen.items[i]);
}
