/* doctor's questions to Proof: is each token accepted, is the clock right, does a WebSocket open. */
#include "cli/doctor.h"

#include "base/span.h"
#include "cli/road.h"

#include <inttypes.h>
#include <time.h>

#define NOBODY      "00000000-0000-0000-0000-000000000000" /* a transaction that does not exist */
#define TOKEN_PATH  "/widget/transactions/" NOBODY
#define SOCKET_PATH "/ws?tx_id=" NOBODY
#define SKEW_GOOD   5  /* seconds */
#define SKEW_BAD    60 /* seconds: expires= and certificate dates are judged by this clock */

/* One request on a connection of its own; without a token, one that Proof will answer 401. */
static enum pp_result ask(const struct environment_config *e, struct upstream_tls *tls, const struct token *token,
                          bool websocket, struct road *road, struct road_answer *answer, struct problem *problem)
{
    enum upstream_failure why;
    struct road_request request = {.path = websocket ? SOCKET_PATH : TOKEN_PATH,
                                   .websocket = websocket,
                                   .authorization = token == NULL ? STR("Bearer none") : token_authorization(token)};
    enum pp_result rc = road_connect(e, road, &why, problem);
    if (rc == PP_OK && tls != NULL)
        rc = road_secure(road, tls, problem);
    if (rc == PP_OK)
        rc = road_ask(road, &request, answer, problem);
    return rc;
}

/* --- clock --- */

static void check_clock(struct doctor_report *r, const struct road_answer *answer)
{
    const struct header *date = headers_find(&answer->head.headers, STR("Date"), 0);
    char text[40], span[SPAN_SIZE];
    struct tm tm = {0};
    if (date == NULL || date->value.n >= sizeof text) {
        doctor_say(r, FINDING_SKIPPED, "clock", NULL, "the answer names no date to compare with");
        return;
    }
    memcpy(text, date->value.p, date->value.n);
    text[date->value.n] = '\0';
    if (strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm) == NULL) {
        doctor_say(r, FINDING_SKIPPED, "clock", NULL, "the answer's date is no HTTP date");
        return;
    }
    int64_t skew = clock_wall() / 1000 - (int64_t)timegm(&tm), size = skew < 0 ? -skew : skew;
    const char *direction = skew < 0 ? "behind" : "ahead of";
    (void)span_text(size * 1000, span);
    if (size <= SKEW_GOOD)
        doctor_say(r, FINDING_OK, "clock", NULL, "agrees with Proof's within %d s", SKEW_GOOD);
    else
        doctor_say(r, size <= SKEW_BAD ? FINDING_WARNING : FINDING_FAILED, "clock",
                   "set this host's clock: timedatectl; is systemd-timesyncd or chrony running?",
                   "this host's clock is %s %s Proof's", span, direction);
}

/* --- tokens --- */

struct trial {
    const struct token *token;
    int status; /* 0: no answer */
    char code[64], source[ROAD_ADDRESS_SIZE];
    struct problem problem;
};

static void say_refused(struct doctor_report *r, const struct environment_config *e, const struct trial *t, size_t i,
                        size_t count, bool any_accepted, bool newer_accepted)
{
    const char *which = count == 1 ? "the token" : i == 0 ? "the newest token" : "an older token";
    char advice[300];
    if (newer_accepted)
        (void)snprintf(advice, sizeof advice,
                       "Proof has ended it and a newer one is accepted: drop it: proofproxy token retire %s %s",
                       e->name, token_fingerprint(t->token));
    else if (any_accepted)
        (void)snprintf(advice, sizeof advice,
                       "the older one still works, apps notice nothing; ask Proof when this one becomes active, and "
                       "compare it with what they gave");
    else
        (void)snprintf(
            advice, sizeof advice,
            "is it of the environment of %s (sandbox or production)? else get a new one from Proof: proofproxy "
            "token add %s",
            e->base_url.text, e->name);
    doctor_say(r, FINDING_FAILED, "token", advice, "%s, %s, is refused: 401 %s", which, token_fingerprint(t->token),
               t->code);
}

static void say_trial(struct doctor_report *r, const struct environment_config *e, const struct trial *t)
{
    const char *fingerprint = token_fingerprint(t->token);
    char advice[300];
    int64_t expires = token_expires(t->token), now = clock_wall();
    char span[SPAN_SIZE];
    if (t->status == 404 && expires > 0 && expires < now)
        doctor_say(r, FINDING_WARNING, "token", "correct its expires= in the token file, or drop the token",
                   "%s is accepted (404), though its expires= passed %s ago", fingerprint,
                   span_text(now - expires, span));
    else if (t->status == 404) {
        doctor_say(r, FINDING_OK, "token", NULL, "%s is accepted (404 for a transaction that does not exist)",
                   fingerprint);
    } else if (t->status == 403 && strcmp(t->code, "forbidden_origin") == 0 && e->origin[0] != '\0') {
        doctor_say(r, FINDING_FAILED, "token", "register that origin with Proof, or leave \"origin\" empty",
                   "%s cannot be judged: 403 forbidden_origin for origin = \"%s\"", fingerprint, e->origin);
    } else if (t->status == 403) {
        (void)snprintf(
            advice, sizeof advice,
            "ask Proof to put this host on the allowlist of %s: it leaves from %s, or from the address NAT or "
            "the egress proxy gives it",
            e->name, t->source);
        doctor_say(r, FINDING_FAILED, "token", advice,
                   "%s cannot be judged: 403 %s: this host is not on Proof's allowlist", fingerprint, t->code);
    } else if (t->status == 0) {
        doctor_say(r, FINDING_FAILED, "token", "try again; if it stays so, ask Proof", "%s got no answer: %s",
                   fingerprint, t->problem.text);
    } else if (t->status >= 500) {
        doctor_say(r, FINDING_FAILED, "token", "wait and try again; if it stays so, ask Proof",
                   "%s cannot be judged: a fault at Proof: %d %s", fingerprint, t->status, t->code);
    } else {
        doctor_say(r, FINDING_WARNING, "token", "is this the base URL Proof gave? 404 was expected",
                   "%s got an answer Proof does not give to this question: %d %s", fingerprint, t->status, t->code);
    }
}

