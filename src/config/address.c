/* Reading, checking and comparing of addresses. */
#include "config/address.h"

#include "base/ascii.h"
#include "config/value.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/un.h>

#define HOST_MAX 253u /* bytes of a DNS name (RFC 1035 2.3.4) */

static bool is_alnum(char c)
{
    return ascii_is_digit(c) || ascii_is_letter(c);
}

static struct str from(struct str text, size_t n)
{
    return (struct str){text.p + n, text.n - n};
}

static struct str first(struct str text, size_t n)
{
    return (struct str){text.p, n};
}

/* The offset of `c`, or the length. */
static size_t find(struct str text, char c)
{
    const char *at = text.n == 0 ? NULL : memchr(text.p, c, text.n);
    return at == NULL ? text.n : (size_t)(at - text.p);
}

bool address_parse_ip(const char *text, struct address_ip *out)
{
    struct address_ip ip = {0};

    if (inet_pton(AF_INET, text, ip.bytes) == 1) {
        ip.family = AF_INET;
        ip.loopback = ip.bytes[0] == 127;
        ip.unspecified = memcmp(ip.bytes, &(struct in_addr){0}, 4) == 0;
    } else if (inet_pton(AF_INET6, text, ip.bytes) == 1) {
        struct in6_addr six;
        memcpy(&six, ip.bytes, sizeof six);
        ip.family = AF_INET6;
        ip.loopback = IN6_IS_ADDR_LOOPBACK(&six);
        ip.unspecified = IN6_IS_ADDR_UNSPECIFIED(&six);
        ip.mapped = IN6_IS_ADDR_V4MAPPED(&six);
    } else {
        return false;
    }
    *out = ip;
    return true;
}

/* Host and port of HOST:PORT or [ADDRESS]:PORT, as written. */
struct endpoint {
    struct str host; /* without brackets */
    struct str port; /* digits, unchecked; p is NULL when there is no colon */
    bool bracketed;
};

static const char *split_endpoint(struct str text, struct endpoint *out)
{
    struct endpoint e = {.host = text};

    if (text.n > 0 && text.p[0] == '[') {
        size_t close = find(text, ']');
        if (close == text.n)
            return "the \"[\" of an IPv6 address is not closed";
        e.bracketed = true;
        e.host = (struct str){text.p + 1, close - 1};
        struct str rest = from(text, close + 1);
        if (rest.n > 0 && rest.p[0] != ':')
            return "expected a colon and a port behind the \"]\"";
        if (rest.n > 0)
            e.port = from(rest, 1);
    } else {
        size_t colon = find(text, ':');
        e.host = first(text, colon);
        if (colon < text.n)
            e.port = from(text, colon + 1);
        if (find(e.port, ':') < e.port.n)
            return "an IPv6 address needs brackets: \"[::1]:8780\"";
    }
    *out = e;
    return NULL;
}

static bool parse_port(struct str text, unsigned *out)
{
    unsigned port = 0;

    if (text.n < 1 || text.n > 5)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (!ascii_is_digit(text.p[i]))
            return false;
        port = port * 10 + (unsigned)(text.p[i] - '0');
    }
    if (port < 1 || port > 65535)
        return false;
    *out = port;
    return true;
}

static const char port_phrase[] = "expected a port from 1 to 65535 behind the colon";

/* Would a resolver take the last label for (a part of) an address: "1", "0x7f"? */
static bool label_is_number(struct str label)
{
    bool hex = label.n >= 2 && label.p[0] == '0' && ascii_lower(label.p[1]) == 'x';

    for (size_t i = hex ? 2 : 0; i < label.n; i++)
        if (hex ? ascii_hex(label.p[i]) < 0 : !ascii_is_digit(label.p[i]))
            return false;
    return true;
}

