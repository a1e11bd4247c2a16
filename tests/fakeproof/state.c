/* What the fake knows and counts: tokens, allowlist, origins, faults, transactions, connections, statistics. One lock.
 */
#include "state.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define TRANSACTIONS_MAX 200000u

const char *const counter_names[COUNTERS] = {
    [COUNT_CONNECTIONS] = "connections",
    [COUNT_OPEN] = "open",
    [COUNT_HANDSHAKES_FAILED] = "handshakes_failed",
    [COUNT_RESUMED] = "resumed",
    [COUNT_REQUESTS] = "requests",
    [COUNT_MALFORMED] = "malformed",
    [COUNT_ABORTED] = "aborted",
    [COUNT_SESSIONS_CREATED] = "sessions_created",
    [COUNT_WEBSOCKETS_OPENED] = "websockets_opened",
    [COUNT_WEBSOCKETS_OPEN] = "websockets_open",
    [COUNT_WEBSOCKET_FRAMES] = "websocket_frames",
    [COUNT_WEBSOCKET_BYTES] = "websocket_bytes",
    [COUNT_WEBSOCKET_CLOSES] = "websocket_closes",
    [COUNT_STALLED] = "stalled",
    [COUNT_IDLE] = "idle",
};

static int64_t now_of(clockid_t which)
{
    struct timespec t;

    clock_gettime(which, &t);
    return t.tv_sec * (int64_t)1000 + t.tv_nsec / 1000000;
}

int64_t now_monotonic(void)
{
    return now_of(CLOCK_MONOTONIC);
}

int64_t now_wall(void)
{
    return now_of(CLOCK_REALTIME);
}

/* The start tokens: one a line, `#` comments. */
static bool load_tokens(struct fake *f, const char *path)
{
    char line[8192];
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return false;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, " \t\r\n")] = '\0';
        if (line[0] != '\0' && line[0] != '#')
            json_array_append_new(f->first_tokens, json_string(line));
    }
    fclose(file);
    return true;
}

bool state_init(struct fake *f, const struct options *options)
{
    f->options = *options;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->first_tokens = json_array();
    f->kyc = json_object();
    if (f->first_tokens == NULL || f->kyc == NULL || RAND_bytes(f->secret, sizeof f->secret) != 1)
        return false;
    if (options->tokens_file != NULL && !load_tokens(f, options->tokens_file))
        return false;
    state_reset(f);
    return true;
}

static void fresh(json_t **slot, json_t *value)
{
    json_decref(*slot);
    *slot = value;
}

void state_reset(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    fresh(&f->tokens, json_deep_copy(f->first_tokens));
    fresh(&f->allow, json_array());
    fresh(&f->origins, json_array());
    fresh(&f->per_token, json_object());
    fresh(&f->per_endpoint, json_object());
    fresh(&f->heads, json_array());
    for (size_t i = 0; i < COUNTERS; i++)
        if (i != COUNT_OPEN && i != COUNT_WEBSOCKETS_OPEN && i != COUNT_IDLE)
            f->counters[i] = 0;
    f->last_close_code = 0;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    clear_faults(f);
}

