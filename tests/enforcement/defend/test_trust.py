"""Continuous trust: it falls with denials and age; proofs, time and people restore it."""

from hypothesis import given
from hypothesis import strategies as st

from enforcement.defend.session import CHALLENGED_BELOW, FULL, Approvals, TrustBook
from gossip.units import AgentId, UnixMs

AGENT, OTHER = AgentId(b"a" * 32), AgentId(b"b" * 32)
MINUTE = 60_000
NOW = UnixMs(1_800_000_000_000)


def later(minutes: int) -> UnixMs:
    return UnixMs(NOW + minutes * MINUTE)


def fall(book: TrustBook, at: UnixMs = NOW) -> None:
    while book.trust(AGENT, at) >= CHALLENGED_BELOW:
        book.denied(AGENT, 8, at)


def test_whoever_did_nothing_wrong_is_trusted_and_others_are_not_touched() -> None:
    book = TrustBook()
    fall(book)
    assert book.trust(OTHER, NOW) == FULL


def test_graver_rules_cost_more() -> None:
    book = TrustBook()
    book.denied(AGENT, 0, NOW)
    book.denied(OTHER, 8, NOW)
    assert book.trust(OTHER, NOW) < book.trust(AGENT, NOW) < FULL


def test_trust_ages_and_a_proof_makes_it_young() -> None:
    book = TrustBook()
    book.proved(AGENT, NOW)
    assert book.trust(AGENT, later(30)) == 70
    assert book.trust(AGENT, later(1_000)) == 40
    book.proved(AGENT, later(1_000))
    assert book.trust(AGENT, later(1_000)) == FULL


def test_a_proof_gives_less_after_each_fall_until_only_time_or_people_help() -> None:
    book, after = TrustBook(), []
    for _ in range(4):
        fall(book)
        book.proved(AGENT, NOW)
        after.append(book.trust(AGENT, NOW))
    assert after[0] > after[1] >= CHALLENGED_BELOW
    assert after[-1] < CHALLENGED_BELOW
    assert book.trust(AGENT, later(60)) < FULL
    book.proved(AGENT, later(100))
    assert book.trust(AGENT, later(100)) >= CHALLENGED_BELOW
    fall(book, later(100))
    book.restored(AGENT, later(100))
    assert book.trust(AGENT, later(100)) == FULL


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["denied", "proved", "look"]),
            st.integers(0, 9),
            st.integers(-5, 90),
        )
    )
)
def test_trust_stays_in_its_bounds_whatever_happens_and_whatever_the_clock(
    steps: list[tuple[str, int, int]],
) -> None:
    book, now = TrustBook(), NOW
    for what, severity, minutes in steps:
        now = UnixMs(now + minutes * MINUTE)
        before = book.trust(AGENT, now)
        if what == "denied":
            book.denied(AGENT, severity, now)
            assert book.trust(AGENT, now) <= before
        elif what == "proved":
            book.proved(AGENT, now)
            assert book.trust(AGENT, now) >= before
        assert 0 <= book.trust(AGENT, now) <= FULL


def test_an_approval_is_for_one_agent_one_tool_and_a_while() -> None:
    approvals = Approvals()
    approvals.approve(AGENT, "sql", "wipe", later(10), NOW)
    assert approvals.holds(AGENT, "sql", "wipe", later(9))
    assert not approvals.holds(AGENT, "sql", "wipe", later(10))
    assert not approvals.holds(OTHER, "sql", "wipe", NOW)
    assert not approvals.holds(AGENT, "sql", "read", NOW)
    approvals.withdraw(AGENT)
    assert not approvals.holds(AGENT, "sql", "wipe", NOW)
