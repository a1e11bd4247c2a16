/* Clients' connections seen from outside libmicrohttpd: deadlines, their going, refusals it has no way to give. */
#include "net/server_private.h"

#include "base/crypto.h"
#include "base/limits.h"
#include "net/peer.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define SERVER_END_CHECK  50   /* ms from a client's end of sending to the look whether a request is left unfinished */
#define SERVER_LINGER     1000 /* ms to read on after a refusal in the midst of a body, so that it is seen */
#define SERVER_DRAIN_HEAD 1000 /* ms for the first request of a client that has just come when the drain begins */

/* --- deadlines --- */

static void connection_late(struct timer *t);

/* Between requests or in the midst of one: more has to come from the client. */
static bool client_owes(const struct server_connection *c)
{
    return c->phase == PHASE_IDLE || c->phase == PHASE_HEAD || c->phase == PHASE_BODY;
}

/* Has the timer fire at the deadline at the latest, and soon when a client that owes something sends no more. */
static void arm(struct server_connection *c)
{
    msec due = c->deadline < c->rest_at ? c->deadline : c->rest_at;
    if (c->client_ended && client_owes(c) && due > clock_now() + SERVER_END_CHECK)
        due = clock_now() + SERVER_END_CHECK;
    if (due != MSEC_NEVER && (!timer_armed(&c->timer) || c->timer.due > due))
        if (timer_set(c->server->loop, &c->timer, due, connection_late) != PP_OK)
            (void)shutdown(c->watch.fd, SHUT_RDWR); /* no memory to watch over it: better none than one without end */
}

void connection_expect(struct server_connection *c, enum phase phase, msec within)
{
    c->phase = phase;
    connection_enqueue(c);
    c->deadline = within <= 0 ? MSEC_NEVER : clock_now() + within;
    c->rest_at = phase == PHASE_IDLE && c->memory != NULL ? clock_now() + SERVER_REST_AFTER : MSEC_NEVER;
    arm(c);
}

void connection_new_request_id(char id[SERVER_REQUEST_ID])
{
    uint64_t random = 0; /* without randomness the answer still says what is wrong */
    if (crypto_random(&random, sizeof random) != PP_OK)
        random = 0;
    (void)snprintf(id, SERVER_REQUEST_ID, "pp-%016" PRIx64, random);
}

void connection_turn_away(int fd, struct server_end *end, enum refusal refusal)
{
    end->refused = refusal;
    connection_new_request_id(end->request_id);
    connection_write_refusal(fd, refusal, SENT_NO, end->request_id);
}