void fingerprint_of(const char *token, char out[static FINGERPRINT_SIZE])
{
    unsigned char digest[32];

    out[0] = '\0';
    if (EVP_Digest(token, strlen(token), digest, NULL, EVP_sha256(), NULL) != 1)
        return;
    for (size_t i = 0; i < 6; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

void count_locked(struct fake *f, enum counter which, long long by)
{
    f->counters[which] += by;
    pthread_cond_broadcast(&f->changed);
}

void count(struct fake *f, enum counter which, long long by)
{
    pthread_mutex_lock(&f->lock);
    count_locked(f, which, by);
    pthread_mutex_unlock(&f->lock);
}

static bool array_has(const json_t *array, const char *text)
{
    size_t i;
    json_t *item;

    json_array_foreach(array, i,
                       item) if (json_is_string(item) && strcmp(json_string_value(item), text) == 0) return true;
    return false;
}

bool token_is_valid(struct fake *f, const char *token)
{
    bool valid;

    pthread_mutex_lock(&f->lock);
    valid = array_has(f->tokens, token);
    pthread_mutex_unlock(&f->lock);
    return valid;
}

bool origin_is_registered(struct fake *f, const char *origin)
{
    bool known;

    pthread_mutex_lock(&f->lock);
    known = array_has(f->origins, origin);
    pthread_mutex_unlock(&f->lock);
    return known;
}

/* Does `text`, an address or CIDR range, hold these `n` address bytes? */
static bool range_holds(const char *text, int family, const unsigned char *address, size_t n)
{
    char copy[64];
    unsigned char base[16];
    char *slash;
    unsigned long bits = n * 8;

    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy)
        return false;
    slash = strchr(copy, '/');
    if (slash != NULL) {
        *slash = '\0';
        bits = strtoul(slash + 1, NULL, 10);
    }
    if (bits > n * 8 || inet_pton(family, copy, base) != 1)
        return false;
    for (size_t i = 0; i < bits; i++) {
        unsigned mask = 0x80u >> (i % 8);
        if ((base[i / 8] & mask) != (address[i / 8] & mask))
            return false;
    }
    return true;
}

bool peer_is_allowed(struct fake *f, const struct sockaddr_storage *peer)
{
    const unsigned char *address;
    size_t n, i;
    json_t *range;
    bool allowed;

    if (peer->ss_family == AF_INET6) {
        address = ((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr.s6_addr;
        n = 16;
    } else {
        address = (const unsigned char *)&((const struct sockaddr_in *)(const void *)peer)->sin_addr;
        n = 4;
    }
    pthread_mutex_lock(&f->lock);
    allowed = json_array_size(f->allow) == 0;
    json_array_foreach(f->allow, i, range) allowed =
        allowed || (json_is_string(range) && range_holds(json_string_value(range), peer->ss_family, address, n));
    pthread_mutex_unlock(&f->lock);
    return allowed;
}

static void bump(json_t *object, const char *key, const char *field)
{
    json_t *entry = json_object_get(object, key);

    if (field == NULL) {
        json_object_set_new(object, key, json_integer(json_integer_value(entry) + 1));
        return;
    }
    if (entry == NULL) {
        entry = json_pack("{s:i, s:i}", "requests", 0, "refused", 0);
        json_object_set_new(object, key, entry);
    }
    json_object_set_new(entry, field, json_integer(json_integer_value(json_object_get(entry, field)) + 1));
}

/* Raw bytes as a JSON string: each byte becomes the code point of its value. */
static json_t *latin1(const char *bytes, size_t n)
{
    char *out = malloc(2 * n + 1);
    size_t used = 0;
    json_t *text;

    if (out == NULL)
        return json_null();
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 0x80) {
            out[used++] = (char)(0xc0 | (c >> 6));
            out[used++] = (char)(0x80 | (c & 0x3f));
        } else {
            out[used++] = (char)c;
        }
    }
    text = json_stringn(out, used);
    free(out);
    return text;
}

/* The head as received, but with fingerprints in the place of credentials. */
static json_t *masked_head(const struct http_request *r)
{
    char *out = malloc(r->raw_length + 64 * HTTP_HEADERS_MAX);
    const char *line = r->raw;
    const char *end = r->raw + r->raw_length;
    size_t used = 0;
    json_t *text;

    if (out == NULL)
        return json_null();
    while (line < end) {
        const char *lf = memchr(line, '\n', (size_t)(end - line));
        size_t n = lf == NULL ? (size_t)(end - line) : (size_t)(lf + 1 - line);
        if (n > 16 && strncasecmp(line, "authorization:", 14) == 0) {
            const char *value = http_header(r, "Authorization");
            char fingerprint[FINGERPRINT_SIZE] = "";
            if (value != NULL)
                fingerprint_of(strncmp(value, "Bearer ", 7) == 0 ? value + 7 : value, fingerprint);
            used += (size_t)snprintf(out + used, 64, "%.14s <%s>\r\n", line, fingerprint);
        } else {
            memcpy(out + used, line, n);
            used += n;
        }
        line += n;
    }
    text = latin1(out, used);
    free(out);
    return text;
}

void record_request(struct fake *f, const struct http_request *r, const char *fingerprint)
{
    static const char *const prefixes[] = {"/widget/transactions/", "/widget/users/"};
    char endpoint[192];
    json_t *head = json_pack("{s:o, s:s}", "head", masked_head(r), "token", fingerprint);

    snprintf(endpoint, sizeof endpoint, "%.16s %.160s", r->method, r->path);
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(r->path, prefixes[i], strlen(prefixes[i])) == 0)
            snprintf(endpoint, sizeof endpoint, "%.16s %s", r->method, prefixes[i]);
    pthread_mutex_lock(&f->lock);
    bump(f->per_endpoint, endpoint, NULL);
    if (*fingerprint != '\0')
        bump(f->per_token, fingerprint, "requests");
    json_array_append_new(f->heads, head);
    if (json_array_size(f->heads) > HEADS_KEPT)
        json_array_remove(f->heads, 0);
    count_locked(f, COUNT_REQUESTS, 1);
    pthread_mutex_unlock(&f->lock);
}

