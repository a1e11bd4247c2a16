/* A trial of one token against the API. */
#include "cli/token.h"

#include "cli/road.h"
#include "proxy/probe.h"
#include "token/store.h"

static enum pp_result judge(const struct road_answer *answer, struct problem *problem)
{
    char code[64];
    int status = answer->head.status;
    switch (token_answer_of(status)) {
    case TOKEN_ANSWER_ACCEPTED:
        return PP_OK;
    case TOKEN_ANSWER_REFUSED:
        return problem_set(problem, PP_DENIED, "Proof refuses it (401)");
    default:
        break;
    }
    road_answer_code(answer, code);
    if (status == 403)
        return problem_set(problem, PP_BROKEN, "Proof answers 403 %s: this host is not on its allowlist%s", code,
                           strcmp(code, "forbidden_origin") == 0 ? ", or the origin setting is not registered" : "");
    return problem_set(problem, PP_BROKEN, "Proof answers %d %s, which says nothing about the token: try again later",
                       status, code);
}

enum pp_result token_trial(const struct environment_config *e, const struct token *t, struct problem *problem)
{
    struct upstream_settings settings;
    struct upstream_tls *tls = NULL;
    struct road road = {.fd = -1};
    struct road_answer answer;
    enum upstream_failure why;
    struct road_request request = {.path = PROBE_TARGET, .authorization = token_authorization(t)};
    enum pp_result rc = PP_OK;
    upstream_settings_of(e, 0, &settings);
    if (settings.tls)
        rc = upstream_tls_new(&settings, &tls, problem);
    if (rc == PP_OK)
        rc = road_connect(e, &road, &why, problem);
    if (rc == PP_OK && tls != NULL)
        rc = road_secure(&road, tls, problem);
    if (rc == PP_OK)
        rc = road_ask(&road, &request, &answer, problem);
    if (rc == PP_OK) {
        rc = judge(&answer, problem);
        road_answer_free(&answer);
    } else if (rc == PP_DENIED) {
        rc = PP_BROKEN; /* denied by somebody on the way, not by Proof */
    }
    road_close(&road);
    upstream_tls_unref(&tls);
    return rc;
}
