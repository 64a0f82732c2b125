"""Who pleads without end is heard once in five minutes, and silences nobody else."""

from itertools import pairwise

from enforcement.decide.appeals import (
    APART_MS,
    EARLY_PER_NODE_MAX,
    LIFE_MS,
    PER_NODE_MAX,
)
from enforcement.decide.court import Answered, Appealed, Court
from gossip.ledger.appeals import Answer, sign_appeal, write_answer
from gossip.ledger.entries import Entry, EntryKind
from gossip.units import UnixMs
from tests.support.courts import (
    DAY,
    MINUTE,
    ROSTER,
    SUITE,
    Feeds,
    court,
    node,
    subject,
)
from tests.support.members import HOUR, NOW, member


def plead(feeds: Feeds, who: str, at: int, carried_at: int = NOW) -> Entry | None:
    """An appeal stamped with any time of these two days; None if no key covers it."""
    keys = (member(SUITE, who, 0), member(SUITE, who, 1, NOW - 19 * HOUR))
    for speaker in (*keys, member(SUITE, who, 2, NOW + 19 * HOUR)):
        if speaker.chain.covers(UnixMs(at)):
            body = sign_appeal(
                cluster=ROSTER.cluster,
                chain=speaker.chain,
                key=speaker.key,
                subject=subject(who),
                issued_at_ms=UnixMs(at),
                text="let me go",
            )
            return feeds.say("birch", EntryKind.APPEAL, body, carried_at)
    return None


def heard(judge: Court, entry: Entry | None, now: int = NOW) -> bool:
    rulings = judge.hear(entry, UnixMs(now)) if entry else []
    return any(isinstance(ruling, Appealed) for ruling in rulings)


def test_two_days_of_appeals_in_an_instant_are_few_and_push_nobody_out() -> None:
    feeds, judge = Feeds(), court()
    assert heard(judge, plead(feeds, "fir", NOW))
    (fir,) = judge.pleas()
    said = [plead(feeds, "elm", at) for at in range(NOW - DAY, NOW + DAY, APART_MS)]
    assert sum(entry is not None for entry in said) > 256
    assert sum(heard(judge, entry) for entry in said) == PER_NODE_MAX
    assert fir in judge.pleas()
    assert len(judge.pleas()) == 1 + PER_NODE_MAX
    answer = Answer(appeal=fir.appeal.id, upheld=True, reason="seen twice")
    (told,) = judge.hear(feeds.say("ash", EntryKind.ANSWER, write_answer(answer)), NOW)
    assert isinstance(told, Answered)


def test_a_flood_is_heard_again_once_in_five_minutes_and_no_sooner() -> None:
    feeds, judge = Feeds(), court()
    when = []
    for minute in range(60):
        stamp = NOW - 10 * HOUR + minute * APART_MS
        if heard(judge, plead(feeds, "elm", stamp), NOW + minute * MINUTE):
            when.append(minute)
    assert len(when) <= PER_NODE_MAX + 60 * MINUTE // APART_MS
    assert all(later - earlier >= 4 for earlier, later in pairwise(when[6:]))


def test_who_pleads_every_five_minutes_is_always_heard() -> None:
    feeds, judge = Feeds(), court()
    for n in range(30):
        now = NOW + n * APART_MS
        assert heard(judge, plead(feeds, "fir", now, now), now)
        assert judge.pleas()[-1].appeal.issued_at_ms == now


def test_an_appeal_of_another_day_costs_no_signature_and_is_not_held() -> None:
    feeds, judge = Feeds(), court()
    old = plead(feeds, "fir", NOW, NOW)
    assert not heard(judge, old, NOW + LIFE_MS + 1)
    assert not judge.pleas()


def answer(feeds: Feeds, by: str, appeal: bytes, reason: str = "") -> Entry:
    said = Answer(appeal=appeal, upheld=True, reason=reason)
    return feeds.say(by, EntryKind.ANSWER, write_answer(said))


def test_an_answer_that_comes_before_its_appeal_is_heard_with_it() -> None:
    feeds, judge, before = Feeds(), court(), court()
    pleaded = plead(feeds, "fir", NOW)
    assert pleaded is not None
    judge.hear(pleaded, NOW)
    (plea,) = judge.pleas()
    for reason in ("at first", "at last"):
        assert not before.hear(answer(feeds, "ash", plea.appeal.id, reason), NOW)
    told = before.hear(pleaded, NOW)
    assert [type(ruling) for ruling in told] == [Appealed, Answered]
    (late,) = before.pleas()
    assert late.answers[node("ash")].reason == "at last"


def test_answers_to_nothing_crowd_out_only_their_authors_own() -> None:
    feeds, judge, before = Feeds(), court(), court()
    pleaded = plead(feeds, "fir", NOW)
    assert pleaded is not None
    judge.hear(pleaded, NOW)
    (plea,) = judge.pleas()
    for by in ("ash", "birch"):
        before.hear(answer(feeds, by, plea.appeal.id), NOW)
    for n in range(EARLY_PER_NODE_MAX):
        before.hear(answer(feeds, "birch", bytes([n]) * 32), NOW)
    before.hear(pleaded, NOW)
    (late,) = before.pleas()
    assert [*late.answers] == [node("ash")]