void record_refusal(struct fake *f, const char *fingerprint)
{
    if (*fingerprint == '\0')
        return;
    pthread_mutex_lock(&f->lock);
    bump(f->per_token, fingerprint, "refused");
    pthread_mutex_unlock(&f->lock);
}

static bool fault_matches(const struct fault *fault, const struct http_request *r, const char *fingerprint)
{
    size_t n = strlen(fault->path);

    if (fault->method[0] != '\0' && strcmp(fault->method, r->method) != 0)
        return false;
    if (fault->token[0] != '\0' && strcmp(fault->token, fingerprint) != 0)
        return false;
    if (n > 0 && fault->path[n - 1] == '*')
        return strncmp(fault->path, r->path, n - 1) == 0;
    return n == 0 || strcmp(fault->path, r->path) == 0;
}

json_t *take_fault(struct fake *f, const struct http_request *r, const char *fingerprint)
{
    json_t *spec = NULL;

    pthread_mutex_lock(&f->lock);
    for (struct fault **at = &f->faults; *at != NULL; at = &(*at)->next) {
        struct fault *fault = *at;
        if (!fault_matches(fault, r, fingerprint))
            continue;
        spec = json_deep_copy(fault->spec); /* each thread its own: json_decref reads the count without a lock */
        if (fault->left > 0 && --fault->left == 0) {
            *at = fault->next;
            json_decref(fault->spec);
            free(fault);
        }
        break;
    }
    pthread_mutex_unlock(&f->lock);
    return spec;
}

