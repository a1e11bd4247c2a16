/* Where the running daemon's admin interface is, also when the config file is broken. */
#include "cli/admin_client.h"
#include "config/config.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define DEFAULT_ADDRESS "unix:/run/proofproxy/admin.sock"
#define FILE_MAX        (256u * 1024) /* bytes of a broken file that are looked through */

/* --- a look into a file that does not load: words, strings and brackets are enough --- */

struct token_at {
    char kind; /* 'w' word, 's' string, 0 the end; else the character itself */
    struct str text;
};

static bool is_word(char c)
{
    return ascii_is_letter(c) || ascii_is_digit(c) || c == '_' || c == '-';
}

static struct str skip_blanks(struct str in)
{
    while (in.n > 0 && in.p != NULL) {
        size_t n = 0;
        if (ascii_is_space(in.p[0])) {
            n = 1;
        } else if (in.p[0] == '#' || str_starts(in, STR("//"))) {
            while (n < in.n && in.p[n] != '\n')
                n++;
        } else if (str_starts(in, STR("/*"))) {
            const char *end = memmem(in.p, in.n, "*/", 2);
            n = end == NULL ? in.n : (size_t)(end - in.p) + 2;
        }
        if (n == 0)
            break;
        in.p += n;
        in.n -= n;
    }
    return in;
}

static struct token_at next_token(struct str *in)
{
    struct token_at token = {0, STR_NONE};
    size_t n = 1;
    *in = skip_blanks(*in);
    if (in->n == 0 || in->p == NULL)
        return token;
    token.kind = in->p[0];
    if (in->p[0] == '"') {
        while (n < in->n && in->p[n] != '"' && in->p[n] != '\n')
            n += in->p[n] == '\\' && n + 1 < in->n ? 2 : 1;
        token.kind = 's';
        token.text = (struct str){in->p + 1, n - 1};
        n += n < in->n;
    } else if (ascii_is_letter(in->p[0])) {
        while (n < in->n && is_word(in->p[n]))
            n++;
        token.kind = 'w';
        token.text = (struct str){in->p, n};
    }
    in->p += n;
    in->n -= n;
    return token;
}

/* The first address of admin.listen that can be reached by itself. */
static bool find_listen(struct str in, char out[static ADMIN_ADDRESS_SIZE])
{
    int depth = 0;
    bool admin = false, listen = false;
    for (struct token_at t = next_token(&in); t.kind != 0; t = next_token(&in)) {
        depth += (t.kind == '{') - (t.kind == '}');
        if (t.kind == '}')
            admin = listen = false;
        else if (t.kind == 'w' && !admin)
            admin = depth == 0 && str_equal(t.text, STR("admin"));
        else if (t.kind == 'w')
            listen = str_equal(t.text, STR("listen"));
        else if (t.kind == 's' && admin && listen && t.text.n > 0 && t.text.n < ADMIN_ADDRESS_SIZE &&
                 !str_starts(t.text, STR("systemd:"))) {
            (void)snprintf(out, ADMIN_ADDRESS_SIZE, "%.*s", (int)t.text.n, t.text.p);
            return true;
        }
    }
    return false;
}

static void look_into_broken(const char *path, char out[static ADMIN_ADDRESS_SIZE])
{
    struct buf text;
    char *at;
    size_t room;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    buf_init(&text, FILE_MAX);
    while (fd >= 0 && buf_reserve(&text, 1, &at, &room) == PP_OK) {
        ssize_t n = read(fd, at, room);
        if (n <= 0)
            break;
        buf_added(&text, (size_t)n);
    }
    if (fd >= 0)
        (void)close(fd);
    (void)find_listen(buf_str(&text), out);
    buf_wipe(&text); /* it may hold a token */
}

void admin_client_address(const char *config_path, const char *given, char out[static ADMIN_ADDRESS_SIZE])
{
    struct config *config = NULL;
    struct config_problems problems;
    (void)snprintf(out, ADMIN_ADDRESS_SIZE, "%s", given == NULL ? DEFAULT_ADDRESS : given);
    if (given != NULL)
        return;
    config_problems_init(&problems);
    if (config_load(config_path, &config, &problems) == PP_OK) {
        out[0] = '\0'; /* not the default one, where another daemon may be */
        for (size_t i = 0; i < config->admin_listen.count; i++) {
            const struct listen_address *a = &config->admin_listen.items[i];
            if (a->kind == LISTEN_SYSTEMD)
                continue;
            if (a->kind == LISTEN_UNIX)
                (void)snprintf(out, ADMIN_ADDRESS_SIZE, "unix:%s", a->path);
            else
                (void)snprintf(out, ADMIN_ADDRESS_SIZE, strchr(a->host, ':') == NULL ? "%s:%u" : "[%s]:%u", a->host,
                               a->port);
            break;
        }
        config_unref(&config);
    } else {
        look_into_broken(config_path, out);
    }
    config_problems_free(&problems);
}
