/* The most memory the process can need. */
#include "daemon/memory_bound.h"

#include "proxy/exchange.h"
#include "proxy/tunnel.h"

#include <stdio.h>

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

/* What does not grow with the number of clients: program, libraries, the admin interface with its pages, a reload with
 * its texts. */
#define PROCESS_COST (48 * MIB)
/* Of each environment: trust anchors, twice during a reload; counters, history, the probes' own connections. */
#define ENVIRONMENT_COST (8 * MIB)
/* Of each worker: its thread, the access log's lines of one turn, spare requests kept for the next ones. */
#define WORKER_COST (8 * MIB)
/* Of each environment in each worker: upstream connections being opened, each with libcurl's own state and, while a
 * name is looked up, a thread. */
#define OPENING_COST (UPSTREAM_OPENING_AT_ONCE * 128 * KIB)

static uint64_t with_slack(uint64_t bytes)
{
    return bytes + bytes / 4;
}

static void add(struct memory_part *part, uint64_t count, uint64_t each)
{
    part->count += count;
    part->bytes += with_slack(count * each);
}

void memory_bound_compute(const struct config *c, unsigned workers, unsigned places, unsigned files,
                          struct memory_bound *out)
{
    *out = (struct memory_bound){.parts = {
                                     [MEMORY_CLIENTS] = {"clients", "LimitNOFILE", 0, 0},
                                     [MEMORY_REQUESTS] = {"requests", "max_inflight, max_body", 0, 0},
                                     [MEMORY_BODIES] = {"bodies to come", "max_inflight", 0, 0},
                                     [MEMORY_IDLE] = {"idle upstream connections", "max_inflight", 0, 0},
                                     [MEMORY_WEBSOCKETS] = {"WebSockets", "max_websockets", 0, 0},
                                     [MEMORY_ITSELF] = {"the daemon itself", "workers, environments", 0, 0},
                                 }};
    struct memory_part *parts = out->parts;
    int64_t largest_body = 0;
    add(&parts[MEMORY_CLIENTS], places + (uint64_t)workers * SERVER_LEAVING_AT_ONCE,
        server_client_cost() + exchange_cost());
    for (size_t i = 0; i < c->environment_count; i++) {
        const struct environment_config *e = &c->environments[i];
        uint64_t inflight = environment_max_inflight(e, c, places);
        add(&parts[MEMORY_REQUESTS], inflight,
            exchange_request_cost(e) + upstream_connection_cost(e->base_url.tls, false));
        add(&parts[MEMORY_BODIES], inflight, exchange_body_cost(e));
        add(&parts[MEMORY_IDLE], inflight + (uint64_t)workers * ENVIRONMENT_WARM,
            upstream_connection_cost(e->base_url.tls, true));
        add(&parts[MEMORY_WEBSOCKETS], e->max_websockets < files / 2 ? e->max_websockets : files / 2,
            tunnel_cost() + upstream_connection_cost(e->base_url.tls, false));
        if (e->max_body > largest_body)
            largest_body = e->max_body;
    }
    parts[MEMORY_ITSELF].count = 1;
    parts[MEMORY_ITSELF].bytes = PROCESS_COST + c->environment_count * (ENVIRONMENT_COST + workers * OPENING_COST) +
                                 workers * (WORKER_COST + (uint64_t)largest_body); /* a body moves as it grows */
    for (size_t i = 0; i < MEMORY_PARTS; i++)
        out->bytes += parts[i].bytes;
}

static void append_size(struct buf *out, uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    double n = (double)bytes / 1024;
    size_t unit = 0;
    while (n >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        n /= 1024;
        unit++;
    }
    buf_printf(out, n < 10 ? "%.1f %s" : "%.0f %s", n, units[unit]);
}

void memory_bound_text(const struct memory_bound *b, struct buf *out)
{
    bool said[MEMORY_PARTS] = {false};
    buf_append_str(out, STR("at most "));
    append_size(out, b->bytes);
    buf_printf(out, " (%llu bytes): ", (unsigned long long)b->bytes);
    for (size_t n = 0; n < MEMORY_PARTS; n++) {
        size_t largest = MEMORY_PARTS;
        for (size_t i = 0; i < MEMORY_PARTS; i++)
            if (!said[i] && (largest == MEMORY_PARTS || b->parts[i].bytes > b->parts[largest].bytes))
                largest = i;
        const struct memory_part *part = &b->parts[largest];
        said[largest] = true;
        if (part->bytes == 0)
            continue;
        buf_printf(out, "%s%s ", n > 0 ? "; " : "", part->name);
        if (part->count > 1) {
            buf_printf(out, "%llu x ", (unsigned long long)part->count);
            append_size(out, part->bytes / part->count);
            buf_append_str(out, STR(" = "));
        }
        append_size(out, part->bytes);
        buf_printf(out, " (%s)", part->keys);
    }
}
