/* Why a TLS handshake failed, in words an operator can act on. Only tls.c uses this. */
#ifndef PP_NET_TLS_EXPLAIN_H
#define PP_NET_TLS_EXPLAIN_H

#include "base/result.h"

struct x509_store_ctx_st;

/* OpenSSL's verify callback (SSL_CTX_set_verify(3)): never changes the verdict; says which check failed, on which
 * certificate, in the struct problem that is the SSL's app data. */
int tls_explain_verify(int good, struct x509_store_ctx_st *store);

/* For failures other than verification: the first error of OpenSSL's queue (0 = none), and errno. Returns PP_END when
 * the connection was closed or lost before the handshake was over, PP_BROKEN when something in it was wrong. */
enum pp_result tls_explain_handshake(unsigned long error, int system_error, struct problem *why);

#endif
