/* Addresses in the config: listeners, base URLs, egress proxies, hosts, origins. Pure; no name is ever looked up. */
#ifndef PP_CONFIG_ADDRESS_H
#define PP_CONFIG_ADDRESS_H

#include "config/config.h"
#include "config/memory.h"

/* A literal address. */
struct address_ip {
    int family; /* AF_INET or AF_INET6 */
    unsigned char bytes[16];
    bool loopback;    /* 127.0.0.0/8 or ::1 */
    bool unspecified; /* 0.0.0.0 or ::, which as a listener means every address */
    bool mapped;      /* ::ffff:a.b.c.d */
};

/* Strict (inet_pton(3)): no brackets, no zone, no short forms. */
bool address_parse_ip(const char *text, struct address_ip *out);

/* HOST:PORT, [::1]:PORT, unix:PATH or systemd:NAME; HOST is an address or "localhost". Strings of *out live in
 * `memory`. PP_INVALID with a phrase, which never repeats the text, or PP_NOMEM. */
enum pp_result address_parse_listen(struct memory *memory, struct str text, struct listen_address *out,
                                    const char **fault) PP_MUST_CHECK;

/* https://HOST[:PORT][/PREFIX], or http to a loopback address or "localhost". The same results. */
enum pp_result address_parse_base_url(struct memory *memory, struct str text, struct base_url *out,
                                      const char **fault) PP_MUST_CHECK;

/* What is wrong with an egress proxy, http:// or socks5:// or socks5h://[USER:PASSWORD@]HOST:PORT; NULL when right. */
const char *address_proxy_fault(struct str text);

/* The proxy with its credentials replaced by three asterisks; the same pointer when it has none, NULL without memory.
 */
const char *address_proxy_masked(struct memory *memory, const char *text);
bool address_proxy_has_credentials(const char *text);

/* What is wrong with a Host name without a port, or with an Origin (RFC 6454 7); NULL when right. */
const char *address_host_fault(struct str text);
const char *address_origin_fault(struct str text);

/* Would both bind the same thing: the same address and port (every address of a family overlaps all of it), the same
 * path, the same descriptor? */
bool address_listeners_overlap(const struct listen_address *a, const struct listen_address *b);

/* Does a connection to this base URL reach that listener? Compares literal addresses and "localhost". */
bool address_url_reaches(const struct base_url *url, const struct listen_address *listener);

#endif
