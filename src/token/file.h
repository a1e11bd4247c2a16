/* The token file: its format, and reading it safely.
 *
 * One token per line, newest first, at most LIMIT_TOKENS_FILE. Blank lines and lines that begin with `#` are skipped.
 * After a token, parted by white space: `expires=` with a date and time of RFC 3339, and a `#` comment. White space
 * around a line is trimmed; a CRLF line end, a byte order mark, or anything else that is not exactly this is a fault.
 *
 * Problems read "FILE:LINE: offset N: what is wrong and what would be right", N counting the bytes of the line from 0;
 * faults of the file itself have no line. They never hold a byte of the file. */
#ifndef PP_TOKEN_FILE_H
#define PP_TOKEN_FILE_H

#include "token/token.h"

#include <sys/stat.h>

/* Tokens, newest first; each a reference. */
struct token_set {
    struct token *tokens[LIMIT_TOKENS_FILE];
    size_t count;
};
/* Lets go of all. Safe on a zeroed struct. */
void token_set_clear(struct token_set *set);

/* Where a token stands in the text, for whoever edits it: offsets of its whole line, the line end included. */
struct token_line {
    size_t start, end;
};

/* The format alone; pure. `path` is only named in problems. PP_OK: *out, and *lines where not NULL, hold the tokens,
 * maybe none. PP_INVALID, PP_NOMEM. */
enum pp_result token_file_parse(struct str text, const char *path, struct token_set *out,
                                struct token_line lines[LIMIT_TOKENS_FILE], struct problem *problem) PP_MUST_CHECK;

/* Bytes of a file in secret memory. */
struct token_text {
    char *bytes;
    size_t n, size;
    struct stat stat; /* of the descriptor it was read from */
};
void token_text_free(struct token_text *text);

/* Opens and reads the file, never blocking, whatever it is, and never more than LIMIT_TOKEN_FILE. It must be a regular
 * file (behind symbolic links if need be) that belongs to root or to the user we run as (root trusts any owner); no
 * more than 0640 in its mode, which leaves out every other user and lets the group read only; in a directory that not
 * every user may change, unless its sticky bit keeps them from replacing what is not theirs. *fd, where not NULL, gets
 * the descriptor (the caller closes it). PP_NOT_FOUND: there is no such file. PP_DENIED: not readable, or a mode or
 * owner as above. PP_LIMIT: too large. PP_INVALID: not a regular file. PP_SYSTEM, PP_NOMEM. */
enum pp_result token_text_read(const char *path, struct token_text *out, int *fd,
                               struct problem *problem) PP_MUST_CHECK;

/* Both: at least one token, or PP_INVALID. *stat, where not NULL, is what was read. */
enum pp_result token_file_read(const char *path, struct token_set *out, struct stat *stat,
                               struct problem *problem) PP_MUST_CHECK;

/* Tokens that stand in the config itself (already checked there); `previous` may be NULL. PP_INVALID when both are the
 * same. */
enum pp_result token_set_inline(const char *current, const char *previous, struct token_set *out,
                                struct problem *problem) PP_MUST_CHECK;

/* "2026-12-31T23:59:59Z", with fractions and offsets as RFC 3339 5.6 has them, as wall ms: after 1970 began and before
 * the year 9999 is over, in UTC. PP_INVALID otherwise. */
enum pp_result token_parse_time(struct str text, int64_t *out) PP_MUST_CHECK;

#endif
