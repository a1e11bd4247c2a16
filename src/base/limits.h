/* Every named ceiling in one place. What one exchange, tunnel or worker may cost follows from these. */
#ifndef PP_BASE_LIMITS_H
#define PP_BASE_LIMITS_H

#define LIMIT_TARGET            8192u          /* bytes of a request target (path and query) */
#define LIMIT_HEADERS           100u           /* header lines of one message, either direction */
#define LIMIT_REQUEST_HEAD      (16u * 1024)   /* bytes of a client's request head; 431 beyond */
#define LIMIT_RESPONSE_HEAD     (16u * 1024)   /* bytes of an upstream response head, interim ones each; 502 beyond */
#define LIMIT_INTERIM_RESPONSES 8u             /* 1xx answers before the final one */
#define LIMIT_CHUNK_LINE        256u           /* bytes of a chunk-size line, extensions included */
#define LIMIT_TRAILER_BYTES     8192u          /* bytes of a trailer section, which is read and dropped */
#define LIMIT_STREAM_BUFFER     (64u * 1024)   /* bytes buffered per exchange and direction while streaming */
#define LIMIT_SOCKET_UNSENT     (128u * 1024)  /* bytes the kernel keeps for a TCP client beyond what it has room for */
#define LIMIT_TOKENS_FILE       8u             /* tokens in one file */
#define LIMIT_TOKENS_HELD       16u            /* tokens held per environment, vanished ones in grace included */
#define LIMIT_TOKEN_LENGTH      4096u          /* bytes of one token */
#define LIMIT_TOKEN_FILE        (64u * 1024)   /* bytes of a token file */
#define LIMIT_CONFIG_FILE       (1024u * 1024) /* bytes of a config file */
#define LIMIT_CONFIG_PROBLEMS   100u           /* faults of a config file that are listed */
#define LIMIT_ENVIRONMENTS      16u
#define LIMIT_LISTENERS         16u /* per environment, and for admin */
#define LIMIT_WORKERS           64u

#endif
