"""What stands by itself reaches everybody, also from behind a fork of its feed."""

from collections.abc import Iterable
from itertools import permutations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcement.decide.acts import write_release
from enforcement.decide.case import Level
from enforcement.decide.court import Court, LookAgain, Retell, Ruling
from enforcement.decide.deeds import PROOF_LIFE_MS
from enforcement.decide.retelling import (
    PER_AUTHOR_MAX,
    RETOLD_MAX,
    TURN_MS,
    Retelling,
)
from gossip.ledger.entries import Entry, EntryKind, ProofKind
from gossip.membership.founders import ActKind
from gossip.units import NodeId, UnixMs
from tests.support.courts import (
    AGENT,
    MINUTE,
    NAMES,
    ROSTER,
    Feeds,
    court,
    node,
    subject,
)
from tests.support.forks import fork
from tests.support.members import NOW

EARLIER = NOW - MINUTE


@attrs.define
class Town:
    """Courts that say again what they are asked to; birch is the one who forks."""

    feeds: Feeds = attrs.field(factory=Feeds)
    courts: dict[str, Court] = attrs.field(
        factory=lambda: {name: court(name) for name in NAMES if name != "birch"}
    )
    held: dict[tuple[object, ...], Entry] = attrs.field(factory=dict)
    retold: list[str] = attrs.field(factory=list)

    def hear(self, entry: Entry, by: Iterable[str] | None = None) -> None:
        self.held[entry.place] = entry
        for name in by if by is not None else self.courts:
            self._rule(name, self.courts[name].hear(entry, NOW), NOW)

    def fork(self, liar: str = "birch") -> None:
        proof, kind = fork(liar), ProofKind.EQUIVOCATION
        self.hear(self.feeds.accuse("ash", subject(liar), proof=proof, kind=kind))

    def pass_time(self) -> None:
        """Let each look again when its turn is, the first first."""
        for at in range(NOW, NOW + 4 * TURN_MS, TURN_MS):
            for name, judge in self.courts.items():
                self._rule(name, judge.tick(UnixMs(at)), at)

    def _rule(self, name: str, ruled: list[Ruling], at: int) -> None:
        for ruling in ruled:
            if isinstance(ruling, Retell):
                self.retold.append(name)
                old = self.held[ruling.place]
                self.hear(self.feeds.say(name, old.kind, old.body, at))


@pytest.mark.parametrize("forked_first", [True, False])
@pytest.mark.parametrize("heard_by", [["ash"], ["cedar"], ["elm", "fir"], ["fir"]])
def test_a_proof_that_one_node_heard_before_the_fork_convicts_at_every_node(
    heard_by: list[str], forked_first: bool
) -> None:
    town = Town()
    shown = town.feeds.accuse("birch", AGENT, proof=b"p")
    if forked_first:
        town.fork()
    town.hear(shown, heard_by)
    if not forked_first:
        town.fork()
    town.pass_time()
    for judge in town.courts.values():
        standing = judge.standing(AGENT, UnixMs(NOW + 1))
        assert standing.level is Level.QUARANTINED
        assert judge.denial(AGENT) is not None
    assert len(town.retold) == 1
    assert town.retold[0] in heard_by


def test_what_everybody_heard_is_told_again_but_once() -> None:
    town = Town()
    town.hear(town.feeds.accuse("birch", AGENT, proof=b"p"))
    town.fork()
    town.pass_time()
    town.pass_time()
    assert len(town.retold) == 1


def test_what_another_told_too_and_mere_words_are_not_told_again() -> None:
    town = Town()
    for by in ("birch", "cedar"):
        town.hear(town.feeds.accuse(by, AGENT, proof=b"p"))
    town.hear(town.feeds.accuse("birch", subject("fir")))
    town.fork()
    town.pass_time()
    assert town.retold == []


def test_what_stood_before_the_fork_reaches_everybody_anyhow() -> None:
    town = Town()
    town.hear(town.feeds.accuse("birch", AGENT, proof=b"p"), ["cedar"])
    entry = town.feeds.accuse(
        "ash", subject("birch"), proof=fork("birch", 1), kind=ProofKind.EQUIVOCATION
    )
    town.hear(entry)
    town.pass_time()
    assert town.retold == []


def test_an_act_that_a_liar_carried_to_some_holds_for_all() -> None:
    town = Town()
    town.hear(town.feeds.accuse("cedar", AGENT, EARLIER, proof=b"p%d" % EARLIER))
    act = town.feeds.decide("birch", ActKind.RELEASE, write_release(AGENT, "mended"))
    town.hear(act, ["fir"])
    town.fork()
    assert town.courts["ash"].denial(AGENT) is not None
    town.pass_time()
    assert all(judge.denial(AGENT) is None for judge in town.courts.values())
    assert town.retold == ["fir"]