/* Returns the newest accepted token, or NULL. */
static const struct token *try_tokens(struct doctor_report *r, const struct environment_config *e,
                                      struct upstream_tls *tls, const struct token_set *tokens, bool *clock_seen)
{
    struct trial trials[LIMIT_TOKENS_FILE];
    const struct token *accepted = NULL;
    size_t newest_accepted = tokens->count;
    for (size_t i = 0; i < tokens->count; i++) {
        struct road road = {.fd = -1};
        struct road_answer answer;
        trials[i] = (struct trial){.token = tokens->tokens[i]};
        if (ask(e, tls, tokens->tokens[i], false, &road, &answer, &trials[i].problem) == PP_OK) {
            trials[i].status = answer.head.status;
            (void)snprintf(trials[i].source, ROAD_ADDRESS_SIZE, "%s", road.source);
            road_answer_code(&answer, trials[i].code);
            if (!*clock_seen)
                check_clock(r, &answer);
            *clock_seen = true;
            road_answer_free(&answer);
        }
        road_close(&road);
        if (trials[i].status == 404 && accepted == NULL) {
            accepted = tokens->tokens[i];
            newest_accepted = i;
        }
    }
    for (size_t i = 0; i < tokens->count; i++) {
        if (trials[i].status == 401)
            say_refused(r, e, &trials[i], i, tokens->count, accepted != NULL, newest_accepted < i);
        else
            say_trial(r, e, &trials[i]);
    }
    return accepted;
}

/* --- WebSocket --- */

static void check_websocket(struct doctor_report *r, const struct environment_config *e, struct upstream_tls *tls,
                            const struct token *token)
{
    static const char advice[] = "does something between this host and Proof (egress proxy, inspecting firewall) strip "
                                 "WebSocket upgrades? else ask Proof";
    struct road road = {.fd = -1};
    struct road_answer answer;
    struct problem problem;
    char code[64];
    if (ask(e, tls, token, true, &road, &answer, &problem) != PP_OK) {
        doctor_say(r, FINDING_FAILED, "websocket", advice, "no answer to the handshake: %s", problem.text);
        road_close(&road);
        return;
    }
    road_answer_code(&answer, code);
    int status = answer.head.status;
    if (answer.upgraded)
        doctor_say(r, FINDING_OK, "websocket", NULL, "the handshake succeeds (101)");
    else if (status == 101)
        doctor_say(r, FINDING_FAILED, "websocket", advice, "the 101 is not right: %s",
                   answer.upgrade_fault == NULL ? "unknown" : answer.upgrade_fault);
    else if (status == 404 && strcmp(code, "not_found") == 0)
        doctor_say(r, FINDING_OK, "websocket", NULL,
                   "the handshake reaches Proof, which knows no such transaction (404), as it should");
    else
        doctor_say(r, FINDING_FAILED, "websocket", advice, "the handshake was answered %d %s", status, code);
    road_answer_free(&answer);
    road_close(&road);
}

void doctor_api(struct doctor_report *r, const struct environment_config *e, struct upstream_tls *tls,
                const struct token_set *tokens)
{
    bool clock_seen = false;
    const struct token *accepted = try_tokens(r, e, tls, tokens, &clock_seen);
    if (!clock_seen) { /* no token to ask with: the 401 has a date as well */
        struct road road = {.fd = -1};
        struct road_answer answer;
        struct problem problem;
        if (ask(e, tls, NULL, false, &road, &answer, &problem) == PP_OK) {
            check_clock(r, &answer);
            road_answer_free(&answer);
        } else {
            doctor_say(r, FINDING_FAILED, "clock", "try again; if it stays so, ask Proof", "no answer from Proof: %s",
                       problem.text);
        }
        road_close(&road);
    }
    if (tokens->count == 0)
        doctor_say(r, FINDING_SKIPPED, "token", NULL, "there is none to try");
    if (accepted != NULL)
        check_websocket(r, e, tls, accepted);
    else
        doctor_say(r, FINDING_SKIPPED, "websocket", NULL, "cannot be tried without an accepted token");
}
