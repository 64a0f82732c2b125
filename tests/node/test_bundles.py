"""Bundles outlive restarts: a proof under an old bundle stays a proof."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from enforcement.defend.policy import Policy
from enforcement.limits import BUNDLE_OVERLAP_MS, BUNDLES_KEPT_MAX
from gossip.units import UnixMs
from node.bundles import recall, remember, remembered
from node.database import PutMeta
from node.store import Store

NOW = UnixMs(1_800_000_000_000)


def texts(number: int) -> dict[str, str]:
    return {"a.cedar": f'@id("rule-{number}") permit(principal, action, resource);'}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "s.db")
    yield made
    made.close()


async def keep(store: Store, *numbers: int) -> None:
    for number in numbers:
        remember(store, texts(number))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run)
            store.stop()


async def test_an_old_bundle_is_found_and_only_the_current_is_accepted(
    store: Store,
) -> None:
    await keep(store, 1, 2)
    old, current = Policy.load(texts(1)), Policy.load(texts(2))
    bundles = recall(store, current, NOW)
    assert bundles.current.digest == current.digest
    assert bundles.find(old.digest) is not None
    assert bundles.accepted(old.digest, NOW) is None


async def test_a_policy_changed_while_down_overlaps_with_the_one_before(
    store: Store,
) -> None:
    await keep(store, 1)
    old, current = Policy.load(texts(1)), Policy.load(texts(2))
    bundles = recall(store, current, NOW)
    assert bundles.accepted(old.digest, NOW) is not None
    late = UnixMs(NOW + BUNDLE_OVERLAP_MS + 1)
    assert bundles.accepted(old.digest, late) is None


async def test_the_first_start_and_a_broken_memory_know_the_current_one(
    store: Store,
) -> None:
    current = Policy.load(texts(1))
    assert recall(store, current, NOW).current is current
    store.submit(PutMeta("bundles", b"garbage"))
    await keep(store, 1)
    assert recall(store, current, NOW).current.digest == current.digest


async def test_memory_is_bounded_and_holds_each_bundle_once(store: Store) -> None:
    await keep(store, *range(BUNDLES_KEPT_MAX + 3), BUNDLES_KEPT_MAX)
    held = remembered(store)
    assert len(held) == BUNDLES_KEPT_MAX
    assert held[-1] == texts(BUNDLES_KEPT_MAX)
    assert held.count(held[-1]) == 1
