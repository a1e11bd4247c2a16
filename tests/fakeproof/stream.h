/* One connection as bytes: plain TCP or TLS, blocking, with a read buffer. */
#ifndef PP_TESTS_FAKEPROOF_STREAM_H
#define PP_TESTS_FAKEPROOF_STREAM_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct stream {
    int fd;
    SSL *ssl; /* NULL: plain */
    char *buf;
    size_t start, end, cap; /* unread bytes are buf[start..end) */
    bool dead;              /* nothing more can be written */
};

enum stream_wait { STREAM_READY, STREAM_TIMEOUT, STREAM_SIGNAL };

/* How a connection ends. Only the first is honest. */
enum stream_end {
    STREAM_ORDERLY,  /* close_notify, then FIN */
    STREAM_TRUNCATE, /* FIN without close_notify */
    STREAM_RESET     /* RST */
};

/* Takes the descriptor and the SSL object. False when out of memory. */
bool stream_init(struct stream *s, int fd, SSL *ssl);

/* Waits at most `ms` (-1: for ever) until bytes or the end can be read. SIGUSR1 is let in only here. */
enum stream_wait stream_wait(struct stream *s, int ms);

/* Waits at most `ms` for the peer to go away, whatever it still sends. True if it did. */
bool stream_wait_gone(struct stream *s, int ms);

/* Reads once behind what is buffered, growing the buffer up to `limit` bytes. Bytes read; 0 at an orderly end; -1 when
 * broken or full. */
ssize_t stream_fill(struct stream *s, size_t limit);

/* Next bytes for a body: from the buffer first, else from the connection. As stream_fill. */
ssize_t stream_read(struct stream *s, void *into, size_t room);

/* Writes all or returns false. */
bool stream_write(struct stream *s, const void *bytes, size_t n);

/* Ends and frees. Waits shortly for the peer's bytes still under way after an orderly end, so that the answer is not
 * destroyed by a reset. */
void stream_close(struct stream *s, enum stream_end how);

#endif