const char *add_fault(struct fake *f, json_t *spec)
{
    const char *path = "", *method = "", *token = "", *kind = NULL;
    json_int_t times = 1;
    struct fault *fault, **at;

    if (json_unpack(spec, "{s:s, s?s, s?s, s?s, s?I}", "kind", &kind, "path", &path, "method", &method, "token", &token,
                    "count", &times) != 0)
        return "a fault needs at least a kind";
    fault = calloc(1, sizeof *fault);
    spec = json_deep_copy(spec);
    if (fault == NULL || spec == NULL) {
        free(fault);
        json_decref(spec);
        return "out of memory";
    }
    snprintf(fault->path, sizeof fault->path, "%s", path);
    snprintf(fault->method, sizeof fault->method, "%s", method);
    snprintf(fault->token, sizeof fault->token, "%s", token);
    fault->left = times <= 0 ? -1 : (long)times;
    fault->spec = spec;
    pthread_mutex_lock(&f->lock);
    for (at = &f->faults; *at != NULL; at = &(*at)->next)
        ;
    *at = fault;
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

void clear_faults(struct fake *f)
{
    struct fault *fault;

    pthread_mutex_lock(&f->lock);
    fault = f->faults;
    f->faults = NULL;
    pthread_mutex_unlock(&f->lock);
    while (fault != NULL) {
        struct fault *next = fault->next;
        json_decref(fault->spec);
        free(fault);
        fault = next;
    }
}

static size_t bucket_of(const char *id)
{
    size_t hash = 5381;

    for (; *id != '\0'; id++)
        hash = hash * 33 + (unsigned char)*id;
    return hash % (sizeof((struct fake *)NULL)->buckets / sizeof(struct transaction *));
}

struct transaction *transaction_find(struct fake *f, const char *id)
{
    struct transaction *t = f->buckets[bucket_of(id)];

    while (t != NULL && strcmp(t->id, id) != 0)
        t = t->next;
    return t;
}

struct transaction *transaction_new(struct fake *f)
{
    unsigned char b[16];
    struct transaction *t = calloc(1, sizeof *t);
    struct transaction **bucket;

    if (t == NULL || RAND_bytes(b, sizeof b) != 1) {
        free(t);
        return NULL;
    }
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(t->id, sizeof t->id, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    t->history[0] = "pending";
    t->history_at[0] = now_wall();
    t->history_count = 1;
    t->next_change = f->options.progress_ms > 0 ? now_monotonic() + f->options.progress_ms : INT64_MAX;
    bucket = &f->buckets[bucket_of(t->id)];
    if (f->transaction_count >= TRANSACTIONS_MAX && *bucket != NULL) {
        /* Long benchmarks: the bucket's oldest makes room. */
        struct transaction **last = bucket;
        while ((*last)->next != NULL)
            last = &(*last)->next;
        free(*last);
        *last = NULL;
        f->transaction_count--;
    }
    t->next = *bucket;
    *bucket = t;
    f->transaction_count++;
    return t;
}

static void wake_watchers(struct fake *f, const char *id)
{
    for (struct connection *c = f->connections; c != NULL; c = c->next)
        if (c->state == CONNECTION_WEBSOCKET && strcmp(c->transaction, id) == 0)
            pthread_kill(c->thread, SIGUSR1);
}

bool transaction_set(struct fake *f, struct transaction *t, const char *status)
{
    static const char *const known[] = {"pending", "processing", "completed", "failed", "cancelled"};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i], status) != 0 || t->history_count == HISTORY_MAX)
            continue;
        t->history[t->history_count] = known[i];
        t->history_at[t->history_count++] = now_wall();
        t->next_change = i == 1 && f->options.progress_ms > 0 ? now_monotonic() + f->options.progress_ms : INT64_MAX;
        wake_watchers(f, t->id);
        return true;
    }
    return false;
}

void transaction_advance(struct fake *f, struct transaction *t)
{
    while (t->next_change <= now_monotonic())
        if (!transaction_set(f, t, t->history_count == 1 ? "processing" : "completed"))
            t->next_change = INT64_MAX;
}

json_t *stats(struct fake *f)
{
    json_t *out = json_object();
    json_t *websockets = json_object();
    json_t *tokens = json_array();
    size_t i;
    json_t *token;

    pthread_mutex_lock(&f->lock);
    for (i = 0; i < COUNTERS; i++)
        json_object_set_new(out, counter_names[i], json_integer(f->counters[i]));
    json_object_set_new(out, "last_close_code", json_integer(f->last_close_code));
    json_object_set_new(out, "tokens", json_deep_copy(f->per_token));
    json_object_set_new(out, "endpoints", json_deep_copy(f->per_endpoint));
    json_object_set_new(out, "last", json_deep_copy(f->heads));
    for (struct connection *c = f->connections; c != NULL; c = c->next)
        if (c->state == CONNECTION_WEBSOCKET)
            bump(websockets, c->fingerprint, NULL);
    json_array_foreach(f->tokens, i, token)
    {
        char fingerprint[FINGERPRINT_SIZE];
        fingerprint_of(json_string_value(token), fingerprint);
        json_array_append_new(tokens, json_string(fingerprint));
    }
    pthread_mutex_unlock(&f->lock);
    json_object_set_new(out, "websockets_by_token", websockets);
    json_object_set_new(out, "valid", tokens);
    return out;
}
