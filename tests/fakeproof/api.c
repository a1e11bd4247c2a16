/* The partner API's endpoints: what a correct or wrong call gets. */
#include "api.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define BODY_MAX (1024u * 1024)

/* Which networks have a wallet, and what an address on them looks like. */
static const struct wallet {
    const char *network, *currency, *address_prefix;
    unsigned address_digits;
} wallets[] = {
    {"TRC20", "USDT", "T", 33},  {"ERC20", "USDT", "0x", 40}, {"ERC20", "USDC", "0x", 40}, {"BEP20", "USDT", "0x", 40},
    {"BEP20", "USDC", "0x", 40}, {"ERC20", "ETH", "0x", 40},  {"BTC", "BTC", "bc1q", 38},  {"TRC20", "TRX", "T", 33},
};
#define WALLETS (sizeof wallets / sizeof wallets[0])

bool api_authenticate(struct connection *c, struct http_request *r, char fingerprint[static FINGERPRINT_SIZE],
                      struct answer *a)
{
    const char *authorization = http_header(r, "Authorization");
    const char *origin = http_header(r, "Origin");
    const char *token = NULL;

    fingerprint[0] = '\0';
    if (authorization != NULL && strncasecmp(authorization, "Bearer ", 7) == 0 && authorization[7] != '\0') {
        token = authorization + 7;
        fingerprint_of(token, fingerprint);
    }
    if (!peer_is_allowed(c->fake, &c->peer)) {
        answer_error(a, 403, "forbidden", "forbidden", "the source address is not on the allowlist");
        return false;
    }
    if (strncmp(r->path, "/widget/", 8) != 0 && strcmp(r->path, "/ws") != 0) {
        answer_error(a, 404, NULL, NULL, NULL);
        return false;
    }
    if (token == NULL) {
        answer_error(a, 401, "unauthorised", "missing_token", "the request has no client token");
        return false;
    }
    if (!token_is_valid(c->fake, token)) {
        record_refusal(c->fake, fingerprint);
        answer_error(a, 401, "unauthorised", "invalid_token", "the client token is unknown or inactive");
        return false;
    }
    if (origin != NULL && !origin_is_registered(c->fake, origin)) {
        answer_error(a, 403, "forbidden", "forbidden_origin", "the Origin is not registered");
        return false;
    }
    return true;
}

/* A positive decimal number as the API wants it: digits, at most one point, as text. */
static bool is_amount(const char *s)
{
    size_t whole = strspn(s, "0123456789");
    const char *rest = s + whole;

    if (whole == 0 || whole > 18 || strspn(s, "0.") == strlen(s))
        return false;
    if (*rest == '.') {
        size_t fraction = strspn(rest + 1, "0123456789");
        rest += 1 + fraction;
        if (fraction == 0 || fraction > 18)
            return false;
    }
    return *rest == '\0';
}

static void random_digits(char *out, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char b;

    for (size_t i = 0; i < n; i++) {
        if (RAND_bytes(&b, 1) != 1)
            b = 0;
        out[i] = digits[b & 15];
    }
    out[n] = '\0';
}

