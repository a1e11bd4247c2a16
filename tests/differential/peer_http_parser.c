/* Says what Debian's libhttp-parser makes of each case, in the form of ours.c. */
#include "cases.h"

#include <http_parser.h>
#include <string.h>

#define PIECES_MAX 4096u

/* One message's pieces, in the order in which they came: names and values alternate, the body is one run. */
struct message {
    char *text;
    size_t used;
    struct {
        size_t at, n;
    } pieces[PIECES_MAX]; /* even: names, odd: values */
    size_t count;
    char *body;
    size_t body_n;
    bool to_head, done, failed, head_done;
};

static int clear(http_parser *parser)
{
    struct message *m = parser->data;
    m->used = m->count = m->body_n = 0;
    m->head_done = false;
    return 0;
}

static int add(http_parser *parser, const char *at, size_t n, size_t parity)
{
    struct message *m = parser->data;
    if (m->head_done) /* a trailer */
        return 0;
    if (m->count % 2 == parity) { /* the first part of this piece */
        if (m->count == PIECES_MAX)
            return 1;
        m->pieces[m->count].at = m->used;
        m->pieces[m->count++].n = 0;
    }
    memcpy(m->text + m->used, at, n);
    m->used += n;
    m->pieces[m->count - 1].n += n;
    return 0;
}

static int on_field(http_parser *parser, const char *at, size_t n)
{
    return add(parser, at, n, 0);
}

static int on_value(http_parser *parser, const char *at, size_t n)
{
    return add(parser, at, n, 1);
}

static int on_head(http_parser *parser)
{
    struct message *m = parser->data;
    m->head_done = true;
    m->failed = m->count % 2 != 0;
    /* 1: no body follows. For HEAD and 304 the parser leaves it to its user to know that. */
    return m->to_head || parser->status_code == 304 ? 1 : 0;
}

static int on_body(http_parser *parser, const char *at, size_t n)
{
    struct message *m = parser->data;
    memcpy(m->body + m->body_n, at, n);
    m->body_n += n;
    return 0;
}

static int on_complete(http_parser *parser)
{
    struct message *m = parser->data;
    if (parser->status_code >= 200 || parser->status_code == 101) {
        m->done = true;
        http_parser_pause(parser, 1);
    }
    return 0;
}

static void print_case(struct message *m, const char *bytes, size_t n)
{
    static const http_parser_settings settings = {.on_message_begin = clear,
                                                  .on_header_field = on_field,
                                                  .on_header_value = on_value,
                                                  .on_headers_complete = on_head,
                                                  .on_body = on_body,
                                                  .on_message_complete = on_complete};
    http_parser parser;
    http_parser_init(&parser, HTTP_RESPONSE);
    parser.data = m;
    m->done = m->failed = m->head_done = false;
    m->used = m->count = m->body_n = 0;
    if (n > 0)
        http_parser_execute(&parser, &settings, bytes, n);
    bool refused = !m->done && HTTP_PARSER_ERRNO(&parser) != HPE_OK;
    if (!m->done && !refused)
        http_parser_execute(&parser, &settings, bytes, 0);
    if (m->failed || refused || !m->head_done) {
        printf("{\"verdict\": \"%s\"}\n", refused || m->failed ? "refused" : "cut");
        return;
    }
    printf("{\"status\": %d, \"headers\": [", (int)parser.status_code);
    for (size_t i = 0; i + 1 < m->count; i += 2) {
        printf(i == 0 ? "[" : ", [");
        cases_put_hex(m->text + m->pieces[i].at, m->pieces[i].n);
        printf(", ");
        cases_put_hex(m->text + m->pieces[i + 1].at, m->pieces[i + 1].n);
        putchar(']');
    }
    printf("], \"body\": ");
    cases_put_hex(m->body, m->body_n);
    printf(", \"verdict\": \"%s\"}\n", m->done ? "complete" : "cut");
}

int main(void)
{
    static struct message m;
    char *bytes;
    size_t n;
    m.text = malloc(CASE_MAX);
    m.body = malloc(CASE_MAX);
    if (m.text == NULL || m.body == NULL)
        return EXIT_FAILURE;
    while (cases_next(stdin, &m.to_head, &bytes, &n)) {
        print_case(&m, bytes, n);
        free(bytes);
    }
    free(m.text);
    free(m.body);
    return ferror(stdin) || ferror(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
