/* Tests of config_load: every fault of a config file, told with its line, its key and the way out, and no secret. */
#include "config/config.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Line 1 opens, lines 2 to 4 are what is required, the row begins in line 5. */
#define WITH(row)                                                                                                      \
    "environments = { p = {\n"                                                                                         \
    "base_url = \"https://api.example\";\n"                                                                            \
    "listen = [ \"127.0.0.1:8780\" ];\n"                                                                               \
    "token_file = \"/etc/t\";\n" row "\n}; };\n"
/* The same without a source of tokens: the row begins in line 4. */
#define WITHOUT_TOKEN(row)                                                                                             \
    "environments = { p = {\n"                                                                                         \
    "base_url = \"https://api.example\";\n"                                                                            \
    "listen = [ \"127.0.0.1:8780\" ];\n" row "\n}; };\n"
/* A good environment in lines 1 to 4, the row from line 5. */
#define TOP(row)                                                                                                       \
    "environments = { p = {\n"                                                                                         \
    "base_url = \"https://api.example\"; listen = [ \"127.0.0.1:8780\" ];\n"                                           \
    "token_file = \"/etc/t\";\n"                                                                                       \
    "}; };\n" row "\n"

static const struct {
    const char *text;
    const char *problems; /* all of it */
} faults[] = {
    /* syntax */
    {"workers = ;", "f:1: workers: expected a value behind the \"=\", text in quotes\n"},
    {"workers\n1;", "f:2: syntax: expected \"=\" behind the key\n"},
    {"workers", "f:1: syntax: expected \"=\" behind the key\n"},
    {"workers =", "f:1: workers: expected a value behind the \"=\", text in quotes\n"},
    {"workers = 1;;", "f:1: syntax: expected a key\n"},
    {"= 1;", "f:1: syntax: expected a key\n"},
    {"1 = 1;", "f:1: syntax: expected a key\n"},
    {"a.b = 1;", "f:1: syntax: expected a key\n"},
    {"true = 1;", "f:1: syntax: expected a key\n"},
    {"workers = 1\n\"x\";", "f:2: syntax: expected \";\" behind the value\n"},
    {"workers = 1 2;", "f:1: syntax: expected \";\" behind the value\n"},
    {"a = \"b\" \"c\" 1;", "f:1: syntax: expected \";\" behind the value\n"},
    {"a = [ 1 2 ];", "f:1: syntax: expected a comma, or the end of the list\n"},
    {"a = [ 1, ];", "f:1: a: expected another item behind the comma\n"},
    {"a = [ , ];", "f:1: a: expected an item of the list, text in quotes\n"},
    {"a = ( b );", "f:1: a: a value that is neither a number nor true or false: expected it in quotes\n"},
    {"a = SECRET1;", "f:1: a: a value that is neither a number nor true or false: expected it in quotes\n"},
    {"a = yes;", "f:1: a: a value that is neither a number nor true or false: expected it in quotes\n"},
    {"a = 30s;", "f:1: a: expected a whole number; durations, sizes with a unit and other text need quotes\n"},
    {"a = 1.5;", "f:1: a: expected a whole number; durations, sizes with a unit and other text need quotes\n"},
    {"a = 127.0.0.1:80;", "f:1: a: expected a whole number; durations, sizes with a unit and other text need quotes\n"},
    {"a = 0x;", "f:1: a: expected a whole number; durations, sizes with a unit and other text need quotes\n"},
    {"a = -;", "f:1: a: expected a number behind the sign\n"},
    {"a = /etc/t;", "f:1: a: a character that means nothing here; text needs quotes\n"},
    {"a = 'b';", "f:1: a: a character that means nothing here; text needs quotes\n"},
    {"a = [ [ 1 ] ];", "f:1: a: [ within [ ]: expected a list of plain values\n"},
    {"environments = {\n p = {\n tls = { min_version = 1.2; }; }; };",
     "f:3: environments.p.tls.min_version: expected a whole number; durations, sizes with a unit and other text need "
     "quotes\n"},
    {"environments = { p = {\n listen = [ 127.0.0.1:80 ]; }; };",
     "f:2: environments.p.listen: expected a whole number; durations, sizes with a unit and other text need quotes\n"},
    {"log = { level = \"info\"; }; drain_timeout = 20s;",
     "f:1: drain_timeout: expected a whole number; durations, sizes with a unit and other text need quotes\n"},
    {"{ a = 1; }", "f:1: syntax: expected a key\n"},
    {"a = { b = 1; c }", "f:1: syntax: expected \"=\" behind the key\n"},
    {"workers = 1;\nworkers = 2;\n", "f:2: syntax: a key is given a second time: keep one of the two\n"},
    {"a = [ 1,\n\"b\" ];", "f:2: a: strings and numbers in one list: put all in quotes\n"},
    {"workers = 1;\nlog = {\n", "f:2: syntax: the { of this line is never closed\n"},
    {"a = [ 1\n}", "f:2: syntax: } does not close the [ of line 1\n"},
    {"a = [ 1;\n}", "f:1: syntax: expected a comma, or the end of the list\n"},
    {"a = 1;\n)", "f:2: syntax: ) without a ( before it\n"},
    {"a = ((((((((((((((((( )))))))))))))))));", "f:1: a: more than 16 brackets within each other\n"},
    {"a = \"b;\nc = \"d\";\n", "f:1: a: a string is not closed on its line: expected a second \"\n"},
    {"a = \"b\nc\";\n", "f:1: a: a string is not closed on its line: expected a second \"\n"},
    {"\n/* a\n\n", "f:2: syntax: a comment that begins here is not closed: expected */\n"},
    {"a = \"\\n\";", "f:1: a: escape in a string: only \\\", \\\\ and \\xHH of a visible ASCII character are "
                     "understood\n"},
    {"a = \"b\\x00c\";", "f:1: a: escape in a string: only \\\", \\\\ and \\xHH of a visible ASCII character are "
                         "understood\n"},
    {"a = \"b\tc\";", "f:1: a: a tab inside a string: write a space, or end the string\n"},
    {"a = 1;\n\x01", "f:2: syntax: control character 0x01: a config file is plain text\n"},
    {"# \x7f", "f:1: syntax: control character 0x7f: a config file is plain text\n"},
    {"a = \"\xff\";", "f:1: syntax: byte 0xff is not UTF-8 text: save the file as UTF-8\n"},
    {"# \xc3(", "f:1: syntax: byte 0xc3 is not UTF-8 text: save the file as UTF-8\n"},
    {"# \xc2\x9b", "f:1: syntax: byte 0xc2 is not UTF-8 text: save the file as UTF-8\n"},
    {"# \xed\xa0\x80", "f:1: syntax: byte 0xed is not UTF-8 text: save the file as UTF-8\n"},
    {"\xef\xbb\xbfworkers = 1;", "f:1: syntax: begins with a byte order mark: save the file as UTF-8 without one\n"},
    {"workers = 1;\n  @include \"/etc/passwd\"\n",
     "f:2: syntax: @include is not supported: put everything into this one file\n"},
    {"workers = 4294967297;", "f:1: workers: a number above 2147483647: no key takes one that large\n"},
    {"workers = 0x100000001;", "f:1: workers: a number above 2147483647: no key takes one that large\n"},

    /* structure */
    {"",
     "f:1: environments: missing: expected environments = { NAME = { base_url = ...; listen = ...; token_file = ...; "
     "}; };\n"},
    {"environments = {};",
     "f:1: environments: no environment is defined: expected environments = { NAME = { base_url = "
     "...; listen = ...; token_file = ...; }; };\n"},
    {"\nenvironments = 1;",
     "f:2: environments: no environment is defined: expected environments = { NAME = { base_url = "
     "...; listen = ...; token_file = ...; }; };\n"},
    {"environments = { p = 1; };", "f:1: environments.p: expected a group, p = { ... };, found an integer\n"},
    {"environments = {\np = {};\n};",
     "f:2: environments.p.base_url: missing: expected a URL in quotes\n"
     "f:2: environments.p.listen: missing: expected a list such as [ \"127.0.0.1:8780\" ]\n"
     "f:2: environments.p.token_file: missing: expected the path of a token file (or credential:NAME, or client_token "
     "instead)\n"},
    {"environments = { a*b = { base_url = \"https://a\"; listen = [ \"127.0.0.1:1\" ]; token_file = \"/t\"; }; };",
     "f:1: environments.a*b: the name of an environment is 1 to 32 of A-Z a-z 0-9 _ -\n"},
    {"environments = { a = {}; b = {}; c = {}; d = {}; e = {}; f = {}; g = {}; h = {}; i = {}; j = {}; k = {}; l = "
     "{};\n"
     "m = {}; n = {}; o = {}; p = {}; q = {}; };",
     "f:1: environments: 17 environments: expected at most 16\n"},

    /* unknown keys, at every level */
    {TOP("wokers = 1;"), "f:5: wokers: unknown key; did you mean workers?\n"},
    {TOP("Workers = 1;"), "f:5: Workers: unknown key; did you mean workers?\n"},
    {TOP("colour = 1;"), "f:5: colour: unknown key; proofproxy.conf(5) lists all of them\n"},
    {TOP("level = \"info\";"), "f:5: level: this key does not belong here but into log\n"},
    {TOP("unix_mode = \"0660\";"), "f:5: unix_mode: this key does not belong here but into admin or an environment\n"},
    {TOP("environment = {};"), "f:5: environment: unknown key; did you mean environments?\n"},
    {TOP("log = { acess = true; };"), "f:5: log.acess: unknown key; did you mean access?\n"},
    {TOP("log = 1;"), "f:5: log: expected a group, log = { ... };, found an integer\n"},
    {TOP("admin = { workers = 1; };"), "f:5: admin.workers: this key does not belong here but into the top level\n"},
    {WITH("tokenfile = \"/etc/t\";"), "f:5: environments.p.tokenfile: unknown key; did you mean token_file?\n"},
    {WITH("retry = {};"), "f:5: environments.p.retry: unknown key; proofproxy.conf(5) lists all of them\n"},
    {WITH("retrys = {};"), "f:5: environments.p.retrys: unknown key; did you mean retries?\n"},
    {WITH("tls = { verify = false; };"),
     "f:5: environments.p.tls.verify: unknown key; proofproxy.conf(5) lists all of them\n"},

    /* kinds and ranges */
    {TOP("workers = \"2\";"), "f:5: workers: expected a number without quotes, found a string\n"},
    {TOP("workers = -1;"), "f:5: workers: out of range: expected 0 to 64\n"},
    {TOP("workers = 65;"), "f:5: workers: out of range: expected 0 to 64\n"},
    {TOP("drain_timeout = 20;"), "f:5: drain_timeout: expected a duration with its unit, such as \"500ms\", \"30s\", "
                                 "\"5m\" or \"24h\"\n"},
    {TOP("drain_timeout = \"20\";"),
     "f:5: drain_timeout: \"20\": expected a duration with its unit, such as \"500ms\", "
     "\"30s\", \"5m\" or \"24h\"\n"},
    {TOP("drain_timeout = true;"),
     "f:5: drain_timeout: expected a duration in quotes, such as \"30s\", found a boolean\n"},
    {TOP("drain_timeout = \"61m\";"), "f:5: drain_timeout: out of range: expected 0 to 1h\n"},
    {TOP("drain_timeout = \"99999999999999999999h\";"), "f:5: drain_timeout: out of range: expected 0 to 1h\n"},
    {TOP("log = { level = \"inof\"; };"), "f:5: log.level: \"inof\": expected error, warning, info or debug\n"},
    {TOP("log = { format = 1; };"), "f:5: log.format: expected a word in quotes, found an integer\n"},
    {TOP("log = { access = 1; };"), "f:5: log.access: expected true or false, found an integer\n"},
    {TOP("admin = { listen = \"127.0.0.1:9780\"; };"),
     "f:5: admin.listen: expected a list such as [ \"127.0.0.1:8780\" ], found a string\n"},
    {TOP("admin = { unix_mode = 660; };"), "f:5: admin.unix_mode: expected the mode in quotes, such as \"0660\"\n"},
    {TOP("admin = { unix_mode = \"0o660\"; };"), "f:5: admin.unix_mode: \"0o660\": expected three or four octal digits "
                                                 "up to 0777, such as \"0660\"\n"},
    {TOP("admin = { unix_owner = \"no-such-account\"; unix_group = \"no-such-account\"; };"),
     "f:5: admin.unix_owner: \"no-such-account\": no such user on this host: create it, or correct the name\n"
     "f:5: admin.unix_group: \"no-such-account\": no such group on this host: create it, or correct the name\n"},
    {WITH("max_body = \"2t\";"),
     "f:5: environments.p.max_body: \"2t\": expected a size such as 4096, \"64k\" or \"1m\"\n"},
    {WITH("max_body = 2147483647;"), "f:5: environments.p.max_body: out of range: expected 1 to 1g\n"},
    {WITH("max_body = 2147483648;"),
     "f:5: environments.p.max_body: a number above 2147483647: no key takes one that large\n"},
    {WITH("max_body = 0;"), "f:5: environments.p.max_body: out of range: expected 1 to 1g\n"},
    {WITH("max_body = \"2g\";"), "f:5: environments.p.max_body: out of range: expected 1 to 1g\n"},
    {WITH("probe_interval = \"99ms\";"),
     "f:5: environments.p.probe_interval: out of range: expected 0, or 100ms to 24h\n"},
    {WITH("connect_timeout = \"0\";"), "f:5: environments.p.connect_timeout: out of range: expected 10ms to 5m\n"},
    {WITH("allowed_paths = [];"), "f:5: environments.p.allowed_paths: out of range: expected 1 to 64 items\n"},
    {WITH("allowed_paths = [\n\"widget/\",\n\"/a/../b\",\n\"/ok\" ];"),
     "f:6: environments.p.allowed_paths: \"widget/\": expected a path that begins with \"/\"\n"
     "f:7: environments.p.allowed_paths: \"/a/../b\": a \".\" or \"..\" segment is refused in every request's path\n"},
    {WITH("allowed_paths = ( \"/a\", 7 );"),
     "f:5: environments.p.allowed_paths: expected a list of strings in quotes\n"},
    {WITH("allowed_hosts = [ \"a.example:80\" ];"), "f:5: environments.p.allowed_hosts: \"a.example:80\": expected a "
                                                    "host name without a port: any port is accepted\n"},
    {WITH("allowed_origins = [ \"*\" ];"),
     "f:5: environments.p.allowed_origins: \"*\": \"*\" and \"null\" would let any "
     "web page in: list each origin\n"},
    {WITH("origin = \"https://a.example/\";"), "f:5: environments.p.origin: \"https://a.example/\": expected an origin "
                                               "such as \"https://app.example\", with nothing "
                                               "behind host and port\n"},
    {WITH("allow_users = [ \"root\", \"no-such-account\", \"4294967295\" ];"),
     "f:5: environments.p.allow_users: \"no-such-account\": no such user on this host: create it, or correct the name\n"
     "f:5: environments.p.allow_users: \"4294967295\": expected the name or number of a user\n"},
    {WITH("allow_groups = ( \"root\", -1 );"),
     "f:5: environments.p.allow_groups: expected a list of strings in quotes\n"},
    {WITH("require_header = \"Host: a\";"),
     "f:5: environments.p.require_header: \"Host: a\": this field has a meaning of its own in HTTP or in the daemon: "
     "choose a name such as X-Proofproxy\n"},
    {WITH("client_authorization = \"forward\";"),
     "f:5: environments.p.client_authorization: \"forward\": expected strip or reject\n"},
    {WITH("retries = { attempts = 0; on = [ \"connect\", \"501\" ]; methods = [ \"POST\" ]; budget_percent = 101; };"),
     "f:5: environments.p.retries.attempts: out of range: expected 1 to 5\n"
     "f:5: environments.p.retries.on: \"501\": expected connect, 502, 503 or 504\n"
     "f:5: environments.p.retries.methods: \"POST\": POST and PATCH are not idempotent: they are repeated only while "
     "none "
     "of their bytes has left the host, which needs no setting\n"
     "f:5: environments.p.retries.budget_percent: out of range: expected 0 to 100\n"},
    {WITH("tls = { ca_file = \"ca.pem\"; min_version = \"1.1\"; pinned_spki = [ \"x\" ]; };"),
     "f:5: environments.p.tls.ca_file: \"ca.pem\": expected an absolute path, beginning with \"/\"\n"
     "f:5: environments.p.tls.min_version: \"1.1\": expected 1.2 or 1.3\n"
     "f:5: environments.p.tls.pinned_spki: \"x\": expected the base64 of a SHA-256 of the public key: 43 characters "
     "and "
     "one \"=\"\n"},
    {WITH("egress = { interface = \"a b\"; };"), "f:5: environments.p.egress.interface: \"a b\": expected the name of "
                                                 "a network interface such as \"eth1\", or one of "
                                                 "this host's addresses\n"},
    {WITH("origin = \"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
          "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
          "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4x\xc3\xa4\xc3\xa4\";"),
     "f:5: environments.p.origin: \"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
     "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
     "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4x\"...: expected an origin such as "
     "\"https://app.example\", "
     "with nothing behind host and port\n"},

    /* listeners and loops */
    {"environments = { p = {\nbase_url = \"https://a\";\nlisten = [ \"127.0.0.1:1\",\n\"localhost:1\" ];\n"
     "token_file = \"/t\"; };\nq = {\nbase_url = \"https://a\";\nlisten = [ \"127.0.0.1:01\" ]; token_file = \"/t\"; "
     "}; };",
     "f:4: environments.p.listen: \"localhost:1\" is already taken by \"127.0.0.1:1\" of environments.p.listen in line "
     "3: "
     "expected an address of its own\n"
     "f:8: environments.q.listen: \"127.0.0.1:01\" is already taken by \"127.0.0.1:1\" of environments.p.listen in "
     "line "
     "3: expected an address of its own\n"},
    {TOP("admin = { listen = [ \"127.0.0.1:8780\" ]; };"),
     "f:5: admin.listen: \"127.0.0.1:8780\" is already taken by \"127.0.0.1:8780\" of environments.p.listen in line 2: "
     "expected an address of its own\n"},
    {"environments = { p = { base_url = \"https://a\"; token_file = \"/t\";\n"
     "listen = [ \"unix:/run/proofproxy/./admin.sock\" ]; }; };",
     "f:2: environments.p.listen: \"unix:/run/proofproxy/./admin.sock\" is already taken by the default of "
     "admin.listen: "
     "expected an address of its own\n"},
    {TOP("admin = { listen = [ \"0.0.0.0:9780\" ]; };"), "f:5: admin.listen: \"0.0.0.0:9780\" can be reached from "
                                                         "other hosts, which admin never allows: expected unix:PATH "
                                                         "or a loopback address\n"},
    {"environments = { p = { base_url = \"https://a\"; token_file = \"/t\";\nlisten = [ \"[::]:8780\" ]; }; };",
     "f:2: environments.p.listen: \"[::]:8780\" can be reached from other hosts, which could then use the token: "
     "expected "
     "a loopback address, or allow_non_loopback = true if that is meant\n"},
    {"environments = { p = { base_url = \"http://localhost:8780\";\nlisten = [ \"127.0.0.1:8780\" ]; token_file = "
     "\"/t\"; }; };",
     "f:1: environments.p.base_url: leads back to our own listener \"127.0.0.1:8780\" of environments.p.listen: "
     "expected "
     "Proof's base URL\n"},
    {"admin = { listen = [ \"[::1]:9780\" ]; };\nenvironments = { p = {\nbase_url = \"http://[::1]:9780\"; listen = [ "
     "\"127.0.0.1:8780\" ]; token_file = \"/t\"; }; };",
     "f:3: environments.p.base_url: leads back to our own listener \"[::1]:9780\" of admin.listen: expected Proof's "
     "base "
     "URL\n"},
    {"environments = { p = { base_url = \"http://api.example\"; listen = [ \"127.0.0.1:8780\" ]; token_file = \"/t\"; "
     "}; "
     "};",
     "f:1: environments.p.base_url: \"http://api.example\": expected https: http is for a loopback address or "
     "localhost "
     "only, since the token would travel in the clear\n"},

    /* tokens */
    {WITHOUT_TOKEN(""),
     "f:1: environments.p.token_file: missing: expected the path of a token file (or credential:NAME, "
     "or client_token instead)\n"},
    {WITHOUT_TOKEN("token_file = \"\";"), "f:4: environments.p.token_file: is empty: expected the path of a token file "
                                          "(or credential:NAME, or client_token instead)\n"},
    {WITH("client_token = \"SECRET1\";"),
     "f:5: environments.p.client_token: token_file is given as well: keep one of the two\n"},
    {WITH("previous_client_token = \"SECRET1\";"), "f:5: environments.p.previous_client_token: token_file is given as "
                                                   "well: write the older token into that file, below "
                                                   "the newer one\n"},
    {WITHOUT_TOKEN("previous_client_token = \"SECRET1\";"),
     "f:4: environments.p.previous_client_token: client_token is missing: it comes first\n"},
    {WITHOUT_TOKEN("client_token = \"SECRET1\";\nprevious_client_token = \" SECRET1 \";"),
     "f:5: environments.p.previous_client_token: is the same as client_token: remove it\n"},
    {WITHOUT_TOKEN("client_token = \"Bearer SECRET1\";"),
     "f:4: environments.p.client_token: byte 0: a \"Bearer \" prefix: write the token alone, the daemon adds the "
     "scheme\n"},
    {WITHOUT_TOKEN("client_token = \"SECRET1 SECRET2\";"),
     "f:4: environments.p.client_token: byte 7: white space inside the token: write one token, in one piece\n"},
    {WITHOUT_TOKEN("client_token = \"fingerprint:0123456789ab\";"),
     "f:4: environments.p.client_token: this is a fingerprint as \"proofproxy config\" prints it: write the token, or "
     "use "
     "token_file\n"},
    {WITHOUT_TOKEN("client_token = 12345678;"),
     "f:4: environments.p.client_token: expected a token in quotes, found an integer\n"},
    {WITHOUT_TOKEN("token_file = [ \"SECRET1\" ];"),
     "f:4: environments.p.token_file: expected a path in quotes, found a list\n"},
    {WITHOUT_TOKEN("token_file = \"SECRET1\";"),
     "f:4: environments.p.token_file: expected an absolute path, beginning with \"/\"\n"},
    {WITHOUT_TOKEN("token_file = \"credential:../SECRET1\";"),
     "f:4: environments.p.token_file: expected credential:NAME with the name given to LoadCredential=, a plain file "
     "name\n"},
    {WITHOUT_TOKEN("token_file = \"credential:production\";"),
     "f:4: environments.p.token_file: the environment variable CREDENTIALS_DIRECTORY is not set; systemd sets it for "
     "units "
     "with LoadCredential= (systemd.exec(5)), elsewhere name the token file by its path\n"},
    {WITH("egress = { proxy = \"ftp://user:SECRET1@proxy.example:1\"; };"),
     "f:5: environments.p.egress.proxy: expected http://HOST:PORT, socks5://HOST:PORT or socks5h://HOST:PORT\n"},
    {"environments = { p = { base_url = \"https://user:SECRET1@api.example\"; listen = [ \"127.0.0.1:1\" ]; token_file "
     "= "
     "\"/t\"; }; };",
     "f:1: environments.p.base_url: a base URL takes no user or password: the token comes from token_file\n"},
};

