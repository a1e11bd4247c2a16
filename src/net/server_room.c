/* Who has to go when room is needed: the client that keeps the daemon waiting longest. */
#include "net/server_private.h"

#include <poll.h>
#include <sys/socket.h>

/* --- the queues: of each group and phase, those who wait longest first --- */

static struct server_queue *queue_of(struct server_connection *c)
{
    return c->queued == QUEUE_NONE ? NULL : &c->group->queues[c->queued];
}

void connection_dequeue(struct server_connection *c)
{
    struct server_queue *q = queue_of(c);
    if (q == NULL)
        return;
    if (c->queue_next != NULL)
        c->queue_next->queue_prev = c->queue_prev;
    else
        q->last = c->queue_prev;
    if (c->queue_prev != NULL)
        c->queue_prev->queue_next = c->queue_next;
    else
        q->first = c->queue_next;
    c->queued = QUEUE_NONE;
}

void connection_enqueue(struct server_connection *c)
{
    connection_dequeue(c);
    c->waiting_since = clock_now();
    if (c->phase > PHASE_REPLY || c->leaving)
        return;
    c->queued = c->phase == PHASE_BODY && c->uploading ? QUEUE_UPLOAD : (unsigned)c->phase;
    struct server_queue *q = queue_of(c);
    c->queue_next = NULL;
    c->queue_prev = q->last;
    if (q->last != NULL)
        q->last->queue_next = c;
    else
        q->first = c;
    q->last = c;
}

void server_uploading(struct server_request *r)
{
    r->connection->uploading = true;
    if (r->connection->phase == PHASE_BODY)
        connection_enqueue(r->connection);
}

/* --- groups --- */

void server_group_enter(struct server *s, struct server_group *g)
{
    if (g->connections++ > 0)
        return;
    g->next = s->groups;
    s->groups = g;
}

void server_group_leave(struct server *s, struct server_group *g)
{
    if (--g->connections > 0)
        return;
    struct server_group **at = &s->groups;
    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
}

/* --- the choice --- */

/* Is it really the client that is waited for? Not when what it sent, or room for what it is owed, has been there since
 * some time of this turn: then it is we who are late. */
static bool holds_up(const struct server_connection *c)
{
    char byte;
    struct pollfd p = {.fd = c->watch.fd, .events = POLLOUT};
    if (c->phase != PHASE_REPLY)
        return recv(c->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
    return poll(&p, 1, 0) == 0 || (p.revents & (POLLERR | POLLHUP)) != 0;
}

static struct server_connection *first_of(struct server_group *g, unsigned queue)
{
    struct server_connection *c;
    for (unsigned looked = 0; (c = g->queues[queue].first) != NULL && looked < SERVER_LOOK_FOR_ROOM; looked++) {
        if (holds_up(c))
            return c;
        connection_enqueue(c); /* the last one now: the same ones are not asked again and again */
    }
    return NULL;
}

static struct server_connection *longer_waiting(struct server_connection *a, struct server_connection *b)
{
    if (a == NULL || b == NULL)
        return a == NULL ? b : a;
    return a->waiting_since <= b->waiting_since ? a : b;
}

static bool out_of_patience(const struct server_connection *c)
{
    return c != NULL && clock_now() - c->waiting_since >= SERVER_PATIENCE;
}

static void let_go(struct server_connection *c)
{
    struct server *s = c->server;
    struct server_request *r = c->request;
    bool answered = c->phase == PHASE_REPLY || c->phase == PHASE_IDLE || (r != NULL && r->answered);
    connection_dequeue(c);
    c->leaving = true;
    s->leaving_count++;
    park_leave(c);
    s->ready = true;
    if (r != NULL && r->exchange != NULL) {
        char request_id[SERVER_REQUEST_ID];
        r->answered = true;
        connection_new_request_id(request_id);
        enum sent sent = s->handlers.evicted(r->exchange, answered ? NULL : request_id);
        if (answered) {
            connection_reset(c);
        } else {
            connection_write_refusal(c->watch.fd, REFUSAL_OVERLOADED, sent, request_id);
            connection_end_after_refusal(c);
        }
        server_cut(r);
        return;
    }
    if (!answered)
        connection_turn_away(c->watch.fd, &c->end, REFUSAL_OVERLOADED);
    c->end.refused = REFUSAL_OVERLOADED;
    c->end.evicted = true;
    connection_end_after_refusal(c); /* libmicrohttpd sees the end and closes */
}

/* The one who has to go first, or NULL. */
static struct server_connection *next_to_go(const struct server *s)
{
    /* In this order: nothing is lost with a client that has not asked yet, a request with one that has. */
    static const unsigned order[] = {PHASE_HEAD, PHASE_IDLE, PHASE_BODY, QUEUE_UPLOAD, PHASE_REPLY};
    struct server_connection *longest = NULL;
    if (s->leaving_count >= SERVER_LEAVING_AT_ONCE)
        return NULL;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        struct server_connection *c = NULL;
        for (struct server_group *g = s->groups; g != NULL; g = g->next)
            c = longer_waiting(c, first_of(g, order[i]));
        if (out_of_patience(c))
            return c;
        longest = longer_waiting(longest, c);
    }
    return longest;
}

bool server_is_full(const struct server *s)
{
    return s->connection_count - s->leaving_count >= s->limits.connections;
}

bool server_has_room(const struct server *s)
{
    if (!server_is_full(s) || next_to_go(s) != NULL)
        return true;
    return s->leaving_count < SERVER_LEAVING_AT_ONCE && s->added_turn != loop_turns(s->loop);
}

bool server_make_room(struct server *s)
{
    struct server_connection *c = next_to_go(s);
    if (c != NULL)
        let_go(c);
    return c != NULL;
}

bool server_make_way(struct server_group *g, bool receiving)
{
    struct server_connection *c = receiving
                                      ? g->queues[PHASE_BODY].first
                                      : longer_waiting(g->queues[QUEUE_UPLOAD].first, g->queues[PHASE_REPLY].first);
    if (!out_of_patience(c))
        return false;
    let_go(c);
    return true;
}
