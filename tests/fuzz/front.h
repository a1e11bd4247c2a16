/* The upstream behind fuzz_front: a server on loopback, in the same thread, that believes nothing. */
#ifndef PP_TESTS_FUZZ_FRONT_H
#define PP_TESTS_FUZZ_FRONT_H

#include "fuzz.h"

#include "base/crypto.h"
#include "http/chars.h"
#include "said.h"
#include "written.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRONT_TOKEN       "the-only-token-there-is-7d1f"
#define FRONT_CREDENTIAL  "Bearer " FRONT_TOKEN
#define FRONT_CONNECTIONS 16u

/* How it answers. */
enum front_behaviour {
    FRONT_PLAIN,    /* 200, two bytes */
    FRONT_CHUNKED,  /* 200, in chunks */
    FRONT_REFUSING, /* 401 */
    FRONT_CLOSING,  /* 200, and the connection ends */
    FRONT_BROKEN,   /* not HTTP */
    FRONT_LARGE,    /* 100 KiB */
    FRONT_LEAKING,  /* 302, the token in a header and in the body */
    FRONT_SILENT    /* the connection ends */
};

struct front_connection {
    int fd; /* -1: none */
    bool tunnel;
    struct buf in;
};

struct front_upstream {
    int listener;
    unsigned port;
    char host[32]; /* what Host must say */
    enum front_behaviour behaviour;
    struct front_connection connections[FRONT_CONNECTIONS];
    const struct said_list *said; /* what may arrive, in this order */
    size_t next;                  /* the first of it that has not arrived yet */
    bool tunnelled;               /* from here on the client's bytes are a tunnel's */
    unsigned requests;
};

static inline void front_listen(struct front_upstream *u)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    u->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    FUZZ_ASSERT(u->listener >= 0 && bind(u->listener, (struct sockaddr *)&at, n) == 0 && listen(u->listener, 64) == 0);
    FUZZ_ASSERT(getsockname(u->listener, (struct sockaddr *)&at, &n) == 0);
    u->port = ntohs(at.sin_port);
    (void)snprintf(u->host, sizeof u->host, "127.0.0.1:%u", u->port);
    for (size_t i = 0; i < FRONT_CONNECTIONS; i++) {
        u->connections[i].fd = -1;
        buf_init(&u->connections[i].in, 8u << 20);
    }
}

static inline void front_hang_up(struct front_connection *c)
{
    (void)close(c->fd);
    c->fd = -1;
    c->tunnel = false;
    buf_free(&c->in);
}

static inline void front_say(struct front_connection *c, struct str bytes)
{
    (void)!send(c->fd, bytes.p, bytes.n, MSG_DONTWAIT | MSG_NOSIGNAL); /* who does not read gets less */
}

/* A chunked body at the front of `in`, exactly as we are to write it: its bytes go to `body`, its size to *used. */
static inline bool front_chunks(struct str in, struct buf *body, size_t *used)
{
    size_t at = 0;
    for (;;) {
        size_t size = 0, digits = 0;
        while (at < in.n && ascii_hex(in.p[at]) >= 0) {
            size = size << 4 | (size_t)ascii_hex(in.p[at++]);
            FUZZ_ASSERT(++digits <= 8);
        }
        if (in.n - at < size + 4) /* its line's end, and the one behind it */
            return false;
        FUZZ_ASSERT(digits > 0 && memcmp(in.p + at, "\r\n", 2) == 0);
        FUZZ_ASSERT(memcmp(in.p + at + 2 + size, "\r\n", 2) == 0);
        FUZZ_ASSERT(buf_append(body, in.p + at + 2, size) == PP_OK);
        at += size + 4;
        if (size == 0)
            break;
    }
    *used = at;
    return true;
}

/* This request arrived: the client must have sent it, as a strict reader sees it, and after those before. */
static inline void front_arrived(struct front_upstream *u, const struct written *head, struct str body)
{
    const char *first = memchr(head->line.p, ' ', head->line.n), *last = memrchr(head->line.p, ' ', head->line.n);
    FUZZ_ASSERT(first != NULL && last > first && head->line.p + head->line.n - last == sizeof " HTTP/1.1" - 1);
    struct str method = {head->line.p, (size_t)(first - head->line.p)};
    struct str target = {first + 1, (size_t)(last - first - 1)};
    FUZZ_ASSERT(memcmp(last, " HTTP/1.1", sizeof " HTTP/1.1" - 1) == 0);
    FUZZ_ASSERT(str_starts(target, STR("/widget/")) || str_equal(target, STR("/ws")) ||
                str_starts(target, STR("/ws?")));
    u->requests++;
    for (; u->next < u->said->count; u->next++) {
        const struct said *s = &u->said->items[u->next];
        struct str sent = STR_NONE;
        if (s->body_bytes > 0)
            sent = (struct str){buf_str(&u->said->bodies).p + s->body_at, s->body_bytes};
        if (str_equal(s->method, method) && str_equal(s->target, target) && str_equal(sent, body)) {
            u->next++;
            return;
        }
    }
    FUZZ_ASSERT(false); /* a request that the client has not sent */
}

