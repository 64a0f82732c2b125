"""Retention between real daemons: what is let go goes everywhere, and what is left holds."""

import shutil
from pathlib import Path

import pytest

from gossip import limits
from node.daemon import Daemon
from tests.node.test_daemon import bear, categories, daemon_of, running, tell, until

SHARE_BYTES = 256 << 10


def stored(daemon: Daemon) -> int:
    """Batches of others and own that its disk holds."""
    return sum(1 for _ in daemon.store.load())


def head(daemon: Daemon, author: Daemon) -> tuple[int, int, bytes]:
    """Where a feed begins and ends, as ``daemon`` has it."""
    latest = daemon.engine.ledger.latest(author.me)
    assert latest is not None
    return latest[1].base, latest[1].next_number, latest[1].head


@pytest.mark.timeout(90)
async def test_own_batches_over_our_share_go_everywhere_and_the_rest_proves_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AUTHOR_BYTES_MIN", SHARE_BYTES)
    monkeypatch.setattr(limits, "RETENTION_BYTES", SHARE_BYTES)
    monkeypatch.setattr("gossip.ledger.grace.GRACE_MS", 500)
    homes = bear(tmp_path, ["a", "b", "c"])
    fresh = tmp_path / "fresh"
    shutil.copytree(homes["c"].parent, fresh)
    a, b, c = (daemon_of(homes[name]) for name in "abc")
    async with running(a, b, c):
        for number in range(60):
            category = f"word-{number}"
            await tell(a, "report", subject="b", category=category, severity=1)
        await until(lambda: "word-59" in categories(b) & categories(c))
        before = stored(b)
        a.driver.prune()
        await until(lambda: head(a, a)[0] > 0)
        await until(lambda: head(b, a) == head(a, a) == head(c, a))
        await until(lambda: stored(b) < before - 10)
        await until(lambda: stored(a) == stored(b))
        kept = head(a, a)
    # A node that comes back, and one whose disk was lost, hold what remains, in a chain.
    a, b, c = (
        daemon_of(homes["a"]),
        daemon_of(homes["b"]),
        daemon_of(fresh / homes["c"].name),
    )
    async with running(a, b, c):
        feeds = [f for f, _ in a.engine.ledger.heads() if f[0] == a.me]
        for daemon in (a, b, c):
            await until(
                lambda daemon=daemon: any(  # type: ignore[misc]  # mypy cannot infer a lambda's default
                    (held := daemon.engine.ledger.feed(feed)) is not None
                    and (held.base, held.next_number, held.head) == kept
                    for feed in feeds
                )
            )
            assert "word-59" in categories(daemon)
            assert "word-0" not in categories(daemon)
