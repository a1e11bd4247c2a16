/* The names in base URLs, looked up. */
#ifndef PP_CONFIG_NAMES_H
#define PP_CONFIG_NAMES_H

#include "config/config.h"

/* Adds a problem for each base URL whose name has the address of one of the listeners. A name is looked up only where
 * its port is also that of a listener, which is rare; one that cannot be looked up is no fault. PP_INVALID if there was
 * any problem. Blocks while the resolver does. */
enum pp_result names_check(const struct config *config, struct config_problems *problems) PP_MUST_CHECK;

#endif
