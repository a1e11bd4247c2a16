/* Tests of a good config: what the fields hold, what is printed, what differs from another. */
#include "config/config.h"

#include "config/options.h"

#include <check.h>
#include <dlfcn.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* Loads a text that has no fault. */
static struct config *load(const char *text)
{
    struct config_problems problems;
    struct config *config = NULL;

    config_problems_init(&problems);
    enum pp_result rc = config_load_text(str_of(text), "good.conf", 0100600, &config, &problems);
    ck_assert_msg(rc == PP_OK, "%.*s", (int)buf_len(&problems.text), buf_str(&problems.text).p);
    ck_assert_uint_eq(problems.count, 0);
    config_problems_free(&problems);
    return config;
}

static const char minimal[] = "environments = { production = {\n"
                              "  base_url = \"https://api.example\";\n"
                              "  listen = [ \"127.0.0.1:8780\" ];\n"
                              "  token_file = \"/etc/proofproxy/production.token\";\n"
                              "}; };\n";

/* Every key set to something that is not its default. */
static const char full[] =
    "workers = 3;\n"
    "drain_timeout = \"1m\";\n"
    "log = { level = \"debug\"; format = \"text\"; access = false; };\n"
    "admin = { listen = [ \"127.0.0.1:9780\", \"unix:/run/x/admin.sock\" ]; unix_mode = \"600\"; unix_owner = "
    "\"root\";\n"
    "          unix_group = \"0\"; };\n"
    "environments = { first = {\n"
    "  base_url = \"https://API.example:8443/v1/\";\n"
    "  listen = ( \"[::1]:8780\", \"0.0.0.0:8780\", \"unix:/run/x/app.sock\", \"systemd:app\" );\n"
    "  token_file = \"/etc/proofproxy/first.token\";\n"
    "  allowed_paths = [ \"/widget/session\", \"/\" ];\n"
    "  allowed_hosts = [ \"proof.internal\", \"[2001:db8::1]\" ];\n"
    "  allowed_origins = [ \"https://app.example\" ];\n"
    "  origin = \"https://shop.example\";\n"
    "  allow_users = ( \"root\", 1234 );\n"
    "  allow_groups = [ \"root\" ];\n"
    "  require_header = \"X-Quoted:  a \\\" \\\\ b \";\n"
    "  refuse_forwarded = false;\n"
    "  client_authorization = \"reject\";\n"
    "  allow_non_loopback = true;\n"
    "  unix_mode = \"0666\"; unix_owner = \"0\"; unix_group = \"root\";\n"
    "  max_body = 5000; max_inflight = 5; max_websockets = 0;\n"
    "  connect_timeout = \"1500ms\"; request_timeout = \"2s\"; header_timeout = \"3s\"; body_timeout = \"4s\";\n"
    "  client_idle_timeout = \"5s\"; websocket_idle_timeout = \"2h\";\n"
    "  retries = { attempts = 1; on = [ 503, 502 ]; methods = [ \"PUT\" ]; budget_percent = 0; };\n"
    "  tls = { ca_file = \"/etc/ca.pem\"; min_version = \"1.3\";\n"
    "          pinned_spki = [ \"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\" ]; };\n"
    "  egress = { proxy = \"socks5h://proxy.example:1080\"; interface = \"192.0.2.17\"; };\n"
    "  probe_interval = 0; old_token_grace = \"0\"; websocket_retire_delay = \"0s\";\n"
    "}; };\n";

/* Secrets in the file itself. */
static const char secret[] = "environments = { s = { # client_token = \"SECRET-before\"\n"
                             "  base_url = \"https://api.example\";\n"
                             "  listen = [ \"127.0.0.1:8780\" ];\n"
                             "  client_token = \" SECRET-current \";\n"
                             "  previous_client_token = \"SECRET-previous\";\n"
                             "  egress = { proxy = \"http://user:SECRET-proxy@proxy.example:3128\"; };\n"
                             "}; };\n";

static void check_list(const struct str_list *list, size_t count, const char *first)
{
    ck_assert_uint_eq(list->count, count);
    if (count > 0)
        ck_assert(str_equal(list->items[0], str_of(first)));
}