static void sign(struct fake *f, const char *text, char out[static 132])
{
    unsigned char mac[64];
    unsigned int n = sizeof mac;

    memcpy(out, "v2:", 4);
    if (HMAC(EVP_sha512(), f->secret, sizeof f->secret, (const unsigned char *)text, strlen(text), mac, &n) == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        snprintf(out + 3 + 2 * i, 3, "%02x", mac[i]);
}

/* The fields of a session request. Borrowed from its JSON. */
struct session_request {
    const char *partner_user_id, *user_email, *network, *currency, *amount, *type, *redirect_url, *client_ip, *address;
};

/* Fills *s or answers 400. */
static const struct wallet *check_session(const json_t *body, struct session_request *s, struct answer *a)
{
    const struct {
        const char *name, **value;
        bool required;
    } fields[] = {
        {"partner_user_id", &s->partner_user_id, true},
        {"user_email", &s->user_email, true},
        {"network", &s->network, true},
        {"currency", &s->currency, true},
        {"amount", &s->amount, true},
        {"type", &s->type, false},
        {"redirect_url", &s->redirect_url, false},
        {"client_ip", &s->client_ip, false},
        {"address", &s->address, false},
    };
    char message[128];
    bool known = false;

    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const json_t *value = json_object_get(body, fields[i].name);
        if (value == NULL && fields[i].required) {
            snprintf(message, sizeof message, "%s is missing", fields[i].name);
            answer_error(a, 400, "invalid_request", "missing_param", message);
            return NULL;
        }
        if (value != NULL && (!json_is_string(value) || json_string_length(value) == 0)) {
            snprintf(message, sizeof message, "%s has to be a text that is not empty", fields[i].name);
            answer_error(a, 400, "invalid_request", "validation_error", message);
            return NULL;
        }
        *fields[i].value = json_string_value(value);
    }
    if (s->type == NULL)
        s->type = "buy";
    if (!is_amount(s->amount) || strchr(s->user_email, '@') == NULL ||
        (strcmp(s->type, "buy") != 0 && strcmp(s->type, "sell") != 0)) {
        answer_error(a, 400, "invalid_request", "validation_error", "amount, user_email or type is not valid");
        return NULL;
    }
    for (size_t i = 0; i < WALLETS; i++)
        known = known || strcmp(wallets[i].currency, s->currency) == 0;
    if (!known) {
        answer_error(a, 400, "invalid_request", "currency_not_allowed", "this currency is not offered");
        return NULL;
    }
    for (size_t i = 0; i < WALLETS; i++)
        if (strcmp(wallets[i].currency, s->currency) == 0 && strcmp(wallets[i].network, s->network) == 0)
            return &wallets[i];
    answer_error(a, 400, "wallet_not_supported", "WALLET_NOT_SUPPORTED", "no wallet for this currency and network");
    return NULL;
}

static json_t *session_answer(struct fake *f, const struct session_request *s, const struct transaction *t,
                              const struct wallet *wallet)
{
    char address[64], signature[132], init_token[49], text[512];
    int n = snprintf(address, sizeof address, "%s", wallet->address_prefix);

    random_digits(address + n, wallet->address_digits);
    random_digits(init_token, 48);
    snprintf(text, sizeof text, "%s|%s|%s|%s", t->id, s->address != NULL ? s->address : address, s->currency,
             s->amount);
    sign(f, text, signature);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:[s], s:b, s:s, s:[s], s:b, s:s, s:b, s:s, s:[ss], s:b, s:b, "
        "s:s, s:s, s:s, s:s}",
        "merchant_transaction_id", t->id, "widget_id", "wid_fakeproof", "address",
        s->address != NULL ? s->address : address, "signature", signature, "init_token", init_token, "init_token_type",
        "session", "currency", s->currency, "currencies", s->currency, "fix_currency", 1, "network", s->network,
        "networks", s->network, "fix_network", 1, "amount", s->amount, "fix_amount", 1, "fiat_currency", "EUR",
        "fiat_currencies", "EUR", "USD", "fix_fiat_currency", 0, "fix_fiat_amount", 0, "type", s->type, "lang", "en",
        "theme", "light", "redirect_url", s->redirect_url != NULL ? s->redirect_url : "");
}

static void create_session(struct connection *c, const char *bytes, size_t length, struct answer *a)
{
    struct session_request s = {0};
    const struct wallet *wallet;
    struct transaction *t;
    json_t *body = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, NULL);

    if (!json_is_object(body)) {
        json_decref(body);
        answer_error(a, 400, "invalid_request", "decode_error", "the body is not a JSON object");
        return;
    }
    wallet = check_session(body, &s, a);
    if (wallet != NULL) {
        json_t *answer = NULL;
        pthread_mutex_lock(&c->fake->lock);
        t = transaction_new(c->fake);
        if (t != NULL) {
            snprintf(t->user, sizeof t->user, "%s", s.partner_user_id);
            snprintf(t->type, sizeof t->type, "%s", s.type);
            snprintf(t->currency, sizeof t->currency, "%s", s.currency);
            snprintf(t->network, sizeof t->network, "%s", s.network);
            snprintf(t->amount, sizeof t->amount, "%s", s.amount);
            if (json_object_get(c->fake->kyc, t->user) == NULL && json_object_size(c->fake->kyc) < 100000)
                json_object_set_new(c->fake->kyc, t->user, json_string("not_started"));
            answer = session_answer(c->fake, &s, t, wallet);
            count_locked(c->fake, COUNT_SESSIONS_CREATED, 1);
        }
        pthread_mutex_unlock(&c->fake->lock);
        answer_json(a, 200, answer);
    }
    json_decref(body);
}

