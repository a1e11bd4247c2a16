/* Leveled, escaped, single-write log lines. */
#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MESSAGE_MAX (64u * 1024)                  /* bytes; what is longer is cut, and ends in "..." */
#define LOG_LINE_MAX    (6u * LOG_MESSAGE_MAX + 1024) /* each byte may become an escape of six */
#define LOG_PATIENCE    1000                          /* ms for a reader of ours to take something */

/* Without memory for a line that there was one is all that can be said. */
#define LOG_LOST "{\"level\":\"error\",\"component\":\"log\",\"message\":\"out of memory: a line is missing here\"}\n"

static atomic_int log_level_now = LOG_LEVEL_INFO;
static atomic_int log_format_now = LOG_FORMAT_JSON;
static atomic_bool log_to_journal;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER; /* held around one write(2) */
static log_sink log_sink_now;
static void *log_sink_owner;
static bool log_stuck; /* standard error took nothing within LOG_PATIENCE: it is not waited for again until it does */
static bool log_torn;  /* the last line got out in part: the next begins on a line of its own */
static unsigned long log_lost; /* lines, since the last that said so */

/* How standard error is written to, so that one who does not read it holds nobody up. */
static int log_descriptor = STDERR_FILENO; /* of a pipe: opened anew, not to be waited for */
static bool log_is_socket;
static struct stat log_opened; /* what log_descriptor was opened for */

static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    char expected[64];
    if (stream == NULL || fstat(STDERR_FILENO, &st) != 0)
        return false;
    (void)snprintf(expected, sizeof expected, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, expected) == 0;
}

/* A flag set on standard error itself would be set for all who share it. */
static void open_standard_error(void)
{
    struct stat st = {0};
    int known = fstat(STDERR_FILENO, &st);
    pthread_mutex_lock(&log_lock);
    if (known == 0 && (st.st_dev != log_opened.st_dev || st.st_ino != log_opened.st_ino)) {
        if (log_descriptor != STDERR_FILENO)
            (void)close(log_descriptor);
        int again = S_ISFIFO(st.st_mode) ? open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC) : -1;
        log_descriptor = again >= 0 ? again : STDERR_FILENO; /* not ours to open: then it is waited for */
        log_is_socket = S_ISSOCK(st.st_mode);
        log_opened = st;
    }
    pthread_mutex_unlock(&log_lock);
}

void log_configure(enum log_level level, enum log_format format)
{
    open_standard_error();
    atomic_store(&log_level_now, (int)level);
    atomic_store(&log_format_now, (int)format);
    if (!atomic_load(&log_to_journal) && stderr_is_journal()) /* asked once: the environment is cleared after start */
        atomic_store(&log_to_journal, true);
}

