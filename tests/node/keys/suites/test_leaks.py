"""Nothing grows: not memory, not the table of parsed keys."""

import gc
import os
from pathlib import Path

import pytest

from gossip.domains import Domain
from gossip.errors import PeerError
from node.keys.suites.hybrid import PARSED_KEYS_MAX, HybridSuite

STATM = Path("/proc/self/statm")
pytestmark = pytest.mark.skipif(not STATM.exists(), reason="needs /proc")


def resident_bytes() -> int:
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fill_table(suite: HybridSuite) -> None:
    """With one public key under more matrices than the table holds."""
    key = suite.signing_key_from_seed(bytes(64)).public_key
    for number in range(PARSED_KEYS_MAX + 50):
        suite.check_public_key(number.to_bytes(32, "big") + key[32:])


def work(suite: HybridSuite, operations: int) -> None:
    """Keys, signatures, refusals and agreements; eight operations a round."""
    stale = suite.signing_key_from_seed(bytes(64))
    for number in range(operations // 8):
        seed = number.to_bytes(64, "big")
        key = suite.signing_key_from_seed(seed) if number % 16 == 0 else stale
        signature = key.sign(seed, Domain.BATCH)
        suite.verify(key.public_key, seed, signature, Domain.BATCH)
        for bad in (signature[:-1] + b"\0", signature[:-1], b""):
            try:
                suite.verify(key.public_key, seed, bad, Domain.ACT)
            except PeerError:
                continue
            raise AssertionError("a bad signature was accepted")
        initiator = suite.agree_begin()
        reply, secret = suite.agree_reply(initiator.request)
        assert initiator.finish(reply) == secret


def check_growth(suite: HybridSuite, operations: int) -> None:
    fill_table(suite)
    work(suite, 20_000)  # Allocators reach their size.
    before = resident_bytes()
    work(suite, operations)
    assert resident_bytes() - before < 3 * 2**20


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_thousand_operations_leak_nothing(suite: HybridSuite) -> None:
    check_growth(suite, 200_000)


def test_some_thousand_operations_leak_nothing(liboqs: HybridSuite) -> None:
    fill_table(liboqs)
    work(liboqs, 4_000)
    before = resident_bytes()
    work(liboqs, 12_000)
    assert resident_bytes() - before < 3 * 2**20


def test_the_table_of_parsed_keys_is_bounded(suite: HybridSuite) -> None:
    fill_table(suite)
    assert suite.parsed.cache_info().currsize == PARSED_KEYS_MAX
