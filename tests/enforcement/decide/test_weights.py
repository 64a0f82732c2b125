"""The promises of weights: earned slowly, lost quickly, and alike at every node."""

from hypothesis import given, settings
from hypothesis import strategies as st

from enforcement.decide.acts import FalsePositive, write_false_positive, write_release
from enforcement.decide.case import Conviction
from enforcement.decide.terms import term_ms
from enforcement.decide.weights import RAMP_MS, Weights, borne_out, silences
from gossip.ledger.appeals import Retraction, write_retraction
from gossip.ledger.entries import Entry, EntryKind, Place, Subject, SubjectKind
from gossip.membership.founders import ActKind
from gossip.units import NodeId, UnixMs
from tests.support.courts import AGENT, DAY, MINUTE, Feeds, court, node, subject
from tests.support.members import NOW

MIDNIGHT = NOW - NOW % DAY + DAY
WHO = node("birch")


def place(number: int) -> Place:
    return (WHO, b"i" * 16, number, 0)


def about(n: int) -> Subject:
    return Subject(SubjectKind.AGENT, n.to_bytes(32, "big"))


def test_a_founder_begins_at_nine_tenths() -> None:
    assert Weights().weight_ppm(WHO, NOW) == 900_000


def test_a_newcomer_grows_into_its_voice_within_a_week() -> None:
    joined = UnixMs(MIDNIGHT)
    weights = Weights({WHO: joined}.get)
    grown = [weights.weight_ppm(WHO, joined + d * DAY) for d in range(9)]
    assert grown[0] == 0
    assert grown == sorted(grown)
    assert grown[7] == grown[8] == 900_000
    assert weights.weight_ppm(WHO, joined + RAMP_MS // 2) < 450_001


def test_what_is_learnt_today_counts_from_midnight_on() -> None:
    weights = Weights()
    changed = weights.bear_out(about(1), frozenset({(WHO, NOW // DAY)}))
    assert changed == {WHO: MIDNIGHT}
    assert weights.weight_ppm(WHO, MIDNIGHT - 1) == 900_000
    assert weights.weight_ppm(WHO, MIDNIGHT) == 10_000_000 // 11
    weights.refute(place(1), NOW)
    assert weights.weight_ppm(WHO, MIDNIGHT - 1) == 900_000
    assert weights.weight_ppm(WHO, MIDNIGHT) == 10_000_000 // 16


def test_what_was_learnt_fades_by_two_percent_a_day() -> None:
    weights = Weights()
    weights.refute(place(1), NOW)
    shares = [weights.weight_ppm(WHO, MIDNIGHT + d * DAY) for d in range(300)]
    assert shares == sorted(shares)
    assert shares[0] == 600_000
    assert shares[1] == 9_000_000_000_000 // (9_000_000 + 1_000_000 + 4_900_000)
    assert 890_000 < shares[-1] <= 900_000


def test_only_who_said_it_before_it_was_proven_is_borne_out() -> None:
    said = [
        (node("birch"), NOW),
        (node("cedar"), NOW + 5),
        (node("elm"), NOW - 2 * DAY),
    ]
    assert borne_out(said, [NOW + 5]) == {(node("birch"), (NOW + 5) // DAY)}


@given(st.lists(st.tuples(st.sampled_from("gbg"), st.integers(0, 20)), max_size=20))
def test_marks_weigh_alike_in_whatever_order_they_come(
    marks: list[tuple[str, int]],
) -> None:
    def learn(marks: list[tuple[str, int]]) -> list[int]:
        weights, borne = Weights(), dict[int, set[tuple[NodeId, int]]]()
        for kind, n in marks:
            weights.weight_ppm(WHO, NOW + 30 * DAY)  # what was asked changes nothing
            if kind == "g":
                borne.setdefault(n % 3, set()).add((WHO, NOW // DAY + n))
                weights.bear_out(about(n % 3), frozenset(borne[n % 3]))
            else:
                weights.refute(place(n), NOW + n * DAY)
        return [weights.weight_ppm(WHO, NOW + d * DAY) for d in range(30)]

    assert learn(marks) == learn(marks[::-1])


def test_a_proven_liar_has_no_voice_until_a_day_after_its_term() -> None:
    who = subject("fir")
    proof = Conviction(
        order=(NOW, node("ash"), b"i", 0, 0),
        reporter=node("ash"),
        offence=b"o",
        rule="r",
        severity=9,
        committed_at_ms=NOW,
    )
    assert silences(who, [proof], lambda _: True) == (
        (NOW, NOW + term_ms(who, 1) + DAY),
    )
    feeds, judge = Feeds(), court()
    judge.hear(feeds.accuse("ash", who, proof=b"f"), NOW)
    judge.hear(feeds.accuse("fir", AGENT, at=NOW + 1), UnixMs(NOW + 1))
    assert judge.standing(AGENT, NOW).sum_micro == 0
    judge.hear(
        feeds.decide("ash", ActKind.RELEASE, write_release(who, "x"), NOW + MINUTE),
        UnixMs(NOW + MINUTE),
    )
    assert judge.weight_ppm(node("fir"), UnixMs(NOW + MINUTE)) == 900_000


def test_voices_alone_never_take_a_voice_away() -> None:
    feeds, judge = Feeds(), court()
    for by in ("ash", "birch", "cedar"):
        judge.hear(feeds.accuse(by, subject("fir")), NOW)
    assert judge.denial(subject("fir")) is not None
    assert judge.weight_ppm(node("fir"), NOW) == 900_000


def story(feeds: Feeds) -> list[Entry]:
    """Voices over two days, proofs, a false positive, a retraction of sorts."""
    later = NOW + DAY
    wrong = feeds.accuse("birch", AGENT, NOW - MINUTE)
    false = FalsePositive(
        place=wrong.place,
        subject=AGENT,
        about="rate-abuse",
        until_ms=UnixMs(NOW + MINUTE),
        owner="ops-0",
        reason="a drill",
    )
    taken_back = feeds.accuse("cedar", AGENT, later)
    retraction = Retraction(
        incarnation=taken_back.incarnation,
        number=taken_back.number,
        index=0,
        subject=AGENT,
        reason="",
    )
    body = write_retraction(retraction)
    return [
        taken_back,
        feeds.say("cedar", EntryKind.RETRACTION, body, later + 1),
        wrong,
        feeds.accuse("cedar", subject("fir"), NOW - 5),
        feeds.accuse("ash", subject("fir"), NOW, proof=b"f"),
        feeds.decide("ash", ActKind.FALSE_POSITIVE, write_false_positive(false), NOW),
        feeds.accuse("birch", AGENT, NOW + 1),  # falls under the exception
        feeds.accuse("birch", AGENT, later),
        feeds.accuse("cedar", AGENT, later + 1, severity=7),
        feeds.accuse("fir", AGENT, NOW + 9),
        feeds.accuse("fir", AGENT, later + 2),
    ]


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(11)))
def test_equal_sets_give_equal_weights_and_standings(order: list[int]) -> None:
    entries = story(Feeds())
    one, other = court("ash"), court("ash")
    end = UnixMs(NOW + DAY + MINUTE)
    for entry in entries:
        one.hear(entry, end)
    for at in order:
        other.hear(entries[at], end)
    for at in range(0, 2 * DAY, DAY // 3):
        for who in (AGENT, subject("fir")):
            now = UnixMs(NOW + at)
            assert one.standing(who, now) == other.standing(who, now)
    for name in ("birch", "cedar", "fir"):
        for day in range(4):
            at_ms = UnixMs(NOW + day * DAY)
            assert one.weight_ppm(node(name), at_ms) == other.weight_ppm(
                node(name), at_ms
            )
    case = one.case(AGENT)
    assert case is not None
    assert [v.weight_ppm for v in case.voices()][:1] == [9_000_000 // 15]
