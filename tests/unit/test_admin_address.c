/* Where commands look for the daemon, above all when the config file is broken. */
#include "cli/admin_client.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DEFAULT "unix:/run/proofproxy/admin.sock"
#define GOOD                                                                                                           \
    "environments = { production = { base_url = \"https://api.example\"; listen = [ \"127.0.0.1:8780\" ]; "            \
    "token_file = \"/etc/p.token\"; }; };\n"

static const struct {
    const char *text, *given, *address;
} cases[] = {
    /* files that load */
    {GOOD, NULL, DEFAULT},
    {GOOD "admin = { listen = [ \"unix:/run/x.sock\", \"127.0.0.1:9\" ]; };", NULL, "unix:/run/x.sock"},
    {GOOD "admin = { listen = [ \"systemd:admin\", \"[::1]:9\" ]; };", NULL, "[::1]:9"},
    {GOOD "admin = { listen = [ \"localhost:9\" ]; };", NULL, "127.0.0.1:9"},
    {GOOD, "127.0.0.1:5", "127.0.0.1:5"},
    /* files that do not */
    {"admin = { listen = [ \"unix:/run/x.sock\" ]; }; wokers = 1;", NULL, "unix:/run/x.sock"},
    {"x\nadmin : { unix_mode = \"0660\"; listen = ( \"systemd:a\", \"127.0.0.1:9\" ); }", NULL, "127.0.0.1:9"},
    {"# admin = { listen = [ \"unix:/a\" ]; };\nadmin = { listen = [ \"unix:/b\" ]; }; }", NULL, "unix:/b"},
    {"/* admin = { listen = [ \"unix:/a\" ]; }; */ // \"\nadmin = { listen = [ \"unix:/b\" ]; }; }", NULL, "unix:/b"},
    {"environments = { admin = { listen = [ \"127.0.0.1:8780\" ]; }; };", NULL, DEFAULT},
    {"admin = { }; environments = { a = { listen = [ \"127.0.0.1:8780\" ]; }; };", NULL, DEFAULT},
    {"note = \"admin = { listen = [ \\\"unix:/a\\\" ]\"; admin = { listen = [ \"unix:/b\" ] } }", NULL, "unix:/b"},
    {"admin = { listen = [ \"unix:/unfinished", NULL, "unix:/unfinished"},
    {"admin = { listen = [ \"\" ]", NULL, DEFAULT},
    {"admin = { listen = [", NULL, DEFAULT},
    {"admin", NULL, DEFAULT},
    {"\"\\", NULL, DEFAULT},
    {"", NULL, DEFAULT},
    {NULL, NULL, DEFAULT},
};

START_TEST(test_addresses)
{
    char path[] = "/tmp/proofproxy-test-XXXXXX", address[ADMIN_ADDRESS_SIZE];
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    if (cases[_i].text == NULL)
        ck_assert_int_eq(unlink(path), 0);
    else
        ck_assert_int_eq(write(fd, cases[_i].text, strlen(cases[_i].text)), (ssize_t)strlen(cases[_i].text));
    ck_assert_int_eq(close(fd), 0);
    admin_client_address(path, cases[_i].given, address);
    (void)unlink(path);
    ck_assert_str_eq(address, cases[_i].address);
}
END_TEST

START_TEST(test_a_long_address_is_no_address)
{
    char path[] = "/tmp/proofproxy-test-XXXXXX", address[ADMIN_ADDRESS_SIZE];
    int fd = mkstemp(path);
    ck_assert_int_ge(dprintf(fd, "admin = { listen = [ \"unix:/%0300d\" ]", 0), 0);
    ck_assert_int_eq(close(fd), 0);
    admin_client_address(path, NULL, address);
    (void)unlink(path);
    ck_assert_str_eq(address, DEFAULT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("admin_address");
    TCase *tc = tcase_create("admin_address");
    tcase_add_loop_test(tc, test_addresses, 0, sizeof cases / sizeof cases[0]);
    tcase_add_test(tc, test_a_long_address_is_no_address);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
