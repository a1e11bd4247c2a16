/* Digests against published vectors; secret memory with and without permission to lock. */
#include "base/crypto.h"

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void hex(const unsigned char *bytes, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* FIPS 180-4 examples. */
static const struct {
    const char *text, *sha256, *sha1;
} digests[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
     "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
     "a9993e364706816aba3e25717850c26c9cd0d89d"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
};

START_TEST(digest_vectors)
{
    unsigned char d256[32], d1[20];
    char text[65];
    ck_assert_int_eq(crypto_sha256(digests[_i].text, strlen(digests[_i].text), d256), PP_OK);
    hex(d256, sizeof d256, text);
    ck_assert_str_eq(text, digests[_i].sha256);
    ck_assert_int_eq(crypto_sha1(digests[_i].text, strlen(digests[_i].text), d1), PP_OK);
    hex(d1, sizeof d1, text);
    ck_assert_str_eq(text, digests[_i].sha1);
}
END_TEST

/* RFC 4648 10. */
static const struct {
    const char *text, *base64;
} encodings[] = {
    {"", ""},
    {"f", "Zg=="},
    {"fo", "Zm8="},
    {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="},
    {"fooba", "Zm9vYmE="},
    {"foobar", "Zm9vYmFy"},
};

START_TEST(base64_vectors)
{
    char out[16];
    memset(out, 'x', sizeof out);
    crypto_base64(encodings[_i].text, strlen(encodings[_i].text), out);
    ck_assert_str_eq(out, encodings[_i].base64);
}
END_TEST

START_TEST(base64_of_many_pieces)
{
    size_t n = 3072 * 2 + 1;
    char *zeros = calloc(1, n), *out = malloc(4 * ((n + 2) / 3) + 1);
    ck_assert(zeros != NULL && out != NULL);
    crypto_base64(zeros, n, out);
    ck_assert_uint_eq(strlen(out), 4 * ((n + 2) / 3));
    ck_assert_uint_eq(strspn(out, "A"), strlen(out) - 2);
    ck_assert_str_eq(out + strlen(out) - 2, "==");
    free(zeros);
    free(out);
}
END_TEST

START_TEST(equal)
{
    ck_assert(crypto_equal("same bytes", "same bytes", 10));
    ck_assert(!crypto_equal("same bytes", "same bytez", 10));
    ck_assert(!crypto_equal("Same bytes", "same bytes", 10));
    ck_assert(crypto_equal("a", "b", 0));
}
END_TEST

START_TEST(random_bytes_differ)
{
    unsigned char a[32] = {0}, b[32] = {0};
    ck_assert_int_eq(crypto_random(a, sizeof a), PP_OK);
    ck_assert_int_eq(crypto_random(b, sizeof b), PP_OK);
    ck_assert(memcmp(a, b, sizeof a) != 0);
    ck_assert_int_eq(crypto_random(a, 0), PP_OK);
}
END_TEST

START_TEST(jitter_covers_its_range_evenly)
{
    unsigned count[10] = {0};
    for (int i = 0; i < 100000; i++) {
        unsigned n = crypto_jitter(10);
        ck_assert_uint_lt(n, 10);
        count[n]++;
    }
    for (int i = 0; i < 10; i++) { /* 10,000 expected each; 700 is more than seven standard deviations */
        ck_assert_uint_gt(count[i], 9300);
        ck_assert_uint_lt(count[i], 10700);
    }
    ck_assert_uint_eq(crypto_jitter(0), 0);
    ck_assert_uint_eq(crypto_jitter(1), 0);
}
END_TEST

/* Runs in a process of its own, because the heap can be set up once and limits only be lowered. */
static int child_with_memlock(rlim_t limit, int (*body)(void))
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct rlimit r = {limit, limit};
        if (setrlimit(RLIMIT_MEMLOCK, &r) != 0)
            _exit(100);
        if (geteuid() == 0 && setuid(65534) != 0) /* root may lock past the limit */
            _exit(101);
        _exit(body());
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* The kernel's account of this process: memory locked, in KiB. */
static long locked_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    if (f == NULL)
        return -1;
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "VmLck:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    (void)fclose(f);
    return kib;
}

static int use_secrets(void)
{
    /* More than the heap holds: the rest comes from ordinary memory. */
    static void *secret[64];
    for (size_t i = 0; i < 64; i++) {
        secret[i] = secret_alloc(65536);
        if (secret[i] == NULL)
            return 1;
        memset(secret[i], (int)i, 65536);
    }
    for (size_t i = 0; i < 64; i++) {
        if (((unsigned char *)secret[i])[65535] != i)
            return 2;
        secret_free(secret[i], 65536);
    }
    secret_free(NULL, 10);
    secret_memory_fini();
    return secret_memory_locked() ? 3 : 0;
}

static int without_permission(void)
{
    return secret_memory_init() != PP_SYSTEM || secret_memory_locked() ? 10 : use_secrets();
}

static int with_little_permission(void)
{
    if (secret_memory_init() != PP_OK || !secret_memory_locked())
        return 10;
    return locked_kib() != 128 ? 11 : use_secrets();
}

static int with_permission(void)
{
    if (secret_memory_init() != PP_OK || !secret_memory_locked())
        return 10;
    return locked_kib() != 2048 ? 11 : use_secrets();
}

static const struct {
    rlim_t limit;
    int (*body)(void);
} permissions[] = {
    {0, without_permission},
    {(rlim_t)32 * 1024, without_permission},
    {(rlim_t)200 * 1024, with_little_permission},
    {(rlim_t)4 * 1024 * 1024, with_permission},
    {0, use_secrets}, /* never set up */
};

START_TEST(memory_with_each_permission)
{
    ck_assert_int_eq(child_with_memlock(permissions[_i].limit, permissions[_i].body), 0);
}
END_TEST

static int wiped_when_freed(void)
{
    if (secret_memory_init() != PP_OK)
        return 10;
    unsigned char *keep = secret_alloc(64), *secret = secret_alloc(64);
    if (keep == NULL || secret == NULL)
        return 11;
    memset(secret, 0xa5, 64);
    secret_free(secret, 64);
    /* The heap stays mapped, so its memory can be read; a free piece begins with the list's two pointers. */
    for (size_t i = 2 * sizeof(void *); i < 64; i++)
        if (((volatile unsigned char *)secret)[i] != 0)
            return 12;
    secret_free(keep, 64);
    return 0;
}

START_TEST(freed_memory_is_wiped)
{
    ck_assert_int_eq(child_with_memlock((rlim_t)4 * 1024 * 1024, wiped_when_freed), 0);
}
END_TEST

START_TEST(wipe)
{
    char bytes[8] = "abcdefg";
    secret_wipe(bytes, 4);
    ck_assert(memcmp(bytes, "\0\0\0\0efg", 8) == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crypto");
    TCase *t = tcase_create("crypto");
    tcase_add_loop_test(t, digest_vectors, 0, (int)(sizeof digests / sizeof digests[0]));
    tcase_add_loop_test(t, base64_vectors, 0, (int)(sizeof encodings / sizeof encodings[0]));
    tcase_add_test(t, base64_of_many_pieces);
    tcase_add_test(t, equal);
    tcase_add_test(t, random_bytes_differ);
    tcase_add_test(t, jitter_covers_its_range_evenly);
    tcase_add_loop_test(t, memory_with_each_permission, 0, (int)(sizeof permissions / sizeof permissions[0]));
    tcase_add_test(t, freed_memory_is_wiped);
    tcase_add_test(t, wipe);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
