/* A blocking client of the admin listener. */
#include "cli/admin_client.h"

#include "base/span.h"
#include "http/response.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (16u * 1024 * 1024)

/* --- the connection --- */

static enum pp_result no_answer(const char *address, msec timeout, struct problem *problem)
{
    char span[SPAN_SIZE];
    return problem_set(problem, PP_TIMEOUT, "%s gave no answer within %s: the daemon may hang", address,
                       span_text(timeout, span));
}

/* A socket whose connect and sends end in time: the queue of a daemon that hangs may be full. */
static int open_socket(int family, msec timeout)
{
    const struct timeval patience = {.tv_sec = (time_t)(timeout / 1000),
                                     .tv_usec = (suseconds_t)(timeout % 1000 * 1000)};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0) {
        int error = errno;
        (void)close(fd);
        errno = error;
        fd = -1;
    }
    return fd;
}

static enum pp_result connect_failed(int error, const char *address, msec timeout, struct problem *problem)
{
    if (error == EAGAIN || error == EINPROGRESS || error == ETIMEDOUT)
        return no_answer(address, timeout, problem);
    if (error == ENOENT || error == ECONNREFUSED)
        return problem_set(
            problem, PP_NOT_FOUND,
            "no daemon answers at %s (%s): is it running? \"systemctl status proofproxy\" says so; if it "
            "listens elsewhere, name the place with --admin",
            address, strerrordesc_np(error));
    if (error == EACCES || error == EPERM)
        return problem_set(problem, PP_DENIED,
                           "%s: permission denied: run this as root, or as a member of the socket's group", address);
    return problem_set(problem, PP_SYSTEM, "%s: %s", address, strerrordesc_np(error));
}

static enum pp_result connect_unix(const char *path, const char *address, msec timeout, int *out,
                                   struct problem *problem)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof name.sun_path)
        return problem_set(problem, PP_INVALID, "%s: the path is longer than a Unix socket's may be", address);
    memcpy(name.sun_path, path, strlen(path) + 1);
    int fd = open_socket(AF_UNIX, timeout);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&name, sizeof name) != 0) {
        int error = errno;
        if (fd >= 0)
            (void)close(fd);
        return connect_failed(error, address, timeout, problem);
    }
    *out = fd;
    return PP_OK;
}

static enum pp_result connect_tcp(const char *address, msec timeout, int *out, struct problem *problem)
{
    char host[ADMIN_ADDRESS_SIZE];
    const char *colon = strrchr(address, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    if (colon == NULL || colon == address || strlen(address) >= sizeof host)
        return problem_set(problem, PP_INVALID, "%s: expected unix:PATH or HOST:PORT", address);
    bool brackets = address[0] == '[' && colon[-1] == ']';
    (void)snprintf(host, sizeof host, "%.*s", (int)(colon - address) - (brackets ? 2 : 0), address + brackets);
    int rc = getaddrinfo(host, colon + 1, &hints, &found);
    if (rc != 0)
        return problem_set(problem, PP_INVALID, "%s: %s", address, gai_strerror(rc));
    int fd = open_socket(found->ai_family, timeout), error = errno;
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        error = errno;
        (void)close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    if (fd < 0)
        return connect_failed(error, address, timeout, problem);
    *out = fd;
    return PP_OK;
}

/* --- the exchange --- */

static enum pp_result send_all(int fd, struct str bytes)
{
    while (bytes.n > 0) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? PP_TIMEOUT : PP_BROKEN;
        bytes.p += n;
        bytes.n -= (size_t)n;
    }
    return PP_OK;
}

