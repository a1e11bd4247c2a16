/* A client's WebSocket handshake (RFC 6455 4.2.1): the part of admission about it. Private to http/. Pure. */
#ifndef PP_HTTP_UPGRADE_H
#define PP_HTTP_UPGRADE_H

#include "http/admission.h"

/* What the request said, gathered by admission. */
struct upgrade_request {
    unsigned upgrades, keys, versions; /* lines of each */
    struct str upgrade, key, version;  /* the first of each */
    bool connection_upgrade;           /* `upgrade` is a member of Connection */
    bool get, http10, has_body;
    struct str path;
};

/* REFUSAL_NONE for a complete and valid one; otherwise *detail (static) says what is wrong. To be asked only when
 * Upgrade names websocket. */
enum refusal upgrade_check(const struct admission_policy *policy, const struct upgrade_request *request,
                           const char **detail);

#endif
