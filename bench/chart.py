"""Charts as SVG, written by hand."""

import math
from html import escape

COLOURS = ["#1b6ca8", "#d1495b", "#66a182", "#edae49", "#6b4e9b"]
STYLE = "font-family:sans-serif;font-size:12px"


def svg(width, height, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" style="{STYLE}">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="white"/>', *parts, "</svg>"]) + "\n"


def text(x, y, content, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(content)}</text>'


def line(x1, y1, x2, y2, colour="#ccc", width=1):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def ratios(document):
    """How many times as long as rbuild each builder takes, a bar each, on a logarithmic scale."""
    rows = [row for row in document["rows"] if row["ratios"]]
    names = sorted({name for row in rows for name in row["ratios"]})
    highest = max((spread[2] for row in rows for spread in row["ratios"].values()), default=1)
    lowest = min([1, *(spread[1] for row in rows for spread in row["ratios"].values())])
    decades = (math.floor(math.log10(lowest)), max(1, math.ceil(math.log10(highest))))
    left, top, bar, plot = 230, 50, 14, 520

    def place(value):
        return left + plot * (math.log10(value) - decades[0]) / (decades[1] - decades[0])

    parts, y = [text(10, 20, "Times in multiples of rbuild's: median, line from lowest to highest")], top
    for index, name in enumerate(names):
        parts.append(text(left + 110 * index, 40, f"■ {name}", extra=f'fill="{COLOURS[index % len(COLOURS)]}"'))
    for row in rows:
        parts.append(text(left - 10, y + bar * len(row["ratios"]) / 2 + 4, row["row"], "end"))
        for name, (middle, low, high) in row["ratios"].items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            start, end = sorted((place(1), place(middle)))
            parts.append(f'<rect x="{start:.1f}" y="{y + 2}" width="{end - start:.1f}" height="{bar - 4}" fill="{colour}"/>')
            parts.append(line(place(low), y + bar / 2, place(high), y + bar / 2, "black"))
            parts.append(text(place(high) + 4, y + bar - 3, f"×{middle:.1f}"))
            y += bar
        y += 8
    grid = []
    for decade in range(decades[0], decades[1] + 1):
        x = place(10**decade)
        grid += [line(x, top, x, y), text(x, y + 14, f"{10**decade:g}", "middle")]
    return svg(left + plot + 80, y + 30, grid + parts)


def growth(title, x_name, series):
    """Lines through points on logarithmic scales. `series`: name to (unit, [(x, y)])."""
    left, top, width, height = 80, 50, 480, 320
    points = [point for _, line_points in series.values() for point in line_points if min(point) > 0]
    if not points:
        return svg(300, 60, [text(10, 30, f"{title}: nothing was measured")])
    ranges = []
    for values in zip(*points):
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        ranges.append((low, max(high, low + 1)))
    (x_low, x_high), (y_low, y_high) = ranges

    def place(x, y):
        return (
            left + width * (math.log10(x) - x_low) / (x_high - x_low),
            top + height * (y_high - math.log10(y)) / (y_high - y_low),
        )

    parts = [text(10, 20, title), text(left + width / 2, top + height + 40, x_name, "middle")]
    for decade in range(x_low, x_high + 1):
        x, _ = place(10**decade, 10**y_low)
        parts += [line(x, top, x, top + height), text(x, top + height + 18, f"{10**decade:,g}", "middle")]
    for decade in range(y_low, y_high + 1):
        _, y = place(10**x_low, 10**decade)
        parts += [line(left, y, left + width, y), text(left - 8, y + 4, f"{10**decade:g}", "end")]
    for index, (name, (unit, line_points)) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        placed = [place(*point) for point in sorted(line_points) if min(point) > 0]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        parts.append(text(left + 150 * index, 40, f"■ {name} ({unit})", extra=f'fill="{colour}"'))
    return svg(left + width + 40, top + height + 60, parts)
