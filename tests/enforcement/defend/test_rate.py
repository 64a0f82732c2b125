"""Rates by server, tool and class of data: a call needs a token of each."""

from enforcement.defend.rate import Rate, RateLimiter
from gossip.units import AgentId, UnixMs

ONE, TWO = AgentId(b"1" * 32), AgentId(b"2" * 32)
NOW = UnixMs(1_000_000)


def limiter() -> RateLimiter:
    return RateLimiter(
        default=Rate(per_second=1, burst=3),
        servers={
            "sql/wipe": Rate(per_second=1, burst=1),
            "#phi": Rate(per_second=0.5, burst=2),
        },
    )


def test_the_tightest_limit_decides_and_is_named() -> None:
    rates = limiter()
    assert rates.take_all(ONE, "sql", ["sql/wipe", "#phi"], NOW) is None
    assert rates.take_all(ONE, "sql", ["sql/wipe", "#phi"], NOW) == "sql/wipe"
    assert rates.take_all(ONE, "sql", ["#phi"], NOW) is None
    assert rates.take_all(ONE, "sql", ["#phi"], NOW) == "#phi"


def test_a_refused_call_spends_nothing_of_the_other_limits() -> None:
    rates = limiter()
    for _ in range(10):
        rates.take_all(ONE, "sql", ["sql/wipe"], NOW)
    assert rates.take_all(ONE, "sql", [], NOW) is None
    assert rates.take_all(ONE, "sql", [], NOW) is None
    assert rates.take_all(ONE, "sql", [], NOW) == "sql"


def test_a_tag_is_one_limit_over_all_servers_and_one_for_each_agent() -> None:
    rates = limiter()
    assert rates.take_all(ONE, "sql", ["#phi"], NOW) is None
    assert rates.take_all(ONE, "files", ["#phi"], NOW) is None
    assert rates.take_all(ONE, "mail", ["#phi"], NOW) == "#phi"
    assert rates.take_all(TWO, "mail", ["#phi"], NOW) is None
    assert rates.take_all(ONE, "mail", ["#phi"], UnixMs(NOW + 2_000)) is None


def test_limits_that_are_not_set_cost_nothing() -> None:
    rates = limiter()
    assert rates.take_all(ONE, "sql", ["sql/read", "#pci"], NOW) is None
    assert len(rates._buckets) == 1


def test_a_clock_that_goes_back_gives_no_tokens() -> None:
    rates = limiter()
    assert rates.take_all(ONE, "sql", ["sql/wipe"], NOW) is None
    assert rates.take_all(ONE, "sql", ["sql/wipe"], UnixMs(NOW - 9_000)) == "sql/wipe"
