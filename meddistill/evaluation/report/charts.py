"""The report's charts, as SVG that takes its colours from the page: light and dark, sharp at any
size, a few kB each.

Every function is pure and returns safe markup; text that comes from data is escaped on the way in.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape

WIDTH = 440
_LEFT, _RIGHT = 54, 14
_MOST_DOTS = 400


@dataclasses.dataclass(frozen=True)
class Series:
    """Values of one method, a name each. `css` is the class that colours it."""

    label: str
    css: str
    values: Sequence[float]
    names: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Axis:
    """A linear scale from data to px, with round ticks."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1)
        return self.start + min(max(share, 0), 1) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        step = _round_step((self.high - self.low) / 4 or 1)
        first = math.ceil(self.low / step - 1e-9)
        return [round(i * step, 10) for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def strips(series: Sequence[Series], *, low: float, high: float, title: str) -> Markup:
    """One strip a method: a dot a case, quartiles as a box, the median as a line, the mean as a
    diamond.

    Args:
        series: a method's values each.
        low: left end of the axis.
        high: its right end.
        title: what is shown, for a screen reader.
    """
    row_height, top = 78, 8
    height = top + row_height * len(series) + 26
    axis = Axis(low, high, _LEFT - 38, WIDTH - _RIGHT)
    parts = [_grid(axis, top, height - 26)]
    for number, one in enumerate(series):
        middle = top + row_height * number + 46
        q1, median, q3 = np.percentile(one.values, [25, 50, 75])
        mean = float(np.mean(one.values))
        parts += [
            _text(axis.start, middle - 27, one.label, "label"),
            *_dots(one, axis, middle),
            _tag(
                "rect",
                x=axis(q1),
                y=middle - 9,
                width=max(axis(q3) - axis(q1), 0.5),
                height=18,
                rx=3,
                class_="box",
            ),
            _tag(
                "line",
                x1=axis(median),
                x2=axis(median),
                y1=middle - 9,
                y2=middle + 9,
                class_="median",
            ),
            _tag("path", d=f"M{axis(mean):.1f} {middle - 5}l5 5l-5 5l-5-5z", class_="mean"),
        ]
        parts[-4:] = [_tag("g", Markup("").join(parts[-4:]), class_=one.css)]
    return _svg(height, title, parts)


def _dots(one: Series, axis: Axis, middle: float) -> list[Markup]:
    """Dots stacked away from the middle line, so that many equal values look many; an even choice
    of very many."""
    order = np.argsort(one.values, kind="stable")
    if len(order) > _MOST_DOTS:
        order = order[np.linspace(0, len(order) - 1, _MOST_DOTS).round().astype(int)]
    taken: dict[int, int] = {}
    dots = []
    for index in order:
        x = axis(one.values[index])
        level = taken.get(round(x / 5), 0)
        taken[round(x / 5)] = level + 1
        step = (level + 1) // 2 * (1 if level % 2 else -1)
        # Stacks higher than the strip fold back onto themselves.
        offset = math.copysign(abs(step) % 6, step) * 3.2
        name = _tag("title", escape(f"{one.names[index]}: {one.values[index]:.3g}"))
        dots.append(_tag("circle", name, cx=x, cy=middle + offset, r=2.6, class_="dot"))
    return [_tag("g", Markup("").join(dots))]


@dataclasses.dataclass(frozen=True)
class Line:
    """Points of a curve in the unit square. `css` is the class that colours it; `dots` shows each
    point; `marked` is one point with a text."""

    x: Sequence[float]
    y: Sequence[float]
    css: str = "student"
    dots: bool = False
    marked: tuple[float, float, str] | None = None


def curve(
    line: Line,
    *,
    x_label: str,
    y_label: str,
    title: str,
    diagonal: bool = False,
    others: Sequence[Line] = (),
) -> Markup:
    """A curve in the unit square, beside the diagonal where asked.

    Args:
        line: its points and how they are drawn.
        x_label: what the horizontal axis is.
        y_label: what the vertical axis is.
        title: what the chart shows, for screen readers.
        diagonal: draw the diagonal, too.
        others: curves below it.
    """
    height = 300
    across, up = Axis(0, 1, _LEFT, WIDTH - _RIGHT), Axis(0, 1, height - 44, 12)
    parts = [_grid(across, 12, height - 44), _side_ticks(up)]
    parts.append(_text((across.start + across.end) / 2, height - 6, x_label, "axis middle"))
    parts.append(
        _text(
            0,
            0,
            y_label,
            "axis middle",
            transform=f"translate(9 {(up.start + up.end) / 2:.0f}) rotate(-90)",
        )
    )
    if diagonal:
        parts.append(
            _tag("path", d=f"M{across(0)} {up(0)}L{across(1)} {up(1)}", class_="reference")
        )
    parts += [_drawn(each, across, up) for each in (*others, line)]
    return _svg(height, title, parts)


def _drawn(line: Line, across: Axis, up: Axis) -> Markup:
    points = [(across(a), up(b)) for a, b in zip(line.x, line.y, strict=True)]
    inside = [_tag("path", d=_polyline(points), class_="line")]
    if line.dots:
        inside += [_tag("circle", cx=a, cy=b, r=3.2, class_="node") for a, b in points]
    if line.marked is not None:
        a, b = across(line.marked[0]), up(line.marked[1])
        end = "end" if line.marked[0] > 0.5 else ""
        inside += [
            _tag("circle", cx=a, cy=b, r=5.5, class_="marked"),
            _text(a - 10 if end else a + 10, b + 18, line.marked[2], f"label {end}"),
        ]
    return _tag("g", Markup("").join(inside), class_=line.css)


def epochs(values: Sequence[float | None], *, title: str) -> Markup:
    """A small line over epochs; gaps where a value is missing."""
    width, height = 240, 96
    known = [value for value in values if value is not None]
    if not known:
        return Markup("")
    low, high = min(known), max(known)
    if low == high:
        low, high = low - abs(low) * 0.1 - 1e-9, high + abs(high) * 0.1 + 1e-9
    across, up = Axis(0, max(len(values) - 1, 1), 4, width - 4), Axis(low, high, height - 8, 8)
    parts, run = [], []
    for place, value in enumerate([*values, None]):
        if value is not None:
            run.append((across(place), up(value)))
        elif run:
            dot = run if len(run) == 1 else []
            parts.append(_tag("path", d=_polyline(run), class_="line"))
            parts += [_tag("circle", cx=a, cy=b, r=2, class_="node") for a, b in dot]
            run = []
    return _svg(height, title, [_tag("g", Markup("").join(parts), class_="student")], width=width)


def stack(parts: Mapping[str, tuple[float, str]], *, title: str) -> Markup:
    """One bar of shares that lie side by side: label -> (value, css). Values below 0 are not
    drawn.
    """
    shown = {label: (value, css) for label, (value, css) in parts.items() if value > 0}
    axis = Axis(0, sum(value for value, _ in shown.values()), 0, WIDTH)
    rects, start = [], 0.0
    for label, (value, css) in shown.items():
        left, right = axis(start), axis(start + value)
        name = _tag("title", escape(f"{label}: {value:.3f}"))
        rects.append(
            _tag(
                "rect",
                name,
                x=left,
                y=0,
                width=max(right - left - 1.5, 0.5),
                height=22,
                rx=3,
                class_=css,
            )
        )
        start += value
    return _svg(22, title, rects, preserveAspectRatio="none")


def interval(
    mean: float, ci: Sequence[float] | None, *, css: str, low: float = 0.0, high: float = 1.0
) -> Markup:
    """A mean with its interval as a small line, to stand in a table.

    Args:
        mean: where the mark is.
        ci: ends of the interval.
        css: class that gives the colour.
        low: left end of the axis.
        high: its right end.
    """
    width = 120
    axis = Axis(low, high, 5, width - 5)
    parts = [_tag("line", x1=axis.start, x2=axis.end, y1=8, y2=8, class_="gridline")]
    if ci is not None:
        parts.append(_tag("line", x1=axis(ci[0]), x2=axis(ci[1]), y1=8, y2=8, class_="whisker"))
    parts.append(_tag("circle", cx=axis(mean), cy=8, r=4, class_="node"))
    return _svg(16, f"{mean:.3f}", [_tag("g", Markup("").join(parts), class_=css)], width=width)


def _grid(axis: Axis, top: float, bottom: float) -> Markup:
    lines = []
    for tick in axis.ticks:
        lines.append(
            _tag("line", x1=axis(tick), x2=axis(tick), y1=top, y2=bottom, class_="gridline")
        )
        lines.append(_text(axis(tick), bottom + 16, f"{tick:g}", "tick middle"))
    return Markup("").join(lines)


def _side_ticks(axis: Axis) -> Markup:
    return Markup("").join(
        _text(_LEFT - 8, axis(tick) + 4, f"{tick:g}", "tick end") for tick in axis.ticks
    )


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return power * next(step for step in (1, 2, 2.5, 5, 10) if raw <= step * power * (1 + 1e-9))


def _polyline(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) if points else ""


def _text(x: float, y: float, content: str, css: str, **attributes: str) -> Markup:
    return _tag("text", escape(content), x=x, y=y, class_=css, **attributes)


def _svg(
    height: float, title: str, parts: Sequence[Markup], width: float = WIDTH, **attributes: str
) -> Markup:
    box = f"0 0 {width} {height:.0f}"
    return _tag(
        "svg", Markup("").join(parts), viewBox=box, role="img", aria_label=title, **attributes
    )


def _tag(name: str, content: Markup | None = None, **attributes: str | float) -> Markup:
    texts = []
    for key, value in attributes.items():
        text = f"{value:.5g}" if isinstance(value, float) else value
        texts.append(Markup('{}="{}"').format(key.rstrip("_").replace("_", "-"), text))
    return Markup("<{0} {1}>{2}</{0}>").format(name, Markup(" ").join(texts), content or "")