START_TEST(test_defaults)
{
    struct config *config = load(minimal);
    const struct environment_config *e = config_environment(config, "production");

    ck_assert_str_eq(config->path, "good.conf");
    ck_assert_uint_eq(config->workers, 1);
    ck_assert_int_eq(config->drain_timeout, 20000);
    ck_assert_int_eq(config->log_level, LOG_LEVEL_INFO);
    ck_assert_int_eq(config->log_format, LOG_FORMAT_JSON);
    ck_assert(config->log_access);
    ck_assert_uint_eq(config->admin_listen.count, 1);
    ck_assert_int_eq(config->admin_listen.items[0].kind, LISTEN_UNIX);
    ck_assert_str_eq(config->admin_listen.items[0].path, "/run/proofproxy/admin.sock");
    ck_assert_uint_eq(config->admin_access.mode, 0660);
    ck_assert(!config->admin_access.owner_set && !config->admin_access.group_set);
    ck_assert_uint_eq(config->environment_count, 1);
    ck_assert_ptr_null(config_environment(config, "sandbox"));
    ck_assert_str_eq(e->name, "production");
    ck_assert_int_eq(e->line, 1);
    ck_assert_int_eq(e->listen.items[0].line, 3);
    ck_assert_int_eq(e->token_source, TOKEN_SOURCE_FILE);
    ck_assert_str_eq(e->token_path, "/etc/proofproxy/production.token");
    ck_assert_ptr_null(e->client_token);
    ck_assert_ptr_null(e->previous_client_token);
    check_list(&e->allowed_paths, 2, "/widget/");
    check_list(&e->allowed_hosts, 0, NULL);
    check_list(&e->allowed_origins, 0, NULL);
    ck_assert_str_eq(e->origin, "");
    ck_assert_uint_eq(e->allow_users.count, 0);
    ck_assert_uint_eq(e->allow_groups.count, 0);
    ck_assert_uint_eq(e->require_name.n, 0);
    ck_assert(e->refuse_forwarded && !e->reject_authorization && !e->allow_non_loopback);
    ck_assert_uint_eq(e->unix_access.mode, 0660);
    ck_assert_int_eq(e->max_body, 1048576);
    ck_assert_uint_eq(e->max_inflight, 1024);
    ck_assert_uint_eq(e->max_websockets, 4096);
    ck_assert_int_eq(e->connect_timeout, 3000);
    ck_assert_int_eq(e->request_timeout, 30000);
    ck_assert_int_eq(e->header_timeout, 10000);
    ck_assert_int_eq(e->body_timeout, 30000);
    ck_assert_int_eq(e->client_idle_timeout, 75000);
    ck_assert_int_eq(e->websocket_idle_timeout, 0);
    ck_assert_uint_eq(e->retries.attempts, 2);
    ck_assert_uint_eq(e->retries.on, RETRY_ON_CONNECT | RETRY_ON_502 | RETRY_ON_503 | RETRY_ON_504);
    check_list(&e->retries.methods, 2, "GET");
    ck_assert_uint_eq(e->retries.budget_percent, 20);
    ck_assert_str_eq(e->ca_file, "");
    ck_assert_str_eq(e->tls_min_version, "1.2");
    check_list(&e->pinned_spki, 0, NULL);
    ck_assert_str_eq(e->egress_proxy, "");
    ck_assert_str_eq(e->egress_interface, "");
    ck_assert_int_eq(e->probe_interval, 60000);
    ck_assert_int_eq(e->old_token_grace, 86400000);
    ck_assert_int_eq(e->websocket_retire_delay, 600000);
    config_unref(&config);
    ck_assert_ptr_null(config);
}
END_TEST

START_TEST(test_values_of_the_host)
{
    struct config *config = load(full);

    ck_assert_uint_eq(config->workers, 3);
    ck_assert_int_eq(config->drain_timeout, 60000);
    ck_assert_int_eq(config->log_level, LOG_LEVEL_DEBUG);
    ck_assert_int_eq(config->log_format, LOG_FORMAT_TEXT);
    ck_assert(!config->log_access);
    ck_assert_uint_eq(config->admin_listen.count, 2);
    ck_assert_uint_eq(config->admin_listen.items[0].port, 9780);
    ck_assert_uint_eq(config->admin_access.mode, 0600);
    ck_assert(config->admin_access.owner_set && config->admin_access.owner == 0);
    ck_assert(config->admin_access.group_set && config->admin_access.group == 0);
    config_unref(&config);
}
END_TEST

