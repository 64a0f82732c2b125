"""A run as a page to look at: how it spread, who was cut and why, who is linked.

One file without scripts, fonts or links, so that it can be mailed and kept.
"""

from array import array
from collections.abc import Iterable
from html import escape
from math import cos, pi, sin
from typing import Final

import attrs

from enforcement.decide import court as rulings
from enforcement.decide.case import Level
from enforcement.decide.court import Ruling
from gossip import effects, events
from gossip.ledger.entries import Entry, EntryKind, Subject
from gossip.units import EntryId
from scenarios.citizen import Citizen
from scenarios.figures import BARS
from scenarios.run import Verdict
from scenarios.script import Scenario
from scenarios.world import World

CURVES_MAX: Final = 60
EVENTS_MAX: Final = 200
TOPOLOGY_MAX: Final = 400
_WIDTH, _HEIGHT = 760, 260
_COLOURS: Final = {"honest": "#2a7f9e", "cut": "#c0392b", "other": "#b9770e"}


@attrs.define
class Chronicle:
    """Remembers what the page shows. Implements `scenarios.onlooker.Onlooker`."""

    world: World
    spread_us: dict[EntryId, "array[int]"] = attrs.field(init=False, factory=dict)
    """For the first entries: when each node held it, the author first."""
    cuts: dict[Subject, list[tuple[int, str, str]]] = attrs.field(
        init=False, factory=dict
    )
    """Whom was cut: when, by whom, on what grounds."""
    story: list[tuple[int, str, str]] = attrs.field(init=False, factory=list)

    def handled(self, citizen: Citizen, event: events.Event) -> None:
        """Too many to draw."""

    def said(self, citizen: Citizen, kind: int) -> None:
        """Shown once it is held."""

    def admitted(self, citizen: Citizen, entry: Entry) -> None:
        """A point of a curve."""
        held = self.spread_us.get(entry.id)
        if held is None:
            if entry.author != citizen.node or len(self.spread_us) >= CURVES_MAX:
                return
            if entry.kind != EntryKind.REPORT:
                return
            held = self.spread_us[entry.id] = array("q")
        held.append(self.world.agenda.now_us)

    def noted(self, citizen: Citizen, note: effects.Note) -> None:
        """Counted elsewhere."""

    def ruled(self, citizen: Citizen, ruling: Ruling) -> None:
        """Somebody was cut."""
        if isinstance(ruling, rulings.StandingChanged):
            after = ruling.after
            if after.level is Level.QUARANTINED and citizen.role.honest:
                grounds = "proof" if after.conviction else "voices"
                self.cuts.setdefault(ruling.subject, []).append(
                    (self.world.agenda.now_us, citizen.name, grounds)
                )

    def happened(self, who: str, what: str) -> None:
        """A line of the story."""
        if len(self.story) < EVENTS_MAX:
            self.story.append((self.world.agenda.now_us, who, what))


def write_page(scenario: Scenario, verdict: Verdict, told: Chronicle) -> str:
    """The page."""
    word = "passed" if verdict.passed else "failed"
    parts = [
        f"<h1>{escape(scenario.title)} <span class={word}>{word}</span></h1>",
        f"<p>{escape(scenario.about)}</p>" if scenario.about else "",
        f"<p>{verdict.nodes} nodes, seed {verdict.seed},"
        f" {verdict.simulated_s:.1f} s simulated, {verdict.events:,} events."
        f" Trace <code>{verdict.trace_digest[:16]}</code>.</p>",
        *(f"<p class=failed>{escape(text)}</p>" for text in verdict.failures),
        "<h2>How far, how soon</h2>",
        _spread(told),
        "<h2>Who was cut, when and why</h2>",
        _cuts(told, scenario.length_s),
        "<h2>Who is linked at the end</h2>",
        _topology(told),
        "<h2>Figures</h2>",
        _figures(scenario, verdict),
        "<h2>The story</h2>",
        _table(
            ["at", "who", "does"],
            ([f"{at / 1e6:.3f} s", who, what] for at, who, what in told.story),
        ),
    ]
    return _PAGE.format(title=escape(scenario.title), body="\n".join(parts))


