/* The effective configuration: immutable once loaded, reference-counted, one struct. No globals. */
#ifndef PP_CONFIG_CONFIG_H
#define PP_CONFIG_CONFIG_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"

#include <sys/types.h>

/* A list of strings; `items` are NUL-terminated as well. */
struct str_list {
    struct str *items;
    size_t count;
};

enum listen_kind { LISTEN_TCP, LISTEN_UNIX, LISTEN_SYSTEMD };

struct listen_address {
    enum listen_kind kind;
    const char *text; /* as written in the file */
    const char
        *host;     /* TCP: always an address, "127.0.0.1" or "::1", without brackets ("localhost" became 127.0.0.1) */
    unsigned port; /* TCP: 1 to 65535 */
    int line;      /* of the file, for errors */
    bool loopback; /* TCP: host is in 127.0.0.0/8 or ::1 */
    const char *path; /* Unix: absolute, fits sockaddr_un (unix(7)) */
    const char *name; /* systemd: FileDescriptorName */
};

struct listen_list {
    struct listen_address *items;
    size_t count;
};

struct id_list { /* resolved uids or gids */
    uint32_t *items;
    struct str *names; /* items[i] as written in the file, a name or a number */
    size_t count;
};

struct unix_access {
    mode_t mode;
    bool owner_set, group_set;
    uid_t owner;
    gid_t group;
    const char *owner_name, *group_name; /* as written; "" = not set */
};

struct base_url {
    const char *text;
    bool tls;              /* https */
    const char *host;      /* name or address, lower case, without brackets */
    unsigned port;         /* given or the scheme's own */
    const char *authority; /* what Host says: the port only when it is not the default */
    const char *prefix;    /* path without trailing slash, usually "" */
};

/* Which failures are retried. */
enum retry_on { RETRY_ON_CONNECT = 1, RETRY_ON_502 = 2, RETRY_ON_503 = 4, RETRY_ON_504 = 8 };

struct retry_policy {
    unsigned attempts; /* in all, 1 = never retry */
    unsigned on;       /* enum retry_on bits */
    struct str_list methods;
    unsigned budget_percent; /* retries per 100 requests over a sliding window */
};

enum token_source_kind { TOKEN_SOURCE_FILE, TOKEN_SOURCE_CREDENTIAL, TOKEN_SOURCE_INLINE };

struct environment_config {
    const char *name;
    int line; /* of the file, for errors */
    /* of base_url, of token_file or client_token, and of tls.ca_file; else as `line` */
    int base_url_line, token_line, ca_file_line;
    struct base_url base_url;
    struct listen_list listen;

    enum token_source_kind token_source;
    const char *token_file; /* as written: a path or "credential:NAME"; "" with INLINE */
    const char *token_path; /* FILE, and CREDENTIAL resolved in $CREDENTIALS_DIRECTORY */
    char *client_token;     /* INLINE: in secret memory (base/crypto.h), wiped with the config; else NULL */
    char *previous_client_token;

    struct str_list allowed_paths, allowed_hosts, allowed_origins;
    const char *origin;
    struct id_list allow_users, allow_groups;
    struct str require_name, require_value;
    bool refuse_forwarded, reject_authorization, allow_non_loopback;
    struct unix_access unix_access;

    int64_t max_body; /* bytes */
    unsigned max_inflight, max_websockets;
    msec connect_timeout, request_timeout, header_timeout, body_timeout, client_idle_timeout, websocket_idle_timeout;
    struct retry_policy retries;

    const char *ca_file;                         /* "" = the system's */
    const char *tls_min_version;                 /* "1.2" or "1.3" */
    struct str_list pinned_spki;                 /* base64 SHA-256 of the SubjectPublicKeyInfo */
    const char *egress_proxy, *egress_interface; /* "" = none */

    msec probe_interval, old_token_grace, websocket_retire_delay;
};

struct config {
    const char *path; /* of the file it came from */
    unsigned workers; /* 0 was already replaced by the number of CPUs */
    msec drain_timeout;
    enum log_level log_level;
    enum log_format log_format;
    bool log_access;
    struct listen_list admin_listen;
    struct unix_access admin_access;
    struct environment_config *environments;
    size_t environment_count;
};

/* Counted atomically: any thread. The last unref wipes inline tokens. */
struct config *config_ref(struct config *c);
void config_unref(struct config **c);

/* The environment of that name, or NULL. */
const struct environment_config *config_environment(const struct config *c, const char *name);

/* Problems found in a file, each a line "FILE:LINE: KEY: what is wrong and what would be right", in the order of the
 * file. LINE is 0 where the fault is the file itself. Never a secret. */
struct config_problems {
    struct buf text; /* lines, each with its newline */
    size_t count;
};

/* No allocation happens here. The same struct may be used for several loads; each adds to it. */
void config_problems_init(struct config_problems *problems);
void config_problems_free(struct config_problems *problems);

/* Adds one line. `key` is a dotted path such as "environments.production.listen", "" for none. For callers that find
 * faults the loader cannot see, such as those of a token file. */
void config_problems_add(struct config_problems *problems, const char *file, int line, const char *key,
                         const char *format, ...) PP_PRINTF(5, 6);

/* Reads, parses and validates everything, opening nothing but the file itself; looks up the name in a base URL whose
 * port is that of a listener. PP_OK: *out is the caller's. Otherwise `problems` (initialised) has every problem found,
 * at least one, and *out is untouched. PP_INVALID: the file has faults; PP_SYSTEM: it could not be read; PP_NOMEM. Main
 * thread only. */
enum pp_result config_load(const char *path, struct config **out, struct config_problems *problems) PP_MUST_CHECK;

/* The same from memory. `path` and `mode` are those of the file the text came from: the path names it in problems, and
 * a mode that lets every user read it is a fault when the text holds a secret. */
enum pp_result config_load_text(struct str text, const char *path, mode_t mode, struct config **out,
                                struct config_problems *problems) PP_MUST_CHECK;

/* The effective config in the file's own syntax, every key with its value, secrets as fingerprints. */
enum pp_result config_print(const struct config *c, struct buf *out) PP_MUST_CHECK;

/* The same as JSON text (sorted keys, schema in proofproxy(8)). */
enum pp_result config_print_json(const struct config *c, struct buf *out) PP_MUST_CHECK;

/* What differs between two configs: `changed` gets one line per key that takes effect by reload, `restart` one line per
 * key that needs a restart ("KEY: OLD -> NEW", no secret, each with its newline). An environment that came or went is
 * one line in `changed`. Both buffers belong to the caller, initialised. */
enum pp_result config_diff(const struct config *before, const struct config *after, struct buf *changed,
                           struct buf *restart) PP_MUST_CHECK;

#endif
