"""Many claims at once give the verdicts of one at a time, and the loop stays awake."""

import sys
import threading
import time
from collections.abc import Sequence
from itertools import accumulate

import pytest
import trio

from gossip.domains import Domain
from gossip.effects import VERIFY_MAX
from gossip.errors import LocalError
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


def asks(sizes: Sequence[int]) -> list[list[Claim]]:
    """Claims for asks of these sizes, one in three of them bad."""
    every = claims(sum(sizes))
    ends = list(accumulate(sizes))
    return [every[end - size : end] for size, end in zip(sizes, ends, strict=True)]


async def answers(
    suite: HybridSuite, asked: Sequence[Sequence[Claim]], *, more: bool = False
) -> list[tuple[int, tuple[bool, ...]]]:
    """What is answered to all of this, once it is; ``more`` may come until then."""
    told: list[tuple[int, tuple[bool, ...]]] = []
    all_told = trio.Event()

    def answer(ticket: int, holds: tuple[bool, ...]) -> None:
        told.append((ticket, holds))
        if len(told) == len(asked):
            all_told.set()

    verifier = BatchVerifier(suite, answer, lambda: more, 2)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(verifier.run)
            for ticket, claims in enumerate(asked):
                verifier.ask(ticket, claims)
                verifier.go_on()
            more = False
            verifier.go_on()
            if asked:
                await all_told.wait()
            nursery.cancel_scope.cancel()
    return told


@pytest.mark.parametrize("last", [0, 1, 31, 32])
@pytest.mark.parametrize("full", [0, 1, 3, 4, 9, 30])
async def test_every_claim_is_answered_once_in_the_order_asked(
    full: int, last: int
) -> None:
    suite = Watched()
    asked = asks([32] * full + [last] * (last > 0))
    told = await answers(suite, asked)
    assert [ticket for ticket, _ in told] == list(range(len(asked)))
    for claims, (_, holds) in zip(asked, told, strict=True):
        assert holds == tuple(claim.message == b"good" for claim in claims)
    assert sum(size for size, _ in suite.batches) == full * 32 + last
    assert all(inline == (size < BATCH_MIN) for size, inline in suite.batches)
    assert all(size <= BATCH_MAX for size, _ in suite.batches)


async def test_few_wait_for_company_as_long_as_more_is_coming() -> None:
    alone, together = Watched(), Watched()
    await answers(alone, asks([20, 20]))
    await answers(together, asks([20, 20]), more=True)
    assert alone.batches == [(20, True), (20, True)]
    assert together.batches == [(40, False)]


def test_more_than_is_answered_without_a_pause_is_our_own_fault() -> None:
    verifier = BatchVerifier(Watched(), lambda _ticket, _holds: None, lambda: False)
    for wrong in (0, VERIFY_MAX + 1):
        with pytest.raises(LocalError):
            verifier.ask(1, claims(wrong))


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
    many = [[Claim(key.public_key, b"m", signature, Domain.BATCH)] * 32] * 16
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        told = await answers(suite, many)
        nursery.cancel_scope.cancel()
    assert all(all(holds) for _, holds in told)
    assert turns > 20
    assert sys.getswitchinterval() <= 0.001, "else a busy loop holds up the workers"