static const char *name_fault(struct str host)
{
    struct str label = {host.p, 0};

    if (host.n == 0)
        return "the host is missing";
    if (host.n > HOST_MAX)
        return "the host name is longer than 253 bytes";
    if (host.p[host.n - 1] == '.')
        return "write the host name without the final dot";
    for (size_t start = 0; start <= host.n; start += label.n + 1) {
        label = from(host, start);
        label.n = find(label, '.');
        if (label.n < 1 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
            return "not a host name: expected labels of 1 to 63 letters, digits and inner hyphens, between dots";
        for (size_t i = 0; i < label.n; i++)
            if (!is_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
                return "not a host name: expected letters, digits, hyphens and dots";
    }
    if (label_is_number(label))
        return "not an address: expected four numbers from 0 to 255 between dots, or a host name";
    return NULL;
}

/* A host as in a URL: a name, an IPv4 address, an IPv6 address in brackets. */
static const char *host_fault(const struct endpoint *e)
{
    char text[INET6_ADDRSTRLEN];
    struct address_ip ip;

    if (e->host.n > 0 && e->host.n < sizeof text) {
        memcpy(text, e->host.p, e->host.n);
        text[e->host.n] = '\0';
        if (strlen(text) == e->host.n && address_parse_ip(text, &ip)) {
            if (ip.mapped)
                return "write an IPv4 address as one, without \"::ffff:\"";
            if ((ip.family == AF_INET6) != e->bracketed)
                return ip.family == AF_INET6 ? "an IPv6 address needs brackets: \"[::1]\""
                                             : "brackets are for IPv6 addresses only";
            return NULL;
        }
    }
    if (e->bracketed)
        return "expected an IPv6 address such as \"::1\" between the brackets";
    return name_fault(e->host);
}

static char *copy_lower(struct memory *memory, struct str text)
{
    char *copy = memory_copy(memory, text);

    for (size_t i = 0; copy != NULL && i < text.n; i++)
        copy[i] = ascii_lower(copy[i]);
    return copy;
}

static enum pp_result parse_tcp(struct memory *memory, struct str text, struct listen_address *out, const char **fault)
{
    struct endpoint e;
    struct address_ip ip;

    *fault = split_endpoint(text, &e);
    if (*fault == NULL && (e.host.n == 0 || str_equal(e.host, STR("*"))))
        *fault = "expected an address before the colon, such as 127.0.0.1 (0.0.0.0 for all of them)";
    if (*fault == NULL && (e.port.p == NULL || !parse_port(e.port, &out->port)))
        *fault = e.port.p == NULL ? "expected HOST:PORT, [::1]:PORT, unix:PATH or systemd:NAME" : port_phrase;
    if (*fault != NULL)
        return PP_INVALID;
    bool localhost = !e.bracketed && str_equal_nocase(e.host, STR("localhost"));
    out->host = memory_copy(memory, localhost ? STR("127.0.0.1") : e.host);
    if (out->host == NULL)
        return PP_NOMEM;
    if (strlen(out->host) != (localhost ? 9 : e.host.n) || !address_parse_ip(out->host, &ip))
        *fault = "expected an address such as 127.0.0.1 or [::1], or localhost; other names are not looked up";
    else
        *fault = host_fault(&e);
    if (*fault != NULL)
        return PP_INVALID;
    out->kind = LISTEN_TCP;
    out->loopback = ip.loopback;
    return PP_OK;
}

enum pp_result address_parse_listen(struct memory *memory, struct str text, struct listen_address *out,
                                    const char **fault)
{
    struct listen_address address = {0};
    enum pp_result rc = PP_OK;

    address.text = memory_copy(memory, text);
    if (address.text == NULL)
        return PP_NOMEM;
    if (str_starts(text, STR("unix:"))) {
        struct str path = from(text, 5);
        address.kind = LISTEN_UNIX;
        address.path = address.text + 5;
        if (path.n < 2 || path.p[0] != '/' || path.p[path.n - 1] == '/')
            *fault = "expected unix:PATH with an absolute path to the socket";
        else if (path.n >= sizeof((struct sockaddr_un *)NULL)->sun_path)
            *fault = "the path of the socket is longer than 107 bytes, the most that unix(7) takes";
        else
            *fault = NULL;
        rc = *fault == NULL ? PP_OK : PP_INVALID;
    } else if (str_starts(text, STR("systemd:"))) {
        address.kind = LISTEN_SYSTEMD;
        address.name = address.text + 8;
        *fault = value_descriptor_fault(from(text, 8));
        rc = *fault == NULL ? PP_OK : PP_INVALID;
    } else {
        rc = parse_tcp(memory, text, &address, fault);
    }
    if (rc == PP_OK)
        *out = address;
    return rc;
}

/* Takes "scheme://" off the front of `rest`. */
static bool take_scheme(struct str *rest, struct str scheme)
{
    if (rest->n < scheme.n + 3 || !str_equal_nocase(first(*rest, scheme.n), scheme) ||
        memcmp(rest->p + scheme.n, "://", 3) != 0)
        return false;
    *rest = from(*rest, scheme.n + 3);
    return true;
}

static const char *check_base_url(struct str text, struct base_url *out, struct endpoint *e, struct str *prefix)
{
    struct str rest = text;

    out->tls = take_scheme(&rest, STR("https"));
    if (!out->tls && !take_scheme(&rest, STR("http")))
        return "expected https://HOST[:PORT]";
    struct str authority = first(rest, find(rest, '/'));
    *prefix = from(rest, authority.n);
    if (find(text, '?') < text.n || find(text, '#') < text.n)
        return "expected a URL without a query or fragment";
    if (find(authority, '@') < authority.n)
        return "a base URL takes no user or password: the token comes from token_file";
    const char *fault = split_endpoint(authority, e);
    if (fault == NULL)
        fault = host_fault(e);
    if (fault != NULL)
        return fault;
    out->port = out->tls ? 443 : 80;
    if (e->port.p != NULL && !parse_port(e->port, &out->port))
        return port_phrase;
    fault = prefix->n == 0 ? NULL : value_url_path_fault(*prefix);
    if (prefix->n > 0 && prefix->p[prefix->n - 1] == '/')
        prefix->n--;
    return fault;
}

/* Is this host, by its spelling alone, this machine? */
static bool host_is_loopback(const char *host)
{
    struct address_ip ip;

    if (address_parse_ip(host, &ip))
        return ip.loopback;
    return strcmp(host, "localhost") == 0;
}

enum pp_result address_parse_base_url(struct memory *memory, struct str text, struct base_url *out, const char **fault)
{
    struct base_url url = {0};
    struct endpoint e;
    struct str prefix;

    *fault = check_base_url(text, &url, &e, &prefix);
    if (*fault != NULL)
        return PP_INVALID;
    /* "[" host "]:" port NUL */
    char *authority = memory_take(memory, e.host.n + 9);
    url.text = memory_copy(memory, text);
    url.host = copy_lower(memory, e.host);
    url.prefix = memory_copy(memory, prefix);
    if (authority == NULL || url.text == NULL || url.host == NULL || url.prefix == NULL)
        return PP_NOMEM;
    if (!url.tls && !host_is_loopback(url.host)) {
        *fault = "expected https: http is for a loopback address or localhost only, since the token would travel in "
                 "the clear";
        return PP_INVALID;
    }
    const char *open = e.bracketed ? "[" : "", *close = e.bracketed ? "]" : "";
    if (url.port == (url.tls ? 443u : 80u))
        (void)snprintf(authority, e.host.n + 9, "%s%s%s", open, url.host, close);
    else
        (void)snprintf(authority, e.host.n + 9, "%s%s%s:%u", open, url.host, close, url.port);
    url.authority = authority;
    *out = url;
    return PP_OK;
}

/* The credentials of SCHEME://CREDENTIALS@HOST:PORT: up to the last `@`. */
static bool proxy_credentials(struct str text, size_t *start, size_t *end)
{
    size_t colon = find(text, ':');

    if (text.n - colon < 3 || memcmp(text.p + colon, "://", 3) != 0)
        return false;
    *start = colon + 3;
    for (size_t i = text.n; i > *start; i--) {
        if (text.p[i - 1] == '@') {
            *end = i - 1;
            return true;
        }
    }
    return false;
}

const char *address_proxy_fault(struct str text)
{
    struct str rest = text;
    struct endpoint e;
    unsigned port;
    size_t start, end;

    if (!take_scheme(&rest, STR("http")) && !take_scheme(&rest, STR("socks5h")) && !take_scheme(&rest, STR("socks5")))
        return "expected http://HOST:PORT, socks5://HOST:PORT or socks5h://HOST:PORT";
    if (proxy_credentials(text, &start, &end)) {
        struct str credentials = {text.p + start, end - start};
        if (str_equal(credentials, STR("***")))
            return "\"***\" stands for credentials in what \"proofproxy config\" prints: write the real ones";
        if (find(credentials, '/') < credentials.n || find(credentials, '@') < credentials.n ||
            find(credentials, ' ') < credentials.n)
            return "write \"/\", \"@\" and blanks in the user or password as %2F, %40 and %20";
        rest = from(text, end + 1);
    }
    const char *fault = split_endpoint(rest, &e);
    if (fault != NULL)
        return fault;
    if (find(rest, '/') < rest.n)
        return "expected no path behind the proxy's port";
    fault = host_fault(&e);
    if (fault != NULL)
        return fault;
    return e.port.p != NULL && parse_port(e.port, &port) ? NULL : "expected a colon and the proxy's port at the end";
}

bool address_proxy_has_credentials(const char *text)
{
    size_t start, end;
    return proxy_credentials(str_of(text), &start, &end);
}

const char *address_proxy_masked(struct memory *memory, const char *text)
{
    size_t start, end, size = strlen(text) + 4;

    if (!proxy_credentials(str_of(text), &start, &end))
        return text;
    char *masked = memory_take(memory, size);
    if (masked != NULL)
        (void)snprintf(masked, size, "%.*s***%s", (int)start, text, text + end);
    return masked;
}

const char *address_host_fault(struct str text)
{
    struct endpoint e;

    if (find(text, '*') < text.n)
        return "there are no wildcards: list each host name";
    if (find(text, '/') < text.n)
        return "expected a host name alone, without scheme or path";
    const char *fault = split_endpoint(text, &e);
    if (fault != NULL)
        return fault;
    if (e.port.p != NULL)
        return "expected a host name without a port: any port is accepted";
    return host_fault(&e);
}

const char *address_origin_fault(struct str text)
{
    static const char shape[] = "expected an origin such as \"https://app.example\", with nothing behind host and port";
    struct endpoint e;
    unsigned port;
    size_t colon = find(text, ':');

    if (str_equal(text, STR("*")) || str_equal_nocase(text, STR("null")))
        return "\"*\" and \"null\" would let any web page in: list each origin";
    if (colon == 0 || text.n - colon < 3 || memcmp(text.p + colon, "://", 3) != 0)
        return shape;
    struct str scheme = first(text, colon), rest = from(text, colon + 3);
    for (size_t i = 0; i < scheme.n; i++)
        if (!is_alnum(scheme.p[i]) && (i == 0 || strchr("+-.", scheme.p[i]) == NULL))
            return shape;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] >= 'A' && text.p[i] <= 'Z')
            return "write the origin in lower case, as browsers send it";
    if (find(rest, '/') < rest.n || find(rest, '@') < rest.n)
        return shape;
    const char *fault = split_endpoint(rest, &e);
    if (fault == NULL)
        fault = host_fault(&e);
    if (fault != NULL)
        return fault;
    if (e.port.p == NULL)
        return NULL;
    if (!parse_port(e.port, &port))
        return port_phrase;
    if ((str_equal(scheme, STR("https")) && port == 443) || (str_equal(scheme, STR("http")) && port == 80))
        return "leave out the scheme's own port: browsers do, so this origin would never match";
    return NULL;
}

