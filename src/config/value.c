/* Reading and checking of single values. */
#include "config/value.h"

#include "base/ascii.h"
#include "config/address.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADER_NAME_MAX    64u        /* bytes of the name in require_header */
#define ACCOUNT_BUFFER_MAX (1u << 20) /* bytes: a group with very many members */

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* One unit of a duration or size; tables are ordered from the largest. */
struct unit {
    const char *suffix;
    int64_t factor;
};

static const struct unit duration_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0}};
static const struct unit size_units[] = {{"g", 1 << 30}, {"m", 1 << 20}, {"k", 1 << 10}, {"", 1}, {NULL, 0}};

static enum pp_result parse_units(struct str text, const struct unit *units, int64_t *out)
{
    int64_t number = 0;
    size_t digits = 0;

    for (; digits < text.n && ascii_is_digit(text.p[digits]); digits++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, text.p[digits] - '0', &number))
            return PP_LIMIT;
    if (digits == 0)
        return PP_INVALID;
    struct str suffix = {text.p + digits, text.n - digits};
    for (const struct unit *u = units; u->suffix != NULL; u++) {
        if (!str_equal_nocase(suffix, str_of(u->suffix)))
            continue;
        if (__builtin_mul_overflow(number, u->factor, &number))
            return PP_LIMIT;
        *out = number;
        return PP_OK;
    }
    return PP_INVALID;
}

enum pp_result value_duration(struct str text, msec *out)
{
    if (str_equal(text, STR("0"))) {
        *out = 0;
        return PP_OK;
    }
    return parse_units(text, duration_units, out);
}

enum pp_result value_size(struct str text, int64_t *out)
{
    return parse_units(text, size_units, out);
}

static void print_units(int64_t number, const struct unit *units, char out[static VALUE_NUMBER_SIZE])
{
    const struct unit *u = units;

    while (number != 0 && number % u->factor != 0)
        u++;
    (void)snprintf(out, VALUE_NUMBER_SIZE, "%" PRId64 "%s", number / u->factor, number == 0 ? "" : u->suffix);
}

void value_print_duration(msec duration, char out[static VALUE_NUMBER_SIZE])
{
    print_units(duration, duration_units, out);
}

void value_print_size(int64_t bytes, char out[static VALUE_NUMBER_SIZE])
{
    print_units(bytes, size_units, out);
}

enum pp_result value_mode(struct str text, mode_t *out)
{
    mode_t mode = 0;

    if (text.n < 3 || text.n > 4)
        return PP_INVALID;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '7')
            return PP_INVALID;
        mode = mode * 8 + (mode_t)(text.p[i] - '0');
    }
    if (mode > 0777)
        return PP_INVALID;
    *out = mode;
    return PP_OK;
}

/* How an account database answers: 0 and *found, or an errno; the shape of getpwnam_r(3) and getgrnam_r(3). */
typedef int (*account_lookup)(const char *name, char *buffer, size_t size, bool *found, uint32_t *id);

static int lookup_user(const char *name, char *buffer, size_t size, bool *found, uint32_t *id)
{
    struct passwd entry, *result = NULL;
    int error = getpwnam_r(name, &entry, buffer, size, &result);

    *found = result != NULL;
    if (result != NULL)
        *id = result->pw_uid;
    return error;
}

static int lookup_group(const char *name, char *buffer, size_t size, bool *found, uint32_t *id)
{
    struct group entry, *result = NULL;
    int error = getgrnam_r(name, &entry, buffer, size, &result);

    *found = result != NULL;
    if (result != NULL)
        *id = result->gr_gid;
    return error;
}

static enum pp_result lookup_account(const char *name, account_lookup lookup, uint32_t *out)
{
    for (size_t size = 4096; size <= ACCOUNT_BUFFER_MAX; size *= 2) {
        char *buffer = malloc(size);
        bool found = false;
        if (buffer == NULL)
            return PP_NOMEM;
        int error;
        do
            error = lookup(name, buffer, size, &found, out);
        while (error == EINTR);
        free(buffer);
        if (found)
            return PP_OK;
        /* getpwnam(3): some back ends say "not found" by one of these. */
        if (error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM)
            return PP_NOT_FOUND;
        if (error != ERANGE) {
            errno = error;
            return PP_SYSTEM;
        }
    }
    errno = ERANGE;
    return PP_SYSTEM;
}

