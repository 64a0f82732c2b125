"""What gates remember: rates, replays, testimony, bundles, exchanges, the outbox."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement import limits
from enforcement.defend.bundles import Bundles
from enforcement.defend.policy import Policy
from enforcement.defend.rate import Rate, RateLimiter
from enforcement.defend.replay import ReplayWindow
from enforcement.defend.testimony import WitnessBudget
from enforcement.effects import Subject, SubjectKind, ToServer
from enforcement.events import RequestSigned
from enforcement.mcp.exchange import Exchange
from enforcement.outbox import Outbox, Outgoing
from gossip.units import AgentId, NodeId, UnixMs
from tests.support.births import NOW

AGENT, OTHER = AgentId(b"a" * 32), AgentId(b"b" * 32)
NODE, FAR = NodeId(b"n" * 32), NodeId(b"f" * 32)


def at(ms: int) -> UnixMs:
    return UnixMs(NOW + ms)


def policy(name: str) -> Policy:
    return Policy.load({name: "permit(principal, action, resource);"})


# Rates


@given(st.lists(st.integers(0, 2_000), max_size=200), st.integers(1, 9))
def test_no_pattern_of_calls_beats_the_rate(gaps: list[int], burst: int) -> None:
    limiter = RateLimiter(Rate(per_second=10, burst=burst))
    now, allowed = 0, 0
    for gap in gaps:
        now += gap
        allowed += limiter.take(AGENT, "sql", at(now))
    assert allowed <= burst + now / 100


def test_each_agent_and_server_has_a_bucket_of_its_own() -> None:
    limiter = RateLimiter(
        Rate(per_second=1, burst=1), {"fast": Rate(per_second=9, burst=9)}
    )
    assert limiter.take(AGENT, "sql", at(0))
    assert not limiter.take(AGENT, "sql", at(0))
    assert limiter.take(OTHER, "sql", at(0))
    assert limiter.take(AGENT, "git", at(0))
    assert all(limiter.take(AGENT, "fast", at(0)) for _ in range(9))
    assert not limiter.take(AGENT, "fast", at(0))


def test_a_clock_that_jumps_back_gives_nothing_away() -> None:
    limiter = RateLimiter(Rate(per_second=1_000, burst=1))
    assert limiter.take(AGENT, "sql", at(5_000))
    assert not limiter.take(AGENT, "sql", at(0))


# Replays


@given(
    st.lists(
        st.tuples(st.integers(0, 300_000), st.integers(-130_000, 130_000)), max_size=50
    )
)
def test_whatever_is_fresh_and_was_here_is_still_known(
    arrivals: list[tuple[int, int]],
) -> None:
    window = ReplayWindow(since_ms=UnixMs(0))
    accepted: list[tuple[bytes, UnixMs]] = []
    now = 0
    for number, (gap, skew) in enumerate(arrivals):
        now += gap
        request, stamp = number.to_bytes(16, "big"), at(now + skew)
        if window.is_fresh(stamp, at(now)):
            assert window.remember(NODE, request, at(now))
            accepted.append((request, stamp))
        for old, old_stamp in accepted:
            if window.is_fresh(old_stamp, at(now)):
                assert window.is_known(NODE, old)


def test_a_flood_fills_only_its_own_nodes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "REPLAY_PER_NODE_MAX", 3)
    window = ReplayWindow(since_ms=NOW)
    for number in range(3):
        assert window.remember(NODE, bytes([number]) * 16, at(number))
    assert not window.remember(NODE, b"x" * 16, at(4))
    assert window.remember(FAR, b"x" * 16, at(4))
    assert window.remember(NODE, b"x" * 16, at(2 * limits.FRESH_MS_MAX + 1))


# Testimony


def test_silence_is_counted_per_subject() -> None:
    budget = WitnessBudget()
    one, two = (Subject(SubjectKind.AGENT, AGENT), Subject(SubjectKind.NODE, NODE))
    assert [budget.spend(one, at(ms)) for ms in (0, 500, 999)] == [1, 0, 0]
    assert budget.spend(two, at(999)) == 1
    assert budget.spend(one, at(1_000)) == 3
    assert budget.spend(one, at(1_999)) == 0
    assert budget.spend(one, at(500_000)) == 2


# Bundles


def test_a_bundle_stays_known_for_proofs_after_it_ceased_to_count() -> None:
    old, new, newest = policy("a"), policy("b"), policy("c")
    bundles = Bundles(old)
    bundles.install(new, at(0))
    assert bundles.accepted(old.digest, at(limits.BUNDLE_OVERLAP_MS)) is old
    bundles.install(newest, at(1))
    assert bundles.accepted(old.digest, at(2)) is None
    assert bundles.accepted(new.digest, at(2)) is new
    assert bundles.accepted(newest.digest, at(2)) is newest
    assert bundles.find(old.digest) is old
    assert bundles.find(b"?") is None


def test_installing_the_same_bundle_again_prolongs_nothing() -> None:
    old, new = policy("a"), policy("b")
    bundles = Bundles(old)
    bundles.install(new, at(0))
    bundles.install(new, at(limits.BUNDLE_OVERLAP_MS))
    assert bundles.accepted(old.digest, at(limits.BUNDLE_OVERLAP_MS + 1)) is None


def test_bundles_are_remembered_to_a_limit() -> None:
    bundles = Bundles(policy("first"))
    for number in range(2 * limits.BUNDLES_KEPT_MAX):
        bundles.install(policy(str(number)), at(number))
    assert len(bundles._known) == limits.BUNDLES_KEPT_MAX
    assert bundles.find(bundles.current.digest) is bundles.current


# Exchanges


def test_one_and_its_text_are_two_ids() -> None:
    exchange = Exchange()
    exchange.ask(1)
    assert not exchange.is_used("1")
    assert not exchange.answer("1")
    assert exchange.answer(1)
    assert not exchange.answer(1)


def test_a_cancelled_call_may_still_be_answered_once() -> None:
    exchange = Exchange()
    exchange.ask("a")
    exchange.cancel("a")
    exchange.cancel("never asked")
    assert exchange.is_used("a")
    assert exchange.answer("a")
    assert not exchange.answer("a")
    for number in range(3 * limits.CANCELLED_MAX):
        exchange.ask(number)
        exchange.cancel(number)
    assert len(exchange._cancelled) == limits.CANCELLED_MAX


# The outbox


def test_nothing_overtakes_and_nothing_is_sent_twice() -> None:
    box = Outbox()
    assert box.put(Outgoing(data=b"1", ticket=1, body=b"b")) == []
    assert box.put(Outgoing(data=b"2")) == []
    assert box.put(Outgoing(data=b"3", ticket=2, body=b"b")) == []
    assert box.signed(RequestSigned(2, b"x", b"y")) == []
    sent = box.signed(RequestSigned(1, b"x", b"y"))
    assert [s.data for s in sent if isinstance(s, ToServer)] == [b"1", b"2", b"3"]
    assert box.signed(RequestSigned(1, b"x", b"y")) == []


def test_the_outbox_is_bounded_in_messages_and_bytes() -> None:
    box = Outbox()
    assert box.has_room(limits.OUTBOX_BYTES_MAX)
    assert not box.has_room(limits.OUTBOX_BYTES_MAX + 1)
    for number in range(limits.OUTBOX_MAX):
        assert box.has_room(1)
        box.put(Outgoing(data=b"x", ticket=number))
    assert not box.has_room(1)
    box.clear()
    assert box.has_room(limits.OUTBOX_BYTES_MAX)
