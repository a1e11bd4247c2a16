/* Text of a config file to plain data. The one module that knows libconfig. */
#ifndef PP_CONFIG_LOADER_H
#define PP_CONFIG_LOADER_H

#include "base/result.h"
#include "config/memory.h"
#include "config/scan.h"
#include "config/tree.h"

/* Parses; *root is a group whose parts live in `memory`. PP_INVALID: *place and the problem say what libconfig could
 * not read, without repeating any value. The text needs no NUL behind it. */
enum pp_result loader_parse(struct str text, struct memory *memory, struct node *root, struct scan_place *place,
                            struct problem *problem) PP_MUST_CHECK;

/* Of the library compiled against, e.g. "1.5.0"; it cannot be asked at run time. */
const char *loader_library_version(void);

#endif
