/* Fuzzes http/target against a second, slow judgement: decode everything, then look at what came out. */
#include "fuzz.h"

#include "base/limits.h"
#include "http/target.h"

static const struct str allowed[] = {STR("/widget/"), STR("/ws")};

static int hex(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Is there a well-formed UTF-8 sequence at the front? Its length, or 0. By code point, unlike the code under test. */
static size_t utf8_sequence(const uint8_t *p, size_t n)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = p[0] < 0x80             ? 1
                    : (p[0] & 0xe0) == 0xc0 ? 2
                    : (p[0] & 0xf0) == 0xe0 ? 3
                    : (p[0] & 0xf8) == 0xf0 ? 4
                                            : 0;
    if (length < 2 || length > n)
        return length == 1 ? 1 : 0;
    uint32_t point = p[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (p[i] & 0x3fu);
    }
    return point < smallest[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff) ? 0 : length;
}

/* What a server might make of the path once it has decoded it must be what it looks like before. */
static bool path_is_plain(const uint8_t *raw, size_t n)
{
    uint8_t decoded[LIMIT_TARGET];
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        bool escape = raw[i] == '%';
        if (escape && (n - i < 3 || hex(raw[i + 1]) < 0 || hex(raw[i + 2]) < 0))
            return false;
        uint8_t c = escape ? (uint8_t)(hex(raw[i + 1]) * 16 + hex(raw[i + 2])) : raw[i];
        if (c == '\\' || c == ';' || c == '%' || c < 0x20 || c == 0x7f || (escape && (c == '/' || c == '.')))
            return false;
        if (!escape && (c >= 0x80 || c == ' ' || strchr("\"#<>?[]^`{|}", c) != NULL))
            return false;
        decoded[length++] = c;
        i += escape ? 2 : 0;
    }
    for (size_t i = 0; i < length;) {
        size_t sequence = utf8_sequence(decoded + i, length - i);
        if (sequence == 0)
            return false;
        i += sequence;
    }
    for (size_t start = 1; start <= length;) { /* segments: the first byte is the slash before the first */
        size_t end = start;
        while (end < length && decoded[end] != '/')
            end++;
        size_t segment = end - start;
        if ((segment == 0 && end < length) || (segment == 1 && decoded[start] == '.') ||
            (segment == 2 && decoded[start] == '.' && decoded[start + 1] == '.'))
            return false;
        start = end + 1;
    }
    return true;
}

static bool query_is_plain(const uint8_t *raw, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t c = raw[i];
        if (c <= 0x20 || c >= 0x7f || strchr("\"#<>\\^`{|}", c) != NULL)
            return false;
        if (c == '%' &&
            (n - i < 3 || hex(raw[i + 1]) < 0 || hex(raw[i + 2]) < 0 || hex(raw[i + 1]) + hex(raw[i + 2]) == 0))
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct target target = {0};
    struct str raw = {(const char *)bytes, n};
    enum target_verdict verdict = target_check(raw, allowed, sizeof allowed / sizeof allowed[0], &target);
    FUZZ_ASSERT(target_verdict_text(verdict) != NULL);

    const uint8_t *mark = n == 0 ? NULL : memchr(bytes, '?', n);
    size_t path = mark == NULL ? n : (size_t)(mark - bytes);
    bool plain = n > 0 && n <= LIMIT_TARGET && bytes[0] == '/' && path_is_plain(bytes, path) &&
                 (mark == NULL || query_is_plain(mark + 1, n - path - 1));
    FUZZ_ASSERT(plain == (verdict == TARGET_OK || verdict == TARGET_NOT_ALLOWED));
    if (!plain) {
        FUZZ_ASSERT(target.raw.p == NULL);
        return 0;
    }
    FUZZ_ASSERT(target.raw.p == raw.p && target.raw.n == n && target.path.p == raw.p && target.path.n == path);
    FUZZ_ASSERT((target.query.p == NULL) == (mark == NULL));
    FUZZ_ASSERT(mark == NULL || (target.query.p == (const char *)mark + 1 && target.query.n == n - path - 1));
    bool match = (path >= 8 && memcmp(bytes, "/widget/", 8) == 0) || (path == 3 && memcmp(bytes, "/ws", 3) == 0);
    FUZZ_ASSERT(match == (verdict == TARGET_OK));
    return 0;
}
