"""From standings to what is enforced: observe mode, mercy, and the safety valve.

A proof always denies the principal's calls. What voices alone decided about
nodes, and how many links are closed, is capped, so that a cluster can never be
talked into cutting itself to pieces. Whoever is out stays out until the term ends
or operators say so; one place changes hands only if somebody whom by far most accuse
waits for it, and it was given for barely enough voices.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias

import attrs

from enforcement.decide.acts import Mercy
from enforcement.decide.case import Basis, Level, Standing
from enforcement.decide.thresholds import BURST_MS, Thresholds
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
        placed: When the valve lets, or let, those through who have a place in it.
        spent: When it let those through who gave up their places since.
        next_ms: When it lets the next one through.
    """

    denied: Mapping[Subject, Standing] = attrs.field(factory=dict)
    refused_links: frozenset[NodeId] = frozenset()
    held_back: Mapping[Subject, Withheld] = attrs.field(factory=dict)
    placed: Mapping[Subject, int] = attrs.field(factory=dict)
    spent: tuple[int, ...] = ()
    next_ms: int | None = None


NOTHING: Final = Enforced()


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
    thresholds: Thresholds,
    mercy: Mercy,
    now: int,
    *,
    observe: bool,
    before: Enforced = NOTHING,
) -> Enforced:
    """Say what to do about everyone who is quarantined at ``now``.

    Args:
        before: What was done until now: who is out keeps the place, and places given
            anew count.
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
    placed, spent = _place(by_voices, thresholds, now, before)
    through = _let_through([s for s, _ in by_voices], placed, thresholds, now, before)
    closed: list[NodeId] = []
    for subject, standing in nodes:
        if standing.basis is Basis.VOICES and subject not in through:
            held_back[subject] = Withheld.VALVE
            continue
        denied[subject] = standing
        if len(closed) < thresholds.valve:
            closed.append(NodeId(subject.id))
    return Enforced(
        denied=denied,
        refused_links=frozenset(closed),
        held_back=held_back,
        placed=placed,
        spent=spent,
        next_ms=min((at for at in placed.values() if at > now), default=None),
    )


def _place(
    ranked: list[tuple[Subject, Standing]],
    thresholds: Thresholds,
    now: int,
    before: Enforced,
) -> tuple[dict[Subject, int], tuple[int, ...]]:
    """Give the first in rank their places, in five minutes `Thresholds.burst` at most.

    Whoever waited for a place gets it now; whom we only hear of, when it should have:
    so a restart brings back who was out. A place given up counts on for five minutes.
    """
    stays = sorted(ranked, key=lambda n: (_is_barely(n[1]), n[0] not in before.denied))
    chosen = dict(stays[: thresholds.valve])
    placed = {s: at for s, at in before.placed.items() if s in chosen}
    given_up = [at for s, at in before.placed.items() if s not in chosen]
    spent = tuple(at for at in (*before.spent, *given_up) if now - BURST_MS < at <= now)
    for subject, standing in sorted(chosen.items(), key=_first_come):
        if subject in placed:
            continue
        waited = before.held_back.get(subject) is Withheld.VALVE
        begin = now if waited else standing.since_ms or 0
        taken = sorted((*spent, *placed.values()))
        if len(taken) >= thresholds.burst:
            begin = max(begin, taken[-thresholds.burst] + BURST_MS)
        placed[subject] = begin
    return placed, spent


def _let_through(
    ranked: list[Subject],
    placed: Mapping[Subject, int],
    thresholds: Thresholds,
    now: int,
    before: Enforced,
) -> set[Subject]:
    """Who is out by now. Who was, stays until another may take the place."""
    through = [subject for subject, at in placed.items() if at <= now]
    staying = [s for s in ranked if s in before.denied and s not in through]
    return {*through, *staying[: thresholds.valve - len(through)]}


def _first_come(item: tuple[Subject, Standing]) -> tuple[int, Subject]:
    return (item[1].since_ms or 0, item[0])


def _rank(item: tuple[Subject, Standing]) -> tuple[bool, bool, int, Subject]:
    """Proofs, then whom by far most accuse, then the others; as they came to be that."""
    subject, standing = item
    barely = _is_barely(standing)
    came = standing.since_ms if barely else standing.by_most_ms or standing.since_ms
    return (standing.basis is Basis.VOICES, barely, came or 0, subject)


def _alike(one: Standing, other: Standing) -> bool:
    """Whether two standings of one node give it the same rank."""
    mine = (one.basis, one.since_ms, one.by_most_ms)
    return mine == (other.basis, other.since_ms, other.by_most_ms)


def _is_barely(standing: Standing) -> bool:
    """Whether hardly more voices accuse it than it takes: it may give up its place."""
    return standing.basis is Basis.VOICES and standing.by_most_ms is None


Change: TypeAlias = tuple[Subject, "Standing | Withheld | None"]
"""A subject, and what is so from now on: denied for this, held back, or let be."""


@attrs.define
class Enforcement:
    """Keeps what is enforced up to date, without a walk over all for each change.

    Only nodes compete for the valve; all others are judged alone.
    """

    thresholds: Thresholds
    mercy: Mercy
    observe: bool
    _nodes: dict[Subject, Standing] = attrs.field(init=False, factory=dict)
    _others: dict[Subject, Standing] = attrs.field(init=False, factory=dict)
    _of_nodes: Enforced = attrs.field(init=False)
    _denied: dict[Subject, Standing] = attrs.field(init=False, factory=dict)
    _held_back: dict[Subject, Withheld] = attrs.field(init=False, factory=dict)
    _artefacts: set[Subject] = attrs.field(init=False, factory=set)

    def __attrs_post_init__(self) -> None:
        self._of_nodes = NOTHING

    # --- what can be asked ----------------------------------------------------

    def denial(self, subject: Subject) -> Standing | None:
        """Why a subject's calls are refused, if they are. Two look-ups."""
        return self._denied.get(subject) or self._of_nodes.denied.get(subject)

    def withheld(self, subject: Subject) -> Withheld | None:
        """Why a quarantine is decided but not enforced, if so."""
        return self._held_back.get(subject) or self._of_nodes.held_back.get(subject)

    def placed_ms(self, subject: Subject) -> int | None:
        """Since or from when the valve lets a node through, if it has a place there."""
        return self._of_nodes.placed.get(subject)

    @property
    def denies_anyone(self) -> bool:
        """Whether anybody's calls are refused."""
        return bool(self._denied or self._of_nodes.denied)

    @property
    def denies_artefacts(self) -> bool:
        """Whether anything is cut off by its content."""
        return bool(self._artefacts)

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
        before = kept.get(subject)
        if standing.level is Level.QUARANTINED:
            kept[subject] = standing
        elif kept.pop(subject, None) is None:
            return []
        if is_node:
            if before is not None and subject in kept and _alike(before, standing):
                return self._prolong(subject, standing)
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

    def _prolong(self, subject: Subject, standing: Standing) -> list[Change]:
        """One more voice about who is out moves no place, only the end."""
        was = self._of_nodes
        if subject in was.denied:
            denied = {**was.denied, subject: standing}
            self._of_nodes = attrs.evolve(was, denied=denied)
        return []

    def _review_nodes(self, now: int) -> list[Change]:
        was = self._of_nodes
        new = self._of_nodes = enforce(
            self._nodes,
            self.thresholds,
            self.mercy,
            now,
            observe=self.observe,
            before=was,
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
        self._artefacts.discard(subject)
        standing = self._others.get(subject)
        if standing is None:
            return [(subject, None)] if was_denied or was_held else []
        why = spare(subject, standing, self.mercy, now, observe=self.observe)
        if why is None:
            self._denied[subject] = standing
            if subject.kind is SubjectKind.ARTEFACT:
                self._artefacts.add(subject)
            return [] if was_denied else [(subject, standing)]
        self._held_back[subject] = why
        return [] if was_held is why else [(subject, why)]
