/* What the config library would accept in silence, or report without saying where: found before it sees the text. Pure.
 */
#ifndef PP_CONFIG_SCAN_H
#define PP_CONFIG_SCAN_H

#include "base/result.h"
#include "base/str.h"

#define SCAN_DEPTH_MAX 16u /* brackets within brackets; a valid file needs 4 */

/* Looks for: bytes that are no UTF-8 text, control characters, a string or comment that is not closed (a string ends on
 * its line), escapes other than \" \\ and \xHH of a visible ASCII character, brackets that do not match, numbers of
 * more than 9 digits (libconfig 1.5 lets them wrap around), @include. PP_INVALID with the line of the first fault and a
 * sentence; values are not repeated. */
enum pp_result scan_text(struct str text, int *line, struct problem *problem) PP_MUST_CHECK;

#endif
