/* The heap after a storm: what malloc(3) keeps of it goes back to the kernel. */
#ifndef PP_DAEMON_HEAP_H
#define PP_DAEMON_HEAP_H

/* Once, before threads are started: large buffers are mapped, and so unmapped with free(3), for good and not only until
 * the first one was freed. */
void heap_prepare(void);

/* Gives free memory back if there is much of it, and more than is in use. Any thread; others that allocate wait for
 * some milliseconds then. */
void heap_give_back(void);

#endif
