/* doctor's way to Proof: name lookup, TCP, source address, TLS. */
#include "cli/doctor.h"

#include "base/span.h"
#include "cli/road.h"
#include "net/tls_facts.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#define EXPIRY_SOON INT64_C(1209600000) /* 14 days before a certificate's end */

static const char *milliseconds(int64_t usec, char out[static SPAN_SIZE])
{
    return span_text(usec / 1000, out);
}

static bool check_lookup(struct doctor_report *r, const struct environment_config *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char list[400] = "", span[SPAN_SIZE];
    size_t n = 0;
    if (e->egress_proxy[0] != '\0') {
        doctor_say(r, FINDING_SKIPPED, "dns", NULL, "the egress proxy looks names up");
        return true;
    }
    int64_t began = clock_usec();
    int rc = getaddrinfo(e->base_url.host, NULL, &hints, &found);
    if (rc != 0) {
        doctor_say(
            r, FINDING_FAILED, "dns",
            "compare the name with the base URL Proof gave; then look at this host's resolver: resolvectl query, "
            "/etc/resolv.conf",
            "%s: %s", e->base_url.host, rc == EAI_SYSTEM ? "the resolver failed" : gai_strerror(rc));
        return false;
    }
    for (const struct addrinfo *a = found; a != NULL && n + INET6_ADDRSTRLEN + 2 < sizeof list; a = a->ai_next) {
        char text[INET6_ADDRSTRLEN] = "?";
        const void *address = a->ai_family == AF_INET6
                                  ? (const void *)&((const struct sockaddr_in6 *)(const void *)a->ai_addr)->sin6_addr
                                  : (const void *)&((const struct sockaddr_in *)(const void *)a->ai_addr)->sin_addr;
        (void)inet_ntop(a->ai_family, address, text, sizeof text);
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n == 0 ? "" : ", ", text);
    }
    freeaddrinfo(found);
    doctor_say(r, FINDING_OK, "dns", NULL, "%s is %s (%s)", e->base_url.host, list,
               milliseconds(clock_usec() - began, span));
    return true;
}

static const char *connect_advice(enum upstream_failure why, const struct environment_config *e)
{
    if (why == UPSTREAM_FAILURE_DNS)
        return "look at this host's resolver: resolvectl query, /etc/resolv.conf";
    if (e->egress_proxy[0] != '\0')
        return "is egress.proxy right, and does it let this host through to the base URL?";
    if (e->egress_interface[0] != '\0')
        return "is egress.interface right, and has it a route to Proof? try: ip route get";
    return "is a firewall in the way, outbound on this host or behind it? is the port of base_url right?";
}

static bool check_tcp(struct doctor_report *r, const struct environment_config *e, struct road *road)
{
    enum upstream_failure why;
    struct problem problem;
    char span[SPAN_SIZE];
    int64_t began = clock_usec();
    if (road_connect(e, road, &why, &problem) != PP_OK) {
        doctor_say(r, FINDING_FAILED, "tcp", connect_advice(why, e), "%s", problem.text);
        return false;
    }
    doctor_say(r, FINDING_OK, "tcp", NULL, "connected to %s (%s)%s", road->peer,
               milliseconds(clock_usec() - began, span), e->egress_proxy[0] != '\0' ? ", the egress proxy" : "");
    doctor_say(r, FINDING_OK, "source_address", NULL,
               "%s%s; behind NAT or an egress proxy Proof sees that one's address instead: it is what must be on the "
               "allowlist",
               road->source, e->egress_interface[0] != '\0' ? " (by egress.interface)" : "");
    return true;
}

static void say_tls(struct doctor_report *r, const struct road *road, int64_t usec)
{
    struct tls_facts facts;
    char span[SPAN_SIZE], took[SPAN_SIZE], end[25];
    tls_facts(road->tls, &facts);
    clock_format_wall(facts.not_after, end);
    int64_t left = facts.not_after - clock_wall();
    doctor_say(r, left < EXPIRY_SOON ? FINDING_WARNING : FINDING_OK, "tls",
               left < EXPIRY_SOON ? "ask Proof whether a new certificate is under way" : NULL,
               "%s, %s; certificate of \"%s\" by \"%s\", %u in the chain, the first ends in %s (%s); %s", facts.version,
               facts.cipher, facts.subject, facts.issuer, facts.chain, span_text(left, span), end,
               milliseconds(usec, took));
    if (facts.alpn)
        doctor_say(r, FINDING_OK, "alpn", NULL, "the server chose http/1.1");
    else
        doctor_say(r, FINDING_WARNING, "alpn",
                   "nothing while requests work; if they do not, something between this host and Proof may end the TLS",
                   "the server chose no protocol (no ALPN), HTTP/1.1 is spoken all the same");
}

static bool check_tls(struct doctor_report *r, struct road *road, struct upstream_tls **tls)
{
    struct upstream_settings settings;
    struct problem problem;
    int64_t began = clock_usec();
    if (!road->environment->base_url.tls) {
        doctor_say(r, FINDING_SKIPPED, "tls", NULL, "the base URL is plain http to a loopback address");
        return true;
    }
    upstream_settings_of(road->environment, 0, &settings);
    if (upstream_tls_new(&settings, tls, &problem) != PP_OK) {
        doctor_say(r, FINDING_FAILED, "tls", "correct tls.ca_file, or install ca-certificates", "%s", problem.text);
        return false;
    }
    if (road_secure(road, *tls, &problem) != PP_OK) {
        doctor_say(
            r, FINDING_FAILED, "tls",
            "see the certificates: openssl s_client -connect HOST:PORT -showcerts; verification cannot be turned "
            "off",
            "%s", problem.text);
        return false;
    }
    say_tls(r, road, clock_usec() - began);
    return true;
}

bool doctor_road(struct doctor_report *r, const struct environment_config *e, struct upstream_tls **tls)
{
    struct road road = {.fd = -1};
    bool good = check_lookup(r, e) && check_tcp(r, e, &road) && check_tls(r, &road, tls);
    road_close(&road);
    return good;
}
