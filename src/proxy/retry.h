/* When a failed request may be tried again: the policy and its budget. Pure.
 *
 * Three different things, kept apart: a 401 is replayed with another token (token/store decides); a failure with
 * nothing sent may be repeated for any method; everything else only for the methods listed. */
#ifndef PP_PROXY_RETRY_H
#define PP_PROXY_RETRY_H

#include "config/config.h"
#include "http/reply.h"

/* Retries may be at most budget_percent of the requests of the last ten seconds, so that an ailing upstream is not
 * pushed over; ten are always allowed, so that a quiet daemon may retry at all. Zeroed at birth. */
struct retry_budget {
    int64_t second; /* start of the current slot, in s */
    unsigned requests[10], retries[10];
};
void retry_count_request(struct retry_budget *b, msec now);

enum retry_reason { RETRY_REASON_CONNECT, RETRY_REASON_502, RETRY_REASON_503, RETRY_REASON_504, RETRY_REASON_COUNT };
extern const char *const retry_reason_names[RETRY_REASON_COUNT];

struct retry_question {
    const struct retry_policy *policy;
    struct str method;
    enum retry_reason reason;
    enum sent sent;     /* had anything of this request left the host, attempts answered 401 not counted? */
    unsigned attempts;  /* made so far, replays after a 401 not counted */
    msec now, deadline; /* of the whole request */
};

/* May it be tried again? Takes one retry from the budget if so. */
bool retry_allowed(struct retry_budget *b, const struct retry_question *q);

/* How long to wait before the next attempt after `attempts` of them, in ms: 25 doubling to 400, less up to a half by
 * `jitter` (0..1023). */
msec retry_delay(unsigned attempts, unsigned jitter);

#endif