def _spread(told: Chronicle) -> str:
    """One curve for each entry: share of the nodes that hold it over time."""
    curves = {i: held for i, held in told.spread_us.items() if len(held) > 1}
    if not curves:
        return "<p>Nothing was said.</p>"
    nodes = len(told.world.citizens)
    longest = max(held[-1] - held[0] for held in curves.values()) or 1
    lines = []
    for held in curves.values():
        step = max(1, len(held) // 200)
        picked = sorted({*range(0, len(held), step), len(held) - 1})
        points = " ".join(
            f"{(held[i] - held[0]) / longest * _WIDTH:.1f},"
            f"{_HEIGHT - (i + 1) / nodes * _HEIGHT:.1f}"
            for i in picked
        )
        lines.append(f'<polyline points="{points}"/>')
    label = f"0 to {longest / 1_000:.1f} ms after it was durable at its author"
    return _svg(_WIDTH, _HEIGHT, "".join(lines), "curve") + (
        f"<p>Share of nodes that hold a report, bottom to top; {label}, left to"
        f" right. The first {len(curves)} reports.</p>"
    )


def _cuts(told: Chronicle, length_s: float) -> str:
    if not told.cuts:
        return "<p>Nobody.</p>"
    names: dict[bytes, str] = {c.node: c.name for c in told.world.citizens}
    end_us = max(length_s * 1e6, float(told.world.agenda.now_us))
    rows, table = [], []
    for row, (subject, cuts) in enumerate(told.cuts.items()):
        name = names.get(subject.id, str(subject)[:22])
        y = 14 + row * 18
        dots = "".join(
            f'<circle cx="{160 + at / end_us * (_WIDTH - 170):.1f}" cy="{y}" r="3"/>'
            for at, _, _ in cuts
        )
        rows.append(f'<text x="0" y="{y + 4}">{escape(name)}</text>{dots}')
        first = cuts[0]
        grounds = ", ".join(sorted({ground for _, _, ground in cuts}))
        when = [f"{at / 1e6:.3f} s" for at in (first[0], cuts[-1][0])]
        table.append([name, *when, str(len(cuts)), first[1], grounds])
    head = ["whom", "first", "last", "times", "first by", "on grounds of"]
    return _svg(_WIDTH, 10 + 18 * len(rows), "".join(rows), "cut") + _table(head, table)


def _topology(told: Chronicle) -> str:
    citizens = told.world.citizens
    if len(citizens) > TOPOLOGY_MAX:
        return f"<p>More than {TOPOLOGY_MAX} nodes are not drawn.</p>"
    cut = {subject.id for subject in told.cuts}
    radius, middle = 240, 270
    spot = {
        c.index: (
            middle + radius * sin(2 * pi * c.index / len(citizens)),
            middle - radius * cos(2 * pi * c.index / len(citizens)),
        )
        for c in citizens
    }
    lines = [
        f'<line x1="{spot[c.index][0]:.1f}" y1="{spot[c.index][1]:.1f}"'
        f' x2="{spot[peer][0]:.1f}" y2="{spot[peer][1]:.1f}"/>'
        for c in citizens
        for peer in sorted(c.links)
        if c.index < peer
    ]
    for c in citizens:
        kind = "honest" if c.role.honest else "other"
        colour = _COLOURS["cut" if c.node in cut else kind]
        x, y = spot[c.index]
        fill = colour if c.is_up else "none"
        lines.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{colour}">'
            f"<title>{escape(c.name)}</title></circle>"
        )
    return _svg(2 * middle, 2 * middle, "".join(lines), "map") + (
        "<p>Blue: honest. Amber: another role. Red: cut. Hollow: down.</p>"
    )


def _figures(scenario: Scenario, verdict: Verdict) -> str:
    limits = dict(scenario.expect.bars)
    rows = []
    for name, value in verdict.figures.items():
        meaning, least = BARS[name]
        sign = "≥" if least else "≤"
        bar = f"{sign} {limits[name]:g}" if name in limits else ""
        rows.append([name, f"{value:,.3f}", bar, meaning])
    return _table(["figure", "value", "bar", "meaning"], rows)


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _svg(width: int, height: int, inner: str, kind: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" width="{width}"'
        f' role="img">{inner}</svg>'
    )


_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto;
  padding: 0 1em; color: #222; background: #fff }}
.passed {{ color: #1e8449 }} .failed {{ color: #c0392b }}
table {{ border-collapse: collapse }} td, th {{ text-align: left;
  padding: .15em .9em .15em 0; border-bottom: 1px solid #ddd }}
svg {{ max-width: 100%; height: auto; background: #f7f7f5 }}
svg.curve polyline {{ fill: none; stroke: #2a7f9e; stroke-opacity: .5 }}
svg.cut circle {{ fill: #c0392b; fill-opacity: .6 }} svg text {{ font-size: 12px }}
svg.map line {{ stroke: #bbb; stroke-width: .6 }}
</style>
{body}
</html>
"""
