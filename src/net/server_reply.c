/* What a request is answered with, as libmicrohttpd's response: whole, streamed, or an upgrade. */
#include "net/server_private.h"

#include "base/limits.h"
#include "base/log.h"

#include <fcntl.h>
#include <microhttpd.h>
#include <sys/socket.h>

static ssize_t read_stream(void *cls, uint64_t at, char *into, size_t room)
{
    struct server_request *r = cls;
    struct server_connection *c = r->connection;
    (void)at;
    if (r->cut)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    connection_expect(c, PHASE_REPLY, c->timeouts.idle);
    ssize_t n = c->server->handlers.read(r->exchange, into, room);
    if (n > 0)
        return n;
    if (n == SERVER_LATER && !r->cut) {
        connection_expect(c, PHASE_WAIT, 0); /* it is not the client that is waited for */
        connection_suspend(c);
        r->suspended = true;
        if (c->client_ended)
            connection_check_client(c);
        return 0;
    }
    return n == SERVER_END ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

/* One header line of an answer. libmicrohttpd takes no empty value; a blank one reads the same (RFC 9110 5.5). */
static bool add_line(struct MHD_Response *response, struct str name, struct str value, size_t *bytes)
{
    char text[LIMIT_RESPONSE_HEAD + 2];
    if (name.n + value.n + 2 >= sizeof text)
        return false;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    char *v = text + name.n + 1;
    memcpy(v, value.n == 0 ? " " : value.p, value.n == 0 ? 1 : value.n);
    v[value.n == 0 ? 1 : value.n] = '\0';
    *bytes += name.n + value.n + 4;
    return MHD_add_response_header(response, text, v) == MHD_YES;
}

static enum pp_result add_lines(struct MHD_Response *response, const struct server_request *r,
                                const struct server_reply *reply)
{
    size_t bytes = 256; /* status line, Date, Connection, framing */
    bool fine = true;
    for (size_t i = 0; reply->headers != NULL && i < reply->headers->count && fine; i++) {
        const struct header *h = &reply->headers->items[i];
        if ((reply->skip == NULL || !reply->skip[i]) && !str_equal_nocase(h->name, STR("content-length")))
            fine = add_line(response, h->name, h->value, &bytes);
    }
    for (size_t i = 0; i < SERVER_EXTRA && reply->extra[i].name.n > 0 && fine; i++)
        fine = add_line(response, reply->extra[i].name, reply->extra[i].value, &bytes);
    if (fine && (reply->close || r->connection->server->draining))
        fine = MHD_add_response_header(response, "Connection", "close") == MHD_YES;
    if (!fine)
        return PP_NOMEM;
    /* Beyond its memory libmicrohttpd closes without a word: refuse while there is still something to say. */
    return bytes + r->head_bytes + SERVER_HEADER_RECORD > SERVER_CONNECTION_MEMORY ? PP_LIMIT : PP_OK;
}

static void answer(struct server_request *r)
{
    r->answered = true;
    if (r->suspended) {
        r->suspended = false;
        connection_resume(r->connection); /* the last call comes again and queues it */
    }
}

enum pp_result server_reply(struct server_request *r, const struct server_reply *reply)
{
    struct MHD_Response *response;
    bool no_body = reply->status == 204 || reply->status == 304; /* and HEAD, which libmicrohttpd knows */
    if (reply->stream || (no_body && reply->status == 304))
        response = MHD_create_response_from_callback(reply->length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)reply->length,
                                                     SERVER_STREAM_BLOCK, read_stream, r, NULL);
    else
        response =
            MHD_create_response_from_buffer(reply->body.n, (void *)(uintptr_t)reply->body.p, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return PP_NOMEM;
    enum pp_result rc = add_lines(response, r, reply);
    /* Of a bodiless answer without a length libmicrohttpd would make a chunked one, its last chunk included. */
    if (rc == PP_OK && reply->bodiless && reply->length < 0 &&
        MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END) != MHD_YES)
        rc = PP_NOMEM;
    if (rc != PP_OK) {
        MHD_destroy_response(response);
        return rc;
    }
    r->pending = response;
    r->status = (unsigned)reply->status;
    r->streaming = reply->stream;
    answer(r);
    return PP_OK;
}

void server_wake(struct server_request *r)
{
    if (!r->suspended || r->cut)
        return;
    r->suspended = false;
    connection_resume(r->connection);
}

void server_cut(struct server_request *r)
{
    if (r->cut)
        return;
    r->cut = true;
    (void)shutdown(r->connection->watch.fd, SHUT_RDWR);
    r->connection->server->ready = true;
    if (r->suspended) {
        r->suspended = false;
        connection_resume(r->connection);
    }
}

static void on_upgrade(void *cls, struct MHD_Connection *mhd, void *request, const char *early, size_t early_size,
                       MHD_socket socket, struct MHD_UpgradeResponseHandle *handle)
{
    struct server_request *r = cls;
    struct server_connection *c = r->connection;
    (void)mhd;
    (void)request;
    loop_unwatch(c->server->loop, &c->watch);
    int fd = fcntl(socket, F_DUPFD_CLOEXEC, 0); /* libmicrohttpd closes its own; ours lives on without it */
    if (fd < 0)
        log_warning("server", NULL, "no file descriptor left for a WebSocket tunnel, closing it; raise LimitNOFILE");
    else
        r->upgraded(r->upgrade_owner, fd, (struct str){early, early_size});
    (void)MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
    c->server->ready = true;
}

enum pp_result server_upgrade(struct server_request *r, const struct server_reply *reply,
                              void (*upgraded)(void *owner, int fd, struct str early), void *owner)
{
    struct MHD_Response *response = MHD_create_response_for_upgrade(on_upgrade, r);
    if (response == NULL)
        return PP_NOMEM;
    enum pp_result rc = add_lines(response, r, reply);
    if (rc == PP_OK && MHD_add_response_header(response, "Upgrade", "websocket") != MHD_YES)
        rc = PP_NOMEM;
    if (rc != PP_OK) {
        MHD_destroy_response(response);
        return rc;
    }
    r->upgraded = upgraded;
    r->upgrade_owner = owner;
    r->pending = response;
    r->status = MHD_HTTP_SWITCHING_PROTOCOLS;
    answer(r);
    return PP_OK;
}
