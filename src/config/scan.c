/* One pass over the text of a config file, for faults the config library hides. */
#include "config/scan.h"

struct scan {
    struct str text;
    size_t at;
    int line;
    struct problem *problem;
    struct {
        char open;
        int line;
    } brackets[SCAN_DEPTH_MAX];
    size_t depth;
};

static char ahead(const struct scan *s, size_t distance)
{
    return s->text.n - s->at > distance ? s->text.p[s->at + distance] : '\0';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static unsigned hex_value(char c)
{
    return is_digit(c) ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a') + 10;
}

static bool is_name(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == '*';
}

/* The length of the UTF-8 character at `p` (RFC 3629), 0 if there is none or if it is one of the C1 controls, which
 * terminals obey. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || length > n)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f) || (p[0] == 0xc2 && p[1] < 0xa0))
        return 0;
    return length;
}

/* The whole text: UTF-8, no control characters but tab and line ends. */
static enum pp_result check_characters(struct scan *s)
{
    const unsigned char *p = (const unsigned char *)s->text.p;

    if (s->text.n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        return problem_set(s->problem, PP_INVALID, "begins with a byte order mark: save the file as UTF-8 without one");
    for (size_t i = 0; i < s->text.n;) {
        size_t length = utf8_length(p + i, s->text.n - i);
        if (length == 0)
            return problem_set(s->problem, PP_INVALID, "byte 0x%02x is not UTF-8 text: save the file as UTF-8", p[i]);
        if ((p[i] < 0x20 && p[i] != '\t' && p[i] != '\n' && p[i] != '\r') || p[i] == 0x7f)
            return problem_set(s->problem, PP_INVALID, "control character 0x%02x: a config file is plain text", p[i]);
        if (p[i] == '\n')
            s->line++;
        i += length;
    }
    s->line = 1;
    return PP_OK;
}

/* Behind the backslash. Only escapes that libconfig and the reader understand alike: it drops \x00 and keeps the
 * backslash of those it does not know. */
static enum pp_result take_escape(struct scan *s)
{
    char c = ahead(s, 0);

    if (c == '"' || c == '\\') {
        s->at++;
        return PP_OK;
    }
    if (c == 'x' && is_hex(ahead(s, 1)) && is_hex(ahead(s, 2))) {
        unsigned value = hex_value(ahead(s, 1)) * 16 + hex_value(ahead(s, 2));
        if (value >= 0x20 && value < 0x7f) {
            s->at += 3;
            return PP_OK;
        }
    }
    return problem_set(s->problem, PP_INVALID,
                       "escape in a string: only \\\", \\\\ and \\xHH of a visible ASCII character are understood");
}

static enum pp_result take_string(struct scan *s)
{
    while (s->at < s->text.n) {
        char c = s->text.p[s->at];
        if (c == '\n' || c == '\r')
            break;
        if (c == '\t')
            return problem_set(s->problem, PP_INVALID, "a tab inside a string: write a space, or end the string");
        s->at++;
        if (c == '"')
            return PP_OK;
        if (c == '\\') {
            enum pp_result rc = take_escape(s);
            if (rc != PP_OK)
                return rc;
        }
    }
    return problem_set(s->problem, PP_INVALID, "a string is not closed on its line: expected a second \"");
}

static enum pp_result take_block_comment(struct scan *s)
{
    int opened = s->line;

    while (s->at < s->text.n) {
        if (ahead(s, 0) == '*' && ahead(s, 1) == '/') {
            s->at += 2;
            return PP_OK;
        }
        if (ahead(s, 0) == '\n')
            s->line++;
        s->at++;
    }
    s->line = opened;
    return problem_set(s->problem, PP_INVALID, "a comment that begins here is not closed: expected */");
}

static void take_line_comment(struct scan *s)
{
    while (s->at < s->text.n && s->text.p[s->at] != '\n')
        s->at++;
}

static enum pp_result take_bracket(struct scan *s, char c)
{
    if (c == '{' || c == '[' || c == '(') {
        if (s->depth == SCAN_DEPTH_MAX)
            return problem_set(s->problem, PP_INVALID, "more than %u brackets within each other", SCAN_DEPTH_MAX);
        s->brackets[s->depth].open = c;
        s->brackets[s->depth++].line = s->line;
        return PP_OK;
    }
    char open = c == '}' ? '{' : c == ']' ? '[' : '(';
    if (s->depth == 0)
        return problem_set(s->problem, PP_INVALID, "%c without a %c before it", c, open);
    s->depth--;
    if (s->brackets[s->depth].open != open)
        return problem_set(s->problem, PP_INVALID, "%c does not close the %c of line %d", c, s->brackets[s->depth].open,
                           s->brackets[s->depth].line);
    return PP_OK;
}

/* A name, a word or a number, at its first character. */
static enum pp_result take_word(struct scan *s)
{
    size_t digits = 0, start = s->at;
    bool number = is_digit(ahead(s, 0)) || ahead(s, 0) == '-';
    bool hex = ahead(s, 0) == '0' && (ahead(s, 1) | 32) == 'x';

    if (hex)
        s->at += 2;
    for (; is_name(ahead(s, 0)); s->at++)
        if (hex ? is_hex(ahead(s, 0)) : is_digit(ahead(s, 0)))
            digits++;
    if (number && digits > (hex ? 7 : 9)) {
        s->at = start;
        return problem_set(s->problem, PP_INVALID, "a number of more than %d digits: no key takes one that large",
                           hex ? 7 : 9);
    }
    return PP_OK;
}

static bool at_include(const struct scan *s)
{
    static const struct str word = {"@include", 8};
    struct str rest = {s->text.p + s->at, s->text.n - s->at};
    return str_starts(rest, word);
}

static enum pp_result take_any(struct scan *s)
{
    char c = ahead(s, 0), next = ahead(s, 1);

    if (is_name(c))
        return take_word(s);
    if (at_include(s))
        return problem_set(s->problem, PP_INVALID, "@include is not supported: put everything into this one file");
    s->at++;
    switch (c) {
    case '\n':
        s->line++;
        return PP_OK;
    case '"':
        return take_string(s);
    case '#':
        take_line_comment(s);
        return PP_OK;
    case '/':
        if (next == '/')
            take_line_comment(s);
        if (next == '*') {
            s->at++;
            return take_block_comment(s);
        }
        return PP_OK;
    case '{':
    case '[':
    case '(':
    case '}':
    case ']':
    case ')':
        return take_bracket(s, c);
    default:
        return PP_OK;
    }
}

enum pp_result scan_text(struct str text, int *line, struct problem *problem)
{
    struct scan s = {.text = text, .line = 1, .problem = problem};

    enum pp_result rc = check_characters(&s);
    while (rc == PP_OK && s.at < text.n)
        rc = take_any(&s);
    if (rc == PP_OK && s.depth > 0) {
        s.depth--;
        s.line = s.brackets[s.depth].line;
        rc = problem_set(problem, PP_INVALID, "the %c of this line is never closed", s.brackets[s.depth].open);
    }
    if (rc != PP_OK)
        *line = s.line;
    return rc;
}
