"""Means, percentiles, tables in Markdown, and plots as SVG written by hand."""
import math
from xml.sax.saxutils import escape


def mean(values):
    return sum(values) / len(values) if values else float("nan")


def deviation(values):
    m = mean(values)
    return math.sqrt(sum((v - m) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else 0.0


def percentile(values, p):
    """Between the two nearest ranks."""
    if not values:
        return float("nan")
    values = sorted(values)
    at = (len(values) - 1) * p / 100
    low = int(at)
    return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (at - low)


def with_deviation(values, digits=1):
    return f"{mean(values):.{digits}f} \u00b1 {deviation(values):.{digits}f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def ticks(most):
    """Round numbers from 0 to a little above `most`."""
    step = 10 ** math.floor(math.log10(most or 1))
    for factor in (0.2, 0.5, 1, 2, 5, 10):
        if most / (step * factor) <= 6:
            step *= factor
            break
    return [step * i for i in range(int(most / step + 1e-9) + 2)]


def number(value):
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


COLORS = ("#0f766e", "#c2571a", "#4c51bf", "#a3156f", "#52606d")


def plot(path, title, x_name, y_name, series):
    """Lines with points. series: {name: [(x, y), ...]}."""
    width, height, left, right, top, bottom = 640, 380, 70, 20, 46, 52
    points = [p for line in series.values() for p in line if all(math.isfinite(v) for v in p)]
    xs, ys = ticks(max(p[0] for p in points)), ticks(max(p[1] for p in points))
    x = lambda v: left + (width - left - right) * v / xs[-1]
    y = lambda v: height - bottom - (height - top - bottom) * v / ys[-1]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
           'font-family="system-ui, sans-serif" font-size="12" fill="#444">',
           f'<rect width="{width}" height="{height}" fill="#fff"/>',
           f'<text x="{left}" y="20" font-size="15" font-weight="600" fill="#111">{escape(title)}</text>']
    for v in ys:
        out.append(f'<path d="M{left} {y(v):.1f}H{width - right}" stroke="#e4e4e0"/><text x="{left - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{number(v)}</text>')
    for v in xs:
        out.append(f'<path d="M{x(v):.1f} {height - bottom}v5" stroke="#888"/><text x="{x(v):.1f}" y="{height - bottom + 19}" text-anchor="middle">{number(v)}</text>')
    out.append(f'<text x="{(left + width - right) / 2}" y="{height - 12}" text-anchor="middle">{escape(x_name)}</text>')
    out.append(f'<text transform="translate(16 {(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle">{escape(y_name)}</text>')
    for i, (name, line) in enumerate(series.items()):
        color = COLORS[i % len(COLORS)]
        line = [(x(a), y(b)) for a, b in sorted(line) if math.isfinite(b)]
        out.append(f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in line)}" fill="none" stroke="{color}" stroke-width="2"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.2" fill="{color}"/>' for a, b in line]
        if len(series) > 1:
            out.append(f'<rect x="{left + i * 120}" y="30" width="10" height="10" rx="2" fill="{color}"/><text x="{left + 15 + i * 120}" y="39">{escape(name)}</text>')
    with open(path, "w") as file:
        file.write("\n".join(out) + "\n</svg>\n")
