/* Tests of base/buf: the ceiling holds at every size and however the bytes come in. */
#include "base/buf.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>

static const size_t limits[] = {1, 2, 100, 255, 256, 257, 300, 511, 512, 513, 1000, 4096};

/* Pieces of growing size until one does not fit; then smaller ones, down to single bytes, as long as they do. */
START_TEST(test_limit)
{
    struct buf b;
    char bytes[4200];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)i;
    buf_init(&b, limits[_i]);
    size_t written = 0, piece = 1;
    for (; buf_append(&b, bytes + written, piece) == PP_OK; piece++) {
        written += piece;
        ck_assert_uint_eq(buf_len(&b), written);
    }
    ck_assert_uint_gt(written + piece, limits[_i]);
    ck_assert(b.failed);
    ck_assert_int_ne(buf_append_char(&b, 'x'), PP_OK); /* nothing goes behind what is cut short */
    ck_assert_uint_eq(buf_len(&b), written);
    b.failed = false;
    while (buf_room(&b) > 0)
        ck_assert_int_eq(buf_append_char(&b, bytes[written++]), PP_OK);
    ck_assert_uint_eq(buf_len(&b), limits[_i]);
    ck_assert_uint_le(b.size, limits[_i]);
    ck_assert_int_eq(buf_append_char(&b, 'x'), PP_LIMIT);
    ck_assert_mem_eq(buf_str(&b).p, bytes, limits[_i]);
    buf_free(&b);
}
END_TEST

/* What was taken from the front makes room at the back, whichever way it is written. */
START_TEST(test_consumed_room)
{
    struct buf b;
    buf_init(&b, 300);
    for (unsigned i = 0; i < 10000; i++) {
        char four[4] = {(char)i, (char)(i >> 8), 'a', 'b'};
        ck_assert_int_eq(buf_append(&b, four, sizeof four), PP_OK);
        ck_assert_int_eq(buf_append_str(&b, STR_NONE), PP_OK);
        if (i % 2 == 0)
            ck_assert_int_eq(buf_printf(&b, "%s", "cd"), PP_OK);
        if (buf_room(&b) < 10) {
            struct str all = buf_str(&b);
            ck_assert_uint_gt(all.n, 290);
            buf_consume(&b, all.n - 3);
        }
    }
    ck_assert_uint_le(b.size, 300);
    buf_free(&b);
}
END_TEST

/* A formatted text fits exactly when its bytes do, short or long; else nothing of it is there. */
START_TEST(test_formatted)
{
    static char text[2000];
    for (size_t n = 1; n < sizeof text; n = n * 5 / 4 + 1) {
        struct buf b;
        memset(text, 'f', n);
        text[n] = '\0';
        buf_init(&b, n + 2);
        ck_assert_int_eq(buf_printf(&b, "a%sz", text), PP_OK);
        ck_assert_uint_eq(buf_len(&b), n + 2);
        ck_assert_int_eq(b.data[0], 'a');
        ck_assert_int_eq(b.data[n + 1], 'z');
        buf_free(&b);
        buf_init(&b, n + 1);
        ck_assert_int_eq(buf_printf(&b, "a%sz", text), PP_LIMIT);
        ck_assert(b.failed && buf_len(&b) == 0);
        buf_free(&b);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("buf");
    TCase *t = tcase_create("buf");
    tcase_add_loop_test(t, test_limit, 0, (int)(sizeof limits / sizeof limits[0]));
    tcase_add_test(t, test_consumed_room);
    tcase_add_test(t, test_formatted);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