/* Everything until the daemon closes: it serves one request per connection. */
static enum pp_result receive_all(int fd, msec deadline, struct buf *into)
{
    for (;;) {
        char *at;
        size_t room;
        msec left = deadline - clock_tick();
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (left <= 0 || (poll(&wait, 1, left > INT_MAX ? INT_MAX : (int)left) == 0 && clock_tick() >= deadline))
            return PP_TIMEOUT;
        if (buf_reserve(into, 4096, &at, &room) != PP_OK)
            return PP_LIMIT;
        ssize_t n = recv(fd, at, room, MSG_DONTWAIT);
        if (n == 0)
            return PP_OK;
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return PP_BROKEN;
        buf_added(into, (size_t)n);
    }
}

static enum pp_result parse(struct buf *raw, int *status, struct buf *body, const char **what)
{
    struct response_head head;
    struct body_reader reader;
    size_t consumed;
    enum pp_result rc = response_parse_head(buf_str(raw), false, &head, &consumed, what);
    if (rc != PP_OK)
        return rc;
    struct str in = {buf_str(raw).p + consumed, buf_len(raw) - consumed}, data;
    body_reader_init(&reader, head.framing, head.content_length);
    *what = "the body is incomplete";
    do {
        rc = body_reader_next(&reader, &in, &data);
        if ((rc == PP_OK || rc == PP_END || rc == PP_AGAIN) && buf_append_str(body, data) != PP_OK)
            return PP_NOMEM;
    } while (rc == PP_OK && in.n > 0);
    if (rc != PP_END && body_reader_eof(&reader) != PP_END)
        return PP_BROKEN;
    *status = head.status;
    return PP_OK;
}

enum pp_result admin_client_request(const char *address, const char *method, const char *path, msec timeout,
                                    int *status, struct buf *body, struct problem *problem)
{
    msec deadline = clock_tick() + timeout;
    const char *what = "the head of the answer is incomplete";
    struct buf raw;
    int fd = -1;
    bool unix_socket = strncmp(address, "unix:", 5) == 0;
    if (address[0] == '\0')
        return problem_set(problem, PP_INVALID,
                           "admin.listen names no address that commands can reach: if the daemon has one, name it with "
                           "--admin");
    buf_init(&raw, ANSWER_MAX);
    enum pp_result rc = unix_socket ? connect_unix(address + 5, address, timeout, &fd, problem)
                                    : connect_tcp(address, timeout, &fd, problem);
    if (rc != PP_OK)
        goto out;
    buf_printf(&raw, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method,
               path);
    rc = raw.failed ? PP_NOMEM : send_all(fd, buf_str(&raw));
    buf_clear(&raw);
    if (rc == PP_OK)
        rc = receive_all(fd, deadline, &raw);
    if (rc == PP_OK && buf_len(&raw) == 0)
        rc = PP_BROKEN;
    if (rc == PP_OK) {
        rc = parse(&raw, status, body, &what);
        if (rc != PP_OK)
            rc = problem_set(problem, PP_INVALID, "%s gave no answer a proofproxy gives (%s)", address, what);
        goto out;
    }
    if (rc == PP_TIMEOUT)
        (void)no_answer(address, timeout, problem);
    else
        (void)problem_set(problem, rc, "%s: the daemon closed the connection without an answer: is it stopping?",
                          address);
out:
    if (fd >= 0)
        (void)close(fd);
    buf_free(&raw);
    return rc;
}

enum pp_result admin_client_json(const char *address, const char *method, const char *path, msec timeout, int *status,
                                 json_t **out, struct problem *problem)
{
    struct buf body;
    buf_init(&body, ANSWER_MAX);
    enum pp_result rc = admin_client_request(address, method, path, timeout, status, &body, problem);
    if (rc == PP_OK) {
        struct str text = buf_str(&body);
        json_t *root = json_loadb(text.n == 0 ? "" : text.p, text.n, 0, NULL);
        if (json_is_object(root)) {
            *out = root;
        } else {
            json_decref(root);
            rc = problem_set(problem, PP_INVALID, "%s gave an answer that is no JSON object: is it a proofproxy?",
                             address);
        }
    }
    buf_free(&body);
    return rc;
}
