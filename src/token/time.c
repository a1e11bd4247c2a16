/* Dates and times of RFC 3339, for expires=. Pure. */
#include "token/file.h"

#define LAST_SECOND INT64_C(253402300799) /* of the year 9999: later ones cannot be written down again */

/* `n` digits at text[at], or -1. */
static int digits(struct str text, size_t at, size_t n)
{
    int value = 0;
    for (size_t i = at; i < at + n; i++) {
        if (i >= text.n || !ascii_is_digit(text.p[i]))
            return -1;
        value = value * 10 + (text.p[i] - '0');
    }
    return value;
}

/* Days from 1970-01-01 in the Gregorian calendar: years begin in March here, so that the leap day is their last. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = y / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int month_length(int year, int month)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return lengths[month - 1] + (month == 2 && leap ? 1 : 0);
}

static bool is_one_of(struct str text, size_t at, const char *characters)
{
    return at < text.n && text.p[at] != '\0' && strchr(characters, text.p[at]) != NULL;
}

/* The rest from `at` on: Z, or +hh:mm, or -hh:mm; in minutes. */
static enum pp_result read_offset(struct str text, size_t at, int *minutes)
{
    if (text.n == at + 1 && is_one_of(text, at, "Zz")) {
        *minutes = 0;
        return PP_OK;
    }
    int hour = digits(text, at + 1, 2), minute = digits(text, at + 4, 2);
    if (text.n != at + 6 || !is_one_of(text, at, "+-") || text.p[at + 3] != ':' || hour < 0 || hour > 23 ||
        minute < 0 || minute > 59)
        return PP_INVALID;
    *minutes = (hour * 60 + minute) * (text.p[at] == '-' ? -1 : 1);
    return PP_OK;
}

enum pp_result token_parse_time(struct str text, int64_t *out)
{
    int year = digits(text, 0, 4), month = digits(text, 5, 2), day = digits(text, 8, 2);
    int hour = digits(text, 11, 2), minute = digits(text, 14, 2), second = digits(text, 17, 2), offset;
    int64_t fraction = 0;
    size_t at = 19;
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > month_length(year, month) || hour < 0 || hour > 23 ||
        minute < 0 || minute > 59 || second < 0 || second > 60)
        return PP_INVALID;
    if (text.p[4] != '-' || text.p[7] != '-' || !is_one_of(text, 10, "Tt") || text.p[13] != ':' || text.p[16] != ':')
        return PP_INVALID;
    if (is_one_of(text, at, ".")) {
        int64_t scale = 100;
        size_t first = ++at;
        for (; at < text.n && ascii_is_digit(text.p[at]); at++, scale /= 10)
            fraction += scale * (text.p[at] - '0');
        if (at == first)
            return PP_INVALID;
    }
    if (read_offset(text, at, &offset) != PP_OK)
        return PP_INVALID;
    int64_t seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - (int64_t)offset * 60;
    if (seconds <= 0 || seconds > LAST_SECOND)
        return PP_INVALID;
    *out = seconds * 1000 + fraction;
    return PP_OK;
}
