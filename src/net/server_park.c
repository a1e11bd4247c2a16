/* Clients' connections between two requests, parked: out of libmicrohttpd's sight and out of its epoll set.
 *
 * libmicrohttpd in epoll mode pays for every suspended request with an epoll_ctl(2) that takes the descriptor out of
 * its set, a recv(2) that finds nothing and an epoll_ctl that puts it back. But the connection's own watch tells us all
 * it needs to know. So a connection whose request is answered is suspended before libmicrohttpd looks at it again, and
 * resumed when something has come: it is then read at once, and its descriptor never enters that set.
 *
 * Nothing can be missed: the watch is level-triggered while a connection is parked, so bytes that came with the last
 * request, or at any time since, are told in the next turn. Bytes that libmicrohttpd has read already are a request it
 * has begun, which is not parked, or a piece of a line, whose rest is still to come. */
#include "net/server_private.h"

#include <sys/epoll.h>

/* libmicrohttpd walks all that are suspended whenever one is resumed: more than this would cost more than they save. */
#define PARKED_LIMIT 128u

#define EVENTS (EPOLLIN | EPOLLRDHUP)

static void push(struct server_parked *list, struct server_connection *c)
{
    c->park_next = NULL;
    c->park_prev = list->newest;
    if (c->park_prev != NULL)
        c->park_prev->park_next = c;
    else
        list->oldest = c;
    list->newest = c;
    list->count++;
}

static void drop(struct server_parked *list, struct server_connection *c)
{
    if (c->park_next != NULL)
        c->park_next->park_prev = c->park_prev;
    else
        list->newest = c->park_prev;
    if (c->park_prev != NULL)
        c->park_prev->park_next = c->park_next;
    else
        list->oldest = c->park_next;
    list->count--;
}

static void enter(struct server_connection *c, enum park park)
{
    struct server_parked *lists[] = {
        [PARK_NOT] = NULL, [PARK_SOON] = &c->server->parking, [PARK_ED] = &c->server->parked};
    if (lists[c->park] != NULL)
        drop(lists[c->park], c);
    c->park = park;
    if (lists[park] != NULL)
        push(lists[park], c);
}

void park_soon(struct server_connection *c)
{
    if (c->park == PARK_NOT)
        enter(c, PARK_SOON);
}

void park_forget(struct server_connection *c)
{
    enter(c, PARK_NOT);
}

void park_leave(struct server_connection *c)
{
    if (c->park == PARK_ED)
        connection_resume(c);
    enter(c, PARK_NOT);
}

/* Its request is complete, and no answer is there yet? */
static bool awaits_answer(const struct server_connection *c)
{
    const struct server_request *r = c->request;
    return r != NULL && r->complete && r->pending == NULL && !r->answered && !r->cut;
}

/* Between requests, and libmicrohttpd has not begun to read the next one? */
static bool at_rest(const struct server_connection *c)
{
    return c->request == NULL && c->phase == PHASE_IDLE && !c->client_ended && !c->reading_ended && !c->leaving;
}

static void park(struct server_connection *c)
{
    if (c->edge_triggered && loop_rewatch(c->server->loop, &c->watch, EVENTS) != PP_OK)
        return; /* libmicrohttpd keeps it, and watches it by itself */
    c->edge_triggered = false;
    connection_suspend(c);
    enter(c, PARK_ED);
}

void park_all(struct server *s)
{
    struct server_connection *c;
    while ((c = s->parking.oldest) != NULL) {
        enter(c, PARK_NOT);
        if (at_rest(c)) {
            park(c);
        } else if (awaits_answer(c)) {
            connection_suspend(c);
            c->request->suspended = true;
            if (c->client_ended)
                connection_check_client(c); /* it was told before there was anything to cancel */
        }
    }
    while (s->parked.count > PARKED_LIMIT)
        park_leave(s->parked.oldest);
}

void park_none(struct server *s)
{
    while (s->parked.oldest != NULL)
        park_leave(s->parked.oldest);
}

enum pp_result park_watch(struct server_connection *c, int fd)
{
    return loop_watch(c->server->loop, &c->watch, fd, EVENTS, connection_ready);
}

void park_heard(struct server_connection *c)
{
    uint64_t turn = loop_turns(c->server->loop) + 1; /* turns are counted at their end */
    bool again = c->told_turn + 1 == turn;
    bool taken = c->phase != PHASE_WAIT && c->phase != PHASE_REPLY; /* libmicrohttpd reads it in this turn */
    c->told_turn = turn;
    park_leave(c);
    if (!c->edge_triggered && (again || !taken))
        c->edge_triggered = loop_rewatch(c->server->loop, &c->watch, EVENTS | EPOLLET) == PP_OK;
}
