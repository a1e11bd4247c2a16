/* Fuzzes the token file's format: never more than the limits, and never a byte of the file in a problem's text. */
#include "token/file.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct token_set set = {.count = 0};
    struct token_line lines[LIMIT_TOKENS_FILE];
    struct problem problem = {.text = ""};
    enum pp_result rc = token_file_parse((struct str){(const char *)data, size}, "f", &set, lines, &problem);
    if (rc == PP_OK) {
        FUZZ_ASSERT(set.count <= LIMIT_TOKENS_FILE);
        for (size_t i = 0; i < set.count; i++) {
            struct str line = {(const char *)data + lines[i].start, lines[i].end - lines[i].start};
            FUZZ_ASSERT(lines[i].end <= size && token_find(set.tokens[i], line) != SIZE_MAX);
        }
    } else {
        FUZZ_ASSERT(strncmp(problem.text, "f:", 2) == 0);
    }
    token_set_clear(&set);
    return 0;
}
