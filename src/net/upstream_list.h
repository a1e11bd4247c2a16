/* An intrusive list of connections, for the pool: first and last, and how many. Private to net/upstream.c. */
#ifndef PP_NET_UPSTREAM_LIST_H
#define PP_NET_UPSTREAM_LIST_H

#include "net/upstream_connection.h"

struct connection_list {
    struct upstream_connection *first, *last;
    unsigned count;
};

static inline void connection_list_push(struct connection_list *list, struct upstream_connection *c, bool at_front)
{
    c->next = at_front ? list->first : NULL;
    c->prev = at_front ? NULL : list->last;
    if (c->next != NULL)
        c->next->prev = c;
    else
        list->last = c;
    if (c->prev != NULL)
        c->prev->next = c;
    else
        list->first = c;
    list->count++;
}

static inline void connection_list_remove(struct connection_list *list, struct upstream_connection *c)
{
    if (c->next != NULL)
        c->next->prev = c->prev;
    else
        list->last = c->prev;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        list->first = c->next;
    c->next = c->prev = NULL;
    list->count--;
}

#endif
