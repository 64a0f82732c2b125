"""Drawings as SVG: curves over time, a timeline, a ring of nodes, figures against size."""

from collections.abc import Sequence
from html import escape
from math import cos, floor, log10, pi, sin
from typing import Final

import attrs

WIDTH, HEIGHT = 760, 280
_LEFT, _BOTTOM, _RIGHT = 150, 24, 12
_TICKS: Final = 5


@attrs.frozen
class Dot:
    """One moment on a timeline; ``kind`` is its CSS class."""

    at_us: int
    kind: str


@attrs.frozen
class Spot:
    """One node of a ring."""

    name: str
    colour: str
    filled: bool


def curves(lines: Sequence[Sequence[int]], total: int) -> str:
    """For each of ``lines``, sorted moments in microseconds: the share over time.

    One in a hundred moments may be off the paper: else whoever comes back tens of
    seconds later makes an upright of every curve.
    """
    begin, end = 50, WIDTH - _RIGHT
    top, ground = 10, HEIGHT - _BOTTOM
    delays = sorted(at - line[0] for line in lines for at in line)
    most_us = delays[-(-len(delays) * 99 // 100) - 1] if delays else 0
    longest = 1_000 * _TICKS * _round_step(max(most_us, 1) / 1_000 / _TICKS)
    late = sum(delay > longest for delay in delays)
    parts = [_axis(begin, end, ground, *_scaled(longest))]
    if late:
        told = f"{late} of {len(delays)} later, the last after {_told(delays[-1])}"
        parts.append(
            f'<text x="{end}" y="{ground - 6}" text-anchor="end">{told}</text>'
        )
    for percent in (0, 50, 100):
        y = ground - percent / 100 * (ground - top)
        parts.append(
            f'<text x="0" y="{y + 4:.0f}">{percent} %</text>'
            f'<line x1="{begin}" x2="{end}" y1="{y:.0f}" y2="{y:.0f}"/>'
        )
    for line in lines:
        step = max(1, len(line) // 200)
        points = " ".join(
            f"{begin + (line[i] - line[0]) / longest * (end - begin):.1f},"
            f"{ground - (i + 1) / total * (ground - top):.1f}"
            for i in sorted({*range(0, len(line), step), len(line) - 1})
            if line[i] - line[0] <= longest
        )
        parts.append(f'<polyline points="{points}"/>')
    return _svg(WIDTH, HEIGHT, parts)


def timeline(rows: Sequence[tuple[str, Sequence[Dot]]], end_us: int) -> str:
    """One row of dots for each name, from the beginning to ``end_us``."""
    end, ground = WIDTH - _RIGHT, 18 * len(rows) + 6
    parts = [_axis(_LEFT, end, ground, end_us / 1e6, "s")]
    for row, (name, dots) in enumerate(rows):
        y = 12 + row * 18
        parts.append(f'<text x="0" y="{y + 4}">{escape(name)}</text>')
        parts += [
            f'<circle class="{dot.kind}" cy="{y}" r="3"'
            f' cx="{_LEFT + dot.at_us / end_us * (end - _LEFT):.1f}"/>'
            for dot in dots
        ]
    return _svg(WIDTH, ground + _BOTTOM, parts)


def ring(spots: Sequence[Spot], links: Sequence[tuple[int, int]]) -> str:
    """Nodes on a circle, by number, and who is linked to whom."""
    radius, middle = 240, 260
    places = [
        (
            middle + radius * sin(2 * pi * i / len(spots)),
            middle - radius * cos(2 * pi * i / len(spots)),
        )
        for i in range(len(spots))
    ]
    parts = [
        f'<line x1="{places[a][0]:.1f}" y1="{places[a][1]:.1f}"'
        f' x2="{places[b][0]:.1f}" y2="{places[b][1]:.1f}"/>'
        for a, b in links
    ]
    for (x, y), spot in zip(places, spots, strict=True):
        fill = spot.colour if spot.filled else "#fff"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}"'
            f' stroke="{spot.colour}"><title>{escape(spot.name)}</title></circle>'
        )
    return _svg(2 * middle, 2 * middle, parts)


@attrs.frozen
class Line:
    """Figures against sizes; ``dashed`` if they were reckoned, not seen."""

    name: str
    colour: str
    values: Sequence[float]
    dashed: bool = False


def against_size(sizes: Sequence[int], lines: Sequence[Line], unit: str) -> str:
    """A file of its own: each line's figures, over sizes on a logarithmic axis."""
    begin, end, top, ground = 70, WIDTH - 190, 20, HEIGHT - 2 * _BOTTOM
    most = _TICKS * _round_step(max(max(line.values) for line in lines) / _TICKS)
    least, span = log10(sizes[0]), log10(sizes[-1] / sizes[0]) or 1.0
    xs = [begin + (log10(size) - least) / span * (end - begin) for size in sizes]
    parts = [
        f'<text x="{x:.0f}" y="{ground + 18}" text-anchor="middle">{size:,}</text>'
        for x, size in zip(xs, sizes, strict=True)
    ]
    parts.append(
        f'<text x="{(begin + end) / 2:.0f}" y="{ground + 38}"'
        ' text-anchor="middle">nodes</text>'
    )
    for tick in range(_TICKS + 1):
        y = ground - tick / _TICKS * (ground - top)
        parts.append(
            f'<line x1="{begin}" x2="{end}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>'
            f'<text x="{begin - 8}" y="{y + 4:.0f}" text-anchor="end">'
            f"{most * tick / _TICKS:,.3g}{f' {unit}' if tick == _TICKS else ''}</text>"
        )
    for number, line in enumerate(lines):
        ys = [ground - value / most * (ground - top) for value in line.values]
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        style = f'fill="none" stroke="{line.colour}" stroke-width="2"{dash}'
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        y = top + 18 * number
        parts.append(
            f'<polyline points="{points}" {style}/>'
            + "".join(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{line.colour}"/>'
                for x, y in zip(xs, ys, strict=True)
            )
            + f'<line x1="{end + 14}" x2="{end + 38}" y1="{y}" y2="{y}" {style}/>'
            f'<text x="{end + 44}" y="{y + 4}">{escape(line.name)}</text>'
        )
    frame = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    style = "<style>text{font:12px system-ui,sans-serif;fill:#444}</style>"
    return _svg(WIDTH, HEIGHT, [style, frame, *parts]).replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1
    )


def _round_step(least: float) -> float:
    """The next of 1, 2, 2.5 and 5 times a power of ten."""
    power = 10.0 ** floor(log10(least)) if least > 0 else 1.0
    return next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= least)


def _scaled(micros: float) -> tuple[float, str]:
    """A duration in the unit that people say it in."""
    return (micros / 1e6, "s") if micros >= 1e6 else (micros / 1_000, "ms")


def _told(micros: float) -> str:
    amount, unit = _scaled(micros)
    return f"{amount:.3g} {unit}"


def _axis(begin: int, end: int, ground: int, last: float, unit: str) -> str:
    """Ticks and numbers from 0 to ``last``."""
    parts = []
    for tick in range(_TICKS + 1):
        x = begin + (end - begin) * tick / _TICKS
        anchor = "end" if tick == _TICKS else "middle"
        parts.append(
            f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{ground}" y2="{ground + 5}"/>'
            f'<text x="{x:.0f}" y="{ground + 18}" text-anchor="{anchor}">'
            f"{last * tick / _TICKS:.3g}{f' {unit}' if tick == _TICKS else ''}</text>"
        )
    return "".join(parts)


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img">'
        f"{''.join(parts)}</svg>"
    )
