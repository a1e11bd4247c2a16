/* The token file: edited well and badly, and what the master makes of it. */
#include "process.h"

#include <stdio.h>

#define MASTER ORACLE_MASTER

static struct token *make_token(const struct process *p, unsigned number)
{
    char text[16];
    int n = snprintf(text, sizeof text, "token-%02u", number);
    struct token *t = token_new(text, (size_t)n, p->written[number]);
    if (t == NULL)
        fail("out of memory");
    return t;
}

/* Too many would be held: the store chooses. Whatever it drops, it keeps nothing less useful, and all of the file. */
static void follow_choice(struct process *p)
{
    struct holdings *held = &p->oracle.held[MASTER], kept = {.count = 0};
    struct token_info list[LIMIT_TOKENS_HELD];
    size_t n = token_store_list(p->stores[MASTER], list);
    int worst_kept = 2, best_dropped = 0;
    for (size_t i = 0; i < held->count; i++) {
        const struct holding *h = &held->items[i];
        enum token_verdict belief = oracle_belief(&p->oracle, MASTER, h->token);
        int use = h->expired || belief == TOKEN_REFUSED ? 0 : belief == TOKEN_UNTESTED ? 1 : 2;
        bool found = false;
        for (size_t j = 0; j < n; j++)
            found |= process_number(list[j].token) == h->token;
        if (found)
            kept.items[kept.count++] = *h;
        else if (h->in_file)
            fail("token %u of the file is not held", h->token);
        if (found && !h->in_file && use < worst_kept)
            worst_kept = use;
        if (!found && use > best_dropped)
            best_dropped = use;
    }
    if (kept.count != LIMIT_TOKENS_HELD || worst_kept < best_dropped)
        fail("of too many tokens the wrong ones were dropped");
    *held = kept;
    oracle_forget(&p->oracle, MASTER);
}

void process_read_file(struct process *p, const unsigned *tokens, size_t count)
{
    struct token *list[LIMIT_TOKENS_FILE + 2] = {NULL};
    bool good = count > 0 && count <= LIMIT_TOKENS_FILE;
    for (size_t i = 0; i < count; i++) {
        list[i] = make_token(p, tokens[i]);
        for (size_t j = 0; j < i; j++)
            good &= tokens[j] != tokens[i];
        trace("%lld file line %zu: token %u", (long long)p->now, i, tokens[i]);
    }
    enum pp_result rc = token_store_replace(p->stores[MASTER], list, count, p->now, process_wall(p));
    for (size_t i = 0; i < count; i++)
        token_unref(&list[i]);
    if (rc != (good ? PP_OK : PP_INVALID))
        fail("a file of %zu tokens gives %s", count, pp_result_name(rc));
    if (good) {
        for (size_t i = 0; i < count; i++)
            p->expires[tokens[i]] = p->written[tokens[i]];
        oracle_file(&p->oracle, tokens, count, p->now);
        if (p->oracle.held[MASTER].count > LIMIT_TOKENS_HELD)
            follow_choice(p);
        oracle_expire(&p->oracle, p->policy.grace, p->expires, p->now, process_wall(p));
    }
    process_check(p, MASTER); /* bad: nothing changed */
    if (good)
        process_tell_workers(p);
    process_run_master(p);
}

/* The file as an operator, a secret manager or an editor caught half-way leaves it. */
void process_edit_file(struct process *p)
{
    struct rng *rng = &p->world->rng;
    unsigned next[LIMIT_TOKENS_FILE + 2];
    size_t n = 0;
    unsigned way = rng_below(rng, 12), number = rng_below(rng, p->world->tokens);
    if (rng_chance(rng, 10))
        p->written[number] = rng_chance(rng, 30) ? 0 : process_wall(p) + rng_below(rng, (unsigned)p->world->end) - 1000;
    if (way == 0) {
        process_read_file(p, next, 0); /* empty */
        return;
    }
    if (way == 1 && p->file_count > 0) { /* cut short: only some lines are there yet */
        process_read_file(p, p->file, 1 + rng_below(rng, (unsigned)p->file_count));
        process_read_file(p, p->file, p->file_count);
        return;
    }
    if (way == 2) { /* one twice */
        next[0] = next[1] = number;
        process_read_file(p, next, 2);
        return;
    }
    if (way == 3 && p->world->tokens > LIMIT_TOKENS_FILE) { /* nine */
        for (n = 0; n < LIMIT_TOKENS_FILE + 1; n++)
            next[n] = (unsigned)n;
        process_read_file(p, next, n);
        return;
    }
    if (way <= 8)
        next[n++] = number; /* a new one, or an old one moved to the top */
    if (way <= 7 || way == 9 || n == 0) {
        for (size_t i = 0; i < p->file_count && n < LIMIT_TOKENS_FILE; i++)
            if (n == 0 || p->file[i] != next[0])
                next[n++] = p->file[i];
        if (way == 9 && n > 1)
            n--; /* the oldest retired */
    }
    if (n == 0)
        next[n++] = number;
    memcpy(p->file, next, n * sizeof next[0]);
    p->file_count = n;
    process_read_file(p, next, n);
}
