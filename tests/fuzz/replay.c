/* Runs a fuzz target over files without libFuzzer: each whole, and cut after every byte, as a slow peer would.
 * Without a file it takes one input from standard input, as AFL++ gives it: afl-fuzz -i CORPUS -o DIR -- replay_NAME */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#define INPUT_MAX    (1024u * 1024) /* bytes of a file that are read */
#define PREFIXES_MAX 2048u          /* cuts per file: after each of its first bytes */

/* The target gets memory of exactly this size, so that a sanitizer sees one byte too many. */
static int run_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);

    if (copy == NULL)
        return -1;
    if (size > 0)
        memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    return 0;
}

static int run_stdin(uint8_t *buffer)
{
    size_t size = fread(buffer, 1, INPUT_MAX, stdin);

    return ferror(stdin) != 0 ? -1 : run_copy(buffer, size);
}

static int run_file(const char *path, uint8_t *buffer)
{
    FILE *file = fopen(path, "rb");

    if (file == NULL)
        return -1;
    size_t size = fread(buffer, 1, INPUT_MAX, file);
    int failed = ferror(file);
    (void)fclose(file);
    if (failed != 0)
        return -1;
    for (size_t cut = 0; cut < size && cut < PREFIXES_MAX; cut++)
        if (run_copy(buffer, cut) != 0)
            return -1;
    return run_copy(buffer, size);
}

int main(int argc, char **argv)
{
    uint8_t *buffer = malloc(INPUT_MAX);

    if (buffer == NULL || (argc < 2 && run_stdin(buffer) != 0)) {
        (void)fprintf(stderr, "%s: standard input could not be run: %s\n", argv[0], strerror(errno));
        free(buffer);
        return 1;
    }
    for (int i = 1; i < argc; i++) {
        if (run_file(argv[i], buffer) != 0) {
            (void)fprintf(stderr, "%s: %s could not be run: %s\n", argv[0], argv[i], strerror(errno));
            free(buffer);
            return 1;
        }
    }
    free(buffer);
    return 0;
}
