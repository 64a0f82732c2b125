"""From standings to what is enforced: observe mode, mercy, and the safety valve.

A proof always denies the principal's calls. What voices alone decided about
nodes, and how many links are closed, is capped, so that a cluster can never be
talked into cutting itself to pieces. Functions of standings, of operators' acts
and of the time: nodes that agree on those agree on this.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeAlias

import attrs

from enforcement.decide.acts import Mercy
from enforcement.decide.case import Basis, Level, Standing
from enforcement.decide.rules import BURST_MS, MICRO, Rules
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import NodeId


class Withheld(StrEnum):
    """Why a quarantine is decided and not enforced."""

    OBSERVE = "observe mode"
    VALVE = "the safety valve"
    ALLOWED = "the operators' allow-list"
    STAND_DOWN = "the operators' stand-down"


@attrs.frozen(kw_only=True)
class Enforced:
    """What this node does about the standings at one moment.

    Attributes:
        denied: Whose calls are refused, and the standing that says so.
        refused_links: Nodes that may not link.
        held_back: Quarantines that are not enforced, and why.
        next_ms: When the valve lets the next one through.
    """

    denied: Mapping[Subject, Standing]
    refused_links: frozenset[NodeId]
    held_back: Mapping[Subject, Withheld]
    next_ms: int | None = None


def spare(
    subject: Subject, standing: Standing, mercy: Mercy, now: int, *, observe: bool
) -> Withheld | None:
    """Why a quarantine is not enforced, the valve left aside."""
    if mercy.stands_down_until(now) is not None:
        return Withheld.STAND_DOWN
    if mercy.allowed_until(subject, now) is not None:
        return Withheld.ALLOWED
    return Withheld.OBSERVE if observe and standing.basis is Basis.VOICES else None


def enforce(
    quarantined: Mapping[Subject, Standing],
    rules: Rules,
    mercy: Mercy,
    now: int,
    *,
    observe: bool,
) -> Enforced:
    """Say what to do about everyone who is quarantined at ``now``.

    The valve lets through whom most accuse, then who came first: an attacker who
    has accomplices fill it barely does not protect whom everybody accuses.
    """
    denied: dict[Subject, Standing] = {}
    held_back: dict[Subject, Withheld] = {}
    nodes: list[tuple[Subject, Standing]] = []
    for subject, standing in sorted(quarantined.items(), key=_rank):
        assert standing.level is Level.QUARANTINED
        why = spare(subject, standing, mercy, now, observe=observe)
        if why is not None:
            held_back[subject] = why
        elif subject.kind is SubjectKind.NODE:
            nodes.append((subject, standing))
        else:
            denied[subject] = standing
    by_voices = [node for node in nodes if node[1].basis is Basis.VOICES]
    through, next_ms = _through_valve(by_voices[: rules.valve], rules, now)
    closed: list[NodeId] = []
    for subject, standing in nodes:
        if standing.basis is Basis.VOICES and subject not in through:
            held_back[subject] = Withheld.VALVE
            continue
        denied[subject] = standing
        if len(closed) < rules.valve:
            closed.append(NodeId(subject.id))
    return Enforced(
        denied=denied,
        refused_links=frozenset(closed),
        held_back=held_back,
        next_ms=next_ms,
    )


def _through_valve(
    chosen: list[tuple[Subject, Standing]], rules: Rules, now: int
) -> tuple[set[Subject], int | None]:
    """Who of ``chosen`` is out by now, no more than `Rules.burst` in five minutes."""
    begins: list[int] = []
    through: set[Subject] = set()
    for subject, standing in sorted(chosen, key=_first_come):
        begin = standing.since_ms or 0
        if len(begins) >= rules.burst:
            begin = max(begin, begins[-rules.burst] + BURST_MS)
        begins.append(begin)
        if begin <= now:
            through.add(subject)
    return through, min((at for at in begins if at > now), default=None)


def _first_come(item: tuple[Subject, Standing]) -> tuple[int, Subject]:
    return (item[1].since_ms or 0, item[0])


def _rank(item: tuple[Subject, Standing]) -> tuple[bool, int, int, Subject]:
    standing = item[1]
    by_voices = standing.basis is Basis.VOICES
    return (
        by_voices,
        -(standing.peak_micro // MICRO) if by_voices else 0,
        *_first_come(item),
    )


Change: TypeAlias = tuple[Subject, "Standing | Withheld | None"]
"""A subject, and what is so from now on: denied for this, held back, or let be."""


@attrs.define
class Enforcement:
    """Keeps what is enforced up to date, without a walk over all for each change.

    Only nodes compete for the valve; all others are judged alone.
    """

    rules: Rules
    mercy: Mercy
    observe: bool
    _nodes: dict[Subject, Standing] = attrs.field(init=False, factory=dict)
    _others: dict[Subject, Standing] = attrs.field(init=False, factory=dict)
    _of_nodes: Enforced = attrs.field(init=False)
    _denied: dict[Subject, Standing] = attrs.field(init=False, factory=dict)
    _held_back: dict[Subject, Withheld] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._of_nodes = Enforced(
            denied={}, refused_links=frozenset(), held_back={}, next_ms=None
        )

    # --- what can be asked ----------------------------------------------------

    def denial(self, subject: Subject) -> Standing | None:
        """Why a subject's calls are refused, if they are. Two look-ups."""
        return self._denied.get(subject) or self._of_nodes.denied.get(subject)

    def withheld(self, subject: Subject) -> Withheld | None:
        """Why a quarantine is decided but not enforced, if so."""
        return self._held_back.get(subject) or self._of_nodes.held_back.get(subject)

    @property
    def denied_nodes(self) -> Mapping[Subject, Standing]:
        """The nodes whose calls are refused."""
        return self._of_nodes.denied

    @property
    def refused_links(self) -> frozenset[NodeId]:
        """The nodes that may not link."""
        return self._of_nodes.refused_links

    @property
    def next_ms(self) -> int | None:
        """When the valve lets somebody through."""
        return self._of_nodes.next_ms

    # --- what changes it ------------------------------------------------------

    def place(self, subject: Subject, standing: Standing, now: int) -> list[Change]:
        """A subject's standing is this from now on."""
        is_node = subject.kind is SubjectKind.NODE
        kept = self._nodes if is_node else self._others
        if standing.level is Level.QUARANTINED:
            kept[subject] = standing
        elif kept.pop(subject, None) is None:
            return []
        if is_node:
            return self._review_nodes(now)
        return self._review_other(subject, now)

    def review(self, now: int) -> list[Change]:
        """Observe mode, an act or the time changed: look at everybody again."""
        changes = self._review_nodes(now)
        for subject in [*self._others]:
            changes += self._review_other(subject, now)
        return changes

    def let_through(self, now: int) -> list[Change]:
        """Whom the valve held back until now."""
        due = self.next_ms is not None and now >= self.next_ms
        return self._review_nodes(now) if due else []

    def _review_nodes(self, now: int) -> list[Change]:
        was = self._of_nodes
        new = self._of_nodes = enforce(
            self._nodes, self.rules, self.mercy, now, observe=self.observe
        )
        now_out = {**new.denied, **new.held_back}
        return [
            *((s, None) for s in {**was.denied, **was.held_back} if s not in now_out),
            *((s, why) for s, why in new.denied.items() if s not in was.denied),
            *(
                (s, why)
                for s, why in new.held_back.items()
                if was.held_back.get(s) is not why
            ),
        ]

    def _review_other(self, subject: Subject, now: int) -> list[Change]:
        was_denied = self._denied.pop(subject, None) is not None
        was_held = self._held_back.pop(subject, None)
        standing = self._others.get(subject)
        if standing is None:
            return [(subject, None)] if was_denied or was_held else []
        why = spare(subject, standing, self.mercy, now, observe=self.observe)
        if why is None:
            self._denied[subject] = standing
            return [] if was_denied else [(subject, standing)]
        self._held_back[subject] = why
        return [] if was_held is why else [(subject, why)]
