/* The one logger: leveled lines to standard error, JSON or text, each a single write(2).
 *
 * Context first: every call names the component ("token", "config", "exchange" ...) and, where one is concerned, the
 * environment. Values are escaped, so one event is one line whatever a peer sent. errno is preserved. Callable from
 * every thread. Never pass a token: log its fingerprint. */
#ifndef PP_BASE_LOG_H
#define PP_BASE_LOG_H

#include "base/buf.h"

#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_JSON, LOG_FORMAT_TEXT };

/* Takes a whole line including its newline. */
typedef void (*log_sink)(void *owner, const char *line, size_t n);

/* May be called again at reload. When standard error is the journal (JOURNAL_STREAM is set and matches,
 * systemd.exec(5)), lines carry the <N> priority prefix of sd-daemon(3). */
void log_configure(enum log_level level, enum log_format format);

/* Replaces standard error, in tests; NULL restores it. */
void log_set_sink(log_sink sink, void *owner);

bool log_enabled(enum log_level level);

/* One line. `environment` may be NULL. The message is a sentence without a final newline; over 64 KiB it is cut. */
void log_line(enum log_level level, const char *component, const char *environment, const char *format, ...)
    PP_PRINTF(4, 5);

#define log_error(component, environment, ...)   log_line(LOG_LEVEL_ERROR, component, environment, __VA_ARGS__)
#define log_warning(component, environment, ...) log_line(LOG_LEVEL_WARNING, component, environment, __VA_ARGS__)
#define log_info(component, environment, ...)    log_line(LOG_LEVEL_INFO, component, environment, __VA_ARGS__)
#define log_debug(component, environment, ...)                                                                         \
    do {                                                                                                               \
        if (log_enabled(LOG_LEVEL_DEBUG))                                                                              \
            log_line(LOG_LEVEL_DEBUG, component, environment, __VA_ARGS__);                                            \
    } while (0)

/* At most one line per `interval` milliseconds from this place; the next one ends with `note`, which says how many were
 * held back. For warnings a peer can provoke. */
struct log_limit {
    int64_t next;       /* monotonic ms before which lines are held back */
    unsigned held_back; /* lines since the last one written */
    char note[48];      /* of the line that is allowed: " (3 more like this were held back)", or empty */
};
bool log_allowed(struct log_limit *limit, int64_t interval);

/* Structured lines for callers with many fields (the access log): begin, fields, then the finished line is appended to
 * `out` for the caller to write in batches with log_write. Keys are our constants; values are escaped. */
struct log_fields {
    struct buf *out;
    enum log_format format;
};
void log_fields_begin(struct log_fields *f, struct buf *out, enum log_level level, int64_t wall_ms);
void log_field_str(struct log_fields *f, const char *key, struct str value);
void log_field_int(struct log_fields *f, const char *key, int64_t value);
/* Microseconds, written as milliseconds with three decimals. */
void log_field_usec(struct log_fields *f, const char *key, int64_t usec);
void log_fields_end(struct log_fields *f);

/* Writes finished lines to the sink as they are. Lines never interleave with those of other threads. A pipe or socket
 * that takes nothing is waited for, a second; then lines are lost, until it takes some again, and a line says how many:
 * who does not read a log must not hold up who serves. (A pipe of another user's, which cannot be opened anew, is
 * waited for as write(2) waits.) */
void log_write(const char *lines, size_t n);

/* Appends `s` as the inside of a JSON string (RFC 8259 7): quotes, backslash, control bytes and bytes that are not
 * UTF-8 are escaped. */
void log_escape(struct buf *out, struct str s);

#endif
