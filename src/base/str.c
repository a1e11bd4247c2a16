/* What of strings with a length is too long for a header. */
#include "base/str.h"

size_t str_utf8_length(struct str s)
{
    const unsigned char *u = (const unsigned char *)s.p;
    if (s.n == 0 || u[0] < 0x80)
        return s.n == 0 ? 0 : 1;
    size_t n = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    if (u[0] < 0xc2 || u[0] > 0xf4 || n > s.n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) || (u[0] == 0xf0 && u[1] < 0x90) ||
        (u[0] == 0xf4 && u[1] > 0x8f))
        return 0;
    return n;
}

struct str str_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return STR(".");
    return (struct str){path, slash == path ? 1 : (size_t)(slash - path)};
}
