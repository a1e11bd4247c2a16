/* Changing a token file: one line in or out, everything else as it was, all or nothing, also for a signal that ends us.
 *
 * The file is rewritten beside itself and renamed over, with its owner, group and mode. Two edits at once wait for each
 * other. A symbolic link is left alone: what it points to belongs to whoever made it, such as Vault Agent or
 * Kubernetes. */
#ifndef PP_TOKEN_EDIT_H
#define PP_TOKEN_EDIT_H

#include "token/file.h"

struct token_edit; /* a file, locked, and what is in it */

/* PP_DENIED: a symbolic link, or as in token_text_read; so are PP_NOT_FOUND, PP_LIMIT, PP_INVALID (the file has a
 * fault, which is named; no token in it is none), PP_SYSTEM, PP_NOMEM. PP_TIMEOUT: somebody else has held the lock for
 * 5 s. */
enum pp_result token_edit_open(const char *path, struct token_edit **out, struct problem *problem) PP_MUST_CHECK;
/* Without a change, unless one was committed. NULL is fine. */
void token_edit_close(struct token_edit *e);

/* What the file holds, newest first; valid until the close. */
const struct token_set *token_edit_tokens(const struct token_edit *e);

/* Writes `t` as the newest: on a line before the first token. PP_INVALID: it is there already, or the file is full. */
enum pp_result token_edit_add(struct token_edit *e, const struct token *t, struct problem *problem) PP_MUST_CHECK;
/* Drops the line of tokens[index]. */
enum pp_result token_edit_drop(struct token_edit *e, size_t index, struct problem *problem) PP_MUST_CHECK;

#endif
