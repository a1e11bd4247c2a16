/* What the admin listener shows, as text: each a pure function of one snapshot. */
#ifndef PP_DAEMON_PAGES_H
#define PP_DAEMON_PAGES_H

#include "daemon/status.h"

/* /status: one JSON object, newline at its end; its schema is in proofproxy(8). PP_NOMEM on failure. */
enum pp_result pages_status_json(const struct status_snapshot *s, struct buf *out) PP_MUST_CHECK;

/* /metrics: everything of the daemon and its workers in the Prometheus text format. */
enum pp_result pages_metrics(const struct status_snapshot *s, struct metrics *m, struct buf *out) PP_MUST_CHECK;

/* The status page: one self-contained HTML document that works without JavaScript. */
enum pp_result pages_html(const struct status_snapshot *s, struct buf *out) PP_MUST_CHECK;
/* Its Content-Security-Policy: nothing from anywhere but the page's own style and script, named by hash. */
const char *pages_html_policy(void);

#endif
