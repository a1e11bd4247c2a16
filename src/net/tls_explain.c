/* Turns OpenSSL's verdicts into sentences: what was checked, what was found, what to look at. */
#include "net/tls_explain.h"

#include "base/buf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

#define NAMES_SHOWN 4
#define NAME_LENGTH 80 /* bytes shown of one name in a certificate */

/* "2026-11-22 17:10 UTC" */
static void format_date(const ASN1_TIME *when, char out[static 32])
{
    struct tm tm;
    if (when == NULL || ASN1_TIME_to_tm(when, &tm) != 1 || strftime(out, 32, "%Y-%m-%d %H:%M UTC", &tm) == 0)
        (void)snprintf(out, 32, "an unreadable date");
}

/* The common name (or whole name, where there is none), for people. */
static void format_name(const X509_NAME *name, char *out, size_t size)
{
    (void)snprintf(out, size, "?");
    if (name != NULL && X509_NAME_get_text_by_NID(name, NID_commonName, out, (int)size) < 0)
        (void)X509_NAME_oneline(name, out, (int)size);
    for (char *p = out; *p != '\0'; p++) /* whatever a stranger put into a certificate */
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
}

static void append_alternative(struct buf *out, const GENERAL_NAME *name)
{
    char text[INET6_ADDRSTRLEN];
    if (name->type == GEN_DNS) {
        int n = ASN1_STRING_length(name->d.dNSName);
        buf_printf(out, "%.*s",
                   n < 0             ? 0
                   : n > NAME_LENGTH ? NAME_LENGTH
                                     : n,
                   (const char *)ASN1_STRING_get0_data(name->d.dNSName));
    } else if (name->type == GEN_IPADD) {
        int n = ASN1_STRING_length(name->d.iPAddress);
        if ((n == 4 || n == 16) &&
            inet_ntop(n == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof text) != NULL)
            buf_append_str(out, str_of(text));
    } else {
        buf_append_str(out, STR("(another kind of name)"));
    }
}

/* "api.example, www.example, ..." */
static void list_names(X509 *certificate, struct buf *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int n = names == NULL ? 0 : sk_GENERAL_NAME_num(names);
    if (n <= 0)
        buf_append_str(out, STR("no name at all (subjectAltName is missing)"));
    for (int i = 0; i < n && i < NAMES_SHOWN; i++) {
        if (i > 0)
            buf_append_str(out, STR(", "));
        append_alternative(out, sk_GENERAL_NAME_value(names, i));
    }
    if (n > NAMES_SHOWN)
        buf_append_str(out, STR(", ..."));
    GENERAL_NAMES_free(names);
    buf_append_char(out, '\0');
    for (char *p = out->data; p != NULL && *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
}

static void explain_mismatch(X509 *certificate, const char *host, struct problem *why)
{
    struct buf names;
    buf_init(&names, (NAMES_SHOWN + 1) * (NAME_LENGTH + 2));
    list_names(certificate, &names);
    problem_set(why, PP_BROKEN, "the server's certificate is not for %s: it is for %s; is base_url right?",
                host == NULL ? "the host of base_url" : host, names.failed ? "other names" : names.data);
    buf_free(&names);
}

static void explain_issuer(X509 *certificate, struct problem *why)
{
    char subject[NAME_LENGTH], issuer[NAME_LENGTH];
    format_name(X509_get_subject_name(certificate), subject, sizeof subject);
    format_name(X509_get_issuer_name(certificate), issuer, sizeof issuer);
    problem_set(why, PP_BROKEN,
                "the certificate chain ends at \"%s\", issued by \"%s\", which is not trusted here: expected an issuer "
                "from tls.ca_file or the system's store (a TLS-inspecting proxy in between, or a CA file to add?)",
                subject, issuer);
}

static void explain_check(int error, X509 *certificate, const char *host, struct problem *why)
{
    char subject[NAME_LENGTH], date[32];
    format_name(X509_get_subject_name(certificate), subject, sizeof subject);
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        format_date(X509_get0_notAfter(certificate), date);
        problem_set(why, PP_BROKEN, "the certificate of \"%s\" expired on %s (is this host's clock right?)", subject,
                    date);
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        format_date(X509_get0_notBefore(certificate), date);
        problem_set(why, PP_BROKEN, "the certificate of \"%s\" is valid only from %s on (is this host's clock right?)",
                    subject, date);
        return;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        explain_mismatch(certificate, host, why);
        return;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        explain_issuer(certificate, why);
        return;
    default:
        problem_set(why, PP_BROKEN, "the certificate of \"%s\" did not pass verification: %s", subject,
                    X509_verify_cert_error_string(error));
    }
}

int tls_explain_verify(int good, struct x509_store_ctx_st *store)
{
    SSL *s = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct problem *why = s == NULL ? NULL : SSL_get_app_data(s);
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    if (good || why == NULL || why->text[0] != '\0')
        return good;
    int error = X509_STORE_CTX_get_error(store);
    if (certificate == NULL) {
        problem_set(why, PP_BROKEN, "the server's certificate did not pass verification: %s",
                    X509_verify_cert_error_string(error));
        return good;
    }
    const char *host = SSL_get_servername(s, TLSEXT_NAMETYPE_host_name);
    char *address = host == NULL ? X509_VERIFY_PARAM_get1_ip_asc(SSL_get0_param(s)) : NULL;
    explain_check(error, certificate, host != NULL ? host : address, why);
    OPENSSL_free(address);
    return good;
}

enum pp_result tls_explain_handshake(unsigned long error, int system_error, struct problem *why)
{
    if (error == 0) {
        errno = system_error;
        if (system_error == 0)
            return problem_set(why, PP_END, "the server closed the connection during the TLS handshake");
        return problem_set(why, PP_END, "the connection was lost during the TLS handshake: %m");
    }
    switch (ERR_GET_REASON(error)) {
    case ERR_R_MALLOC_FAILURE:
        return problem_set(why, PP_BROKEN, "out of memory here during the TLS handshake");
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return problem_set(why, PP_END, "the server closed the connection during the TLS handshake");
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_WRONG_SSL_VERSION:
        return problem_set(why, PP_BROKEN,
                           "the server speaks no TLS version that is allowed here: expected at least tls.min_version");
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
        return problem_set(why, PP_BROKEN, "what answers there does not speak TLS: is the port of base_url right?");
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
    case SSL_R_NO_SHARED_CIPHER:
        return problem_set(
            why, PP_BROKEN,
            "the server found nothing in common in the TLS handshake: this side offers TLS 1.3, and TLS 1.2 "
            "with AEAD ciphers over ECDHE");
    case SSL_R_BAD_EXTENSION:
        return problem_set(why, PP_BROKEN,
                           "the server answered the TLS handshake with something that was not offered, such as an ALPN "
                           "protocol other than http/1.1");
    case SSL_R_TLSV1_UNRECOGNIZED_NAME:
        return problem_set(why, PP_BROKEN,
                           "the server does not know the host name of base_url (TLS alert unrecognized_name)");
    default: {
        const char *reason = ERR_reason_error_string(error);
        return problem_set(why, PP_BROKEN, "the TLS handshake failed: %s",
                           reason != NULL ? reason : "for no stated reason");
    }
    }
}
