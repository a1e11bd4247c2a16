/* One pass over the text of a config file: its characters, its tokens and their order. */
#include "config/scan.h"

#include <stdint.h>
#include <stdio.h>

#include "base/ascii.h"

/* What may come next. */
enum expected {
    EXPECT_KEY,      /* or the end of the group */
    EXPECT_ASSIGN,   /* = or : */
    EXPECT_VALUE,    /* of a key */
    EXPECT_NEXT_KEY, /* or a separator before it, or the end of the group */
    EXPECT_FIRST,    /* item of a list, or its end */
    EXPECT_ITEM,     /* behind a comma */
    EXPECT_NEXT_ITEM /* a comma before it, or the end of the list */
};

enum value_kind { VALUE_NONE, VALUE_STRING, VALUE_NUMBER, VALUE_BOOLEAN, VALUE_COMPOUND };

/* An open bracket, or at the bottom the file itself. */
struct level {
    char open; /* '{' for the file as well */
    int line;
    enum value_kind items; /* of '[': what its items are */
    struct str key;        /* of '{': the one read last */
};

struct scan {
    struct str text;
    size_t at;
    int line;
    struct problem *problem;
    enum expected expected;
    enum value_kind last; /* what the token before was, when that was a value: strings in a row are one */
    struct level levels[SCAN_DEPTH_MAX + 1];
    size_t depth; /* of the current level; 0 is the file */
};

static char ahead(const struct scan *s, size_t distance)
{
    return s->text.n - s->at > distance ? s->text.p[s->at + distance] : '\0';
}

/* Of names, numbers and unquoted words. */
static bool is_word(char c)
{
    return ascii_is_digit(c) || ascii_is_letter(c) || (c != '\0' && strchr("_-*+.", c) != NULL);
}

/* The whole text: UTF-8, no control characters but tab and line ends. */
static enum pp_result check_characters(struct scan *s)
{
    const unsigned char *p = (const unsigned char *)s->text.p;