void log_set_sink(log_sink sink, void *owner)
{
    pthread_mutex_lock(&log_lock);
    log_sink_now = sink;
    log_sink_owner = owner;
    pthread_mutex_unlock(&log_lock);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

/* True when it may take more. */
static bool wait_for_reader(void)
{
    struct pollfd p = {.fd = log_descriptor, .events = POLLOUT};
    log_stuck = poll(&p, 1, log_stuck ? 0 : LOG_PATIENCE) <= 0;
    return !log_stuck;
}

/* True when all of it got out. */
static bool write_to_stderr(const char *lines, size_t n)
{
    while (n > 0) {
        ssize_t done = log_is_socket ? send(log_descriptor, lines, n, MSG_DONTWAIT | MSG_NOSIGNAL)
                                     : write(log_descriptor, lines, n);
        if (done < 0 && (errno == EINTR || (errno == EAGAIN && wait_for_reader())))
            continue;
        if (done <= 0)
            return false; /* nowhere left to say it */
        log_stuck = false;
        log_torn = lines[done - 1] != '\n';
        lines += done;
        n -= (size_t)done;
    }
    return true;
}

static void make_message(struct buf *line, enum log_level level, const char *component, const char *environment,
                         const char *message);

/* False while nothing gets out still. */
static bool tell_of_losses(void)
{
    struct buf line;
    char text[96];
    (void)snprintf(text, sizeof text, "%lu lines are missing here: nobody read them", log_lost);
    buf_init(&line, LOG_LINE_MAX);
    make_message(&line, LOG_LEVEL_WARNING, "log", NULL, text);
    bool told = !line.failed && write_to_stderr(line.data, buf_len(&line));
    buf_free(&line);
    return told;
}

static unsigned long count_lines(const char *lines, size_t n)
{
    unsigned long count = 0;
    for (size_t i = 0; i < n; i++)
        count += lines[i] == '\n';
    return count;
}

static void write_or_lose(const char *lines, size_t n)
{
    if (log_torn && !write_to_stderr("\n", 1)) {
        log_lost += count_lines(lines, n);
        return;
    }
    if (log_lost > 0 && tell_of_losses())
        log_lost = 0;
    if (log_lost > 0 || !write_to_stderr(lines, n))
        log_lost += count_lines(lines, n);
}

void log_write(const char *lines, size_t n)
{
    int saved = errno;
    pthread_mutex_lock(&log_lock);
    if (log_sink_now != NULL)
        log_sink_now(log_sink_owner, lines, n);
    else
        write_or_lose(lines, n);
    pthread_mutex_unlock(&log_lock);
    errno = saved;
}

void log_escape(struct buf *out, struct str s)
{
    while (s.n > 0) {
        size_t plain = 0; /* the common run needs no escaping and is copied whole */
        while (plain < s.n && (unsigned char)s.p[plain] >= 0x20 && (unsigned char)s.p[plain] < 0x7f &&
               s.p[plain] != '"' && s.p[plain] != '\\')
            plain++;
        buf_append(out, s.p, plain);
        s.p += plain;
        s.n -= plain;
        if (s.n == 0)
            return;
        unsigned char c = (unsigned char)s.p[0];
        size_t n = str_utf8_length(s);
        if (c == '"' || c == '\\') {
            char pair[2] = {'\\', (char)c};
            buf_append(out, pair, 2);
        } else if (n > 1) {
            buf_append(out, s.p, n);
        } else {
            buf_printf(out, "\\u%04x", c);
            n = 1;
        }
        s.p += n;
        s.n -= n;
    }
}

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const char journal_priority[] = {'3', '4', '6', '7'}; /* sd-daemon(3) */

void log_fields_begin(struct log_fields *f, struct buf *out, enum log_level level, int64_t wall_ms)
{
    char when[25];
    clock_format_wall(wall_ms, when);
    *f = (struct log_fields){out, (enum log_format)atomic_load_explicit(&log_format_now, memory_order_relaxed)};
    if (atomic_load_explicit(&log_to_journal, memory_order_relaxed)) {
        char prefix[3] = {'<', journal_priority[level], '>'};
        buf_append(out, prefix, 3);
    }
    if (f->format == LOG_FORMAT_JSON) {
        buf_append_str(out, STR("{\"time\":\""));
        buf_append(out, when, strlen(when));
        buf_append_str(out, STR("\",\"level\":\""));
        buf_append_str(out, str_of(level_names[level]));
        buf_append_char(out, '"');
    } else {
        buf_append(out, when, strlen(when));
        buf_append_char(out, ' ');
        buf_append_str(out, str_of(level_names[level]));
    }
}

static void field_name(struct log_fields *f, const char *key)
{
    if (f->format == LOG_FORMAT_JSON) {
        buf_append_str(f->out, STR(",\""));
        buf_append_str(f->out, str_of(key));
        buf_append_str(f->out, STR("\":"));
    } else {
        buf_append_char(f->out, ' ');
        buf_append_str(f->out, str_of(key));
        buf_append_char(f->out, '=');
    }
}

static bool needs_quotes(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '=' ||
            (unsigned char)s.p[i] >= 0x7f)
            return true;
    return s.n == 0;
}

