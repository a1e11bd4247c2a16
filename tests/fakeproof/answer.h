/* One answer: composed, then sent well or, when a fault says so, badly. */
#ifndef PP_TESTS_FAKEPROOF_ANSWER_H
#define PP_TESTS_FAKEPROOF_ANSWER_H

#include "state.h"

struct answer {
    int status;
    const char *content_type;
    char *body; /* owned */
    size_t length;
    const json_t *headers; /* array of further lines, or NULL; borrowed */
    bool close;            /* the connection ends after it */
};

/* What comes after an answer. */
enum after { AFTER_KEEP, AFTER_CLOSE, AFTER_TRUNCATE, AFTER_RESET };

/* Takes over the reference; NULL becomes a 500. */
void answer_json(struct answer *a, int status, json_t *body);
/* An error in Proof's shape; error, code or message may be NULL: then what the documentation names for that status. */
void answer_error(struct answer *a, int status, const char *error, const char *code, const char *message);
void answer_free(struct answer *a);

/* Reads what is left of the request's body, so that the next request starts where it should. */
bool drain_body(struct connection *c, struct http_request *r);

/* Sends it, frees it, and says what the connection does next. `fault` may be NULL. */
enum after answer_send(struct connection *c, struct http_request *r, struct answer *a, const json_t *fault);

/* Faults that answer by themselves, without the API being asked. True if this is one; *next is set then. */
bool fault_perform(struct connection *c, struct http_request *r, const json_t *fault, enum after *next);

/* An integer, text or truth of a fault, with a default. */
long long fault_number(const json_t *fault, const char *key, long long otherwise);
const char *fault_text(const json_t *fault, const char *key, const char *otherwise);

/* The known pattern: 16-byte lines, 15 hex digits of the line's number and a newline. Fills `out` with the bytes that
 * stand at `offset`. */
void pattern_fill(unsigned long long offset, char *out, size_t n);

#endif
