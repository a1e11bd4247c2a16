/* The memory of clients' connections: used again while warm, without pages while it rests, and never altered by it. */
#include "net/server_private.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOT  SERVER_CONNECTION_MEMORY
#define MANY  300u /* more than are kept warm */
#define WARM  256u
#define KEPT  16u
#define LIMIT 40000u /* more than there are */

static size_t resident(char *slot)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = SLOT / page, n = 0;
    unsigned char there[SLOT / 4096];
    ck_assert_int_eq(mincore(slot, SLOT, there), 0);
    for (size_t i = 0; i < pages; i++)
        n += (there[i] & 1) * page;
    return n;
}

static char *take(void)
{
    char *slot = slot_take();
    ck_assert_ptr_nonnull(slot);
    ck_assert_ptr_eq(slot_taken_last(), slot);
    ck_assert_uint_eq((uintptr_t)slot % (uintptr_t)sysconf(_SC_PAGESIZE), 0);
    return slot;
}

START_TEST(the_last_one_given_is_taken_first)
{
    char *a = take(), *b = take();
    ck_assert(b >= a + SLOT || a >= b + SLOT);
    memset(a, 'a', SLOT);
    memset(b, 'b', SLOT);
    ck_assert_int_eq(a[SLOT - 1], 'a');
    ck_assert(slot_give(a));
    ck_assert(slot_give(b));
    ck_assert_ptr_eq(take(), b);
    ck_assert_ptr_eq(take(), a);
    ck_assert_uint_eq(resident(a), SLOT);
    ck_assert(slot_give(a) && slot_give(b));
}
END_TEST

START_TEST(what_is_no_slot_is_left_alone)
{
    char *slot = take(), *other = malloc(SLOT);
    ck_assert_ptr_nonnull(other);
    memset(other, 0, SLOT);
    ck_assert(!slot_give(other));
    ck_assert(!slot_give(NULL));
    slot_rest(other);
    slot_rest(NULL);
    free(other);
    ck_assert(slot_give(slot));
}
END_TEST

/* At each of these places, in bytes, stands something, and everything else is zero. */
static const struct {
    int count;
    size_t at[3];
    size_t pages; /* that stay */
} contents[] = {
    {0, {0}, 0},
    {1, {0}, 1},
    {1, {SLOT - 1}, 1},
    {1, {4096}, 1},
    {1, {3 * 4096 - 1}, 1},
    {2, {0, SLOT - 1}, 2},
    {3, {100, 2 * 4096 + 5, 2 * 4096 + 6}, 2},
    {3, {0, 4096, SLOT / 2}, 3},
};

START_TEST(rest_keeps_what_stands_there)
{
    char *slot = take();
    memset(slot, 0, SLOT);
    for (int i = 0; i < contents[_i].count; i++)
        slot[contents[_i].at[i]] = (char)(i + 1);
    ck_assert_uint_eq(resident(slot), SLOT);
    slot_rest(slot);
    if (sysconf(_SC_PAGESIZE) == 4096)
        ck_assert_uint_eq(resident(slot), contents[_i].pages * 4096);
    for (int i = 0; i < contents[_i].count; i++) {
        ck_assert_int_eq(slot[contents[_i].at[i]], i + 1);
        slot[contents[_i].at[i]] = 0;
    }
    for (size_t at = 0; at < SLOT; at++)
        ck_assert_int_eq(slot[at], 0);
    memset(slot, 'x', SLOT);
    slot_rest(slot); /* it was taken up again: nothing to give back */
    ck_assert_uint_eq(resident(slot), SLOT);
    ck_assert(slot_give(slot));
}
END_TEST

static char *slots[MANY];

static size_t all_resident(void)
{
    size_t n = 0;
    for (size_t i = 0; i < MANY; i++)
        n += resident(slots[i]);
    return n / SLOT;
}

START_TEST(a_storm_leaves_little)
{
    for (size_t i = 0; i < MANY; i++) {
        slots[i] = take();
        memset(slots[i], 'x', SLOT);
    }
    for (size_t i = 0; i < MANY; i++)
        ck_assert(slot_give(slots[i]));
    ck_assert_uint_eq(all_resident(), WARM);
    (void)slots_cool(); /* from here on it counts how many are not needed */
    for (int turn = 0; turn < 3; turn++) {
        char *some[100];
        for (size_t i = 0; i < 100; i++)
            some[i] = take();
        for (size_t i = 0; i < 100; i++)
            ck_assert(slot_give(some[i]));
    }
    ck_assert(slots_cool());
    ck_assert_uint_eq(all_resident(), 100); /* what came and went in the meantime */
    ck_assert(!slots_cool());
    ck_assert_uint_eq(all_resident(), KEPT);
    ck_assert(!slots_cool());
    ck_assert_uint_eq(all_resident(), KEPT);
    for (size_t i = 0; i < MANY; i++) {
        char *slot = take();
        for (size_t k = 0; k < i; k++)
            ck_assert_ptr_ne(slot, slots[k]);
        slots[i] = slot;
        memset(slot, 'y', SLOT);
    }
    for (size_t i = 0; i < MANY; i++)
        ck_assert(slot_give(slots[i]));
}
END_TEST

/* Beyond the last one the caller has to do without, and is not told of one that does not exist. */
START_TEST(they_run_out)
{
    char **all = calloc(LIMIT, sizeof *all), *slot;
    size_t n = 0;
    ck_assert_ptr_nonnull(all);
    while ((slot = slot_take()) != NULL && n < LIMIT)
        all[n++] = slot;
    ck_assert_uint_eq(n, 32768);
    ck_assert_ptr_null(slot_taken_last());
    ck_assert(slot_give(all[--n]));
    ck_assert_ptr_eq(take(), all[n++]);
    while (n > 0)
        ck_assert(slot_give(all[--n]));
    free(all);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("server_slots");
    TCase *t = tcase_create("slots");
    tcase_add_test(t, the_last_one_given_is_taken_first);
    tcase_add_test(t, what_is_no_slot_is_left_alone);
    tcase_add_loop_test(t, rest_keeps_what_stands_there, 0, (int)(sizeof contents / sizeof contents[0]));
    tcase_add_test(t, a_storm_leaves_little);
    tcase_add_test(t, they_run_out);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
