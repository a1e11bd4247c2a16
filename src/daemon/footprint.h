/* Memory the daemon needs to start, and not to run. */
#ifndef PP_DAEMON_FOOTPRINT_H
#define PP_DAEMON_FOOTPRINT_H

/* To be called once, when everything is set up: gives freed heap back to the kernel, and drops this process's mapping
 * of the pages of code and constants that were used so far. Those come back, from the page cache, as they are used
 * again: nothing is lost but what was for the start alone (libraries that libcurl brings along, the config's and the CA
 * file's parsers). Memory that was ever written to is left alone. Any thread. */
void footprint_trim(void);

#endif
