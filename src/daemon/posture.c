/* The sentence about who can use the daemon. */
#include "daemon/posture.h"

static void append_list(struct buf *out, const struct str *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_append_str(out, STR(", "));
        buf_append_str(out, items[i]);
    }
}

static void append_listeners(struct buf *out, const struct listen_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0)
            buf_append_str(out, STR(", "));
        buf_append_str(out, str_of(list->items[i].text));
        if (list->items[i].kind == LISTEN_TCP && !list->items[i].loopback)
            buf_append_str(out, STR(" (NOT LOOPBACK)"));
    }
}

static void append_gate(struct buf *out, const struct environment_config *e)
{
    if (e->allow_users.count == 0 && e->allow_groups.count == 0) {
        buf_append_str(out, STR("off (every local user)"));
        return;
    }
    buf_append_str(out, STR("on ("));
    if (e->allow_users.count > 0) {
        buf_append_str(out, STR("users "));
        append_list(out, e->allow_users.names, e->allow_users.count);
    }
    if (e->allow_groups.count > 0) {
        buf_append_str(out, e->allow_users.count > 0 ? STR("; groups ") : STR("groups "));
        append_list(out, e->allow_groups.names, e->allow_groups.count);
    }
    buf_append_char(out, ')');
}

static bool any_unix(const struct listen_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].kind == LISTEN_UNIX)
            return true;
    return false;
}

static void append_unix_access(struct buf *out, const struct unix_access *access)
{
    buf_printf(out, "unix mode %04o", (unsigned)access->mode & 07777u);
    if (access->owner_name != NULL && access->owner_name[0] != '\0')
        buf_printf(out, " owner %s", access->owner_name);
    if (access->group_name != NULL && access->group_name[0] != '\0')
        buf_printf(out, " group %s", access->group_name);
}

void posture_environment_text(const struct environment_config *e, struct buf *out)
{
    buf_append_str(out, STR("listens on "));
    append_listeners(out, &e->listen);
    if (any_unix(&e->listen)) {
        buf_append_str(out, STR("; "));
        append_unix_access(out, &e->unix_access);
    }
    buf_append_str(out, STR("; peer gate "));
    append_gate(out, e);
    buf_append_str(out, STR("; Host localhost, 127.0.0.1, [::1]"));
    if (e->allowed_hosts.count > 0) {
        buf_append_str(out, STR(", "));
        append_list(out, e->allowed_hosts.items, e->allowed_hosts.count);
    }
    buf_append_str(out, STR("; Origin "));
    if (e->allowed_origins.count == 0)
        buf_append_str(out, STR("refused"));
    else
        append_list(out, e->allowed_origins.items, e->allowed_origins.count);
    buf_append_str(out, STR("; marker header "));
    if (e->require_name.n == 0)
        buf_append_str(out, STR("off"));
    else
        buf_append_str(out, e->require_name);
    if (!e->refuse_forwarded)
        buf_append_str(out, STR("; FORWARDED REQUESTS LET THROUGH"));
}

void posture_text(const struct config *c, bool memory_locked, struct buf *out)
{
    for (size_t i = 0; i < c->environment_count; i++) {
        buf_printf(out, "%s%s ", i > 0 ? " | " : "", c->environments[i].name);
        posture_environment_text(&c->environments[i], out);
    }
    buf_append_str(out, STR(" | admin "));
    if (c->admin_listen.count == 0)
        buf_append_str(out, STR("off"));
    append_listeners(out, &c->admin_listen);
    if (any_unix(&c->admin_listen)) {
        buf_append_str(out, STR("; "));
        append_unix_access(out, &c->admin_access);
    }
    buf_append_str(out, memory_locked ? STR(" | tokens locked in memory") : STR(" | TOKENS NOT LOCKED IN MEMORY"));
}
