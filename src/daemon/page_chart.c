/* SVG charts from a history. */
#include "daemon/page_chart.h"

#include <inttypes.h>
#include <stdio.h>

#define MERGE  3u /* steps per point: half a minute */
#define POINTS (HISTORY_STEPS / MERGE)
#define WIDTH  720.0
#define HEIGHT 120.0
#define COLUMN (WIDTH / POINTS)

static size_t points_of(const struct history *h, struct history_point points[static HISTORY_STEPS])
{
    return h == NULL ? 0 : history_points(h, MERGE, points);
}

/* `legend`: HTML that names the colours. */
static void begin(struct buf *out, const char *title, const char *summary, const char *legend)
{
    buf_printf(out,
               "<figure><figcaption><b>%s</b> <span>%s</span>%s</figcaption>"
               "<svg viewBox=\"0 0 %.0f %.0f\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"%s: %s\">"
               "<path class=\"grid\" d=\"M0 0.5H%.0fM0 %.1fH%.0fM0 %.1fH%.0f\"/>",
               title, summary, legend, WIDTH, HEIGHT, title, summary, WIDTH, HEIGHT / 2, WIDTH, HEIGHT - 0.5, WIDTH);
}

static void end(struct buf *out)
{
    buf_append_str(out, STR("</svg><div class=\"axis\"><span>1 h ago</span><span>30 min</span><span>now</span></div>"
                            "</figure>"));
}

static void bar(struct buf *out, size_t column, uint32_t value, uint32_t most)
{
    double height = most == 0 ? 0 : HEIGHT * value / most;
    if (value > 0)
        buf_printf(out, "M%.1f %.1fV%.1fh%.1fV%.1fz", (double)column * COLUMN + 0.5, HEIGHT, HEIGHT - height,
                   COLUMN - 1, HEIGHT);
}

void page_chart_requests(struct buf *out, const struct history *h)
{
    struct history_point points[HISTORY_STEPS];
    size_t count = points_of(h, points);
    uint32_t most = 0;
    uint64_t requests = 0, errors = 0;
    char summary[160];
    for (size_t i = 0; i < count; i++) {
        most = points[i].requests > most ? points[i].requests : most;
        requests += points[i].requests;
        errors += points[i].errors;
    }
    (void)snprintf(summary, sizeof summary,
                   "%" PRIu64 " in the last hour, %" PRIu64 " of them failed (5xx or aborted); peak %.1f per second",
                   requests, errors, (double)most / (MERGE * HISTORY_STEP / 1000.0));
    begin(out, "Requests", summary, " <i class=\"kbar\">all</i> <i class=\"kbad\">failed</i>");
    buf_append_str(out, STR("<path class=\"bar\" d=\""));
    for (size_t i = 0; i < count; i++)
        bar(out, i, points[i].requests, most);
    buf_append_str(out, STR("\"/><path class=\"bad\" d=\""));
    for (size_t i = 0; i < count; i++)
        bar(out, i, points[i].errors, most);
    buf_append_str(out, STR("\"/>"));
    end(out);
}

/* A line through the points that have a value; a gap where there is none, a dash where a point stands alone. */
static void line(struct buf *out, const struct history_point *points, size_t count, bool p99, int64_t most)
{
    bool drawing = false;
    buf_printf(out, "<path class=\"%s\" d=\"", p99 ? "p99" : "p50");
    for (size_t i = 0; i < count && most > 0; i++) {
        int64_t value = p99 ? points[i].p99 : points[i].p50;
        double y = HEIGHT - 1 - (HEIGHT - 2) * (double)value / (double)most;
        if (value >= 0 && !drawing)
            buf_printf(out, "M%.1f %.1fh%.1f", (double)i * COLUMN, y, COLUMN);
        else if (value >= 0)
            buf_printf(out, "L%.1f %.1fh%.1f", ((double)i + 0.5) * COLUMN, y, COLUMN / 2);
        drawing = value >= 0;
    }
    buf_append_str(out, STR("\"/>"));
}

static void milliseconds(int64_t usec, char out[static 24])
{
    if (usec < 10000)
        (void)snprintf(out, 24, "%.1f ms", (double)usec / 1e3);
    else if (usec < 1000000)
        (void)snprintf(out, 24, "%.0f ms", (double)usec / 1e3);
    else
        (void)snprintf(out, 24, "%.1f s", (double)usec / 1e6);
}

void page_chart_latency(struct buf *out, const struct history *h)
{
    struct history_point points[HISTORY_STEPS];
    size_t count = points_of(h, points);
    int64_t most = 0, last50 = -1, last99 = -1;
    char summary[160], a[24], b[24], c[24];
    for (size_t i = 0; i < count; i++) {
        most = points[i].p99 > most ? points[i].p99 : most;
        if (points[i].p50 >= 0) {
            last50 = points[i].p50;
            last99 = points[i].p99;
        }
    }
    if (last50 < 0) {
        (void)snprintf(summary, sizeof summary, "no request in the last hour");
    } else {
        milliseconds(last50, a);
        milliseconds(last99, b);
        milliseconds(most, c);
        (void)snprintf(summary, sizeof summary, "median %s, 99th percentile %s; highest in the hour %s", a, b, c);
    }
    begin(out, "Latency", summary, " <i class=\"k50\">median</i> <i class=\"k99\">99th percentile</i>");
    line(out, points, count, false, most);
    line(out, points, count, true, most);
    end(out);
}