/* Two paths of sockets, `//` and `/./` counted as `/`. */
static bool paths_equal(const char *a, const char *b)
{
    while (*a != '\0' || *b != '\0') {
        while (a[0] == '/' && (a[1] == '/' || (a[1] == '.' && a[2] == '/')))
            a += a[1] == '/' ? 1 : 2;
        while (b[0] == '/' && (b[1] == '/' || (b[1] == '.' && b[2] == '/')))
            b += b[1] == '/' ? 1 : 2;
        if (*a != *b)
            return false;
        a++, b++;
    }
    return true;
}

static bool hosts_overlap(const struct address_ip *a, const struct address_ip *b)
{
    return a->family == b->family &&
           (a->unspecified || b->unspecified || memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0);
}

bool address_listeners_overlap(const struct listen_address *a, const struct listen_address *b)
{
    struct address_ip a_ip, b_ip;

    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case LISTEN_TCP:
        return a->port == b->port && address_parse_ip(a->host, &a_ip) && address_parse_ip(b->host, &b_ip) &&
               hosts_overlap(&a_ip, &b_ip);
    case LISTEN_UNIX:
        return paths_equal(a->path, b->path);
    case LISTEN_SYSTEMD:
        return strcmp(a->name, b->name) == 0;
    }
    return false;
}

bool address_url_reaches(const struct base_url *url, const struct listen_address *listener)
{
    struct address_ip url_ip, ip;

    if (listener->kind != LISTEN_TCP || listener->port != url->port || !address_parse_ip(listener->host, &ip))
        return false;
    if (strcmp(url->host, "localhost") == 0)
        return ip.loopback || ip.unspecified;
    return address_parse_ip(url->host, &url_ip) && hosts_overlap(&url_ip, &ip);
}
