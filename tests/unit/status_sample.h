/* A snapshot of a made-up daemon, for the tests of everything that shows one. */
#ifndef PP_TESTS_UNIT_STATUS_SAMPLE_H
#define PP_TESTS_UNIT_STATUS_SAMPLE_H

#include "daemon/status.h"

#include <stdio.h>

#define SAMPLE_NOW INT64_C(1795370400000) /* 2026-11-22T18:00:00Z */

static struct listen_address sample_listen[] = {
    {.kind = LISTEN_TCP, .text = "127.0.0.1:8780", .host = "127.0.0.1", .port = 8780, .loopback = true},
    {.kind = LISTEN_UNIX, .text = "unix:/run/proofproxy/production.sock", .path = "/run/proofproxy/production.sock"}};
static struct listen_address sample_admin[] = {
    {.kind = LISTEN_UNIX, .text = "unix:/run/proofproxy/admin.sock", .path = "/run/proofproxy/admin.sock"}};
static uint32_t sample_ids[] = {1000};
static struct str sample_users[] = {{"shop", 4}};
static struct environment_config sample_environments[] = {
    {.name = "production",
     .base_url = {.text = "https://api.example", .tls = true, .host = "api.example", .port = 443},
     .listen = {sample_listen, 2},
     .token_source = TOKEN_SOURCE_FILE,
     .token_file = "/etc/proofproxy/production.token",
     .unix_access = {.mode = 0660, .owner_name = "", .group_name = "shop"},
     .allow_users = {sample_ids, sample_users, 1},
     .refuse_forwarded = true,
     .probe_interval = 60000}};
static struct config sample_config = {.path = "/etc/proofproxy/proofproxy.conf",
                                      .workers = 1,
                                      .admin_listen = {sample_admin, 1},
                                      .admin_access = {.mode = 0660},
                                      .environments = sample_environments,
                                      .environment_count = 1};

/* Everything well: one accepted token in use, one old one. */
static inline void sample_fill(struct status_snapshot *s)
{
    *s =
        (struct status_snapshot){.now = SAMPLE_NOW,
                                 .started = SAMPLE_NOW - 3600000,
                                 .config = &sample_config,
                                 .workers = 1,
                                 .reload = {.ok = true, .when = SAMPLE_NOW - 60000, .success_when = SAMPLE_NOW - 60000},
                                 .posture = "production listens on 127.0.0.1:8780",
                                 .environment_count = 1};
    struct status_environment *e = &s->environments[0];
    e->config = &sample_environments[0];
    e->usable = true;
    e->token_count = 2;
    e->tokens[0] = (struct status_token){.fingerprint = "0123456789ab",
                                         .role = TOKEN_CURRENT,
                                         .verdict = TOKEN_ACCEPTED,
                                         .in_file = true,
                                         .since = SAMPLE_NOW - 3000000,
                                         .last_used = SAMPLE_NOW - 2000,
                                         .requests = 900,
                                         .websockets = 3};
    e->tokens[1] = (struct status_token){.fingerprint = "ba9876543210",
                                         .role = TOKEN_PREVIOUS,
                                         .verdict = TOKEN_ACCEPTED,
                                         .in_file = true,
                                         .since = SAMPLE_NOW - 3000000,
                                         .last_used = SAMPLE_NOW - 720000,
                                         .requests = 100};
    (void)snprintf(e->retire_sentence, sizeof e->retire_sentence,
                   "old token ba9876543210 unused for 12 min, no WebSocket rides it: safe to retire");
    e->upstream = (struct status_upstream){.when = SAMPLE_NOW - 12000, .status = 404, .usec = 23000};
}

#endif