def test_an_act_behind_a_fork_that_is_known_holds_all_the_same() -> None:
    feeds, judge = Feeds(), court()
    judge.hear(feeds.accuse("cedar", AGENT, EARLIER, proof=b"p%d" % EARLIER), NOW)
    proof, kind = fork("birch"), ProofKind.EQUIVOCATION
    judge.hear(feeds.accuse("ash", subject("birch"), proof=proof, kind=kind), NOW)
    payload = write_release(AGENT, "mended")
    judge.hear(feeds.decide("birch", ActKind.RELEASE, payload), NOW)
    assert judge.denial(AGENT) is None


def test_who_must_wait_for_its_turn_is_woken_for_it() -> None:
    """Of all that heard it, some have a later turn."""
    feeds, asked = Feeds(), []
    shown = feeds.accuse("birch", AGENT, proof=b"p")
    proof, kind = fork("birch"), ProofKind.EQUIVOCATION
    forked = feeds.accuse("ash", subject("birch"), proof=proof, kind=kind)
    for name in NAMES:
        judge = court(name)
        judge.hear(shown, NOW)
        ruled = judge.hear(forked, NOW)
        asked += [r.at_ms - NOW for r in ruled if isinstance(r, LookAgain)]
    assert {1, TURN_MS} <= set(asked)


def test_nobody_makes_us_tell_more_again_than_we_can_bear() -> None:
    """Its own share of what lasts is what each pays with."""
    retelling = Retelling(node("ash"), ROSTER)
    feeds = Feeds()
    for number in range(2 * PER_AUTHOR_MAX):
        told = feeds.say("birch", EntryKind.REPORT, b"")
        retelling.tell((NOW, b"%d" % number), told, NOW)
    retelling.void(told.feed, 0, NOW)
    assert len(retelling.take(NOW + MINUTE)) == PER_AUTHOR_MAX
    for author in range(2 * RETOLD_MAX):
        strange = attrs.evolve(told, author=NodeId(author.to_bytes(32, "big")))
        retelling.tell((NOW, b"a%d" % author), strange, NOW)
        retelling.void(strange.feed, 0, NOW)
    assert len(retelling.take(NOW + MINUTE)) == RETOLD_MAX - PER_AUTHOR_MAX


def test_what_would_prove_nothing_any_more_is_not_told_again() -> None:
    """Stories and acts have no date of their own that could be over."""
    retelling, feeds = Retelling(node("ash"), ROSTER), Feeds()
    told = feeds.say("birch", EntryKind.REPORT, b"")
    for dated in (NOW - PROOF_LIFE_MS - 1, NOW - PROOF_LIFE_MS, -1):
        retelling.tell((dated, b"%d" % dated), told, NOW)
    retelling.void(told.feed, 0, NOW)
    assert len(retelling.take(NOW + MINUTE)) == 2


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_each_heard_before_the_forks_all_agree_in_the_end(
    data: st.DataObject,
) -> None:
    """Up to two liars show proofs of several deeds, and each entry to some alone."""
    town = Town(courts={name: court(name) for name in ("ash", "cedar", "fir")})
    liars = data.draw(st.lists(st.sampled_from(["birch", "elm"]), max_size=2))
    for _ in range(data.draw(st.integers(1, 8))):
        dated = NOW - data.draw(st.integers(0, 20)) * MINUTE
        at = dated + data.draw(st.integers(0, 20)) * MINUTE
        by = data.draw(st.sampled_from(["birch", "elm", "cedar", "ash"]))
        shown = town.feeds.accuse(by, AGENT, at, proof=b"p%d" % dated)
        some = st.lists(st.sampled_from([*town.courts]), min_size=1, unique=True)
        town.hear(shown, data.draw(some) if by in liars else None)
    for liar in liars:
        town.fork(liar)
    town.pass_time()
    told = [judge.standings() for judge in town.courts.values()]
    assert told[1:] == told[:-1]
    times = [NOW + n * MINUTE for n in range(60)]
    for whom in told[0]:
        stands = [
            [judge.standing(whom, UnixMs(at)) for at in times]
            for judge in town.courts.values()
        ]
        assert stands[1:] == stands[:-1]


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_what_everybody_gets_to_hear_counts_before_what_is_behind_a_fork(
    order: tuple[int, ...],
) -> None:
    feeds, judge = Feeds(), court()
    proof, kind = fork("birch"), ProofKind.EQUIVOCATION
    early, late = NOW - 10 * MINUTE, NOW
    said = [
        feeds.accuse("birch", AGENT, early, proof=b"p%d" % early),
        feeds.accuse("cedar", AGENT, late, proof=b"p%d" % early),
        feeds.accuse("ash", subject("birch"), proof=proof, kind=kind),
    ]
    for at in order:
        judge.hear(said[at], NOW)
    standing = judge.standing(AGENT, NOW)
    assert standing.since_ms == late
    assert standing.conviction is not None
    assert standing.conviction.reporter == node("cedar")