    if (s->text.n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        return problem_set(s->problem, PP_INVALID, "begins with a byte order mark: save the file as UTF-8 without one");
    for (size_t i = 0; i < s->text.n;) {
        size_t length = str_utf8_length((struct str){s->text.p + i, s->text.n - i});
        bool c1 = length == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0; /* a control character that terminals obey */
        if (length == 0 || c1)
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
    if (c == 'x') {
        int high = ascii_hex(ahead(s, 1)), low = ascii_hex(ahead(s, 2)), value = high * 16 + low;
        if (high >= 0 && low >= 0 && value >= 0x20 && value < 0x7f) {
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

static struct level *level_of(struct scan *s)
{
    return &s->levels[s->depth];
}

/* Something stands where something else should. */
static enum pp_result misplaced(struct scan *s)
{
    static const char *const phrases[] = {
        [EXPECT_KEY] = "expected a key",
        [EXPECT_ASSIGN] = "expected \"=\" behind the key",
        [EXPECT_VALUE] = "expected a value behind the \"=\", text in quotes",
        [EXPECT_NEXT_KEY] = "expected \";\" behind the value",
        [EXPECT_FIRST] = "expected an item of the list, text in quotes",
        [EXPECT_ITEM] = "expected another item behind the comma",
        [EXPECT_NEXT_ITEM] = "expected a comma, or the end of the list",
    };
    return problem_set(s->problem, PP_INVALID, "%s", phrases[s->expected]);
}

/* A whole value was read, a bracketed one with its end. */
static enum pp_result take_value(struct scan *s, enum value_kind kind)
{
    struct level *level = level_of(s);

    /* Strings in a row are one. */
    if (kind == VALUE_STRING && s->last == VALUE_STRING &&
        (s->expected == EXPECT_NEXT_KEY || s->expected == EXPECT_NEXT_ITEM))
        return PP_OK;
    if (s->expected == EXPECT_VALUE) {
        s->expected = EXPECT_NEXT_KEY;
    } else if (s->expected == EXPECT_FIRST || s->expected == EXPECT_ITEM) {
        if (level->open == '[' && level->items != VALUE_NONE && level->items != kind)
            return problem_set(s->problem, PP_INVALID, "strings and numbers in one list: put all in quotes");
        level->items = kind;
        s->expected = EXPECT_NEXT_ITEM;
    } else {
        return misplaced(s);
    }
    s->last = kind;
    return PP_OK;
}

static enum pp_result open_bracket(struct scan *s, char c)
{
    if (s->expected != EXPECT_VALUE && s->expected != EXPECT_FIRST && s->expected != EXPECT_ITEM)
        return misplaced(s);
    if (level_of(s)->open == '[')
        return problem_set(s->problem, PP_INVALID, "%c within [ ]: expected a list of plain values", c);
    if (s->depth == SCAN_DEPTH_MAX)
        return problem_set(s->problem, PP_INVALID, "more than %u brackets within each other", SCAN_DEPTH_MAX);
    s->depth++;
    *level_of(s) = (struct level){.open = c, .line = s->line};
    s->expected = c == '{' ? EXPECT_KEY : EXPECT_FIRST;
    s->last = VALUE_NONE;
    return PP_OK;
}

static enum pp_result close_bracket(struct scan *s, char c)
{
    char open = c == '}' ? '{' : c == ']' ? '[' : '(';

    if (s->depth == 0)
        return problem_set(s->problem, PP_INVALID, "%c without a %c before it", c, open);
    if (level_of(s)->open != open)
        return problem_set(s->problem, PP_INVALID, "%c does not close the %c of line %d", c, level_of(s)->open,
                           level_of(s)->line);
    if (s->expected != EXPECT_KEY && s->expected != EXPECT_NEXT_KEY && s->expected != EXPECT_FIRST &&
        s->expected != EXPECT_NEXT_ITEM)
        return misplaced(s);
    s->depth--;
    /* What the bracket was opened as, it is now as a whole. */
    s->expected = level_of(s)->open == '{' ? EXPECT_VALUE : EXPECT_ITEM;
    return take_value(s, VALUE_COMPOUND);
}

static enum pp_result take_separator(struct scan *s, char c)
{
    if ((c == '=' || c == ':') && s->expected == EXPECT_ASSIGN)
        s->expected = EXPECT_VALUE;
    else if ((c == ';' || c == ',') && s->expected == EXPECT_NEXT_KEY)
        s->expected = EXPECT_KEY;
    else if (c == ',' && s->expected == EXPECT_NEXT_ITEM)
        s->expected = EXPECT_ITEM;
    else
        return misplaced(s);
    s->last = VALUE_NONE;
    return PP_OK;
}

/* A whole number, decimal or 0x and hexadecimal. */
static enum pp_result take_number(struct scan *s, struct str word)
{
    size_t sign = word.p[0] == '-' || word.p[0] == '+' ? 1 : 0;
    bool hex = word.n >= 3 && word.p[0] == '0' && (word.p[1] | 32) == 'x';
    size_t first = hex ? 2 : sign;
    uint64_t number = 0;

    for (size_t i = first; i < word.n; i++)
        if (hex ? ascii_hex(word.p[i]) < 0 : !ascii_is_digit(word.p[i]))
            return problem_set(s->problem, PP_INVALID,
                               "expected a whole number; durations, sizes with a unit and other text need quotes");
    if (word.n == first)
        return problem_set(s->problem, PP_INVALID, "expected a number behind the sign");
    for (size_t i = first; i < word.n && number <= INT32_MAX; i++)
        number = number * (hex ? 16 : 10) + (uint64_t)ascii_hex(word.p[i]);
    if (number > INT32_MAX)
        return problem_set(s->problem, PP_INVALID, "a number above %d: no key takes one that large", INT32_MAX);
    return take_value(s, VALUE_NUMBER);
}

/* A name, a boolean or a number; or text whose quotes are missing, which may be a token and is not repeated. */
static enum pp_result take_word(struct scan *s)
{
    struct str word = {s->text.p + s->at, 0};

    while (is_word(ahead(s, 0)))
        s->at++, word.n++;
    bool boolean = str_equal_nocase(word, STR("true")) || str_equal_nocase(word, STR("false"));
    bool name = !boolean && (ascii_is_letter(word.p[0]) || word.p[0] == '*') && memchr(word.p, '+', word.n) == NULL &&
                memchr(word.p, '.', word.n) == NULL;
    if (s->expected == EXPECT_KEY || s->expected == EXPECT_NEXT_KEY) {
        if (!name)
            return misplaced(s);
        level_of(s)->key = word;
        s->expected = EXPECT_ASSIGN;
        return PP_OK;
    }
    if (boolean)
        return take_value(s, VALUE_BOOLEAN);
    if (ascii_is_digit(word.p[0]) || word.p[0] == '-' || word.p[0] == '+')
        return take_number(s, word);
    if (s->expected == EXPECT_VALUE || s->expected == EXPECT_FIRST || s->expected == EXPECT_ITEM)
        return problem_set(s->problem, PP_INVALID,
                           "a value that is neither a number nor true or false: expected it in quotes");
    return misplaced(s);
}

static bool at_include(const struct scan *s)
{
    return str_starts((struct str){s->text.p + s->at, s->text.n - s->at}, STR("@include"));
}

/* A string, at its opening quote. */
static enum pp_result take_quoted(struct scan *s)
{
    s->at++;
    enum pp_result rc = take_string(s);
    return rc == PP_OK ? take_value(s, VALUE_STRING) : rc;
}

/* Blanks and comments; false when there is something else. */
static bool skip_blank(struct scan *s, enum pp_result *rc)
{
    char c = ahead(s, 0), next = ahead(s, 1);

    if (c == '\n')
        s->line++;
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        s->at++;
    } else if (c == '#' || (c == '/' && next == '/')) {
        take_line_comment(s);
    } else if (c == '/' && next == '*') {
        s->at += 2;
        *rc = take_block_comment(s);
    } else {
        return false;
    }
    return true;
}

static enum pp_result take_token(struct scan *s)
{
    enum pp_result rc = PP_OK;
    char c = ahead(s, 0);

    if (skip_blank(s, &rc))
        return rc;
    if (is_word(c))
        return take_word(s);
    if (c == '"')
        return take_quoted(s);
    if (at_include(s))
        return problem_set(s->problem, PP_INVALID, "@include is not supported: put everything into this one file");
    s->at++;
    switch (c) {
    case '{':
    case '[':
    case '(':
        return open_bracket(s, c);
    case '}':
    case ']':
    case ')':
        return close_bracket(s, c);
    case '=':
    case ':':
    case ';':
    case ',':
        return take_separator(s, c);
    default:
        return problem_set(s->problem, PP_INVALID, "a character that means nothing here; text needs quotes");
    }
}

/* The end of the file. */
static enum pp_result take_end(struct scan *s)
{
    if (s->depth > 0) {
        s->line = level_of(s)->line;
        return problem_set(s->problem, PP_INVALID, "the %c of this line is never closed", level_of(s)->open);
    }
    return s->expected == EXPECT_KEY || s->expected == EXPECT_NEXT_KEY ? PP_OK : misplaced(s);
}

static void name_place(const struct scan *s, struct scan_place *place)
{
    bool in_value = s->expected == EXPECT_VALUE || s->expected == EXPECT_FIRST || s->expected == EXPECT_ITEM;
    size_t n = 0;

    place->line = s->line;
    (void)snprintf(place->key, sizeof place->key, "syntax");
    for (size_t i = 0; in_value && i <= s->depth && n < sizeof place->key; i++) {
        struct str key = s->levels[i].key;
        if (key.n > 0)
            n += (size_t)snprintf(place->key + n, sizeof place->key - n, "%s%.*s", n > 0 ? "." : "", (int)key.n, key.p);
    }
}

enum pp_result scan_text(struct str text, struct scan_place *place, struct problem *problem)
{
    struct scan s = {.text = text, .line = 1, .problem = problem, .expected = EXPECT_KEY};

    s.levels[0].open = '{';
    enum pp_result rc = check_characters(&s);
    while (rc == PP_OK && s.at < text.n)
        rc = take_token(&s);
    if (rc == PP_OK)
        rc = take_end(&s);
    if (rc != PP_OK)
        name_place(&s, place);
    return rc;
}