static void iso8601(int64_t ms, char out[static 32])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm utc;
    size_t n;

    gmtime_r(&seconds, &utc);
    n = strftime(out, 20, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + n, 32 - n, ".%03dZ", (int)(ms % 1000));
}

static void get_transaction(struct connection *c, const char *id, struct answer *a)
{
    struct transaction *t;
    json_t *body = NULL;

    pthread_mutex_lock(&c->fake->lock);
    t = transaction_find(c->fake, id);
    if (t != NULL) {
        char created[32], updated[32];
        transaction_advance(c->fake, t);
        iso8601(t->history_at[0], created);
        iso8601(t->history_at[t->history_count - 1], updated);
        body = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "merchant_transaction_id", t->id,
                         "partner_user_id", t->user, "type", t->type, "status", t->history[t->history_count - 1],
                         "currency", t->currency, "network", t->network, "crypto_amount", t->amount, "fiat_currency",
                         "EUR", "fiat_amount", "92.40", "created_at", created, "updated_at", updated);
    }
    pthread_mutex_unlock(&c->fake->lock);
    if (t == NULL)
        answer_error(a, 404, "not_found", "not_found", "no such transaction");
    else
        answer_json(a, 200, body);
}

static void get_kyc(struct connection *c, const char *user, size_t n, struct answer *a)
{
    char name[128];
    json_t *status;

    snprintf(name, sizeof name, "%.*s", (int)n, user);
    pthread_mutex_lock(&c->fake->lock);
    status = json_deep_copy(json_object_get(c->fake->kyc, name));
    pthread_mutex_unlock(&c->fake->lock);
    if (status == NULL)
        answer_error(a, 404, "not_found", "not_found", "no such user");
    else
        answer_json(a, 200, json_pack("{s:s, s:o}", "partner_user_id", name, "status", status));
}

char *api_event(const struct transaction *t, unsigned n)
{
    char at[32];
    json_t *event;
    char *text;

    iso8601(t->history_at[n], at);
    event =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "event", "tx.update", "merchant_transaction_id",
                  t->id, "type", t->type, "status", t->history[n], "payment_method", "card", "currency", t->currency,
                  "fiat_currency", "EUR", "fiat_amount", "92.40", "crypto_amount", t->amount, "occurred_at", at);
    text = event == NULL ? NULL : json_dumps(event, JSON_COMPACT);
    json_decref(event);
    return text;
}

bool api_answer(struct connection *c, struct http_request *r, struct answer *a)
{
    static const char transactions[] = "/widget/transactions/";
    static const char users[] = "/widget/users/";
    static const char kyc[] = "/kyc-status";
    bool get = strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;
    size_t path = strlen(r->path);
    size_t length = 0;
    char *body = http_read_all(&c->stream, r, BODY_MAX, &length);

    if (body == NULL && (c->stream.dead || r->body_bytes < BODY_MAX))
        return false;
    if (body == NULL) {
        answer_error(a, 400, "invalid_request", "decode_error", "the body is too large");
        a->close = true;
    } else if (strcmp(r->method, "POST") == 0 && strcmp(r->path, "/widget/session") == 0) {
        create_session(c, body, length, a);
    } else if (get && strncmp(r->path, transactions, sizeof transactions - 1) == 0) {
        get_transaction(c, r->path + sizeof transactions - 1, a);
    } else if (get && strncmp(r->path, users, sizeof users - 1) == 0 && path > sizeof users + sizeof kyc - 2 &&
               strcmp(r->path + path - (sizeof kyc - 1), kyc) == 0) {
        get_kyc(c, r->path + sizeof users - 1, path - (sizeof users - 1) - (sizeof kyc - 1), a);
    } else {
        answer_error(a, 404, "not_found", "not_found", "no such endpoint");
    }
    free(body);
    return true;
}
