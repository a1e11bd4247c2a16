/* The heap: kept while there is work, given back after a storm. mallopt(3), malloc_trim(3). */
#ifndef PP_DAEMON_HEAP_H
#define PP_DAEMON_HEAP_H

/* Lets malloc(3) keep what was freed for the next request, instead of asking the kernel for the same pages again and
 * again. Before there are threads. */
void heap_keep(void);
/* Gives free memory back if there is much of it, and more than is in use. Any thread; others that allocate wait for
 * some milliseconds then. */
void heap_give_back(void);

#endif
