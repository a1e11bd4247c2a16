/* Workloads of config/: loading good and bad files, printing, comparing. */
#include "config/config.h"
#include "workload.h"

static const char good[] =
    "workers = 2;\n"
    "environments = { a = {\n"
    "  base_url = \"https://api.example/v1\"; listen = [ \"127.0.0.1:1\", \"unix:/run/a\" ];\n"
    "  client_token = \"SECRET1\"; previous_client_token = \"SECRET2\";\n"
    "  allow_users = [ \"root\" ]; allow_groups = [ \"root\", \"7\" ]; unix_owner = \"root\";\n"
    "  require_header = \"X-A: b\"; allowed_hosts = [ \"a\" ]; egress = { proxy = \"http://u:p@a:1\"; };\n"
    "}; b = { base_url = \"https://b\"; listen = [ \"127.0.0.1:2\" ]; token_file = \"/t\"; }; };\n";
static const char other[] =
    "workers = 1;\n"
    "environments = { a = { base_url = \"https://api.example/v2\"; listen = [ \"127.0.0.1:1\" ];\n"
    "  client_token = \"SECRET3\"; max_body = \"2m\"; }; };\n";
static const char bad[] =
    "wokers = 2;\n"
    "environments = { a = { base_url = \"http://a\"; listen = [ \"0.0.0.0:1\", \"127.0.0.1:1\" ];\n"
    "  log = 1; allow_users = [ \"no-such-account\" ]; max_body = \"x\"; }; };\n";

static void no_secret(const struct buf *text)
{
    must(buf_len(text) == 0 || memmem(text->data + text->start, buf_len(text), "SECRET", 6) == NULL);
}

/* A config or problems, never both and never neither. A fault may hide behind missing memory, never the reverse. */
static enum outcome load_text(const char *text, enum pp_result otherwise, struct config **out)
{
    struct config_problems problems;
    struct config *config = NULL;
    config_problems_init(&problems);
    enum pp_result rc = config_load_text(str_of(text), "f", 0100600, &config, &problems);
    must((config != NULL) == (rc == PP_OK) && (problems.count > 0) == (rc != PP_OK));
    must(rc == otherwise || (workload_starved() && (rc == PP_NOMEM || rc == PP_INVALID)));
    no_secret(&problems.text);
    config_problems_free(&problems);
    if (out != NULL)
        *out = config;
    else
        config_unref(&config);
    return rc == otherwise ? DONE : REFUSED;
}

static enum outcome load_good(void)
{
    return load_text(good, PP_OK, NULL);
}

static enum outcome load_bad(void)
{
    return load_text(bad, PP_INVALID, NULL);
}

static enum outcome load_unreadable(void)
{
    return load_text("workers = ;", PP_INVALID, NULL);
}

static enum outcome load_missing(void)
{
    struct config_problems problems;
    struct config *config = NULL;
    config_problems_init(&problems);
    enum pp_result rc = config_load("/nonexistent/proofproxy.conf", &config, &problems);
    must(config == NULL && problems.count > 0 && (rc == PP_SYSTEM || (workload_starved() && rc == PP_NOMEM)));
    config_problems_free(&problems);
    return rc == PP_SYSTEM ? DONE : REFUSED;
}

static struct config *first, *second;

static void load_two(void)
{
    must(load_text(good, PP_OK, &first) == DONE && load_text(other, PP_OK, &second) == DONE);
}

static enum outcome show(void)
{
    static char *kept[4];
    enum outcome outcome = DONE;
    struct buf text, json, changed, restart;
    buf_init(&text, 65536);
    buf_init(&json, 65536);
    buf_init(&changed, 65536);
    buf_init(&restart, 65536);
    if (!ok(config_print(first, &text)))
        outcome = REFUSED;
    else
        workload_same(&kept[0], &text);
    if (!ok(config_print_json(first, &json)))
        outcome = REFUSED;
    else
        workload_same(&kept[1], &json);
    if (!ok(config_diff(first, second, &changed, &restart)))
        outcome = REFUSED;
    else
        workload_same(&kept[2], &changed), workload_same(&kept[3], &restart);
    no_secret(&text);
    no_secret(&json);
    no_secret(&changed);
    buf_free(&text);
    buf_free(&json);
    buf_free(&changed);
    buf_free(&restart);
    return outcome;
}

/* Whoever looks up an account for the first time loads what asks the system's databases: that stays. */
static void know_accounts(void)
{
    must(load_bad() == DONE);
}

const struct workload config_workloads[] = {
    {"config-good", load_good, know_accounts, 0, 100},
    {"config-bad", load_bad, know_accounts, 0, 100},
    {"config-unreadable", load_unreadable, NULL, 0, 4},
    {"config-missing", load_missing, NULL, 0, 1},
    {"config-show", show, load_two, 0, 300},
    {0},
};
