"""A chart of horizontal bars, as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH = 860
LEFT = 16
BARS = 250
"""Where bars begin."""
LONGEST = 440
BAR = 13
"""From one bar to the next."""
THICK = 10
GAP = 14
"""Between works."""
TOP = 92
FONT = "font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif\""
EXPLANATION = (
    "Shorter is better. Bars of one work share a scale, works do not. Thin lines: smallest to largest run."
)
INK, FAINT = "#1f2328", "#59636e"


@dataclass(frozen=True)
class Bar:
    """One peer at one work: median, smallest and largest."""

    label: str
    colour: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """One work."""

    title: str
    bars: list[Bar]


def draw(groups: list[Group], legend: list[tuple[str, str]]) -> str:
    """The chart. Works cost too unlike for one scale: bars of one work share one, works don't."""
    groups = [group for group in groups if group.bars]
    height = TOP + sum(len(group.bars) * BAR + GAP for group in groups)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="CPU per request by work and peer" {FONT}>',
        # A ground of its own, so that it can be read on light and dark pages.
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(LEFT, 28, "CPU per request, in microseconds", 17, INK, 'font-weight="600"'),
        _text(LEFT, 48, EXPLANATION, 12, FAINT),
        *_legend(legend),
    ]
    y = TOP
    for group in groups:
        parts += _group(group, y)
        y += len(group.bars) * BAR + GAP
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(entries: list[tuple[str, str]]) -> list[str]:
    parts, x = [], LEFT
    for title, colour in entries:
        parts.append(f'<rect x="{x}" y="61" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(x + 17, 71, title, 12, INK))
        x += 34 + 7 * len(title)
    return parts


def _group(group: Group, top: float) -> list[str]:
    middle = top + len(group.bars) * BAR / 2
    line = top - GAP / 2
    parts = [
        f'<line x1="{LEFT}" y1="{line}" x2="{WIDTH - LEFT}" y2="{line}" stroke="#d1d9e0" stroke-width="1"/>',
        *_title(group.title, middle),
    ]
    largest = max(bar.high for bar in group.bars)
    for place, bar in enumerate(group.bars):
        y = top + place * BAR
        length, low, high = (LONGEST * value / largest for value in (bar.value, bar.low, bar.high))
        centre = y + THICK / 2
        parts.append(f'<rect x="{BARS}" y="{y}" width="{length:.1f}" height="{THICK}" fill="{bar.colour}"/>')
        parts.append(
            f'<line x1="{BARS + low:.1f}" y1="{centre}" x2="{BARS + high:.1f}" y2="{centre}" '
            f'stroke="{INK}" stroke-width="1.5"/>'
        )
        number = f"{bar.value:,.0f}" if bar.value >= 100 else f"{bar.value:.1f}"
        label = f'{number} <tspan fill="{FAINT}">{escape(bar.label)}</tspan>'
        x = BARS + max(length, high) + 6
        parts.append(f'<text x="{x:.1f}" y="{y + 9}" font-size="11" fill="{INK}">{label}</text>')
    return parts


def _title(title: str, middle: float) -> list[str]:
    """In as many lines as it needs: SVG breaks none."""
    lines = [""]
    for word in title.split():
        if lines[-1] and len(lines[-1]) + len(word) > 32:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    top = middle + 4 - (len(lines) - 1) * 7.5
    return [_text(LEFT, top + 15 * place, line, 12.5, INK) for place, line in enumerate(lines)]


def _text(x: float, y: float, text: str, size: float, colour: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" {more}>{escape(text)}</text>'
