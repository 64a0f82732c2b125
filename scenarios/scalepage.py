"""The page of the scale study: tables, plots, and what follows from them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import attrs

from scenarios.drawing import Line, against_size
from scenarios.geography import DETOUR, GLASS_KM_PER_MS, way_us

_BLUE, _RED, _GREEN, _GREY = "#2a7f9e", "#c0392b", "#1e8449", "#777777"


@attrs.frozen(kw_only=True)
class Row:
    """What was found at one size; times in ms of virtual time, but for ``cpu_s``.

    Attributes:
        first_p99_ms: Of the first report, while the tree takes shape; the others'
            figures leave it out.
        bytes_per_report: What one node sends for one report, mean.
        batch_bytes: The size of a batch that holds one report.
        memory_mb: What the whole simulation needed at its peak.
        reckoned_ms: By a formula; see the page.
        floor_ms: The 99th percentile of the shortest ways over the links there are.
    """

    nodes: int = attrs.field(converter=int)
    links: float
    first_p99_ms: float
    reach_p50_ms: float
    reach_p99_ms: float
    reach_max_ms: float
    cut_p50_ms: float
    cut_p99_ms: float
    bytes_per_report: float
    batch_bytes: int = attrs.field(converter=int)
    duplicates: float
    memory_mb: float
    cpu_s: float
    events: int = attrs.field(converter=int)
    reckoned_ms: float
    floor_ms: float


@attrs.frozen(kw_only=True)
class Feeds:
    """What a node holds and sends where all nodes have a feed.

    Attributes:
        held_kb: For each node and feed, the disk included, which is memory here.
        disk_kb: The disk's part of it.
    """

    nodes: int = attrs.field(converter=int)
    held_kb: float
    disk_kb: float
    sent_mb: float


@attrs.frozen(kw_only=True)
class Turns:
    """Reach among droppers, p99 in ms, the worst of some seeds.

    Attributes:
        share: Of all nodes, in percent: who passes nothing on.
        one, two: How many speak, in turn: the first report of all, and the others.
        bar_ms: What the library's scenario asks for.
    """

    share: int = attrs.field(converter=int)
    one_first_ms: float
    one_rest_ms: float
    two_first_ms: float
    two_rest_ms: float
    bar_ms: float


def write_study(
    folder: Path,
    rows: Sequence[Row],
    turns: Sequence[Turns],
    feeds: Sequence[Feeds],
    voices: Sequence[tuple[int, int]],
    cities: Sequence[str],
    verify_us: float,
) -> None:
    """Write ``scale.md`` and its plots into ``folder``.

    ``verify_us`` is what one signature takes to verify, by OpenSSL.
    """
    sizes = [row.nodes for row in rows]

    def draw(name: str, unit: str, *lines: Line) -> None:
        text = against_size(sizes, lines, unit)
        (folder / f"scale-{name}.svg").write_text(text + "\n", encoding="utf-8")

    def of(find: Callable[[Row], float]) -> list[float]:
        return [find(row) for row in rows]

    draw(
        "reach",
        "ms",
        Line("reach, p50", _BLUE, of(lambda r: r.reach_p50_ms)),
        Line("reach, p99", _RED, of(lambda r: r.reach_p99_ms)),
        Line("shortest ways, p99", _GREEN, of(lambda r: r.floor_ms), dashed=True),
        Line("hops by mean way", _GREY, of(lambda r: r.reckoned_ms), dashed=True),
    )
    draw(
        "cut",
        "ms",
        Line("cut, p50", _BLUE, of(lambda r: r.cut_p50_ms)),
        Line("cut, p99", _RED, of(lambda r: r.cut_p99_ms)),
        Line("reach, p99", _GREY, of(lambda r: r.reach_p99_ms), dashed=True),
    )
    draw(
        "bytes",
        "KB",
        Line("sent a node and report", _BLUE, of(lambda r: r.bytes_per_report / 1e3)),
        Line(
            "one batch to everybody",
            _GREY,
            of(lambda r: r.batch_bytes / 1e3),
            dashed=True,
        ),
    )
    draw(
        "cost",
        "",
        Line("KB of memory a node", _BLUE, of(lambda r: 1_024 * r.memory_mb / r.nodes)),
        Line("CPU ms a node", _RED, of(lambda r: 1_000 * r.cpu_s / r.nodes)),
    )
    text = _PAGE.format(
        table=_table(rows),
        turns=_turns(turns),
        costs=_costs(rows),
        longer=_range([row.reach_p99_ms / row.floor_ms for row in rows]),
        sent=_range([row.bytes_per_report / row.batch_bytes for row in rows]),
        feeds=_feeds(feeds),
        memory=f"{feeds[-1].held_kb - feeds[-1].disk_kb:.0f}",
        disk=f"{feeds[-1].disk_kb:.0f}",
        rotations=f"{2 * 10_000 * feeds[-1].disk_kb / 86_400:.1f}",
        voices=", ".join(f"{count:,} of {nodes:,}" for nodes, count in voices),
        verifies=f"{10_000 / 600 * verify_us / 1_000:.1f}",
        matrix=_matrix(cities),
        glass=f"{GLASS_KM_PER_MS:g}",
        detour=f"{DETOUR:g}",
    )
    (folder / "scale.md").write_text(text, encoding="utf-8")


def _table(rows: Sequence[Row]) -> str:
    return _markdown(
        [
            *("nodes", "links a node", "first, p99", "reach p50", "p99", "slowest"),
            *("shortest ways, p99", "hops by mean way", "cut p50", "cut p99"),
        ],
        [
            [
                f"{row.nodes:,}",
                f"{row.links:.1f}",
                f"{row.first_p99_ms:.0f} ms",
                *(f"{ms:.0f} ms" for ms in (row.reach_p50_ms, row.reach_p99_ms)),
                *(f"{ms:.0f} ms" for ms in (row.reach_max_ms, row.floor_ms)),
                *(f"{ms:.0f} ms" for ms in (row.reckoned_ms, row.cut_p50_ms)),
                f"{row.cut_p99_ms:.0f} ms",
            ]
            for row in rows
        ],
    )


def _turns(turns: Sequence[Turns]) -> str:
    return _markdown(
        [
            *("droppers", "one speaks: first", "others"),
            *("two in turn: first", "others", "bar at 10,000, one speaker"),
        ],
        [
            [
                f"{row.share} %",
                *(f"{ms:.0f} ms" for ms in (row.one_first_ms, row.one_rest_ms)),
                *(f"{ms:.0f} ms" for ms in (row.two_first_ms, row.two_rest_ms)),
                f"{row.bar_ms:.0f} ms",
            ]
            for row in turns
        ],
    )


def _costs(rows: Sequence[Row]) -> str:
    return _markdown(
        [
            *("nodes", "sent a node and report", "batches twice"),
            *("memory", "a node", "CPU", "a node", "events"),
        ],
        [
            [
                f"{row.nodes:,}",
                f"{row.bytes_per_report / 1e3:.1f} KB",
                f"{row.duplicates:.2f}",
                f"{row.memory_mb:,.0f} MB",
                f"{1_024 * row.memory_mb / row.nodes:.0f} KB",
                f"{row.cpu_s:.1f} s",
                f"{1_000 * row.cpu_s / row.nodes:.1f} ms",
                f"{row.events:,}",
            ]
            for row in rows
        ],
    )


def _feeds(feeds: Sequence[Feeds]) -> str:
    return _markdown(
        [
            "nodes, all of which speak",
            "a node and feed",
            "of it on disk",
            "sent a node",
        ],
        [
            [
                f"{row.nodes}",
                f"{row.held_kb:.0f} KB",
                f"{row.disk_kb:.0f} KB",
                f"{row.sent_mb:.1f} MB",
            ]
            for row in feeds
        ],
    )


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.1f} to {max(values):.1f}"


def _matrix(cities: Sequence[str]) -> str:
    return _markdown(
        ["one way, ms", *cities],
        [[a, *(f"{way_us(a, b) / 1_000:.1f}" for b in cities)] for a in cities],
    )


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_PAGE: Final = """# How Picket scales

