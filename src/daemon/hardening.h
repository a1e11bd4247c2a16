/* What the process gives up before it holds a secret. Call once at the start of main, before any thread. */
#ifndef PP_DAEMON_HARDENING_H
#define PP_DAEMON_HARDENING_H

/* Forgets environment variables by which others could reroute or record our traffic (proxies, TLS key log, OpenSSL and
 * curl settings). They are never obeyed, so that nothing is lost. For every command. */
void hardening_clean_environment(void);

/* No core dumps (RLIMIT_CORE, and PR_SET_DUMPABLE because piped core handlers ignore the limit, core(5)), which also
 * keeps other processes of the same user from reading our memory; SIGPIPE ignored; a tight umask. */
void hardening_process(void);

/* Raises RLIMIT_NOFILE to its hard limit and returns it. */
unsigned hardening_raise_nofile(void);

#endif
