/* The text of single values: durations, sizes, modes, accounts, names, paths, header lines. Pure but for the account
 * database. Phrases name the fault and the remedy, and never repeat the value. */
#ifndef PP_CONFIG_VALUE_H
#define PP_CONFIG_VALUE_H

#include "base/clock.h"
#include "base/result.h"
#include "base/str.h"

#include <stdint.h>
#include <sys/types.h>

#define VALUE_NUMBER_SIZE 24u /* bytes that hold any printed duration or size */

/* "500ms", "30s", "5m", "24h", or "0". PP_INVALID: not of that form; PP_LIMIT: too large to count. */
enum pp_result value_duration(struct str text, msec *out) PP_MUST_CHECK;

/* "4096", "64k", "1m", "1g": bytes, in powers of 1024. The same results. */
enum pp_result value_size(struct str text, int64_t *out) PP_MUST_CHECK;

/* The shortest text in the file's own form that reads back as the same. Never negative. */
void value_print_duration(msec duration, char out[static VALUE_NUMBER_SIZE]);
void value_print_size(int64_t bytes, char out[static VALUE_NUMBER_SIZE]);

/* "0660": three or four octal digits, at most 0777. */
enum pp_result value_mode(struct str text, mode_t *out) PP_MUST_CHECK;

/* A user's or group's name, looked up now, or its number. PP_INVALID: not a possible name or number; PP_NOT_FOUND: no
 * account of that name on this host; PP_SYSTEM: the account database could not be read; PP_NOMEM. May block on that
 * database (nsswitch.conf(5)): main thread only. */
enum pp_result value_user(const char *text, uint32_t *out) PP_MUST_CHECK;
enum pp_result value_group(const char *text, uint32_t *out) PP_MUST_CHECK;

/* Each of these returns NULL when the value is right, else a phrase. */
const char *value_path_fault(struct str path);         /* an absolute file name */
const char *value_url_path_fault(struct str path);     /* an allowed path or a base URL's prefix, beginning with `/` */
const char *value_environment_fault(struct str name);  /* 1 to 32 of A-Z a-z 0-9 _ - */
const char *value_credential_fault(struct str name);   /* systemd.exec(5): a file name without slash */
const char *value_descriptor_fault(struct str name);   /* systemd.socket(5), FileDescriptorName= */
const char *value_spki_fault(struct str pin);          /* base64 of 32 bytes */
const char *value_interface_fault(struct str name);    /* a network interface's name or an address */
const char *value_retry_method_fault(struct str name); /* an idempotent method (RFC 9110 9.2.2) */

/* "Name: value", both non-empty, the name not one that HTTP or the daemon uses itself. The views point into `line`.
 * NULL when right. */
const char *value_header_fault(struct str line, struct str *name, struct str *value);

#endif
