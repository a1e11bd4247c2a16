/* Reads version, cipher, protocol and chain out of a finished handshake. */
#include "net/tls_facts.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <time.h>

static void common_name(const X509_NAME *name, char out[static 80])
{
    (void)snprintf(out, 80, "?");
    if (name != NULL && X509_NAME_get_text_by_NID(name, NID_commonName, out, 80) < 0)
        (void)X509_NAME_oneline(name, out, 80);
    for (char *p = out; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
}

/* Wall ms; 0 when it cannot be read. */
static int64_t end_of(const X509 *certificate)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm) * 1000;
}

void tls_facts(const struct ssl_st *s, struct tls_facts *out)
{
    const unsigned char *protocol = NULL;
    unsigned n = 0;
    X509 *leaf = SSL_get0_peer_certificate(s);
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(s);
    int count = chain == NULL ? 0 : sk_X509_num(chain);
    *out = (struct tls_facts){.version = SSL_get_version(s), .cipher = SSL_get_cipher_name(s)};
    SSL_get0_alpn_selected(s, &protocol, &n);
    out->alpn = n > 0;
    out->chain = count > 0 ? (unsigned)count : 0;
    if (leaf == NULL)
        return;
    common_name(X509_get_subject_name(leaf), out->subject);
    common_name(X509_get_issuer_name(leaf), out->issuer);
    out->not_after = end_of(leaf);
    for (int i = 0; i < count; i++) {
        int64_t end = end_of(sk_X509_value(chain, i));
        if (end > 0 && end < out->not_after)
            out->not_after = end;
    }
}
