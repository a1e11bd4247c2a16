/* The partner API's endpoints: what a correct or wrong call gets. */
#ifndef PP_TESTS_FAKEPROOF_API_H
#define PP_TESTS_FAKEPROOF_API_H

#include "answer.h"

/* Who calls: false with the refusal in *a when the address, the token or the Origin is not right. `fingerprint` of the
 * token given is set in any case, "" if there is none. */
bool api_authenticate(struct connection *c, struct http_request *r, char fingerprint[static FINGERPRINT_SIZE],
                      struct answer *a);

/* Answers an authenticated call, reading its body. False when the connection broke meanwhile. */
bool api_answer(struct connection *c, struct http_request *r, struct answer *a);

/* The event of the transaction's n-th status, as the text of one WebSocket message; the caller frees. */
char *api_event(const struct transaction *t, unsigned n);

#endif
