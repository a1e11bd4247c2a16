/* The control endpoint: plain HTTP on a loopback port of its own, JSON in and out. See README.md. */
#ifndef PP_TESTS_FAKEPROOF_CONTROL_H
#define PP_TESTS_FAKEPROOF_CONTROL_H

#include "answer.h"

/* Serves one control connection until it ends. */
void control_serve(struct connection *c);

#endif
