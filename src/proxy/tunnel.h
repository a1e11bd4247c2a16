/* WebSocket tunnels: bytes both ways between a client and Proof, after a checked handshake, out of libmicrohttpd.
 *
 * A tunnel lives in its worker's loop with two descriptors and two small bounded buffers that exist only while they
 * hold something. It follows frame boundaries (http/wsframe.h) so that a Close frame of ours can be inserted between
 * frames. Worker's thread. */
#ifndef PP_PROXY_TUNNEL_H
#define PP_PROXY_TUNNEL_H

#include "proxy/worker.h"

struct tunnel_set; /* a worker's tunnels */

struct tunnel_set *tunnel_set_new(struct worker *worker) PP_MUST_CHECK;
/* Cuts what is left. */
void tunnel_set_free(struct tunnel_set *s);
size_t tunnel_set_count(const struct tunnel_set *s);

/* Everything a tunnel starts with; the views are copied. The tunnel takes its own references on environment and
 * token, not on the settings: a connection pool that a reload replaced does not stay open for its tunnels' sake;
 * client_fd, upstream and one place among environment->shared->websockets (counted by the exchange) become its own in
 * every case, also when there is no memory and both ends are closed at once. */
struct tunnel_start {
    struct worker *worker;
    struct environment *environment;
    struct environment_settings *settings;
    const struct client *client; /* for the log */
    struct token *token;
    int client_fd;
    struct upstream_connection *upstream; /* has no user */
    struct str from_client;               /* bytes that came right behind the client's handshake */
    struct str from_upstream;             /* and behind upstream's */
    struct str path;                      /* for the log */
    const char *request_id;
};
/* The most bytes of memory one tunnel can take, its upstream connection apart. */
size_t tunnel_cost(void);
void tunnel_begin(const struct tunnel_start *start);

/* Every tunnel gets a Close 1012 (service restart) at its next frame boundary, spread over `spread` ms; a peer that has
 * not answered within 5 s is cut, and that counts as drained. */
void tunnel_set_drain(struct tunnel_set *s, msec spread);

/* The tokens of an environment changed: tunnels on a token that was retired get their Close websocket_retire_delay
 * after it was; tunnels on others are not touched. */
void tunnel_set_tokens_changed(struct tunnel_set *s, struct environment *e);

#endif
