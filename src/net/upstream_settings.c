/* The way upstream, as an environment's config says it. */
#include "net/upstream.h"

void upstream_settings_of(const struct environment_config *e, unsigned warm, struct upstream_settings *out)
{
    *out = (struct upstream_settings){
        .environment = e->name,
        .host = e->base_url.host,
        .port = e->base_url.port,
        .tls = e->base_url.tls,
        .ca_file = e->ca_file,
        .tls_min_version = e->tls_min_version,
        .pinned_spki = e->pinned_spki.items,
        .pinned_count = e->pinned_spki.count,
        .proxy = e->egress_proxy,
        .interface = e->egress_interface,
        .connect_timeout = e->connect_timeout,
        .warm = warm,
    };
}
