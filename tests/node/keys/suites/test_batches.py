"""Many claims at once give the verdicts of one at a time, and the loop stays awake."""

import sys
import threading
import time
from collections.abc import Sequence

import pytest
import trio

from gossip.domains import Domain
from gossip.suite import Claim
from node.keys.suites.batches import (
    BATCH_MAX,
    BATCH_MIN,
    BatchVerifier,
    batch_size,
)
from node.keys.suites.hybrid import HybridSuite
from node.keys.suites.openssl import OpensslSuite


class Watched(OpensslSuite):
    """Notes the size of each batch and whether it ran on the main thread."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[int, bool]] = []

    def verify_many(self, claims: Sequence[Claim]) -> list[bool]:
        inline = threading.current_thread() is threading.main_thread()
        self.batches.append((len(claims), inline))
        return [claim.message == b"good" for claim in claims]


def claims(count: int) -> list[Claim]:
    return [
        Claim(b"", b"good" if number % 3 else b"bad", b"", Domain.BATCH)
        for number in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 64, 100, 128, 129, 1000])
async def test_verdicts_come_back_in_order(count: int) -> None:
    suite = Watched()
    verdicts = await BatchVerifier(suite, 2).verify(claims(count))
    assert verdicts == [number % 3 != 0 for number in range(count)]
    assert sum(size for size, _ in suite.batches) == count
    assert all(inline == (count < BATCH_MIN) for _, inline in suite.batches)
    assert all(size <= BATCH_MAX for size, _ in suite.batches)


def test_batches_use_every_thread_and_stay_in_bounds() -> None:
    assert batch_size(64, 2) == 32
    assert batch_size(200, 2) == 100
    assert batch_size(40, 2) == BATCH_MIN
    assert batch_size(10_000, 2) == BATCH_MAX


def test_the_interpreter_is_free_while_a_signature_is_verified(
    suite: HybridSuite,
) -> None:
    """Else worker threads would only take turns with the event loop."""
    key, done, turns = suite.signing_key_from_seed(bytes(64)), threading.Event(), 0
    signature = key.sign(b"m", Domain.BATCH)
    claim = Claim(key.public_key, b"m", signature, Domain.BATCH)

    def work() -> None:
        suite.verify_many([claim] * 300)
        done.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)  # Nobody is made to let go.
    try:
        worker = threading.Thread(target=work)
        worker.start()
        while not done.is_set():
            time.sleep(0)
            turns += 1
        worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert turns > 30


async def test_the_loop_runs_on_while_many_are_checked(suite: HybridSuite) -> None:
    key = suite.signing_key_from_seed(bytes(64))
    signature = key.sign(b"m", Domain.BATCH)
    many = [Claim(key.public_key, b"m", signature, Domain.BATCH)] * 512
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        assert all(await BatchVerifier(suite).verify(many))
        nursery.cancel_scope.cancel()
    assert turns > 20
