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

from bisect import bisect_left, insort
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

from enforcement.decide.deeds import Change, Deeds
from enforcement.decide.pardons import Pardons
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
from enforcement.decide.tally import Tally
from enforcement.decide.terms import UNENDING_MS, Backoff
from enforcement.decide.thresholds import Census, Thresholds
from gossip.ledger.entries import Place, Subject
from gossip.units import UNIX_MS_MAX, NodeId, UnixMs

REMARKS_PER_REPORTER_MAX: Final = 64
RETRACTING_FEEDS_MAX: Final = 64
"""In so many feeds of its author a retraction is remembered, should they fork."""

Weigh: TypeAlias = Callable[[NodeId, int], int]
"""The weight of a reporter, in millionths, for what it says at a time."""
Shares: TypeAlias = Callable[[NodeId, int], NodeId | None]
"""With which sponsor a reporter has one voice together at a time."""
Excuses: TypeAlias = Callable[[Conviction], bool]
"""Whether operators say that a proof proves nothing."""


def _nothing(_proof: Conviction) -> bool:
    return False


@attrs.define
class _Track:
    """The state of the fold."""

    terms: Backoff
    """Of everything, proofs and voices."""
    voiced: Backoff
    """Of voices alone: what they decide, no proof that is added can end."""
    live: Tally = attrs.field(factory=Tally)
    accused: bool = False
    """Whether voices convicted it, and did not fade since."""
    faded_ms: int | None = None
    """Cached: when they will have, if nothing more is said."""
    proven_ms: int = 0
    """Until when it is out by proof."""
    since_ms: int = 0
    by_most_ms: UnixMs | None = None
    pardons: Pardons = attrs.field(factory=Pardons)
    conviction: Conviction | None = None

    def is_out(self, at: int) -> bool:
        """Whether it is cut off, when what faded until then was closed."""
        return self.accused or at < self.terms.until_ms


