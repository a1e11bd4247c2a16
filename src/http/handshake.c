/* The WebSocket handshake's answer: may a tunnel start? */
#include "http/wsframe.h"

#include "base/crypto.h"

#define WEBSOCKET_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455 1.3 */

enum { KEY_LENGTH = 24, ACCEPT_LENGTH = 28 };

enum pp_result wsframe_accept(struct str key, char accept[static 29])
{
    char text[KEY_LENGTH + sizeof WEBSOCKET_GUID - 1];
    unsigned char digest[20];
    if (key.n != KEY_LENGTH)
        return PP_INVALID;
    memcpy(text, key.p, KEY_LENGTH);
    memcpy(text + KEY_LENGTH, WEBSOCKET_GUID, sizeof WEBSOCKET_GUID - 1);
    enum pp_result rc = crypto_sha1(text, sizeof text, digest);
    if (rc == PP_OK)
        crypto_base64(digest, sizeof digest, accept);
    return rc;
}

/* The part of an extension before its parameters: "permessage-deflate; server_no_context_takeover". */
static struct str extension_name(struct str extension)
{
    const char *semicolon = memchr(extension.p, ';', extension.n);
    return semicolon == NULL ? extension : str_trim((struct str){extension.p, (size_t)(semicolon - extension.p)});
}

/* Is each member that the answer's lines of this name list among those the request's list? Parameters aside, which the
 * two ends judge by themselves. */
static bool only_offered(const struct header_list *answer, const struct header_list *request, struct str name)
{
    const struct header *line;
    for (size_t i = 0; (line = headers_find(answer, name, i)) != NULL; i++) {
        struct str chosen = line->value, member;
        while (header_list_next(&chosen, &member)) {
            struct str wanted = extension_name(member), offer;
            bool offered = false;
            const struct header *offers;
            for (size_t j = 0; !offered && (offers = headers_find(request, name, j)) != NULL; j++) {
                struct str rest = offers->value;
                while (!offered && header_list_next(&rest, &offer))
                    offered = str_equal(extension_name(offer), wanted);
            }
            if (!offered)
                return false;
        }
    }
    return true;
}

/* RFC 6455 4.1: one subprotocol at most, and exactly one of those offered. */
static bool subprotocol_fits(const struct header_list *answer, const struct header_list *request)
{
    static const struct str name = STR("Sec-WebSocket-Protocol");
    const struct header *chosen = headers_find(answer, name, 0);
    if (chosen == NULL)
        return true;
    return headers_count(answer, name) == 1 && http_token_valid(chosen->value) && only_offered(answer, request, name);
}

static const char *what_is_wrong(const struct response_head *head, const char *accept,
                                 const struct header_list *request)
{
    const struct header_list *answer = &head->headers;
    if (head->status != 101 || head->http10)
        return "the answer is not HTTP/1.1 101";
    const struct header *upgrade = headers_find(answer, STR("Upgrade"), 0);
    if (headers_count(answer, STR("Upgrade")) != 1 || !str_equal_nocase(upgrade->value, STR("websocket")))
        return "the 101 does not name websocket in one Upgrade header";
    if (!headers_list_has(answer, STR("Connection"), STR("upgrade")))
        return "the 101 does not name upgrade in its Connection header";
    const struct header *line = headers_find(answer, STR("Sec-WebSocket-Accept"), 0);
    if (headers_count(answer, STR("Sec-WebSocket-Accept")) != 1 || !str_equal(line->value, str_of(accept)))
        return "the 101 has no single Sec-WebSocket-Accept that matches the key";
    if (headers_count(answer, STR("Content-Length")) + headers_count(answer, STR("Transfer-Encoding")) > 0)
        return "the 101 announces a body";
    if (!only_offered(answer, request, STR("Sec-WebSocket-Extensions")))
        return "the 101 chose an extension that was not offered";
    if (!subprotocol_fits(answer, request))
        return "the 101 chose a subprotocol that was not offered";
    return NULL;
}

enum pp_result wsframe_check_101(const struct response_head *head, const struct header_list *request_headers,
                                 const char **what)
{
    char accept[ACCEPT_LENGTH + 1];
    const struct header *key = headers_find(request_headers, STR("Sec-WebSocket-Key"), 0);
    if (key == NULL || wsframe_accept(str_trim(key->value), accept) != PP_OK)
        *what = "the request had no Sec-WebSocket-Key";
    else
        *what = what_is_wrong(head, accept, request_headers);
    return *what == NULL ? PP_OK : PP_INVALID;
}
