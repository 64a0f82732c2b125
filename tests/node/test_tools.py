"""Pins and answered requests outlive the process that knew them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from enforcement.detect.pins import read_manifest_untrusted
from enforcement.effects import Audit, Position, Verdict
from enforcement.limits import FRESH_MS_MAX
from gossip.errors import UserError
from gossip.units import AgentId, NodeId, UnixMs
from node.clerk import write_audit
from node.database import PutAudit, PutMeta
from node.store import Store
from node.tools import recall_pins, recall_requests
from tests.support.births import NOW

NODE, AGENT = NodeId(b"n" * 32), AgentId(b"a" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "s.db")
    yield made
    made.close()


async def settle(store: Store) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        store.stop()


def answered(number: int, at_ms: int, position: Position) -> PutAudit:
    record = Audit(
        at_ms=UnixMs(at_ms),
        position=position,
        agent=AGENT,
        node=NODE,
        server="sql",
        method="tools/call",
        tool="read",
        verdict=Verdict.ALLOWED,
        rule="",
        reason="allowed",
        request_id=number.to_bytes(16, "big"),
        digest=bytes(32),
    )
    return PutAudit(record.at_ms, write_audit(record))


async def test_a_request_stamped_ahead_of_the_clock_is_not_answered_twice(
    store: Store,
) -> None:
    """Such a stamp lies after the restart, so only its id tells that it was here."""
    for number in range(2_000):
        store.submit(answered(number, NOW - 5, Position.INGRESS))
    await settle(store)
    window = recall_requests(store, UnixMs(NOW))
    assert window.is_fresh(UnixMs(NOW + 100_000), UnixMs(NOW))
    for number in (0, 1_999):
        assert window.is_known(NODE, number.to_bytes(16, "big"))
    assert not window.is_known(NODE, (2_000).to_bytes(16, "big"))


async def test_a_clock_set_back_while_down_opens_no_window(store: Store) -> None:
    store.submit(answered(1, NOW, Position.INGRESS))
    await settle(store)
    window = recall_requests(store, UnixMs(NOW - 50_000))
    assert not window.is_fresh(UnixMs(NOW - 10), UnixMs(NOW - 50_000))
    assert window.is_fresh(UnixMs(NOW + 1), UnixMs(NOW + 1))


async def test_what_is_long_stale_or_no_other_nodes_is_not_kept(store: Store) -> None:
    store.submit(answered(1, NOW - 3 * FRESH_MS_MAX, Position.INGRESS))
    store.submit(answered(2, NOW - 5, Position.EGRESS))
    await settle(store)
    window = recall_requests(store, UnixMs(NOW))
    assert not window.is_known(NODE, (1).to_bytes(16, "big"))
    assert not window.is_known(NODE, (2).to_bytes(16, "big"))


async def test_pins_are_kept_as_they_change(store: Store) -> None:
    pins = recall_pins(store)
    for server in ("files", "sql"):
        pins.see(read_manifest_untrusted(server, {"name": "read"}))
    changed = read_manifest_untrusted("sql", {"name": "read", "title": "other"})
    pins.see(changed)
    await settle(store)
    again = recall_pins(store)
    assert again.tools() == pins.tools()
    pins.accept("sql", "read")
    await settle(store)
    again = recall_pins(store)
    assert again.find("sql", "read") == changed


async def test_damaged_pins_are_not_taken_for_none(store: Store) -> None:
    store.submit(PutMeta("pins/sql", b"damaged"))
    await settle(store)
    with pytest.raises(UserError, match="damaged"):
        recall_pins(store)