START_TEST(test_values_of_an_environment)
{
    struct config *config = load(full);
    const struct environment_config *e = config_environment(config, "first");

    ck_assert_str_eq(e->base_url.host, "api.example");
    ck_assert_str_eq(e->base_url.authority, "api.example:8443");
    ck_assert_str_eq(e->base_url.prefix, "/v1");
    ck_assert_uint_eq(e->listen.count, 4);
    ck_assert_str_eq(e->listen.items[3].name, "app");
    ck_assert_str_eq(e->token_path, "/etc/proofproxy/first.token");
    check_list(&e->allowed_paths, 2, "/widget/session");
    check_list(&e->allowed_hosts, 2, "proof.internal");
    check_list(&e->allowed_origins, 1, "https://app.example");
    ck_assert_str_eq(e->origin, "https://shop.example");
    ck_assert_uint_eq(e->allow_users.count, 2);
    ck_assert_uint_eq(e->allow_users.items[0], 0);
    ck_assert_uint_eq(e->allow_users.items[1], 1234);
    ck_assert(str_equal(e->allow_users.names[1], STR("1234")));
    ck_assert_uint_eq(e->allow_groups.count, 1);
    ck_assert(str_equal(e->require_name, STR("X-Quoted")));
    ck_assert(str_equal(e->require_value, STR("a \" \\ b")));
    config_unref(&config);
}
END_TEST

