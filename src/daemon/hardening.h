/* What the process gives up before it holds a secret: the daemon and every command. Main calls the first three at its
 * start, before any thread. */
#ifndef PP_DAEMON_HARDENING_H
#define PP_DAEMON_HARDENING_H

/* Forgets environment variables by which others could reroute or record our traffic (proxies, TLS key log, OpenSSL and
 * curl settings). They are never obeyed, so that nothing is lost. */
void hardening_clean_environment(void);

/* Descriptors 0 to 2 that whoever started us has closed are occupied, by what can neither be read nor written: what is
 * opened later must not pass for standard error, and get the log. */
void hardening_standard_descriptors(void);

/* No core dumps (RLIMIT_CORE, and PR_SET_DUMPABLE because piped core handlers ignore the limit, core(5)), which also
 * keeps other processes of the same user from reading our memory; SIGPIPE ignored; a tight umask. */
void hardening_process(void);

/* The daemon's: raises RLIMIT_NOFILE to its hard limit and returns it. */
unsigned hardening_raise_nofile(void);

#endif
