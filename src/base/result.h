/* The one result type of fallible functions. Zero is fine; everything else names what kind of failure it was. */
#ifndef PP_BASE_RESULT_H
#define PP_BASE_RESULT_H

/* Every function that can fail returns this, in a local always called `rc`; text for people travels beside it in a
 * struct problem (below), never in errno alone. */
enum pp_result {
    PP_OK = 0,
    PP_AGAIN,     /* nothing wrong: come back when the descriptor or the other side is ready */
    PP_END,       /* nothing wrong: the other side ended in an orderly way */
    PP_NOMEM,     /* an allocation failed */
    PP_LIMIT,     /* a named limit of ours was reached */
    PP_INVALID,   /* input that breaks its rules */
    PP_NOT_FOUND, /* what was named does not exist */
    PP_DENIED,    /* not allowed */
    PP_TIMEOUT,   /* a deadline passed */
    PP_BROKEN,    /* the other side reset, closed early or lied */
    PP_SYSTEM     /* a system call failed; errno was meaningful at that point */
};

#define PP_MUST_CHECK        __attribute__((warn_unused_result))
#define PP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* A sentence for people about a failure: what happened, what was expected, what to do. Never holds a secret.
 * Always NUL-terminated; longer text is cut. */
struct problem {
    char text[512];
};

/* Fills `p` (NULL is fine) and returns `rc`, so that a failure is one statement:
 *     return problem_set(p, PP_INVALID, "%s: expected a duration such as \"30s\"", key); */
#define problem_set(p, rc, ...) (problem_write(p, __VA_ARGS__), problem_result(rc))

/* The halves of problem_set, which is a macro so that compilers and analyzers see that the result is `rc`. */
void problem_write(struct problem *p, const char *format, ...) PP_PRINTF(2, 3);
static inline enum pp_result problem_result(enum pp_result rc)
{
    return rc;
}

/* A short constant name for a result, e.g. "timeout". Never NULL. */
const char *pp_result_name(enum pp_result rc);

#endif