START_TEST(test_limits_of_an_environment)
{
    struct config *config = load(full);
    const struct environment_config *e = config_environment(config, "first");

    ck_assert(!e->refuse_forwarded && e->reject_authorization && e->allow_non_loopback);
    ck_assert_uint_eq(e->unix_access.mode, 0666);
    ck_assert(e->unix_access.owner_set && e->unix_access.group_set);
    ck_assert_int_eq(e->max_body, 5000);
    ck_assert_uint_eq(e->max_inflight, 5);
    ck_assert_uint_eq(e->max_websockets, 0);
    ck_assert_int_eq(e->connect_timeout, 1500);
    ck_assert_int_eq(e->request_timeout, 2000);
    ck_assert_int_eq(e->header_timeout, 3000);
    ck_assert_int_eq(e->body_timeout, 4000);
    ck_assert_int_eq(e->client_idle_timeout, 5000);
    ck_assert_int_eq(e->websocket_idle_timeout, 7200000);
    ck_assert_uint_eq(e->retries.attempts, 1);
    ck_assert_uint_eq(e->retries.on, RETRY_ON_502 | RETRY_ON_503);
    check_list(&e->retries.methods, 1, "PUT");
    ck_assert_uint_eq(e->retries.budget_percent, 0);
    ck_assert_str_eq(e->ca_file, "/etc/ca.pem");
    ck_assert_str_eq(e->tls_min_version, "1.3");
    check_list(&e->pinned_spki, 1, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    ck_assert_str_eq(e->egress_proxy, "socks5h://proxy.example:1080");
    ck_assert_str_eq(e->egress_interface, "192.0.2.17");
    ck_assert_int_eq(e->probe_interval, 0);
    ck_assert_int_eq(e->old_token_grace, 0);
    ck_assert_int_eq(e->websocket_retire_delay, 0);
    config_unref(&config);
}
END_TEST

/* credential:NAME is a file in the directory systemd passes. */
START_TEST(test_credential)
{
    ck_assert_int_eq(setenv("CREDENTIALS_DIRECTORY", "/run/credentials/proofproxy.service", 1), 0);
    struct config *config = load("environments = { p = { base_url = \"https://a\"; listen = [ \"127.0.0.1:1\" ]; "
                                 "token_file = \"credential:proof.token\"; }; };");
    const struct environment_config *e = config_environment(config, "p");

    ck_assert_int_eq(e->token_source, TOKEN_SOURCE_CREDENTIAL);
    ck_assert_str_eq(e->token_file, "credential:proof.token");
    ck_assert_str_eq(e->token_path, "/run/credentials/proofproxy.service/proof.token");
    config_unref(&config);
}
END_TEST

START_TEST(test_workers_of_the_machine)
{
    char text[512];

    (void)snprintf(text, sizeof text, "workers = 0;\n%s", minimal);
    struct config *config = load(text);
    ck_assert_uint_ge(config->workers, 1);
    ck_assert_uint_le(config->workers, LIMIT_WORKERS);
    config_unref(&config);
}
END_TEST

/* Stands before libconfig's own, to see what it is given: it frees its copies unwiped. */
int config_read_string(void *parsed, const char *text);
static char given[8192];

int config_read_string(void *parsed, const char *text)
{
    int (*real)(void *, const char *) = NULL;
    void *symbol = dlsym(RTLD_NEXT, "config_read_string");

    memcpy(&real, &symbol, sizeof real);
    if (strstr(text, "client_token =") != NULL && strstr(text, "base_url") != NULL)
        (void)snprintf(given, sizeof given, "%s", text);
    return real(parsed, text);
}

START_TEST(test_library_sees_no_secret)
{
    struct config *config = load(secret);

    ck_assert_ptr_nonnull(strstr(given, "previous_client_token"));
    ck_assert_ptr_null(strstr(given, "SECRET"));
    ck_assert_str_eq(config->environments[0].client_token, "SECRET-current");
    config_unref(&config);
}
END_TEST

START_TEST(test_strings)
{
    struct config *config = load("environments = { p = { base_url = \"https://a\"; listen = [ \"127.0.0.1:1\" ];\n"
                                 "/* a \"comment\" */ token_file = \"/etc/a \\\"quoted\\\" \\\\name\"; // \"another\"\n"
                                 "allowed_paths = [ \"/\\x61bcdefgh\" # \"x\n"
                                 "\"/i\" /**/ \"/jklmnop\\x71rst\", \"/12345678\", \"/1234567\" ]; }; };");
    const struct environment_config *e = &config->environments[0];

    ck_assert_str_eq(e->token_path, "/etc/a \"quoted\" \\name");
    ck_assert_str_eq(e->allowed_paths.items[0].p, "/abcdefgh/i/jklmnopqrst");
    ck_assert_str_eq(e->allowed_paths.items[1].p, "/12345678");
    ck_assert_str_eq(e->allowed_paths.items[2].p, "/1234567");
    config_unref(&config);
}
END_TEST

#define BODY "base_url = \"https://\" /* joined */ \"a\"; listen = [ \"127.0.0.1:1\" ]; token_file = \"/t\";"

/* Syntax that is easily refused by mistake. */
static const char *const spellings[] = {
    "workers = 3; environments = { p = { " BODY " }; }; # no line end",
    "workers=3,environments:{p:{" BODY "}}",
    "/* a\n b */ workers\n=\n3 // c\nenvironments = { p = { " BODY " } }\r\n",
    "workers = 0x3; environments = { p = { " BODY " retries = { on = (); }; allowed_hosts = ( \"a\" \"b\" ); }; };",
    "workers = +3; log = { access = FALSE; }; environments = { p = { " BODY " }; };",
};

START_TEST(test_spelling)
{
    struct config *config = load(spellings[_i]);

    ck_assert_uint_eq(config->workers, 3);
    ck_assert_str_eq(config->environments[0].base_url.text, "https://a");
    config_unref(&config);
}
END_TEST

START_TEST(test_references)
{
    struct config *config = load(secret), *second = config_ref(config);

    ck_assert_ptr_eq(config, second);
    config_unref(&config);
    ck_assert_ptr_null(config);
    ck_assert_int_eq(second->environments[0].token_source, TOKEN_SOURCE_INLINE);
    ck_assert_str_eq(second->environments[0].client_token, "SECRET-current");
    ck_assert_str_eq(second->environments[0].previous_client_token, "SECRET-previous");
    config_unref(&second);
    config_unref(&second); /* nothing is left, and nothing happens */
}
END_TEST

/* The printed text of a config, NUL-terminated; the caller frees it. */
static char *printed(const struct config *config, enum pp_result (*print)(const struct config *, struct buf *))
{
    struct buf text;

    buf_init(&text, 65536);
    ck_assert_int_eq(print(config, &text), PP_OK);
    char *copy = strndup(buf_str(&text).p, buf_len(&text));
    ck_assert_ptr_nonnull(copy);
    buf_free(&text);
    return copy;
}

/* Both sides of a diff, NUL-terminated; the caller frees them. */
struct difference {
    char *changed, *restart;
};

static struct difference differ(const char *before, const char *after)
{
    struct config *old_config = load(before), *new_config = load(after);
    struct buf changed, restart;

    buf_init(&changed, 65536);
    buf_init(&restart, 65536);
    ck_assert_int_eq(config_diff(old_config, new_config, &changed, &restart), PP_OK);
    ck_assert_int_eq(buf_append_char(&changed, '\0'), PP_OK);
    ck_assert_int_eq(buf_append_char(&restart, '\0'), PP_OK);
    struct difference difference = {strdup(buf_str(&changed).p), strdup(buf_str(&restart).p)};
    buf_free(&changed);
    buf_free(&restart);
    config_unref(&old_config);
    config_unref(&new_config);
    return difference;
}

static void free_difference(struct difference *difference)
{
    free(difference->changed);
    free(difference->restart);
}

/* What is printed reads back as the same config, and prints the same. */
START_TEST(test_round_trip)
{
    static const char *const texts[] = {minimal, full};
    struct config *config = load(texts[_i]);
    char *text = printed(config, config_print);
    struct config *again = load(text);
    char *text_again = printed(again, config_print);
    struct difference difference = differ(texts[_i], text);

    ck_assert_str_eq(text, text_again);
    ck_assert_str_eq(difference.changed, "");
    ck_assert_str_eq(difference.restart, "");
    free_difference(&difference);
    free(text);
    free(text_again);
    config_unref(&config);
    config_unref(&again);
}
END_TEST

START_TEST(test_print)
{
    struct config *config = load(full);
    char *text = printed(config, config_print);

    ck_assert_ptr_nonnull(strstr(text, "workers = 3;\ndrain_timeout = \"1m\";\nlog = {\n  level = \"debug\";\n"));
    ck_assert_ptr_nonnull(strstr(text, "    allow_users = [ \"root\", \"1234\" ];\n"));
    ck_assert_ptr_nonnull(strstr(text, "    require_header = \"X-Quoted: a \\\" \\\\ b\";\n"));
    ck_assert_ptr_nonnull(strstr(text, "      on = [ \"502\", \"503\" ];\n"));
    ck_assert_ptr_nonnull(strstr(text, "    allow_groups = [ \"root\" ];\n"));
    ck_assert_ptr_nonnull(strstr(text, "    max_body = \"5000\";\n"));
    ck_assert_ptr_nonnull(strstr(text, "    client_authorization = \"reject\";\n"));
    free(text);
    config_unref(&config);
}
END_TEST

/* No output holds a secret; each names the tokens by fingerprint. */
START_TEST(test_secrets_stay)
{
    struct config *config = load(secret);
    char *text = printed(config, config_print), *json = printed(config, config_print_json);
    /* printf %s SECRET-current | sha256sum */
    static const char current[] = "fingerprint:f045b1722b8a", previous[] = "fingerprint:813ce2890601";

    ck_assert_ptr_null(strstr(text, "SECRET"));
    ck_assert_ptr_null(strstr(json, "SECRET"));
    ck_assert_ptr_nonnull(strstr(text, current));
    ck_assert_ptr_nonnull(strstr(json, current));
    ck_assert_ptr_nonnull(strstr(text, previous));
    ck_assert_ptr_nonnull(strstr(json, previous));
    ck_assert_ptr_nonnull(strstr(text, "\"http://***@proxy.example:3128\""));
    ck_assert_ptr_nonnull(strstr(json, "\"http://***@proxy.example:3128\""));
    free(text);
    free(json);
    config_unref(&config);
}
END_TEST

/* JSON has every key of the table, in its group. */
START_TEST(test_json)
{
    struct config *config = load(full);
    char *text = printed(config, config_print_json);
    json_t *root = json_loads(text, 0, NULL);

    ck_assert_ptr_nonnull(root);
    json_t *environment = json_object_get(json_object_get(root, "environments"), "first");
    for (size_t i = 0; i < option_count; i++) {
        json_t *object = option_is_global(&options[i]) ? root : environment;
        const char *group = option_groups[options[i].scope].name;
        if (group[0] != '\0')
            object = json_object_get(object, group);
        ck_assert_msg(json_object_get(object, options[i].name) != NULL, "%s is missing", options[i].name);
    }
    ck_assert_int_eq(json_integer_value(json_object_get(root, "workers")), 3);
    ck_assert_str_eq(json_string_value(json_object_get(environment, "connect_timeout")), "1500ms");
    ck_assert_uint_eq(json_array_size(json_object_get(environment, "listen")), 4);
    ck_assert(json_is_false(json_object_get(environment, "refuse_forwarded")));
    json_decref(root);
    free(text);
    config_unref(&config);
}
END_TEST

#define ENVIRONMENT(name, port, rest)                                                                                  \
#name " = { base_url = \"https://api.example\"; listen = [ \"127.0.0.1:" #port "\" ]; " rest " }; "
#define FILE_OF(path) "token_file = \"" path "\"; "

static const struct {
    const char *before, *after, *changed, *restart;
} differences[] = {
    {minimal, minimal, "", ""},
    {secret, secret, "", ""},
    {"workers = 1; environments = { " ENVIRONMENT(p, 1, FILE_OF("/t")) "};",
     "drain_timeout = \"3s\"; workers = 2; log = { level = \"debug\"; }; environments = { " ENVIRONMENT(
         p, 2, FILE_OF("/u") "retries = { methods = []; }; allowed_paths = [ \"/ws\" ];") "};",
     "drain_timeout: \"20s\" -> \"3s\"\n"
     "log.level: \"info\" -> \"debug\"\n"
     "environments.p.listen: [ \"127.0.0.1:1\" ] -> [ \"127.0.0.1:2\" ]\n"
     "environments.p.token_file: \"/t\" -> \"/u\"\n"
     "environments.p.allowed_paths: [ \"/widget/\", \"/ws\" ] -> [ \"/ws\" ]\n"
     "environments.p.retries.methods: [ \"GET\", \"HEAD\" ] -> []\n",
     "workers: 1 -> 2\n"},
    {"environments = { " ENVIRONMENT(p, 1, FILE_OF("/t")) ENVIRONMENT(q, 2, FILE_OF("/t")) "};",
     "environments = { " ENVIRONMENT(r, 2, FILE_OF("/t")) ENVIRONMENT(p, 1, FILE_OF("/t")) "};",
     "environments.q: removed\nenvironments.r: added\n", ""},
    /* Secrets are compared for what they are, and shown for what they are not. */
    {"environments = { " ENVIRONMENT(p, 1, "client_token = \"SECRET-current\";") "};",
     "environments = { " ENVIRONMENT(p, 1, "client_token = \"SECRET-previous\";") "};",
     "environments.p.client_token: \"fingerprint:f045b1722b8a\" -> \"fingerprint:813ce2890601\"\n", ""},
    {"environments = { " ENVIRONMENT(p, 1, FILE_OF("/t") "egress = { proxy = \"http://u:SECRET1@a:1\"; };") "};",
     "environments = { " ENVIRONMENT(p, 1, FILE_OF("/t") "egress = { proxy = \"http://u:SECRET2@a:1\"; };") "};",
     "environments.p.egress.proxy: \"http://***@a:1\" -> \"http://***@a:1\" (what it stands for has changed)\n", ""},
    /* The same in other words is no change. */
    {"environments = { " ENVIRONMENT(p, 1, FILE_OF("/t") "max_body = 1073741824;") "};",
     "environments = { " ENVIRONMENT(p, 1, FILE_OF("/t") "max_body = \"1g\";") "};", "", ""},
    {"environments = { " ENVIRONMENT(p, 1, FILE_OF("/t") "max_body = 0x40000000;") "};",
     "environments = { " ENVIRONMENT(p, 1, FILE_OF("/t") "max_body = \"1024m\";") "};", "", ""},
    {"environments = { " ENVIRONMENT(p, 1, FILE_OF("/t") "max_body = 65536; connect_timeout = \"60s\";") "};",
     "environments = { " ENVIRONMENT(p, 1, FILE_OF("/t") "max_body = \"64k\"; connect_timeout = \"1m\";") "};", "", ""},
};

START_TEST(test_diff)
{
    struct difference difference = differ(differences[_i].before, differences[_i].after);

    ck_assert_str_eq(difference.changed, differences[_i].changed);
    ck_assert_str_eq(difference.restart, differences[_i].restart);
    free_difference(&difference);
}
END_TEST

/* A buffer that is too small is an error, never a config cut short. */
START_TEST(test_small_buffer)
{
    struct config *config = load(minimal);
    struct buf text;

    buf_init(&text, 100);
    ck_assert_int_eq(config_print(config, &text), PP_NOMEM);
    buf_free(&text);
    ck_assert_int_eq(config_print_json(config, &text), PP_NOMEM);
    buf_free(&text);
    config_unref(&config);
}
END_TEST

/* The table itself: every key once, with a help line and a default of its own type. */
START_TEST(test_table)
{
    ck_assert_uint_gt(option_count, 40);
    for (size_t i = 0; i < option_count; i++) {
        ck_assert_ptr_eq(option_find(options[i].scope, options[i].name), &options[i]);
        ck_assert_uint_gt(strlen(options[i].help), 8);
        ck_assert_ptr_nonnull(options[i].type->read);
        ck_assert_ptr_nonnull(options[i].type->show);
        ck_assert(options[i].least <= options[i].most);
        ck_assert(option_is_global(&options[i])
                      ? options[i].offset + options[i].size <= sizeof(struct config)
                      : options[i].offset + options[i].size <= sizeof(struct environment_config));
    }
    ck_assert_ptr_null(option_find(SCOPE_TOP, "level"));
}
END_TEST

static const struct {
    enum option_scope scope;
    const char *name, *key, *range;
} ranges[] = {
    {SCOPE_TOP, "workers", "workers", "0 to 64"},
    {SCOPE_LOG, "level", "log.level", "error, warning, info or debug"},
    {SCOPE_ENVIRONMENT, "max_body", "environments.e.max_body", "1 to 1g"},
    {SCOPE_ENVIRONMENT, "probe_interval", "environments.e.probe_interval", "0, or 100ms to 24h"},
    {SCOPE_ENVIRONMENT, "listen", "environments.e.listen", "1 to 16 items"},
    {SCOPE_RETRIES, "on", "environments.e.retries.on", "connect, 502, 503 or 504"},
    {SCOPE_TLS, "ca_file", "environments.e.tls.ca_file", ""},
};

START_TEST(test_range)
{
    const struct option *option = option_find(ranges[_i].scope, ranges[_i].name);
    char key[OPTION_KEY_SIZE];
    struct buf range;

    ck_assert_ptr_nonnull(option);
    buf_init(&range, 128);
    option_range(option, &range);
    ck_assert(str_equal(buf_str(&range), str_of(ranges[_i].range)));
    option_key(option, "e", key);
    ck_assert_str_eq(key, ranges[_i].key);
    buf_free(&range);
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof(table)[0]))

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, test_defaults);
    tcase_add_test(tcase, test_values_of_the_host);
    tcase_add_test(tcase, test_values_of_an_environment);
    tcase_add_test(tcase, test_limits_of_an_environment);
    tcase_add_test(tcase, test_credential);
    tcase_add_test(tcase, test_workers_of_the_machine);
    tcase_add_loop_test(tcase, test_spelling, 0, ROWS(spellings));
    tcase_add_test(tcase, test_library_sees_no_secret);
    tcase_add_test(tcase, test_strings);
    tcase_add_test(tcase, test_references);
    tcase_add_loop_test(tcase, test_round_trip, 0, 2);
    tcase_add_test(tcase, test_print);
    tcase_add_test(tcase, test_secrets_stay);
    tcase_add_test(tcase, test_json);
    tcase_add_loop_test(tcase, test_diff, 0, ROWS(differences));
    tcase_add_test(tcase, test_small_buffer);
    tcase_add_test(tcase, test_table);
    tcase_add_loop_test(tcase, test_range, 0, ROWS(ranges));
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
