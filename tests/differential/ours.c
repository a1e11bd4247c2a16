/* Says what proofproxy's response parser makes of each case: one JSON object per line. */
#include "cases.h"

#include "http/response.h"

/* The head of the final answer, behind interim ones. */
static enum pp_result final_head(struct str *in, bool to_head, struct response_head *head)
{
    const char *what;
    for (;;) {
        size_t consumed;
        enum pp_result rc = response_parse_head(*in, to_head, head, &consumed, &what);
        if (rc != PP_OK)
            return rc;
        in->p += consumed;
        in->n -= consumed;
        if (head->status >= 200 || head->status == 101)
            return PP_OK;
    }
}

/* Prints the payload as it goes by. */
static const char *read_body(const struct response_head *head, struct str in)
{
    struct body_reader reader;
    enum pp_result rc;
    body_reader_init(&reader, head->framing, head->content_length);
    putchar('"');
    do {
        struct str data;
        rc = body_reader_next(&reader, &in, &data);
        for (size_t i = 0; i < data.n; i++)
            printf("%02x", (unsigned)(unsigned char)data.p[i]);
    } while (rc == PP_OK && in.n > 0);
    putchar('"');
    if (rc == PP_INVALID)
        return "refused";
    return body_reader_eof(&reader) == PP_END ? "complete" : "cut";
}

static void print_case(struct str in, bool to_head)
{
    static struct response_head head;
    enum pp_result rc = final_head(&in, to_head, &head);
    if (rc != PP_OK) {
        printf("{\"verdict\": \"%s\"}\n", rc == PP_AGAIN ? "cut" : "refused");
        return;
    }
    printf("{\"status\": %d, \"headers\": [", head.status);
    for (size_t i = 0; i < head.headers.count; i++) {
        printf(i == 0 ? "[" : ", [");
        cases_put_hex(head.headers.items[i].name.p, head.headers.items[i].name.n);
        printf(", ");
        cases_put_hex(head.headers.items[i].value.p, head.headers.items[i].value.n);
        putchar(']');
    }
    printf("], \"body\": ");
    const char *verdict = read_body(&head, in);
    printf(", \"verdict\": \"%s\"}\n", verdict);
}

int main(void)
{
    char *bytes;
    size_t n;
    bool to_head;
    while (cases_next(stdin, &to_head, &bytes, &n)) {
        print_case((struct str){bytes, n}, to_head);
        free(bytes);
    }
    return ferror(stdin) || ferror(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