static enum pp_result account(const char *text, account_lookup lookup, uint32_t *out)
{
    size_t n = strlen(text), digits = strspn(text, "0123456789");
    uint32_t id = 0;

    if (n == 0)
        return PP_INVALID;
    if (digits == n) {
        uint64_t number = 0;
        for (size_t i = 0; i < n && number <= UINT32_MAX; i++)
            number = number * 10 + (uint64_t)(text[i] - '0');
        if (number >= UINT32_MAX) /* the largest means "no id" to chown(2) */
            return PP_INVALID;
        *out = (uint32_t)number;
        return PP_OK;
    }
    if (n > 256 || strpbrk(text, ":/ \t") != NULL)
        return PP_INVALID;
    enum pp_result rc = lookup_account(text, lookup, &id);
    if (rc == PP_OK)
        *out = id;
    return rc;
}

enum pp_result value_user(const char *text, uint32_t *out)
{
    return account(text, lookup_user, out);
}

enum pp_result value_group(const char *text, uint32_t *out)
{
    return account(text, lookup_group, out);
}

const char *value_path_fault(struct str path)
{
    if (path.n == 0 || path.p[0] != '/')
        return "expected an absolute path, beginning with \"/\"";
    if (path.p[path.n - 1] == '/')
        return "expected the path of a file, not ending in \"/\"";
    if (path.n >= 4096)
        return "the path is longer than 4095 bytes";
    return NULL;
}

static bool is_path_character(char c)
{
    return ascii_is_letter(c) || ascii_is_digit(c) || is_one_of(c, "-._~!$&'()*+,=:@/");
}

const char *value_url_path_fault(struct str path)
{
    if (path.n == 0 || path.p[0] != '/')
        return "expected a path that begins with \"/\"";
    if (path.n > 1024)
        return "the path is longer than 1024 bytes";
    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] == '?' || path.p[i] == '#')
            return "expected a path alone, without a query or fragment";
        if (path.p[i] == '%' || path.p[i] == ';')
            return "\"%\" and \";\" are refused in every request's path, so such a path would never match";
        if (path.p[i] == '*')
            return "there are no wildcards: end the path with \"/\" to mean everything below it";
        if (!is_path_character(path.p[i]))
            return "a character that RFC 3986 does not allow in a path";
    }
    for (size_t start = 1, i = 1; i <= path.n; i++) {
        if (i < path.n && path.p[i] != '/')
            continue;
        struct str segment = {path.p + start, i - start};
        if (segment.n == 0 && i < path.n)
            return "an empty segment (\"//\") is refused in every request's path";
        if (str_equal(segment, STR(".")) || str_equal(segment, STR("..")))
            return "a \".\" or \"..\" segment is refused in every request's path";
        start = i + 1;
    }
    return NULL;
}

static bool all_of(struct str text, const char *others)
{
    for (size_t i = 0; i < text.n; i++)
        if (!ascii_is_letter(text.p[i]) && !ascii_is_digit(text.p[i]) && !is_one_of(text.p[i], others))
            return false;
    return true;
}

const char *value_environment_fault(struct str name)
{
    if (name.n < 1 || name.n > 32 || !all_of(name, "_-"))
        return "the name of an environment is 1 to 32 of A-Z a-z 0-9 _ -";
    return NULL;
}

const char *value_credential_fault(struct str name)
{
    if (name.n < 1 || name.n > 255 || !all_of(name, "._-@+=:,") || name.p[0] == '.')
        return "expected credential:NAME with the name given to LoadCredential=, a plain file name";
    return NULL;
}

const char *value_descriptor_fault(struct str name)
{
    if (name.n < 1 || name.n > 255 || !all_of(name, "._-@+="))
        return "expected systemd:NAME with the name given to FileDescriptorName=";
    return NULL;
}

