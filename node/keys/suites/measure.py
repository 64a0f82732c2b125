"""How fast each provider is here: what `picket bench crypto` shows."""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import attrs

from gossip.domains import Domain
from gossip.suite import Claim
from node.keys.suites.hybrid import HybridSuite

_SEED: Final = bytes(range(64))
_MESSAGE: Final = b"a message of some length, as a batch's digest would be " * 4
_CONTEXT: Final = b"measure"
_CALLS: Final = range(32)
ROUNDS: Final = 9
ROUND_SECONDS: Final = 0.03
BATCH_CLAIMS: Final = 128


@attrs.frozen
class Figures:
    """One provider's figures; operations in microseconds."""

    provider: str
    microseconds: dict[str, float]
    batch_per_second: dict[str, float]
    """Composite verifications a second by number of threads, in batches of 128."""


def measure(suites: Sequence[HybridSuite]) -> list[Figures]:
    """Measure in alternating rounds, so that all meet the same disturbances."""
    calls = [operations(suite) for suite in suites]
    best: list[dict[str, float]] = [{} for _ in suites]
    for _ in range(ROUNDS):
        for figures, named in zip(best, calls, strict=True):
            for name, call in named.items():
                took = mean_us(call, ROUND_SECONDS)
                figures[name] = min(took, figures.get(name, took))
    return [
        Figures(
            suite.provider,
            {name: round(us, 2) for name, us in figures.items()},
            {str(n): round(batch_rate(suite, n)) for n in (1, 2)},
        )
        for suite, figures in zip(suites, best, strict=True)
    ]


def operations(suite: HybridSuite) -> dict[str, Callable[[], object]]:
    """What is measured, by name: the bare lattice first, then what Picket calls."""
    lattice = suite.lattice
    secret, kem = lattice.mldsa_secret(_SEED[:32]), lattice.mlkem_secret(_SEED)
    public = lattice.mldsa_public(secret.public_key)
    signature = secret.sign(_MESSAGE, _CONTEXT)
    ciphertext, _ = lattice.mlkem_encapsulate(kem.encapsulation_key)
    key = suite.signing_key_from_seed(_SEED)
    composite = key.sign(_MESSAGE, Domain.BATCH)

    def agree() -> bytes:
        initiator = suite.agree_begin()
        return initiator.finish(suite.agree_reply(initiator.request)[0])

    # Partials, not lambdas: these cost a fifth of a microsecond themselves.
    return {
        "ML-DSA-65 verify": partial(public.verify, _MESSAGE, signature, _CONTEXT),
        "ML-DSA-65 sign": partial(secret.sign, _MESSAGE, _CONTEXT),
        "ML-DSA-65 key": partial(lattice.mldsa_secret, _SEED[:32]),
        "ML-KEM-768 key": partial(lattice.mlkem_secret, _SEED),
        "ML-KEM-768 encapsulate": partial(
            lattice.mlkem_encapsulate, kem.encapsulation_key
        ),
        "ML-KEM-768 decapsulate": partial(kem.decapsulate, ciphertext),
        "composite verify": partial(
            suite.verify, key.public_key, _MESSAGE, composite, Domain.BATCH
        ),
        "composite sign": partial(key.sign, _MESSAGE, Domain.BATCH),
        "hybrid agreement, both sides": agree,
    }


def mean_us(call: Callable[[], object], seconds: float) -> float:
    """Microseconds of this thread's processor time a call, over so many seconds.

    Processor time, so that a busy machine disturbs the figures less.
    """
    count, start = 0, time.thread_time()
    while True:
        for _ in _CALLS:
            call()
        count += len(_CALLS)
        took = time.thread_time() - start
        if took >= seconds:
            return took / count * 1e6


def batch_rate(suite: HybridSuite, threads: int) -> float:
    """Composite verifications a second, each thread on batches of its own."""
    key = suite.signing_key_from_seed(_SEED)
    signature = key.sign(_MESSAGE, Domain.BATCH)
    claims = [Claim(key.public_key, _MESSAGE, signature, Domain.BATCH)] * BATCH_CLAIMS
    batches = 8

    def work() -> None:
        for _ in range(batches):
            suite.verify_many(claims)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return threads * batches * BATCH_CLAIMS / (time.perf_counter() - start)