Written by `make study`: one story in the [simulator](scenarios.md) at 100, 1 000 and 10 000 nodes, with the cores that ship. Six
cities; one node reports once a second, then another node signs a hostile request that a third one sees. Everything
was delivered and the attacker was cut by everybody, at every size.

## How soon

{table}

![Reach against size](scale-reach.svg)

*Reach* is from said to held by an honest node, over all pairs; *first* the same of the first report, while the tree takes
shape, which the others leave out; *cut* from the hostile call to an honest node refusing its sender. What grows are legs, and those with the
logarithm of N. *Shortest ways* is a floor: the ways over the links there are, if every branch of the tree were on one.
*Hops by mean way* is log N / log (2·d - 1) legs, d being how many members [each node dials](decisions/0031-whom-to-link.md), of
the mean way between two cities: what a tree drawn by lot would take. The tree is one for all who speak, shaped by
what came first through links that were only being made, so at p99 a way along it is {longer} times the shortest.

**Here one node speaks at a time.** How soon one is heard that speaks in turn with another was measured with the library's
stories of [droppers](scenarios.md#at-full-size) at 1 000 nodes, a report a second from each speaker, half a second apart; why it
differs was not. *First* is the first report of a run, *others* are all that follow; p99, the worst of three seeds. Everything was
delivered.

{turns}

![Time to quarantine against size](scale-cut.svg)

A proof convicts wherever it arrives, so a quarantine by proof takes what reach takes, and before it the call itself and the
witness's signature and disk.

## At what price

{costs}

![Bytes for each report](scale-bytes.svg)

What a node sends for a report does not depend on how many others there are; what the cluster sends is N times as much.
Reckoned is one batch for each node (a signature of 3.4 KB, and what it says), ids of 32 bytes to the neighbours that are
not below it in the tree not counted. Sent are {sent} batches: neighbours that announce a batch sooner than the tree brings it are grafted
and send it too, and others are pruned for it. *Batches twice* also counts the beginning, when there is no tree.

![Memory and processor against size](scale-cost.svg)

Memory is the simulator's at its peak, interpreter left out; CPU is with toy signatures, so a real node adds a
verification for each report. In this story only three nodes speak. Each feed that a node holds costs it besides:

{feeds}

(What is sent here is an opening: all nodes start at the same moment, before there is a tree, and each says its chain to all.
It happens once in the life of a cluster.)

## Above 10 000 nodes

Nothing above was simulated, and what is called an answer here is not built. What grows with N, and what has to change before
it hurts:

- **Every node holds every feed**: about {memory} KB of memory and {disk} KB of disk for each that has said no more than who it
  is, and every member rotates its key twice a day, which is about as much to everybody. At 10 000 nodes that is {memory}0 MB, and
  {rotations} KB/s of rotations; at 100 000 ten times as much, which a small node no longer wants to pay. *Topic scopes* are the answer: feeds of a site stay on the site, and only
  proofs, acts and rotations that somebody elsewhere needs go to all.
- **Every report goes to everybody.** With r reports a second in the cluster each node verifies r signatures: at 10 000 nodes
  that speak once in ten minutes, 17 a second, {verifies} ms of a processor for the signatures alone, by OpenSSL on the machine of this
  study; frames, disk and the rest of [a delivery](decisions/0023-what-a-delivery-costs.md) come to that. At 100 000 it is 170. Witness reports about agents concern
  the nodes these agents can reach, so they stay in their scope; proofs stay global, since they are rare and convict.
- **Voices needed grow with N**, for honest mistakes do: with three colluders tolerated it takes {voices} founders who
  report severity 8. That is right for a site of 100, and at 10 000 it means that nothing but proofs quarantines, for nobody is
  seen by hundreds. *Aggregation* is the answer: the members of a scope decide by their own N, and the decision goes to
  others as one entry with the voices it rests on, to be checked by whoever doubts it.
- **Comparing feeds** with one neighbour takes a hash where nothing differs, and a descent over N heads where something does: a node
  that was away compares O(missing · log N) hashes. That holds at any size that fits into memory.
- **Links** grow with the logarithm of N: nothing is to be done.

## Distances

One way between two nodes, to which comes 0.5 ms at least and 1.5 ms on average within any city. Computed, not measured, so that nothing
has to be licensed and nothing goes stale: great circle between the cities' coordinates, light in glass at {glass} km/ms, and
{detour} times the straight way, since cables go round what lies between. `scenarios/geography.py` holds coordinates and formula.

{matrix}
"""
