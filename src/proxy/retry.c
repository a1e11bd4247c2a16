/* The retry policy and its budget. */
#include "proxy/retry.h"

#define BUDGET_SLOTS  10u
#define BUDGET_ALWAYS 10u
#define DELAY_FIRST   25
#define DELAY_MOST    400

const char *const retry_reason_names[RETRY_REASON_COUNT] = {"connect", "502", "503", "504"};

static size_t slot_now(struct retry_budget *b, msec now)
{
    int64_t second = now / 1000;
    if (second - b->second >= (int64_t)BUDGET_SLOTS || second < b->second)
        *b = (struct retry_budget){.second = second};
    while (b->second < second) {
        b->second++;
        b->requests[(size_t)b->second % BUDGET_SLOTS] = 0;
        b->retries[(size_t)b->second % BUDGET_SLOTS] = 0;
    }
    return (size_t)second % BUDGET_SLOTS;
}

void retry_count_request(struct retry_budget *b, msec now)
{
    b->requests[slot_now(b, now)]++;
}

static bool take_from_budget(struct retry_budget *b, unsigned percent, msec now)
{
    size_t slot = slot_now(b, now);
    uint64_t requests = 0, retries = 0;
    for (size_t i = 0; i < BUDGET_SLOTS; i++) {
        requests += b->requests[i];
        retries += b->retries[i];
    }
    if (percent == 0 || (retries >= BUDGET_ALWAYS && (retries + 1) * 100 > requests * percent))
        return false;
    b->retries[slot]++;
    return true;
}

bool retry_allowed(struct retry_budget *b, const struct retry_question *q)
{
    static const unsigned on_bit[] = {RETRY_ON_CONNECT, RETRY_ON_502, RETRY_ON_503, RETRY_ON_504};
    bool listed = false;
    if (q->attempts >= q->policy->attempts || (q->policy->on & on_bit[q->reason]) == 0 || q->now >= q->deadline)
        return false;
    for (size_t i = 0; i < q->policy->methods.count; i++)
        listed = listed || str_equal(q->method, q->policy->methods.items[i]);
    if (!listed && q->sent != SENT_NO)
        return false;
    return take_from_budget(b, q->policy->budget_percent, q->now);
}

msec retry_delay(unsigned attempts, unsigned jitter)
{
    msec delay = DELAY_FIRST;
    for (unsigned i = 1; i < attempts && delay < DELAY_MOST; i++)
        delay *= 2;
    return delay - delay * (msec)(jitter % 1024u) / 2048;
}
