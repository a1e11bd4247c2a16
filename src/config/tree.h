/* A parsed config file as plain data, so that nothing but the loader knows the library that parsed it. */
#ifndef PP_CONFIG_TREE_H
#define PP_CONFIG_TREE_H

#include "base/str.h"

#include <stdint.h>

/* Bits, so that a type of option can say which kinds it takes. */
enum node_kind {
    NODE_BOOLEAN = 1,
    NODE_INTEGER = 2,
    NODE_FLOAT = 4,
    NODE_STRING = 8,
    NODE_LIST = 16, /* [ ... ] or ( ... ) */
    NODE_GROUP = 32 /* { ... } */
};

struct node {
    const char *name; /* NULL in a list and for the root */
    enum node_kind kind;
    int line; /* of the file, from 1 */
    bool boolean;
    int64_t integer;
    struct str string;     /* NUL-terminated as well */
    struct node *children; /* of a list or group */
    size_t count;
};

/* The member of a group, or NULL. */
static inline const struct node *node_member(const struct node *group, const char *name)
{
    for (size_t i = 0; i < group->count; i++)
        if (strcmp(group->children[i].name, name) == 0)
            return &group->children[i];
    return NULL;
}

#endif
