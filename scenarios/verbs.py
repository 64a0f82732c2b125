"""The words of a story: what each step needs, and what it may say besides.

This table is what the reader of scenario files checks against, and what
`docs/scenarios.md` describes; `scenarios.story` performs them.
"""

from typing import Final

import attrs

AGENTS: Final = 1_000
"""Harmless reports are about so many different agents."""

REPEATED: Final = frozenset({"every_s", "times"})
_TOLD: Final = frozenset({"severity", "category"})


@attrs.frozen(kw_only=True)
class Verb:
    """One thing a step can do.

    Attributes:
        needs: Keys besides ``at_s`` and ``does`` that must be there.
        takes: Keys that may be there.
        speaks: Keys of those who write into their feeds.
        meaning: One line for people.
    """

    meaning: str
    needs: frozenset[str] = frozenset({"who"})
    takes: frozenset[str] = frozenset()
    speaks: tuple[str, ...] = ()


VERBS: Final[dict[str, Verb]] = {
    "report": Verb(
        meaning="say something harmless about an agent, to see it spread",
        takes=REPEATED,
        speaks=("who",),
    ),
    "accuse": Verb(
        meaning="publish a witness report about somebody who did nothing",
        needs=frozenset({"who", "whom"}),
        takes=REPEATED | _TOLD,
        speaks=("who",),
    ),
    "forge": Verb(
        meaning="publish a proof against somebody, with forged signatures",
        needs=frozenset({"who", "whom"}),
        takes=REPEATED,
        speaks=("who",),
    ),
    "misbehave": Verb(
        meaning="do what can be seen but not proven; those under seen_by report it",
        needs=frozenset({"who", "seen_by"}),
        takes=REPEATED | _TOLD,
        speaks=("seen_by",),
    ),
    "offend": Verb(
        meaning="send a hostile request, properly signed, to those under seen_by",
        needs=frozenset({"who", "seen_by"}),
        takes=REPEATED,
        speaks=("seen_by",),
    ),
    "call": Verb(
        meaning="let an agent call a tool beside whom, through the gates of both",
        needs=frozenset({"who", "whom", "tool"}),
        takes=REPEATED | {"role", "params", "forbidden"},
        speaks=("who", "whom"),
    ),
    "release": Verb(
        meaning="publish the operators' act that lets somebody go",
        needs=frozenset({"who", "whom"}),
        speaks=("who",),
    ),
    "rotate": Verb(
        meaning="go on with the next operational key", takes=REPEATED, speaks=("who",)
    ),
    "junk": Verb(
        meaning="send garbage to every linked node",
        takes=REPEATED | {"bytes"},
    ),
    "partition": Verb(
        meaning="cut all links between the sides",
        needs=frozenset({"sides", "for_s"}),
    ),
    "deafen": Verb(
        meaning="lose what is sent to them, though not what they send",
        needs=frozenset({"who", "for_s"}),
    ),
    "crash": Verb(
        meaning="stop at once; start again after for_s, or never unless it joins",
        takes=frozenset({"for_s", "keep_disk", "but"}),
    ),
    "leave": Verb(meaning="close all links and stop", takes=frozenset({"for_s"})),
    "join": Verb(meaning="be absent until now"),
    "slow": Verb(
        meaning="take `factor` times as long to do anything about what it hears",
        needs=frozenset({"who", "factor", "for_s"}),
    ),
    "skew": Verb(
        meaning="let the clock be wrong, or run wrong, from now on",
        takes=frozenset({"offset_ms", "drift_ppm"}),
    ),
    "turn": Verb(
        meaning="play another role from now on",
        needs=frozenset({"who", "into"}),
        takes=frozenset({"but"}),
    ),
    "lose": Verb(
        meaning="lose this share of all frames",
        needs=frozenset({"share", "for_s"}),
    ),
}
