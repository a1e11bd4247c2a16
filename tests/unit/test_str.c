/* Strings with a length: what base/str.c tells of them. */
#include "base/str.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>

/* Encodes by the definition of RFC 3629 3; 0 for what has no encoding. */
static size_t encode(uint32_t c, char out[static 4])
{
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((0xf00 >> n & 0xff) | c);
    return n;
}

/* Every character is found with its length, and nothing shorter than it. */
START_TEST(every_character)
{
    char bytes[4];
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        size_t n = encode(c, bytes);
        bool right = n == 0 || str_utf8_length((struct str){bytes, n}) == n;
        for (size_t cut = 0; cut < n; cut++)
            right = right && str_utf8_length((struct str){bytes, cut}) == 0;
        if (!right)
            ck_abort_msg("U+%04x", (unsigned)c);
    }
}
END_TEST

/* Of all sequences of three bytes just those are characters that some character is encoded as. */
START_TEST(nothing_else)
{
    char bytes[3], encoded[4];
    for (uint32_t all = 0x800000; all < 0x1000000; all++) {
        uint32_t first = all >> 16, second = all >> 8 & 0xff, third = all & 0xff;
        uint32_t two = (first & 0x1f) << 6 | (second & 0x3f),
                 three = (first & 0x0f) << 12 | (second & 0x3f) << 6 | (third & 0x3f);
        bytes[0] = (char)first;
        bytes[1] = (char)second;
        bytes[2] = (char)third;
        bool is_two = encode(two, encoded) == 2 && memcmp(encoded, bytes, 2) == 0;
        bool is_three = encode(three, encoded) == 3 && memcmp(encoded, bytes, 3) == 0;
        if (str_utf8_length((struct str){bytes, 3}) != (is_two ? 2u : is_three ? 3u : 0u))
            ck_abort_msg("%06x", (unsigned)all);
    }
    ck_assert_uint_eq(str_utf8_length(STR("\xf0\x8f\xbf\xbf")), 0); /* too long a form */
    ck_assert_uint_eq(str_utf8_length(STR("\xf4\x90\x80\x80")), 0); /* beyond the last character */
    ck_assert_uint_eq(str_utf8_length(STR("\xf5\x80\x80\x80")), 0);
    ck_assert_uint_eq(str_utf8_length(STR("\xf1\x80\x80\xc0")), 0);
}
END_TEST

START_TEST(ascii)
{
    static const char hex[] = "0123456789abcdef", upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (int i = 0; i < 256; i++) {
        char c = (char)i;
        const char *digit = i == 0 ? NULL : strchr(hex, c), *big = i == 0 ? NULL : strchr(upper, c);
        char small = big == NULL ? c : "abcdefghijklmnopqrstuvwxyz"[big - upper];
        ck_assert_int_eq(ascii_lower(c), small);
        ck_assert_int_eq(ascii_is_digit(c), digit != NULL && digit < hex + 10);
        ck_assert_int_eq(ascii_is_letter(c), big != NULL || (i >= 'a' && i <= 'z'));
        ck_assert_int_eq(ascii_is_space(c), i != 0 && strchr(" \t\n\v\f\r", c) != NULL);
        digit = i == 0 ? NULL : strchr(hex, small);
        ck_assert_int_eq(ascii_hex(c), digit == NULL ? -1 : digit - hex);
    }
}
END_TEST

static const struct {
    const char *path, *folder;
} folders[] = {{"/etc/a/b", "/etc/a"}, {"/b", "/"}, {"b", "."}, {"a/b", "a"}, {"./b", "."}, {"", "."}};

START_TEST(folder)
{
    ck_assert(str_equal(str_folder(folders[_i].path), str_of(folders[_i].folder)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("str");
    TCase *t = tcase_create("str");
    tcase_add_test(t, every_character);
    tcase_add_test(t, nothing_else);
    tcase_add_test(t, ascii);
    tcase_add_loop_test(t, folder, 0, (int)(sizeof folders / sizeof *folders));
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
