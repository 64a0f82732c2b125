"""The case of one subject: remarks go in, a standing comes out.

::

    clear ──a voice──▶ watch ──Σ > t/2──▶ suspect ──Σ > t, or a proof──▶ quarantined
      ▲                  │                   │                              │
      └──── voices fade ─┴───────────────────┘   term over and Σ ≤ t/2 ◀────┘
                                                  or operators' release

The standing is a fold over the set of remarks in one order that every node
shares, so equal sets give equal standings, whatever the order of arrival; a
late remark folds again. All arithmetic is on integers: two machines must not
disagree about the last bit of a logarithm.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

from enforcement.decide.remarks import HALF_LIFE_MS as HALF_LIFE_MS
from enforcement.decide.remarks import HALF_LIFE_S
from enforcement.decide.remarks import Basis as Basis
from enforcement.decide.remarks import Conviction as Conviction
from enforcement.decide.remarks import Level as Level
from enforcement.decide.remarks import Order as Order
from enforcement.decide.remarks import Release as Release
from enforcement.decide.remarks import Remark as Remark
from enforcement.decide.remarks import Standing as Standing
from enforcement.decide.remarks import Voice as Voice
from enforcement.decide.rules import Census, Rules
from enforcement.decide.tally import Tally
from enforcement.decide.terms import DAY_MS, UNDATED_TERM_MS, term_ms
from gossip.ledger.entries import Place, Subject
from gossip.units import UNIX_MS_MAX, NodeId, UnixMs

PARDON_SLACK_MS: Final = 120_000
"""A release covers requests signed this long before it, however late reported."""
REMARKS_PER_REPORTER_MAX: Final = 64
PROOFS_MAX: Final = 256


Weigh: TypeAlias = Callable[[NodeId, int], int]
"""The weight of a reporter, in millionths, for what it says at a time."""
Shares: TypeAlias = Callable[[NodeId, int], NodeId | None]
"""With which sponsor a reporter has one voice together at a time."""


@attrs.define
class _Track:
    """The state of the fold."""

    live: Tally = attrs.field(factory=Tally)
    offences: set[bytes] = attrs.field(factory=set)
    pardoned: set[bytes] = attrs.field(factory=set)
    basis: Basis | None = None
    since_ms: int = 0
    until_ms: int = 0
    by_most_ms: UnixMs | None = None
    end_ms: int | None = None
    """Cached: when it ends, if nothing more is said."""
    ended_ms: int | None = None
    released_ms: int | None = None
    times: int = 0
    conviction: Conviction | None = None


@attrs.define
class Case:
    """All remarks about one subject that this node holds."""

    subject: Subject
    census: Census
    _remarks: list[tuple[Order, Remark]] = attrs.field(init=False, factory=list)
    _said: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    """How many voices of each reporter are among the remarks."""
    _proofs: int = attrs.field(init=False, default=0)
    _withdrawn: dict[Place, Place | None] = attrs.field(init=False, factory=dict)
    """What counts no more, and the retraction that says so; None: operators."""
    _track: _Track | None = attrs.field(init=False, default=None)

    @classmethod
    def of(cls, subject: Subject, rules: Rules) -> "Case":
        """A case in a cluster whose size never changed."""
        return cls(subject, Census.of(rules))

    # --- what goes in ---------------------------------------------------------

    def hear(self, remark: Remark) -> None:
        """Add one remark; saying it again changes nothing."""
        at = bisect_left(self._remarks, remark.order, key=_order)
        if at < len(self._remarks) and self._remarks[at][0] == remark.order:
            return
        self._remarks.insert(at, (remark.order, remark))
        if self._track is not None and at == len(self._remarks) - 1:
            self._fold(self._track, remark)  # in order: the fold just goes on
        else:
            self._track = None
        if isinstance(remark, Voice):
            said = self._said.get(remark.reporter, 0) + 1
            self._said[remark.reporter] = said
            if said > REMARKS_PER_REPORTER_MAX:
                self.forget(remark.reporter, REMARKS_PER_REPORTER_MAX)
        elif isinstance(remark, Conviction):
            self._proofs += 1
            if self._proofs > PROOFS_MAX:
                self._forget_oldest_proof()

    def forget(self, reporter: NodeId, newest: int) -> None:
        """Of what a reporter said, hold only so many voices, the newest."""
        surplus = self._said.get(reporter, 0) - newest
        if surplus <= 0:
            return
        kept: list[tuple[Order, Remark]] = []
        for order, remark in self._remarks:
            if surplus and isinstance(remark, Voice) and remark.reporter == reporter:
                surplus -= 1
            else:
                kept.append((order, remark))
        self._remarks, self._said[reporter] = kept, newest
        # Each reporter's last voice is still there. So where older ones never led to
        # anything, and none was taken back, folding again would come to the same.
        if newest == 0 or self._withdrawn or (self._track and self._track.times):
            self._track = None

    def void(self, feed: tuple[bytes, bytes], number: int) -> None:
        """Unhear what ``feed`` said from ``number`` on."""
        kept = [
            (order, remark)
            for order, remark in self._remarks
            if (order[1], order[2]) != feed or order[3] < number
        ]
        holds = {
            place: by
            for place, by in self._withdrawn.items()
            if by is None or by[:2] != feed or by[2] < number
        }
        if len(kept) == len(self._remarks) and len(holds) == len(self._withdrawn):
            return
        self._remarks, self._withdrawn, self._track, self._said = kept, holds, None, {}
        self._proofs = sum(isinstance(remark, Conviction) for _, remark in kept)
        for _, remark in kept:
            if isinstance(remark, Voice):
                self._said[remark.reporter] = self._said.get(remark.reporter, 0) + 1

    def withdraw(self, place: Place, by: Place | None) -> None:
        """What was said at ``place`` counts no more: neither now nor then.

        ``by`` is where its author says so; None if operators do, which is final.
        """
        if place not in self._withdrawn or by is None:
            self._withdrawn[place] = by
            self._track = None

    def reweigh(self, reporter: NodeId, from_ms: int, weigh: Weigh) -> bool:
        """Take over a reporter's weights from a time on; whether any changed."""
        changed = False
        for at, (order, remark) in enumerate(self._remarks):
            if (
                isinstance(remark, Voice)
                and remark.reporter == reporter
                and order[0] >= from_ms
                and (weight := weigh(reporter, order[0])) != remark.weight_ppm
            ):
                again = attrs.evolve(remark, weight_ppm=weight)
                self._remarks[at] = (order, again)
                self._track, changed = None, True
        return changed

    def regroup(self, reporter: NodeId, shares: Shares) -> bool:
        """Take over with whom a reporter shares its voice; whether that changed."""
        changed = False
        for at, (order, remark) in enumerate(self._remarks):
            if isinstance(remark, Voice) and remark.reporter == reporter:
                shared = shares(reporter, order[0])
                if shared != remark.shared:
                    self._remarks[at] = (order, attrs.evolve(remark, shared=shared))
                    self._track, changed = None, True
        return changed

    def recount(self, census: Census) -> None:
        """The cluster has, or had, another size."""
        self.census, self._track = census, None

    # --- what can be asked ----------------------------------------------------

    def standing(self, now: int) -> Standing:
        """Say where the subject stands at ``now`` (Unix ms). Changes nothing."""
        track = self._folded_at(now)
        if track.basis is Basis.PROOF and track.live.voices and now >= track.until_ms:
            track = attrs.evolve(track)  # what is held must not run ahead of time
            self._close_if_over(track, now)
        rules = self.census.at(now)
        total = track.live.sum(now)
        if track.basis is not None and now < (end := self._end(track)):
            return Standing(
                level=Level.QUARANTINED,
                basis=track.basis,
                since_ms=UnixMs(track.since_ms),
                until_ms=UnixMs(end),
                times=track.times,
                conviction=track.conviction,
                sum_micro=total,
                by_most_ms=track.by_most_ms,
            )
        level = Level.CLEAR
        if total > 0:
            suspect = rules.voices_convict and total * 2 > rules.threshold
            level = Level.SUSPECT if suspect else Level.WATCH
        return Standing(level=level, times=track.times, sum_micro=total)

    def voices(self) -> tuple[Voice, ...]:
        """The live voices, one a reporter, oldest first."""
        live = self._folded().live.voices
        return tuple(sorted(live.values(), key=lambda v: v.order))

    def remarks(self) -> tuple[Remark, ...]:
        """Everything held about the subject, in the common order."""
        return tuple(remark for _, remark in self._remarks)

    def counts(self, remark: Remark) -> bool:
        """Whether a remark is not withdrawn. A proof is only operators' to withdraw."""
        place = remark.order[1:]
        if place not in self._withdrawn:
            return True
        return not isinstance(remark, Voice) and self._withdrawn[place] is not None

    def is_proven(self, rule: str) -> bool:
        """Whether a proof by this rule is held."""
        return any(
            isinstance(remark, Conviction) and remark.rule == rule
            for _, remark in self._remarks
        )

    # --- the fold -------------------------------------------------------------

    def _folded(self) -> _Track:
        if self._track is None:
            track = _Track()
            for _, remark in self._remarks:
                self._fold(track, remark)
            self._track = track
        return self._track

    def _folded_at(self, now: int) -> _Track:
        """The fold as of ``now``. What is stamped later counts from now, since its
        author's clock may be fast, and must not let time pass for the subject."""
        whole = self._folded()
        if not whole.times or self._remarks[-1][0][0] <= now:
            return whole
        track = _Track()
        for _, remark in self._remarks:
            self._fold(track, remark, now)
        return track

    def _fold(self, track: _Track, remark: Remark, latest: int = UNIX_MS_MAX) -> None:
        if self._withdrawn and not self.counts(remark):
            return
        at = min(remark.order[0], latest)
        self._close_if_over(track, at)
        match remark:
            case Release():
                track.live.clear()
                track.released_ms = at
                track.pardoned |= track.offences
                if track.basis is not None:
                    track.basis, track.conviction, track.ended_ms = None, None, at
            case Conviction():
                self._fold_conviction(track, remark, at)
            case Voice():
                track.live.put(remark)
                track.end_ms = None
                if track.basis is None:
                    self._convict_by_voices(track, at)
                elif track.by_most_ms is None:
                    self._note_if_by_most(track, track.live.sum(at), at)

    def _fold_conviction(self, track: _Track, proof: Conviction, at: int) -> None:
        if proof.offence in track.pardoned or proof.offence in track.offences:
            return
        track.offences.add(proof.offence)
        released = track.released_ms
        if released is not None and proof.committed_at_ms <= released - PARDON_SLACK_MS:
            return
        if track.basis is Basis.PROOF:
            return  # already out for it; a burst of offences is one quarantine
        if track.basis is Basis.VOICES:
            track.times -= 1  # the same quarantine, on better grounds
        self._begin(track, Basis.PROOF, at)
        track.conviction = proof
        if not proof.dated:
            track.until_ms = at + UNDATED_TERM_MS

    def _begin(self, track: _Track, basis: Basis, at: int) -> None:
        if track.ended_ms is not None:
            track.times = max(0, track.times - max(0, at - track.ended_ms) // DAY_MS)
        track.times += 1
        track.basis, track.since_ms, track.end_ms = basis, at, None
        track.by_most_ms = None
        track.until_ms = at + term_ms(self.subject, track.times)

    def _close_if_over(self, track: _Track, at: int) -> None:
        # Nothing ends before its term: most of what is folded need not look further.
        while track.basis is not None and track.until_ms <= at >= (
            end := self._end(track)
        ):
            by_proof = track.basis is Basis.PROOF
            track.basis, track.conviction, track.ended_ms = None, None, end
            if by_proof:  # what was said meanwhile may be enough by itself
                self._convict_by_voices(track, end)

    def _convict_by_voices(self, track: _Track, at: int) -> None:
        rules = self.census.at(at)
        if not rules.voices_convict:
            return
        total = track.live.sum(at)
        if total > rules.threshold:
            self._begin(track, Basis.VOICES, at)
            self._note_if_by_most(track, total, at)

    def _note_if_by_most(self, track: _Track, total: int, at: int) -> None:
        if total * 2 > self.census.at(at).threshold * 3:
            track.by_most_ms = UnixMs(at)

    def _end(self, track: _Track) -> int:
        """When the quarantine ends if nothing more is said."""
        if track.basis is Basis.PROOF:
            return track.until_ms
        if track.end_ms is None:
            track.end_ms = track.until_ms + 1_000 * self._fading_s(track)
        return track.end_ms

    def _fading_s(self, track: _Track) -> int:
        """Seconds after the term until what is said has faded to half."""
        begin = track.until_ms
        target = self.census.at(begin).threshold // 2

        def faded(seconds: int) -> bool:
            return track.live.sum(begin + seconds * 1_000) <= target

        if faded(0):
            return 0
        # Everything halves alike, so the sum says roughly when; a search around it
        # finds the very second, which no guess may change.
        halvings = (track.live.sum(begin) // max(1, target)).bit_length()
        low, high = 0, max(1, halvings) * HALF_LIFE_S
        while not faded(high):
            low, high = high, high + HALF_LIFE_S
        while high - low > 1:
            middle = (low + high) // 2
            if faded(middle):
                high = middle
            else:
                low = middle
        return high

    def _forget_oldest_proof(self) -> None:
        """Bound how many proofs are held; the newest remain."""
        for at, (_, remark) in enumerate(self._remarks):
            if isinstance(remark, Conviction):
                self._proofs -= 1
                del self._remarks[at]
                self._track = None
                return


def _order(pair: tuple[Order, Remark]) -> Order:
    return pair[0]