static inline void front_accept_key(struct str key, char out[static 32])
{
    char text[128];
    unsigned char digest[20];
    FUZZ_ASSERT(key.n == 24);
    (void)snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.p);
    FUZZ_ASSERT(crypto_sha1(text, 60, digest) == PP_OK);
    crypto_base64(digest, sizeof digest, out);
}

static inline void front_answer(struct front_upstream *u, struct front_connection *c, const struct written *head)
{
    static char large[100 * 1024];
    char text[256], accepted[32];
    switch (u->behaviour) {
    case FRONT_CHUNKED:
        front_say(c, STR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
        break;
    case FRONT_REFUSING:
        front_say(c, STR("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"));
        break;
    case FRONT_CLOSING:
        front_say(c, STR("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"));
        front_hang_up(c);
        break;
    case FRONT_BROKEN:
        front_say(c, STR("HTTP/1.1 200 OK\nContent-Length : 2\r\n\r\n{}"));
        break;
    case FRONT_LARGE:
        front_say(c, STR("HTTP/1.1 200 OK\r\nContent-Length: 102400\r\n\r\n"));
        front_say(c, (struct str){large, sizeof large});
        break;
    case FRONT_LEAKING:
        front_say(c, STR("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/?t=" FRONT_TOKEN "\r\nContent-Length: 30\r\n"
                         "\r\n<" FRONT_TOKEN ">"));
        break;
    case FRONT_SILENT:
        front_hang_up(c);
        break;
    case FRONT_PLAIN:
        if (head->upgrade == 0) {
            front_say(c, STR("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"));
            break;
        }
        if (head->key.n == 0) { /* whoever names it in Connection has it dropped */
            front_say(c, STR("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
            break;
        }
        front_accept_key(head->key, accepted);
        (void)snprintf(text, sizeof text,
                       "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Accept: %s\r\n\r\n",
                       accepted);
        front_say(c, str_of(text));
        c->tunnel = u->tunnelled = true;
        break;
    }
}

/* Takes one whole request from the front of what came, judges and answers it. False when there is none. */
static inline bool front_request(struct front_upstream *u, struct front_connection *c)
{
    const struct written_rules rules = {str_of(u->host), STR(FRONT_CREDENTIAL), STR_NONE};
    struct str in = buf_str(&c->in), body = STR_NONE;
    struct buf pieces;
    const char *end = in.n == 0 ? NULL : memmem(in.p, in.n, "\r\n\r\n", 4);
    if (end == NULL)
        return false;
    size_t used = (size_t)(end - in.p) + 4, more = 0;
    struct written head = written_read((struct str){in.p, used}, &rules);
    FUZZ_ASSERT((head.upgrade == 1) == (head.connection == 1) && head.upgrade <= 1);
    FUZZ_ASSERT(head.upgrade == 0 || head.lengths + head.coding == 0);
    buf_init(&pieces, 8u << 20);
    bool whole = true;
    if (head.coding == 1) {
        whole = front_chunks((struct str){in.p + used, in.n - used}, &pieces, &more);
        body = buf_str(&pieces);
    } else if (head.lengths == 1) {
        for (size_t i = 0; i < head.length.n; i++)
            more = more * 10 + (size_t)(head.length.p[i] - '0');
        whole = in.n - used >= more;
        body = (struct str){in.p + used, more};
    }
    if (whole) {
        front_arrived(u, &head, body);
        front_answer(u, c, &head);
        if (c->fd >= 0)
            buf_consume(&c->in, used + more);
    }
    buf_free(&pieces);
    return whole && c->fd >= 0 && !c->tunnel;
}

/* Whatever came since. True when something did. */
static inline bool front_serve(struct front_upstream *u)
{
    bool moved = false, more = true;
    for (size_t i = 0; i < FRONT_CONNECTIONS; i++) {
        struct front_connection *c = &u->connections[i];
        if (c->fd < 0 && more) {
            c->fd = accept4(u->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
            more = c->fd >= 0;
            moved |= more;
        }
        static char bytes[64 * 1024];
        ssize_t n = 1;
        while (c->fd >= 0 && (n = recv(c->fd, bytes, sizeof bytes, 0)) > 0) {
            moved = true;
            if (c->tunnel)
                continue;
            FUZZ_ASSERT(!u->tunnelled); /* one client: a tunnel is its last word */
            FUZZ_ASSERT(buf_append(&c->in, bytes, (size_t)n) == PP_OK);
            while (front_request(u, c))
                continue;
        }
        if (c->fd >= 0 && (n == 0 || errno != EAGAIN)) {
            moved = true;
            front_hang_up(c);
        }
    }
    return moved;
}

#endif