const char *value_spki_fault(struct str pin)
{
    static const char phrase[] = "expected the base64 of a SHA-256 of the public key: 43 characters and one \"=\"";
    static const char last_of_32_bytes[] = "AEIMQUYcgkosw048"; /* 32 bytes leave two bits of the last one zero */

    if (pin.n != 44 || pin.p[43] != '=' || !is_one_of(pin.p[42], last_of_32_bytes))
        return phrase;
    for (size_t i = 0; i < 43; i++)
        if (!ascii_is_letter(pin.p[i]) && !ascii_is_digit(pin.p[i]) && !is_one_of(pin.p[i], "+/"))
            return phrase;
    return NULL;
}

const char *value_interface_fault(struct str name)
{
    char text[64];

    if (name.n < sizeof text) {
        memcpy(text, name.p, name.n);
        text[name.n] = '\0';
        struct address_ip ip;
        if (address_parse_ip(text, &ip))
            return NULL;
        if (name.n >= 1 && name.n <= 15 && all_of(name, "._-@"))
            return NULL;
    }
    return "expected the name of a network interface such as \"eth1\", or one of this host's addresses";
}

const char *value_retry_method_fault(struct str name)
{
    static const char *const idempotent[] = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"};

    for (size_t i = 0; i < sizeof idempotent / sizeof idempotent[0]; i++)
        if (str_equal(name, str_of(idempotent[i])))
            return NULL;
    if (str_equal_nocase(name, STR("POST")) || str_equal_nocase(name, STR("PATCH")))
        return "POST and PATCH are not idempotent: they are repeated only while none of their bytes has left the host, "
               "which needs no setting";
    return "expected methods among GET, HEAD, OPTIONS, PUT and DELETE";
}

/* Fields with a meaning of their own in HTTP, or that the daemon writes or refuses by other rules: as a marker they
 * would be dropped, or break the request. */
static bool is_reserved_field(struct str name)
{
    static const char *const reserved[] = {
        "Accept-Encoding",
        "Authorization",
        "Connection",
        "Content-Length",
        "Content-Type",
        "Cookie",
        "Date",
        "Expect",
        "Forwarded",
        "HTTP2-Settings",
        "Host",
        "Keep-Alive",
        "Origin",
        "Proxy-Authenticate",
        "Proxy-Authentication-Info",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Sec-Fetch-Site",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Via",
    };
    static const char *const prefixes[] = {"X-Forwarded-", "Sec-WebSocket-"};
    char folded[HEADER_NAME_MAX]; /* `_` counts as `-`: some servers take the one for the other */

    for (size_t i = 0; i < name.n; i++)
        folded[i] = name.p[i] == '_' ? '-' : name.p[i];
    struct str folded_name = {folded, name.n};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (str_equal_nocase(folded_name, str_of(reserved[i])))
            return true;
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        struct str prefix = str_of(prefixes[i]);
        if (name.n >= prefix.n && str_equal_nocase((struct str){folded, prefix.n}, prefix))
            return true;
    }
    return false;
}

const char *value_header_fault(struct str line, struct str *name, struct str *value)
{
    const char *colon = line.n == 0 ? NULL : memchr(line.p, ':', line.n);

    if (colon == NULL)
        return "expected a whole header line such as \"X-Proofproxy: yes\"";
    struct str left = {line.p, (size_t)(colon - line.p)};
    struct str right = str_trim((struct str){colon + 1, line.n - left.n - 1});
    if (left.n == 0 || left.n > HEADER_NAME_MAX || !all_of(left, "!#$&'*+-.^_`|~%"))
        return "the name before the colon is not that of a header field (letters, digits and \"-\", at most 64)";
    if (right.n == 0)
        return "a value is missing behind the colon: expected a whole line such as \"X-Proofproxy: yes\"";
    if (right.n > 256)
        return "the value is longer than 256 bytes";
    for (size_t i = 0; i < right.n; i++)
        if (right.p[i] < 0x20 || right.p[i] > 0x7e)
            return "the value holds a character that is not visible ASCII";
    if (is_reserved_field(left))
        return "this field has a meaning of its own in HTTP or in the daemon: choose a name such as X-Proofproxy";
    *name = left;
    *value = right;
    return NULL;
}