static enum pp_result load(const char *text, mode_t mode, struct config **config, struct config_problems *problems)
{
    config_problems_init(problems);
    return config_load_text(str_of(text), "f", mode, config, problems);
}

static void check_text(const struct config_problems *problems, const char *expected)
{
    struct str text = buf_str(&problems->text);
    ck_assert_msg(str_equal(text, str_of(expected)), "expected:\n%sfound:\n%.*s", expected, (int)text.n,
                  text.p == NULL ? "" : text.p);
}

START_TEST(test_fault)
{
    struct config_problems problems;
    struct config *config = NULL;

    ck_assert_int_eq(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    ck_assert_int_eq(load(faults[_i].text, 0100640, &config, &problems), PP_INVALID);
    check_text(&problems, faults[_i].problems);
    ck_assert_ptr_null(config);
    ck_assert_uint_gt(problems.count, 0);
    ck_assert_ptr_null(strstr(faults[_i].problems, "SECRET"));
    config_problems_free(&problems);
}
END_TEST

/* A secret in a file that everybody can read. */
static const struct {
    const char *text;
    mode_t mode;
    const char *problems; /* NULL: fine */
} modes[] = {
    {WITHOUT_TOKEN("client_token = \"SECRET1\";"), 0100640, NULL},
    {WITHOUT_TOKEN("client_token = \"SECRET1\";"), 0100600, NULL},
    {WITHOUT_TOKEN("client_token = \"SECRET1\";"), 0100644,
     "f:4: environments.p.client_token: holds a secret, and the mode 0644 of this file lets every user read it: "
     "expected "
     "0640 or stricter\n"},
    {WITHOUT_TOKEN("client_token = \"SECRET1\";\nprevious_client_token = \"SECRET2\";"), 0100604,
     "f:4: environments.p.client_token: holds a secret, and the mode 0604 of this file lets every user read it: "
     "expected "
     "0640 or stricter\n"
     "f:5: environments.p.previous_client_token: holds a secret, and the mode 0604 of this file lets every user read "
     "it: "
     "expected 0640 or stricter\n"},
    {WITH("egress = { proxy = \"http://user:SECRET1@proxy.example:3128\"; };"), 0100644,
     "f:5: environments.p.egress.proxy: holds a secret, and the mode 0644 of this file lets every user read it: "
     "expected "
     "0640 or stricter\n"},
    {WITH("egress = { proxy = \"http://proxy.example:3128\"; };"), 0100644, NULL},
    {WITH(""), 0100644, NULL},
};

START_TEST(test_mode)
{
    struct config_problems problems;
    struct config *config = NULL;
    enum pp_result rc = load(modes[_i].text, modes[_i].mode, &config, &problems);

    ck_assert_int_eq(rc, modes[_i].problems == NULL ? PP_OK : PP_INVALID);
    check_text(&problems, modes[_i].problems == NULL ? "" : modes[_i].problems);
    config_unref(&config);
    config_problems_free(&problems);
}
END_TEST

/* More faults than are listed: the first hundred, and how many more. */
START_TEST(test_many)
{
    struct config_problems problems;
    struct config *config = NULL;
    struct buf text;

    buf_init(&text, 65536);
    (void)buf_append_str(&text, str_of(TOP("")));
    for (int i = 0; i < 150; i++)
        (void)buf_printf(&text, "unheard_of_%d = 1;\n", i);
    ck_assert(!text.failed);
    config_problems_init(&problems);
    ck_assert_int_eq(config_load_text(buf_str(&text), "f", 0100600, &config, &problems), PP_INVALID);
    ck_assert_uint_eq(problems.count, 101);
    (void)buf_append_char(&problems.text, '\0');
    const char *said = buf_str(&problems.text).p;
    ck_assert_ptr_nonnull(strstr(said, "f:105: unheard_of_99: unknown key"));
    ck_assert_ptr_nonnull(strstr(said, "f:106: 50 more problems are not shown\n"));
    ck_assert_ptr_null(strstr(said, "unheard_of_100"));
    buf_free(&text);
    config_problems_free(&problems);
}
END_TEST

static char directory[] = "/tmp/proofproxy-config-XXXXXX";
static char path[64];

static void setup_file(void)
{
    ck_assert_ptr_nonnull(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/c.conf", directory);
}

static void teardown_file(void)
{
    (void)unlink(path);
    (void)rmdir(path);
    ck_assert_int_eq(rmdir(directory), 0);
}

static void write_file(const char *text, size_t n, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, n), (ssize_t)n);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    ck_assert_int_eq(close(fd), 0);
}

