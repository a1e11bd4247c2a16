/* The heap after a storm: what malloc(3) keeps of it goes back to the kernel. */
#ifndef PP_DAEMON_HEAP_H
#define PP_DAEMON_HEAP_H

/* Gives free memory back if there is much of it, and more than is in use. Any thread; others that allocate wait for
 * some milliseconds then. */
void heap_give_back(void);

#endif
