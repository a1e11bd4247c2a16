"""Small SVG plots: grouped bars, and lines over a logarithmic axis."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 56, 44
COLOURS = {"nginx": "#5b8c5a", "haproxy": "#4a7ab5", "proofproxy": "#c2571a"}


def text(x, y, what, anchor="middle", size=12, bold=False):
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}"{weight}>{escape(what)}</text>'


def box(x, y, width, height, name):
    colour = COLOURS.get(name, "#888")
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def number(value):
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def top_of(highest):
    """A round number at or above it, and the step between grid lines."""
    step = 10 ** math.floor(math.log10(highest or 1))
    for part in (0.2, 0.5, 1, 2):
        if highest / (step * part) <= 6:
            return math.ceil(highest / (step * part)) * step * part, step * part
    return math.ceil(highest / step) * step, step


def frame(title, unit, names, highest):
    """(what every plot begins with, a function from value to y)"""
    top, step = top_of(highest)
    height = HEIGHT - TOP - BOTTOM
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
           'fill="#222">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
           text(LEFT, 20, title, "start", 14, True),
           text(LEFT, 38, unit, "start", 11)]
    for i, name in enumerate(names):
        x = WIDTH - RIGHT - 100 * (len(names) - i)
        out += [box(x, 11, 11, 11, name), text(x + 16, 21, name, "start")]

    def at(value):
        return TOP + height * (1 - value / top)
    line = 0
    while line <= top * 1.0001:
        out += [f'<path d="M{LEFT} {at(line):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>',
                text(LEFT - 6, at(line) + 4, number(line), "end", 11)]
        line += step
    return out, at


def bars(title, unit, groups):
    """`groups`: [(label, {name: value})]"""
    names = list(groups[0][1])
    out, at = frame(title, unit, names, max(v for _, values in groups for v in values.values()))
    room = (WIDTH - LEFT - RIGHT) / len(groups)
    width = room * 0.8 / len(names)
    for g, (label, values) in enumerate(groups):
        for i, name in enumerate(names):
            x, y = LEFT + room * (g + 0.1) + width * i, at(values[name])
            out += [box(x, y, width - 1, at(0) - y, name), text(x + width / 2, y - 3, number(values[name]), size=9)]
        out.append(text(LEFT + room * (g + 0.5), HEIGHT - BOTTOM + 18, label, size=11))
    return "\n".join([*out, "</svg>", ""])


def lines(title, unit, axis, points):
    """`points`: [(x, {name: value})], x of at least 1, drawn on a logarithmic axis named `axis`."""
    names = list(points[0][1])
    out, at = frame(title, unit, names, max(v for _, values in points for v in values.values()))
    most = math.log(max(points[-1][0], 2))

    def across(x):
        return LEFT + 12 + (WIDTH - LEFT - RIGHT - 24) * math.log(x) / most
    for name in names:
        colour = COLOURS.get(name, "#888")
        path = " ".join(f"{across(x):.1f},{at(values[name]):.1f}" for x, values in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{across(x):.1f}" cy="{at(values[name]):.1f}" r="3" fill="{colour}"/>'
                for x, values in points]
    out += [text(across(x), HEIGHT - BOTTOM + 18, str(x), size=11) for x, _ in points]
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, axis, size=11))
    return "\n".join([*out, "</svg>", ""])
