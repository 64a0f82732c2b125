"""A run as a page to look at: how it spread, who was cut and why, who is linked.

One file without scripts, fonts or links, so that it can be mailed and kept.
"""

from array import array
from collections.abc import Iterable
from html import escape
from typing import Final

import attrs

from enforcement.decide import rulings
from enforcement.decide.case import Level
from enforcement.decide.rulings import Ruling
from gossip import effects, events
from gossip.ledger.entries import Entry, EntryKind, Subject
from gossip.units import EntryId
from scenarios.citizen import Citizen
from scenarios.drawing import Dot, Spot, curves, ring, timeline
from scenarios.figures import BARS
from scenarios.run import Verdict
from scenarios.script import Scenario
from scenarios.world import World

CURVES_MAX: Final = 60
EVENTS_MAX: Final = 200
TOPOLOGY_MAX: Final = 400
_RED: Final = "#c0392b"


@attrs.frozen
class Turn:
    """A node put somebody away, or let it go."""

    at_us: int
    by: str
    kind: str
    grounds: str


@attrs.define
class Chronicle:
    """Remembers what the page shows. Implements `scenarios.onlooker.Onlooker`."""

    world: World
    spread_us: dict[EntryId, "array[int]"] = attrs.field(init=False, factory=dict)
    """For the first entries: when each node held it, the author first."""
    turns: dict[Subject, list[Turn]] = attrs.field(init=False, factory=dict)
    """What became of everybody who was ever put away."""
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
        """Somebody was put away, or let go."""
        if not isinstance(ruling, rulings.StandingChanged) or not citizen.role.honest:
            return
        before, after = ruling.before.level, ruling.after.level
        if Level.QUARANTINED not in (before, after):
            return
        self.turns.setdefault(ruling.subject, []).append(
            Turn(
                at_us=self.world.agenda.now_us,
                by=citizen.name,
                kind="cut" if after is Level.QUARANTINED else "freed",
                grounds=str(ruling.after.basis or ""),
            )
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
        _cuts(told),
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
    held = [line for line in told.spread_us.values() if len(line) > 1]
    if not held:
        return "<p>Nothing was said.</p>"
    return curves(held, len(told.world.citizens)) + (
        f"<p>Share of the nodes that hold a report, over the time since it was durable"
        f" at its author; the first {len(held)} reports.</p>"
    )


def _cuts(told: Chronicle) -> str:
    if not told.turns:
        return "<p>Nobody.</p>"
    names: dict[bytes, str] = {c.node: c.name for c in told.world.citizens}
    rows, table = [], []
    for subject, turns in told.turns.items():
        name = names.get(subject.id, str(subject)[:22])
        rows.append((name, [Dot(turn.at_us, turn.kind) for turn in turns]))
        cuts = [turn for turn in turns if turn.kind == "cut"]
        if cuts:
            when = [f"{turn.at_us / 1e6:.3f} s" for turn in (cuts[0], cuts[-1])]
            grounds = ", ".join(sorted({turn.grounds for turn in cuts}))
            table.append([name, *when, str(len(cuts)), cuts[0].by, grounds])
    head = ["whom", "first", "last", "times", "first by", "on grounds of"]
    return (
        timeline(rows, max(1, told.world.agenda.now_us))
        + "<p>Red: an honest node put it away. Green: one let it go.</p>"
        + _table(head, table)
    )


def _topology(told: Chronicle) -> str:
    citizens = told.world.citizens
    if len(citizens) > TOPOLOGY_MAX:
        return f"<p>More than {TOPOLOGY_MAX} nodes are not drawn.</p>"
    cut = {subject.id for subject in told.turns}
    spots = [
        Spot(c.name, _RED if c.node in cut else _colour(c), c.is_up) for c in citizens
    ]
    links = [(c.index, p) for c in citizens for p in sorted(c.links) if c.index < p]
    return ring(spots, links) + (
        "<p>Blue: honest. Amber: another role. Red: put away by somebody at some time."
        " Hollow: down.</p>"
    )


def _colour(citizen: Citizen) -> str:
    return "#2a7f9e" if citizen.role.honest else "#b9770e"


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


_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto;
  padding: 0 1em; color: #222; background: #fff }}
.passed {{ color: #1e8449 }} .failed {{ color: #c0392b }}
table {{ border-collapse: collapse }} td, th {{ text-align: left;
  padding: .15em .9em .15em 0; border-bottom: 1px solid #ddd }}
svg {{ max-width: 100%; height: auto }} svg text {{ font-size: 12px; fill: #555 }}
svg line {{ stroke: #ccc; stroke-width: .7 }}
polyline {{ fill: none; stroke: #2a7f9e; stroke-opacity: .55 }}
.cut {{ fill: #c0392b; fill-opacity: .6 }} .freed {{ fill: #1e8449; fill-opacity: .6 }}
</style>
{body}
</html>
"""
