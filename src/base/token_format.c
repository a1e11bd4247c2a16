/* The rule what a token may look like. */
#include "base/token_format.h"

#include "base/limits.h"

struct str token_format_trim(struct str bytes)
{
    while (bytes.n > 0 && ascii_is_space(bytes.p[0]))
        bytes.p++, bytes.n--;
    while (bytes.n > 0 && ascii_is_space(bytes.p[bytes.n - 1]))
        bytes.n--;
    return bytes;
}

/* A whole header line or the scheme pasted along with the token. */
static const char *scheme_prefix(struct str bytes)
{
    static const struct str bearer = {"Bearer", 6}, authorization = {"Authorization:", 14};

    if (str_equal_nocase(bytes, bearer)) /* a script has pasted an empty variable behind it */
        return "the word Bearer without a token behind it: write the token alone";
    if (bytes.n > bearer.n && str_equal_nocase((struct str){bytes.p, bearer.n}, bearer) &&
        ascii_is_space(bytes.p[bearer.n]))
        return "a \"Bearer \" prefix: write the token alone, the daemon adds the scheme";
    if (bytes.n >= authorization.n && str_equal_nocase((struct str){bytes.p, authorization.n}, authorization))
        return "a whole header line: write the token alone, without \"Authorization:\"";
    return NULL;
}

static const char *bad_byte(struct str bytes, size_t i)
{
    unsigned char c = (unsigned char)bytes.p[i];

    if (ascii_is_space((char)c))
        return "white space inside the token: write one token, in one piece";
    if (c < 0x20 || c == 0x7f)
        return "a control byte: a token is visible ASCII characters only";
    if (bytes.n - i >= 3 && memcmp(bytes.p + i, "\xef\xbb\xbf", 3) == 0)
        return "a UTF-8 byte order mark: save the text without one";
    if (c > 0x7e)
        return "a byte outside ASCII: a token is visible ASCII characters only";
    return NULL;
}

enum pp_result token_format_check(struct str bytes, size_t *offset, const char **what)
{
    if (bytes.n == 0) {
        *offset = 0;
        *what = "no token: expected one, of visible ASCII characters";
        return PP_INVALID;
    }
    const char *fault = scheme_prefix(bytes);
    if (fault != NULL) {
        *offset = 0;
        *what = fault;
        return PP_INVALID;
    }
    for (size_t i = 0; i < bytes.n; i++) {
        fault = bad_byte(bytes, i);
        if (fault != NULL) {
            *offset = i;
            *what = fault;
            return PP_INVALID;
        }
    }
    if (bytes.n > LIMIT_TOKEN_LENGTH) {
        *offset = LIMIT_TOKEN_LENGTH;
        *what = "longer than 4096 bytes: this is not a token";
        return PP_INVALID;
    }
    char first = bytes.p[0], last = bytes.p[bytes.n - 1];
    if ((first == '"' || first == '\'') && last == first) {
        *offset = 0;
        *what = "quotes around the token: write it without them";
        return PP_INVALID;
    }
    return PP_OK;
}