void log_field_str(struct log_fields *f, const char *key, struct str value)
{
    field_name(f, key);
    bool quotes = f->format == LOG_FORMAT_JSON || needs_quotes(value);
    if (quotes)
        buf_append_char(f->out, '"');
    log_escape(f->out, value);
    if (quotes)
        buf_append_char(f->out, '"');
}

/* Decimal digits of v into the end of `out`; returns the first digit. Cheaper than printf on the access log's path. */
static const char *digits(int64_t v, char out[static 21])
{
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    char *p = out + 20;
    *p = '\0';
    do
        *--p = (char)('0' + u % 10);
    while ((u /= 10) > 0);
    if (v < 0)
        *--p = '-';
    return p;
}

void log_field_int(struct log_fields *f, const char *key, int64_t value)
{
    char text[21];
    field_name(f, key);
    buf_append_str(f->out, str_of(digits(value, text)));
}

void log_field_usec(struct log_fields *f, const char *key, int64_t usec)
{
    char text[21];
    if (usec < 0)
        usec = 0;
    field_name(f, key);
    buf_append_str(f->out, str_of(digits(usec / 1000, text)));
    int64_t rest = usec % 1000;
    char decimals[4] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10), (char)('0' + rest % 10)};
    buf_append(f->out, decimals, sizeof decimals);
}

void log_fields_end(struct log_fields *f)
{
    buf_append_str(f->out, f->format == LOG_FORMAT_JSON ? STR("}\n") : STR("\n"));
}

/* Makes a text that was cut at the end of its `size` bytes end in "...", between two characters. */
static void mark_as_cut(char *text, size_t size)
{
    size_t n = size - sizeof "...";
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    memcpy(text + n, "...", sizeof "...");
}

static void make_message(struct buf *line, enum log_level level, const char *component, const char *environment,
                         const char *message)
{
    struct log_fields f;
    log_fields_begin(&f, line, level, clock_wall());
    log_field_str(&f, "component", str_of(component));
    if (environment != NULL)
        log_field_str(&f, "environment", str_of(environment));
    log_field_str(&f, "message", str_of(message));
    log_fields_end(&f);
}

static void write_message(enum log_level level, const char *component, const char *environment, const char *message)
{
    struct buf line;
    buf_init(&line, LOG_LINE_MAX);
    make_message(&line, level, component, environment, message);
    if (!line.failed)
        log_write(line.data, buf_len(&line));
    else
        log_write(LOG_LOST, sizeof LOG_LOST - 1);
    buf_free(&line);
}

void log_line(enum log_level level, const char *component, const char *environment, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    int saved = errno;
    char small[1024], *text = small;
    size_t size = sizeof small;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (n >= (int)sizeof small) {
        size_t wanted = n < (int)LOG_MESSAGE_MAX ? (size_t)n + 1 : LOG_MESSAGE_MAX;
        char *large = malloc(wanted);
        if (large != NULL) {
            text = large;
            size = wanted;
            errno = saved; /* %m is to mean what the caller saw */
            va_start(args, format);
            (void)vsnprintf(text, size, format, args);
            va_end(args);
        }
        if ((size_t)n >= size)
            mark_as_cut(text, size);
    }
    if (n >= 0)
        write_message(level, component, environment, text);
    if (text != small)
        free(text);
    errno = saved;
}

bool log_allowed(struct log_limit *limit, int64_t interval)
{
    msec now = clock_now();
    if (now < limit->next) {
        limit->held_back++;
        return false;
    }
    limit->note[0] = '\0';
    if (limit->held_back > 0)
        (void)snprintf(limit->note, sizeof limit->note, " (%u more like this were held back)", limit->held_back);
    limit->held_back = 0;
    limit->next = now + interval;
    return true;
}
