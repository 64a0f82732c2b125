"""The valve over time: who is out stays out, and a cluster accused in part stays one."""

import random
from collections import Counter

import pytest

from enforcement.decide.acts import Mercy
from enforcement.decide.case import Basis, Case, Level, Standing, Voice
from enforcement.decide.quarantine import NOTHING, Enforcement, Withheld, enforce
from enforcement.decide.thresholds import BURST_MS, Thresholds
from gossip.ledger.entries import Subject, SubjectKind
from gossip.spread.view import LINKS_MIN
from gossip.units import NodeId, UnixMs

NOW = 1_800_000_000_000
MINUTE = 60_000


def node(n: int) -> Subject:
    return Subject(SubjectKind.NODE, n.to_bytes(32, "big"))


def out(since: int, by_most: int | None = None) -> Standing:
    return Standing(
        level=Level.QUARANTINED,
        basis=Basis.VOICES,
        since_ms=UnixMs(since),
        until_ms=UnixMs(since + 60 * MINUTE),
        by_most_ms=None if by_most is None else UnixMs(by_most),
    )


def said(by: int, at: int, severity: int = 9) -> Voice:
    reporter = NodeId(by.to_bytes(32, "big"))
    return Voice(
        order=(at, reporter, b"i", at, 0),
        reporter=reporter,
        category="rate-abuse",
        severity=severity,
        weight_ppm=900_000,
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("members", [16, 40, 64])
def test_voices_that_trickle_in_about_40_percent_make_nobody_flap(
    seed: int, members: int
) -> None:
    """The theorem of the bar: at most a tenth is out, whoever is out stays, few swap,
    and honest nodes stay connected although each draws only a few links."""
    chance, thresholds = random.Random(seed), Thresholds(members=members)
    accused = [node(n) for n in range(members * 4 // 10)]
    cases = {subject: Case.of(subject, thresholds) for subject in accused}
    told = [(by, subject) for subject in accused for by in range(members)]
    told = [(by, subject) for by, subject in told if node(by) != subject]
    chance.shuffle(told)
    enforcement = Enforcement(thresholds, Mercy(), observe=False)
    begun: Counter[Subject] = Counter()
    starts: list[int] = []
    held: set[Subject] = set()
    for step, (by, subject) in enumerate(told):
        now = NOW + step * 12 * MINUTE // len(told)
        cases[subject].hear(said(by, now))
        changes = enforcement.place(subject, cases[subject].standing(now), now)
        for who, what in changes:
            if isinstance(what, Standing):
                begun[who] += 1
                starts.append(now)
            held |= {who} if what is Withheld.VALVE else set()
        assert len(enforcement.denied_nodes) <= max(1, members // 10)
        assert len(enforcement.refused_links) <= max(1, members // 10)
        assert sum(now - at < BURST_MS for at in starts) <= thresholds.burst
    assert held, "an alert fires for each that is held back"
    assert max(begun.values()) == 1, "nobody is let go and cut off again"
    assert connected(members, enforcement.refused_links, chance)


def connected(members: int, refused: frozenset[NodeId], chance: random.Random) -> bool:
    """Whether honest nodes that each draw `LINKS_MIN` peers reach one another."""
    staying = [n for n in range(members) if node(n).id not in refused]
    links: dict[int, set[int]] = {n: set() for n in staying}
    for n in staying:
        for other in chance.sample(range(members), LINKS_MIN):
            if other in links and other != n:
                links[n].add(other)
                links[other].add(n)
    seen, ahead = {staying[0]}, [staying[0]]
    while ahead:
        fresh = links[ahead.pop()] - seen
        seen |= fresh
        ahead += fresh
    return len(seen) == len(staying)


def test_whoever_is_out_stays_out_until_the_term_ends() -> None:
    thresholds = Thresholds(members=40)
    accused = {node(n): out(NOW, NOW + n) for n in range(12)}
    at = NOW + 30 * MINUTE
    first = enforce(accused, thresholds, Mercy(), at, observe=False)
    assert len(first.denied) == 4
    earlier = {node(n): out(NOW - MINUTE, NOW - MINUTE) for n in range(20, 30)}
    later = enforce(
        {**accused, **earlier}, thresholds, Mercy(), at + 1, observe=False, before=first
    )
    assert later.denied.keys() == first.denied.keys(), "a late word takes no place"


def test_a_barely_accused_node_gives_way_once_and_the_swap_counts() -> None:
    thresholds = Thresholds(members=10)  # one place, one in five minutes
    barely, by_most, third = node(1), node(2), node(3)
    first = enforce({barely: out(NOW)}, thresholds, Mercy(), NOW, observe=False)
    assert barely in first.denied
    both = {barely: out(NOW), by_most: out(NOW + 1, NOW + 2)}
    soon = enforce(both, thresholds, Mercy(), NOW + 2, observe=False, before=first)
    assert barely in soon.denied, "it stays until the other may go"
    assert soon.held_back == {by_most: Withheld.VALVE}
    assert soon.next_ms == NOW + BURST_MS
    at = NOW + BURST_MS
    swapped = enforce(both, thresholds, Mercy(), at, observe=False, before=soon)
    assert by_most in swapped.denied
    assert barely in swapped.held_back
    more = {**both, third: out(NOW - 1, NOW - 1)}
    after = enforce(more, thresholds, Mercy(), at + 1, observe=False, before=swapped)
    assert after.denied.keys() == {by_most}


def test_a_place_that_is_given_up_counts_for_five_minutes() -> None:
    thresholds = Thresholds(members=10)
    two = {node(1): out(NOW), node(2): out(NOW + 1)}
    first = enforce(two, thresholds, Mercy(), NOW + 1, observe=False)
    assert first.denied.keys() == {node(1)}
    released = {node(2): out(NOW + 1)}
    then = enforce(released, thresholds, Mercy(), NOW + 2, observe=False, before=first)
    assert then.denied == {}
    assert then.next_ms == NOW + BURST_MS
    at = NOW + BURST_MS
    later = enforce(released, thresholds, Mercy(), at, observe=False, before=then)
    assert later.denied.keys() == {node(2)}


def test_after_a_restart_the_same_are_out() -> None:
    thresholds = Thresholds(members=100)
    accused = {node(n): out(NOW + n, NOW + n) for n in range(40)}
    live = NOTHING
    for at in range(NOW, NOW + 30 * MINUTE, MINUTE):
        live = enforce(accused, thresholds, Mercy(), at, observe=False, before=live)
    anew = enforce(accused, thresholds, Mercy(), at, observe=False)
    assert anew.denied.keys() == live.denied.keys()


def test_proofs_go_through_a_full_valve() -> None:
    thresholds = Thresholds(members=10)
    filled = {node(1): out(NOW, NOW)}
    first = enforce(filled, thresholds, Mercy(), NOW, observe=False)
    proven = Standing(level=Level.QUARANTINED, basis=Basis.PROOF, since_ms=UnixMs(NOW))
    everyone = {**filled, **{node(n): proven for n in range(2, 9)}}
    now = enforce(everyone, thresholds, Mercy(), NOW, observe=False, before=first)
    assert now.denied.keys() == everyone.keys()