@attrs.define
class Case:
    """All remarks about one subject that this node holds."""

    subject: Subject
    census: Census
    excuses: Excuses = _nothing
    _remarks: list[tuple[Order, Remark]] = attrs.field(init=False, factory=list)
    _said: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    """How many voices of each reporter are among the remarks."""
    _deeds: Deeds = attrs.field(init=False)
    _withdrawn: dict[Place, dict[tuple[bytes, bytes], int]] = attrs.field(
        init=False, factory=dict
    )
    """What its author takes back, and in which feeds, each from which number on."""
    _refuted: set[Place] = attrs.field(init=False, factory=set)
    """What operators say is false."""
    _track: _Track | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._deeds = Deeds(self.excuses)

    @classmethod
    def of(cls, subject: Subject, thresholds: Thresholds) -> "Case":
        """A case in a cluster whose size never changed."""
        return cls(subject, Census.of(thresholds))

    # --- what goes in ---------------------------------------------------------

    def hear(self, remark: Remark) -> None:
        """Add one remark; saying it again changes nothing."""
        at = bisect_left(self._remarks, remark.order, key=_order)
        if at < len(self._remarks) and self._remarks[at][0] == remark.order:
            return
        if isinstance(remark, Conviction):
            gone, come = self._deeds.add(remark)
            if gone or come != [remark]:
                self._replace((gone, come))
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

    def _replace(self, change: Change) -> None:
        """Hold other tellings of some deeds."""
        gone, come = change
        for order in gone:
            del self._remarks[bisect_left(self._remarks, order, key=_order)]
        for proof in come:
            insort(self._remarks, (proof.order, proof), key=_order)
        if gone or come:
            self._track = None

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
        if newest == 0 or self._takes_back or (self._track and self._track.terms.times):
            self._track = None

    def void(self, feed: tuple[bytes, bytes], number: int) -> None:
        """Unhear what ``feed`` said from ``number`` on. A proof holds whoever showed
        it, until another does: else its reporter could take it back by telling two
        stories."""
        self._replace(self._deeds.void(feed, number))
        kept = [
            (order, remark)
            for order, remark in self._remarks
            if not isinstance(remark, Voice)
            or (order[1], order[2]) != feed
            or order[3] < number
        ]
        for feeds in self._withdrawn.values():
            if feeds.get(feed, -1) >= number:
                del feeds[feed]
                self._track = None
        if len(kept) == len(self._remarks):
            return
        self._remarks, self._track, self._said = kept, None, {}
        for _, remark in kept:
            if isinstance(remark, Voice):
                self._said[remark.reporter] = self._said.get(remark.reporter, 0) + 1

    def withdraw(self, place: Place, by: Place | None) -> None:
        """What was said at ``place`` counts no more: neither now nor then.

        ``by`` is where its author says so; None if operators do, which is final.
        """
        if by is None:
            self._refuted.add(place)
        else:
            feeds = self._withdrawn.setdefault(place, {})
            feeds[by[:2]] = min(by[2], feeds.get(by[:2], by[2]))
            if len(feeds) > RETRACTING_FEEDS_MAX:
                del feeds[max(feeds)]
        self._track = None

    def excuse(self) -> None:
        """Operators excuse more than they did."""
        self._replace(self._deeds.excuse())
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
        times, total = track.terms.times, track.live.sum(now)
        proven = now < track.proven_ms
        end = track.proven_ms if proven else track.terms.until_ms
        if track.accused and not proven:
            end = max(end, self._faded_ms(track))
        if now < end:
            return Standing(
                level=Level.QUARANTINED,
                basis=Basis.PROOF if proven else Basis.VOICES,
                since_ms=UnixMs(track.since_ms),
                until_ms=UnixMs(end),
                times=times,
                conviction=track.conviction if proven else None,
                sum_micro=total,
                by_most_ms=track.by_most_ms,
            )
        thresholds = self.census.at(now)
        level = Level.CLEAR
        if total > 0:
            suspect = thresholds.voices_convict and total * 2 > thresholds.threshold
            level = Level.SUSPECT if suspect else Level.WATCH
        return Standing(level=level, times=track.terms.left(now), sum_micro=total)

    def voices(self) -> tuple[Voice, ...]:
        """The live voices, one a reporter, oldest first."""
        live = self._folded().live.voices
        return tuple(sorted(live.values(), key=lambda v: v.order))

    def stories(self) -> tuple[bytes, ...]:
        """What a release must name to pardon it: the two stories that are proven."""
        return tuple(sorted(self._folded().pardons.stories))

    def remarks(self) -> tuple[Remark, ...]:
        """Everything held about the subject, in the common order."""
        return tuple(remark for _, remark in self._remarks)

    def counts(self, remark: Remark) -> bool:
        """Whether a remark is not withdrawn, or, if it is a proof, not excused: a proof
        is its author's no more to take back."""
        if isinstance(remark, Conviction):
            return not self.excuses(remark)
        place = remark.order[1:]
        return place not in self._refuted and not self._withdrawn.get(place)

    def knows(self, offence: bytes) -> bool:
        """Whether two stories stand against it, or operators pardoned or excuse them:
        then it need not be told again."""
        return self._folded().pardons.knows(offence) or any(
            isinstance(remark, Conviction)
            and remark.offence == offence
            and self.excuses(remark)
            for _, remark in self._remarks
        )

    @property
    def _takes_back(self) -> bool:
        return bool(self._withdrawn or self._refuted)

    # --- the fold -------------------------------------------------------------

    def _new_track(self) -> _Track:
        return _Track(terms=Backoff(self.subject), voiced=Backoff(self.subject))

    def _folded(self) -> _Track:
        if self._track is None:
            track = self._new_track()
            for _, remark in self._remarks:
                self._fold(track, remark)
            self._track = track
        return self._track

    def _folded_at(self, now: int) -> _Track:
        """The fold as of ``now``. What is stamped later counts from now, since its
        author's clock may be fast, and must not let time pass for the subject."""
        whole = self._folded()
        if not whole.terms.times or self._remarks[-1][0][0] <= now:
            return whole
        track = self._new_track()
        for _, remark in self._remarks:
            self._fold(track, remark, now)
        return track

    def _fold(self, track: _Track, remark: Remark, latest: int = UNIX_MS_MAX) -> None:
        if (self._takes_back or isinstance(remark, Conviction)) and not self.counts(
            remark
        ):
            return
        at = min(remark.order[0], latest)
        self._close_if_faded(track, at)
        match remark:
            case Release():
                track.live.clear()
                track.terms.cut(at)
                track.voiced.cut(at)
                track.accused, track.faded_ms, track.by_most_ms = False, None, None
                track.proven_ms, track.conviction = 0, track.pardons.grant(remark)
                if track.conviction is not None:
                    self._never_end(track)
            case Conviction():
                self._fold_conviction(track, remark, at)
            case Voice():
                track.live.put(remark)
                track.faded_ms = None
                self._judge_voices(track, at)

    def _fold_conviction(self, track: _Track, proof: Conviction, at: int) -> None:
        if track.pardons.covers(proof):
            return
        if not track.is_out(at):
            track.since_ms = at
        told = track.conviction
        if at >= track.proven_ms or (told and told.dated and not proof.dated):
            track.conviction = proof
        track.proven_ms = max(track.proven_ms, track.terms.add(at))
        if not proof.dated:
            self._never_end(track)

    def _never_end(self, track: _Track) -> None:
        track.proven_ms = UNENDING_MS
        track.terms.extend(UNENDING_MS)

    def _judge_voices(self, track: _Track, at: int) -> None:
        if track.accused and track.by_most_ms is not None:
            return
        thresholds = self.census.at(at)
        total = track.live.sum(at)
        if not track.accused:
            if not thresholds.voices_convict or total <= thresholds.threshold:
                return
            if not track.is_out(at):
                track.since_ms = at
            track.accused, track.by_most_ms = True, None
            track.voiced.add(at)
            track.terms.add(at)
        if total * 2 > thresholds.threshold * 3:
            track.by_most_ms = UnixMs(at)

    def _close_if_faded(self, track: _Track, at: int) -> None:
        # Nothing ends before its term: most of what is folded need not look further.
        if track.accused and track.voiced.until_ms <= at >= self._faded_ms(track):
            end = self._faded_ms(track)
            track.voiced.extend(end)
            track.terms.extend(end)
            track.accused, track.faded_ms = False, None

    def _faded_ms(self, track: _Track) -> int:
        """When the quarantine by voices ends if nothing more is said."""
        if track.faded_ms is None:
            track.faded_ms = track.voiced.until_ms + 1_000 * self._fading_s(track)
        return track.faded_ms

    def _fading_s(self, track: _Track) -> int:
        """Seconds after the term until what is said has faded to half."""
        begin = track.voiced.until_ms
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


def _order(pair: tuple[Order, Remark]) -> Order:
    return pair[0]
