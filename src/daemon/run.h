/* The daemon's life: ordered start, the main loop, the drain, reverse stop. */
#ifndef PP_DAEMON_RUN_H
#define PP_DAEMON_RUN_H

/* Runs until told to end. Returns the exit status: 0 drained, 1 failure or drain deadline passed with work left or a
 * second signal, 78 the config is at fault. */
int daemon_run(const char *config_path);

#endif
