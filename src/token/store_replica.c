/* Replicas of the store: what one tells the others, and how they take it up. */
#include "token/store_private.h"

bool token_store_knowledge(const struct token_store *s, const struct token *t, struct token_knowledge *out)
{
    const struct entry *e = store_find(s, t);
    if (e != NULL)
        *out = e->knowledge;
    return e != NULL;
}

unsigned token_store_merge(struct token_store *s, const struct token *t, const struct token_knowledge *theirs)
{
    struct entry *e = store_find(s, t);
    return e == NULL ? TOKEN_NEWS_NONE : store_merge(e, theirs);
}

void token_store_snapshot(const struct token_store *s, struct token_snapshot *out)
{
    out->policy = s->policy;
    out->count = s->count;
    for (size_t i = 0; i < s->count; i++) {
        const struct entry *e = &s->entries[i];
        out->items[i] = (struct token_snapshot_item){.token = token_ref(e->token),
                                                     .in_file = e->in_file,
                                                     .expired = e->expired,
                                                     .vanished = e->vanished,
                                                     .knowledge = e->knowledge};
    }
}

void token_snapshot_copy(const struct token_snapshot *from, struct token_snapshot *to)
{
    *to = *from;
    for (size_t i = 0; i < to->count; i++)
        (void)token_ref(to->items[i].token);
}

void token_snapshot_clear(struct token_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++)
        token_unref(&snapshot->items[i].token);
    snapshot->count = 0;
}

void token_store_adopt(struct token_store *s, const struct token_snapshot *snapshot, uint32_t *behind)
{
    struct token_store old = *s;
    *behind = 0;
    s->policy = snapshot->policy;
    s->count = snapshot->count;
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct token_snapshot_item *item = &snapshot->items[i];
        struct entry *e = &s->entries[i];
        const struct entry *known = store_find(&old, item->token);
        if (known != NULL)
            *e = *known;
        else
            *e = (struct entry){.knowledge = item->knowledge, .taken = NEVER, .probed = NEVER};
        e->token = token_ref(item->token);
        e->in_file = item->in_file;
        e->expired = item->expired;
        e->vanished = item->vanished;
        if ((store_merge(e, &item->knowledge) & TOKEN_NEWS_BEHIND) != 0)
            *behind |= UINT32_C(1) << i;
    }
    for (size_t i = 0; i < old.count; i++)
        token_unref(&old.entries[i].token);
}
