/* The syntax of a config file, held before the config library sees the text. Pure. */
#ifndef PP_CONFIG_SCAN_H
#define PP_CONFIG_SCAN_H

#include "base/result.h"
#include "base/str.h"

#define SCAN_DEPTH_MAX 16u /* brackets within brackets; a valid file needs 4 */
#define SCAN_KEY_SIZE  128u

/* Where a fault is: its line, and the key whose value it is in ("tls.min_version"), or "syntax". */
struct scan_place {
    int line;
    char key[SCAN_KEY_SIZE];
};

/* Takes exactly libconfig's syntax, less what could be misread: bytes that are no UTF-8 text, control characters, a
 * string that goes on over the end of its line, escapes other than \" \\ and \xHH of a visible ASCII character, numbers
 * of more than 9 digits (libconfig 1.5 lets them wrap around) or with a fraction, @include. PP_INVALID with the place
 * of the first fault and a sentence; values are not repeated. Every syntax fault is found here, with better words than
 * the library has, and without the string buffer it leaks when it fails. */
enum pp_result scan_text(struct str text, struct scan_place *place, struct problem *problem) PP_MUST_CHECK;

#endif