void connection_write_refusal(int fd, enum refusal refusal, enum sent sent, const char *request_id)
{
    const struct reply_rule *rule = reply_rule(refusal);
    struct buf body, all;
    char proxy_status[96];
    buf_init(&body, 2048);
    buf_init(&all, 4096);
    reply_proxy_status(refusal, sent, proxy_status);
    if (reply_body(&body, refusal, "", sent) == PP_OK) {
        buf_printf(&all,
                   "HTTP/1.1 %d Refused\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                   "X-Request-Id: %s\r\nProxy-Status: %s\r\nConnection: close\r\n\r\n",
                   rule->status, buf_len(&body), request_id, proxy_status);
        buf_append_str(&all, buf_str(&body));
        if (!all.failed)
            (void)!send(fd, all.data, buf_len(&all), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    buf_free(&body);
    buf_free(&all);
}

/* What the client owes will never come. libmicrohttpd 0.9.75 misses an end that arrives together with the last bytes;
 * the kernel has it. */
static bool client_defaulted(const struct server_connection *c)
{
    char byte;
    return c->client_ended && client_owes(c) && recv(c->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Asks the kernel: libmicrohttpd may hear of an end, or of the first bytes, before our own watch does. */
bool connection_is_open(const struct server_connection *c)
{
    struct pollfd p = {.fd = c->watch.fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 0;
}

static void connection_abandon(struct server_connection *c)
{
    if (c->request != NULL && c->request->exchange != NULL) {
        c->server->handlers.gone(c->request->exchange);
        server_cut(c->request);
    } else {
        (void)shutdown(c->watch.fd, SHUT_RDWR);
    }
}

void connection_end_after_refusal(struct server_connection *c)
{
    char dropped[16 * 1024];
    (void)shutdown(c->watch.fd, SHUT_WR);
    for (int i = 0; i < 16 && recv(c->watch.fd, dropped, sizeof dropped, MSG_DONTWAIT) > 0; i++)
        continue; /* unread bytes would make the kernel reset the connection, and the answer be lost */
    (void)shutdown(c->watch.fd, SHUT_RDWR);
}

void connection_reset(struct server_connection *c)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(c->watch.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

bool connection_body_awaited(const struct server_connection *c)
{
    return c->phase == PHASE_BODY && (!c->request->answered || c->uploading);
}

static void connection_late(struct timer *t)
{
    struct server_connection *c = (struct server_connection *)((char *)t - offsetof(struct server_connection, timer));
    struct server *s = c->server;
    if (client_defaulted(c)) {
        connection_abandon(c);
        return;
    }
    if (c->rest_at <= clock_now()) {
        slot_rest(c->memory);
        c->rest_at = MSEC_NEVER;
    }
    if (c->deadline > clock_now()) { /* it moved further off in the meantime */
        arm(c);
        return;
    }
    switch (c->phase) {
    case PHASE_HEAD:
        if (s->draining && c->request == NULL) { /* it came, and asked nothing */
            connection_end_reading(c);
            break;
        }
        connection_turn_away(c->watch.fd, &c->end, REFUSAL_TIMEOUT);
        connection_end_after_refusal(c); /* libmicrohttpd sees the end and closes */
        break;
    case PHASE_BODY:
        if (connection_body_awaited(c))
            s->handlers.late(c->request->exchange);
        else /* it is not to be answered twice */
            server_cut(c->request);
        break;
    case PHASE_IDLE:
    case PHASE_LINGER:
        (void)shutdown(c->watch.fd, SHUT_RDWR);
        break;
    case PHASE_WAIT: /* the exchange has deadlines of its own */
        break;
    case PHASE_REPLY:
        connection_reset(c);
        server_cut(c->request);
        break;
    }
}

/* The client may finish what it has sent already, and no more: what waits in the kernel is still read and answered. */
void connection_end_reading(struct server_connection *c)
{
    c->reading_ended = true;
    (void)shutdown(c->watch.fd, SHUT_RD);
}

/* The client sends no more. Has it gone, or does it merely say that its request was all (nc -N does)? A request that is
 * not suspended is left to libmicrohttpd, which reads and writes by itself and finds out. */
void connection_check_client(struct server_connection *c)
{
    struct server_request *r = c->request;
    if (r == NULL || !r->suspended || r->cut)
        return;
    struct pollfd p = {.fd = c->watch.fd, .events = POLLRDHUP};
    bool closed = poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)) != 0; /* both directions are over */
    if (!closed && (c->reading_ended || c->unix_socket || !peer_is_gone(c->watch.fd)))
        return;
    c->server->handlers.gone(r->exchange);
    server_cut(r);
}

static bool bytes_wait(const struct server_connection *c)
{
    char byte;
    return recv(c->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void connection_ready(struct watch *w, uint32_t events)
{
    struct server_connection *c = (struct server_connection *)w;
    if ((events & EPOLLIN) && ((events & EPOLLRDHUP) == 0 || bytes_wait(c))) {
        c->readable_round = c->server->round;
        if (c->phase == PHASE_IDLE)
            connection_expect(c, PHASE_HEAD, c->timeouts.header);
        c->heard = c->heard || c->phase == PHASE_HEAD;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        c->client_ended = true;
        connection_check_client(c);
        arm(c);
    }
    park_heard(c);
}

void server_refuse(struct server_request *r, enum refusal refusal, enum sent sent, const char *request_id)
{
    struct server_connection *c = r->connection;
    r->answered = true;
    connection_write_refusal(c->watch.fd, refusal, sent, request_id);
    (void)shutdown(c->watch.fd, SHUT_WR);
    connection_expect(c, PHASE_LINGER, SERVER_LINGER);
}

void server_drain(struct server *s)
{
    s->draining = true;
    for (struct server_connection *c = s->connections; c != NULL; c = c->next)
        if (c->request == NULL && c->phase != PHASE_HEAD)
            connection_end_reading(c);
        else if (c->request == NULL && c->deadline > clock_now() + SERVER_DRAIN_HEAD)
            connection_expect(c, PHASE_HEAD, SERVER_DRAIN_HEAD);
}

unsigned server_connections(const struct server *s)
{
    return s->connection_count;
}

void *server_context(const struct server_request *r)
{
    return r->connection->context;
}

bool server_is_unix(const struct server_request *r)
{
    return r->connection->unix_socket;
}

void server_set_timeouts(struct server_request *r, const struct server_timeouts *timeouts)
{
    struct server_connection *c = r->connection;
    c->timeouts = *timeouts;
    if (c->phase == PHASE_BODY)
        connection_expect(c, PHASE_BODY, c->timeouts.body);
}

int server_descriptor(const struct server_request *r)
{
    return r->connection->watch.fd;
}

struct server_connection *server_at_fault(const struct server *s)
{
    struct server_connection *found[2] = {NULL, NULL};
    for (struct server_connection *c = s->connections; c != NULL; c = c->next) {
        const struct server_request *r = c->request;
        bool by_head = r != NULL && !r->begun && r->line_round == s->round;
        if (!by_head && (c->readable_round != s->round || (c->phase != PHASE_HEAD && c->phase != PHASE_BODY)))
            continue;
        if (found[by_head] != NULL)
            return NULL;
        found[by_head] = c;
    }
    return found[1] != NULL ? found[1] : found[0];
}

void server_link(struct server *s, struct server_connection *c)
{
    c->next = s->connections;
    if (c->next != NULL)
        c->next->prev = c;
    s->connections = c;
    s->connection_count++;
    server_group_enter(s, c->group);
}

static void calm(struct server *s);

static void cool(struct timer *t)
{
    struct server *s = (struct server *)((char *)t - offsetof(struct server, calm));
    if (slots_cool())
        calm(s);
}

/* A connection's memory is free: what of it is not needed soon goes back to the kernel. */
static void calm(struct server *s)
{
    if (!timer_armed(&s->calm))
        (void)!timer_set(s->loop, &s->calm, clock_now() + SERVER_REST_AFTER, cool); /* else when the next one goes */
}

void server_unlink(struct server *s, struct server_connection *c)
{
    connection_dequeue(c);
    server_group_leave(s, c->group);
    s->leaving_count -= c->leaving;
    if (c->next != NULL)
        c->next->prev = c->prev;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        s->connections = c->next;
    s->connection_count--;
    calm(s);
}

size_t server_client_cost(void)
{
    return SERVER_CONNECTION_MEMORY + SERVER_LIBRARY_COST + sizeof(struct server_connection) +
           sizeof(struct server_request) + LIMIT_TARGET;
}

size_t server_answer_cost(size_t whole_body)
{
    size_t lines = LIMIT_RESPONSE_HEAD + LIMIT_HEADERS * SERVER_HEADER_RECORD * 2;
    return lines + (whole_body > SERVER_STREAM_BLOCK ? whole_body : SERVER_STREAM_BLOCK);
}