/* Loads the file, expecting `rc` and one line that ends with `said`. */
static void check_file(enum pp_result expected, const char *said)
{
    struct config_problems problems;
    struct config *config = NULL;
    char line[512];

    config_problems_init(&problems);
    ck_assert_int_eq(config_load(path, &config, &problems), expected);
    (void)snprintf(line, sizeof line, "%s:0: %s\n", path, said == NULL ? "" : said);
    check_text(&problems, said == NULL ? "" : line);
    ck_assert_int_eq(config == NULL, expected != PP_OK);
    config_unref(&config);
    config_problems_free(&problems);
}

START_TEST(test_files)
{
    static char large[LIMIT_CONFIG_FILE + 1];
    static const char good[] = WITH("");

    check_file(PP_SYSTEM, "there is no such file: write one (see proofproxy.conf(5)), or name another with -c");
    ck_assert_int_eq(mkdir(path, 0700), 0);
    check_file(PP_INVALID, "is a directory: expected a regular file");
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    check_file(PP_INVALID, "is a pipe, socket or device: expected a regular file");
    ck_assert_int_eq(unlink(path), 0);
    memset(large, '\n', sizeof large);
    memcpy(large, good, sizeof good - 1);
    write_file(large, sizeof large, 0640);
    check_file(PP_INVALID, "is larger than 1024 KiB: this is no config file");
    write_file(large, sizeof large - 1, 0640);
    check_file(PP_OK, NULL);
    write_file(good, sizeof good - 1, 0646);
    check_file(PP_INVALID,
               "its mode 0646 lets every user change it, and so send the tokens elsewhere: expected 0640 or "
               "stricter");
    write_file(good, sizeof good - 1, 0644);
    check_file(PP_OK, NULL);
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof(table)[0]))

int main(void)
{
    Suite *suite = suite_create("config_faults");
    TCase *texts = tcase_create("texts");
    tcase_add_loop_test(texts, test_fault, 0, ROWS(faults));
    tcase_add_loop_test(texts, test_mode, 0, ROWS(modes));
    tcase_add_test(texts, test_many);
    suite_add_tcase(suite, texts);
    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, setup_file, teardown_file);
    tcase_add_test(files, test_files);
    suite_add_tcase(suite, files);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
