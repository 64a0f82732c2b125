"""A wrong clock is told to whoever runs the node: log, metric, status and doctor."""

from pathlib import Path
from typing import cast

from gossip.clocks import is_wrong
from node.cli import doctor
from node.jsonlines import Json
from node.timekeeping import Timekeeper
from tests.node.test_daemon import (
    ShiftedClock,
    bear,
    categories,
    daemon_of,
    running,
    said,
    tell,
    until,
)

AHEAD_MS = 150_000


async def test_a_daemon_whose_clock_is_ahead_is_linked_ignored_and_told(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b", "c"])
    a = daemon_of(homes["a"], ShiftedClock(AHEAD_MS))
    b, c = daemon_of(homes["b"]), daemon_of(homes["c"])
    async with running(a, b, c):
        await until(lambda: is_wrong(a.engine.clocks.offset_ms))
        await tell(a, "report", subject="b", category="ahead", severity=1)
        await tell(b, "report", subject="a", category="now", severity=1)
        await until(lambda: "now" in categories(c) and "now" in categories(a))
        Timekeeper(a.engine.clocks, a.metrics, a.log).look()
        status = cast("dict[str, Json]", await tell(a, "status"))
        other = cast("dict[str, Json]", await tell(c, "status"))
        assert "ahead" not in categories(c)
    assert "this clock is 150.0 s ahead of the median peer's" in said(a)
    assert "this clock is" not in said(c)
    assert b"picket_clock_offset_seconds 150.0" in a.metrics.page()
    assert "what this node says is ignored" in str(status["attention"])
    assert "clock" not in str(other["attention"])
    assert doctor._clock(status).verdict == doctor.BAD
    assert doctor._clock(other).verdict in (doctor.OK, doctor.NOTE)


async def test_a_clock_that_was_mended_is_no_news_any_more(tmp_path: Path) -> None:
    homes = bear(tmp_path, ["a", "b"])
    clock = ShiftedClock(AHEAD_MS)
    a, b = daemon_of(homes["a"], clock), daemon_of(homes["b"])
    async with running(a, b):
        await until(lambda: is_wrong(a.engine.clocks.offset_ms))
        keeper = Timekeeper(a.engine.clocks, a.metrics, a.log)
        keeper.look()
        keeper.look()
        a.engine.clocks.hear(b.me, b.clock.unix_ms(), b.clock.unix_ms())
        keeper.look()
    assert said(a).count("this clock is 150.0 s ahead") <= 2  # the daemon's and ours
    assert "this clock agrees with" in said(a)
