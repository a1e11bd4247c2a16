/* What all types of keys share when they read a value: ranges, choices, accounts, and how a fault is told. */
#include "config/option_types.h"

#include "config/value.h"

#include <errno.h>

#define ECHO_MAX 64u /* bytes of a rejected value that are repeated in a report */

void reader_fault(const struct option_reader *reader, int line, struct str text, const char *phrase)
{
    size_t n = text.n;

    if (n > ECHO_MAX) {
        n = ECHO_MAX;
        while (n > 0 && ((unsigned char)text.p[n] & 0xc0) == 0x80) /* not inside a character */
            n--;
    }
    if (text.p == NULL)
        report_add(reader->report, line, reader->key, "%s", phrase);
    else
        report_add(reader->report, line, reader->key, "\"%.*s\"%s: %s", (int)n, text.p, n < text.n ? "..." : "",
                   phrase);
}

void reader_out_of_memory(const struct option_reader *reader)
{
    reader->report->out_of_memory = true;
}

bool option_within(const struct option *option, int64_t number)
{
    return (number >= option->least && number <= option->most) || (option->zero && number == 0);
}

void reader_out_of_range(const struct option_reader *reader, const struct option *option, int line)
{
    struct buf range;

    buf_init(&range, 128);
    option_range(option, &range);
    report_add(reader->report, line, reader->key, "out of range: expected %.*s", (int)buf_len(&range),
               buf_str(&range).p == NULL ? "" : buf_str(&range).p);
    buf_free(&range);
}

const struct option_choice *option_find_choice(const struct option *option, struct str text)
{
    for (const struct option_choice *c = option->choices; c->text != NULL; c++)
        if (str_equal(text, str_of(c->text)))
            return c;
    return NULL;
}

void reader_no_such_choice(const struct option_reader *reader, const struct option *option, const struct node *value,
                           struct str text)
{
    struct buf phrase;

    buf_init(&phrase, 256);
    (void)buf_append_str(&phrase, STR("expected "));
    option_range(option, &phrase);
    (void)buf_append_char(&phrase, '\0');
    if (phrase.failed)
        reader_out_of_memory(reader);
    else
        reader_fault(reader, value->line, text, buf_str(&phrase).p);
    buf_free(&phrase);
}

bool reader_account(const struct option_reader *reader, int line, const char *text,
                    enum pp_result (*resolve)(const char *, uint32_t *), const char *kind, uint32_t *id)
{
    enum pp_result rc = resolve(text, id);

    if (rc == PP_NOMEM)
        reader_out_of_memory(reader);
    else if (rc == PP_NOT_FOUND)
        report_add(reader->report, line, reader->key,
                   "\"%.64s\": no such %s on this host: create it, or correct the name", text, kind);
    else if (rc == PP_SYSTEM)
        report_add(reader->report, line, reader->key, "\"%.64s\": this %s could not be looked up: %s", text, kind,
                   strerror(errno));
    else if (rc != PP_OK)
        report_add(reader->report, line, reader->key, "\"%.64s\": expected the name or number of a %s", text, kind);
    return rc == PP_OK;
}
