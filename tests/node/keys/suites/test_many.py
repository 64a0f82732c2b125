"""Many signatures in one call say what one at a time says, whatever a peer sent."""

import ctypes
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gossip.domains import Domain
from gossip.suite import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Claim
from node.keys.suites.batches import threads_for
from node.keys.suites.hybrid import HybridSuite
from node.keys.suites.loading import LiboqsSuite
from node.keys.suites.many import ManyAtOnce
from node.keys.suites.openssl import OpensslSuite

_MLDSA_BYTES = 3309
_NEUTRAL = bytes([1]) + bytes(31)
"""The neutral element: as R of an Ed25519 signature the two libraries differ on it."""


@pytest.fixture(scope="session")
def at_once(liboqs: HybridSuite) -> LiboqsSuite:
    assert isinstance(liboqs, LiboqsSuite)
    if not liboqs.verifies_at_once:
        pytest.skip("a liboqs built without many.c: run `make liboqs`")
    return liboqs


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    flips=st.lists(
        st.tuples(
            st.sampled_from(["none", "key", "message", "signature", "use", "cut"]),
            st.integers(0, 8 * SIGNATURE_BYTES - 1),
        ),
        min_size=2,
        max_size=8,
    )
)
def test_whatever_is_altered_is_refused_and_what_is_beside_it_is_not(
    at_once: LiboqsSuite, flips: list[tuple[str, int]]
) -> None:
    key = at_once.signing_key_from_seed(bytes(64))
    signature = key.sign(b"message", Domain.BATCH)
    claims = []
    for what, bit in flips:
        parts = {"key": key.public_key, "message": b"message", "signature": signature}
        if what in parts:
            altered = bytearray(parts[what])
            altered[bit // 8 % len(altered)] ^= 1 << bit % 8
            parts[what] = bytes(altered)
        if what == "cut":
            parts["signature"] = signature[: bit // 8]
        use = Domain.ACT if what == "use" else Domain.BATCH
        claims.append(Claim(parts["key"], parts["message"], parts["signature"], use))
    holds = at_once.verify_many(claims)
    assert holds == [what == "none" for what, _ in flips]
    assert holds == OpensslSuite().verify_many(claims)


def test_of_either_half_that_is_forged_it_says_so(at_once: LiboqsSuite) -> None:
    one, two = (at_once.signing_key_from_seed(os.urandom(64)) for _ in "ab")
    mine, other = (key.sign(b"m", Domain.BATCH) for key in (one, two))
    forged = (
        mine[:_MLDSA_BYTES] + other[_MLDSA_BYTES:],
        other[:_MLDSA_BYTES] + mine[_MLDSA_BYTES:],
        mine[:_MLDSA_BYTES] + _NEUTRAL + bytes(32),
    )
    claims = [
        Claim(one.public_key, b"m", signature, Domain.BATCH)
        for signature in (mine, *forged, mine)
    ]
    assert at_once.verify_many(claims) == [True, False, False, False, True]


def test_what_libsodium_alone_refuses_is_left_to_openssl(at_once: LiboqsSuite) -> None:
    key = at_once.signing_key_from_seed(bytes(64))
    good = key.sign(b"m", Domain.BATCH)
    forged = good[:-1] + bytes([good[-1] ^ 1])
    judged: list[Claim] = []
    holds = at_once._holds

    def judge(claim: Claim) -> bool:
        judged.append(claim)
        return holds(claim)

    claims = [
        Claim(key.public_key, b"m", each, Domain.BATCH) for each in (good, forged)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(at_once, "_holds", judge)
        assert at_once.verify_many(claims) == [True, False]
    assert judged == [claims[1]]


def test_lengths_that_c_would_trust_are_checked_before(at_once: LiboqsSuite) -> None:
    many = at_once._many
    assert many is not None
    sound = (bytes(PUBLIC_KEY_BYTES), bytes(SIGNATURE_BYTES))
    for keys, signatures in (
        ([sound[0][1:]], [sound[1]]),
        ([sound[0]], [sound[1][1:]]),
    ):
        with pytest.raises(AssertionError):
            many.verify(keys, signatures, [b"m"], b"")


def test_a_message_longer_than_any_is_refused(at_once: LiboqsSuite) -> None:
    many = at_once._many
    assert many is not None
    key = at_once.signing_key_from_seed(bytes(64))
    signature = key.sign(b"m", Domain.BATCH)
    assert many.verify([key.public_key], [signature], [bytes(10_000)], b"") == [False]


def test_a_liboqs_of_another_make_checks_one_by_one(
    liboqs: HybridSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AttributeError):
        ManyAtOnce(ctypes.CDLL(None))
    monkeypatch.setattr(liboqs, "_many", None)
    key = liboqs.signing_key_from_seed(bytes(64))
    good = key.sign(b"m", Domain.BATCH)
    claims = [
        Claim(key.public_key, b"m", good, Domain.BATCH),
        Claim(key.public_key, b"n", good, Domain.BATCH),
    ]
    assert liboqs.verify_many(claims) == [True, False]


def test_one_processor_is_left_to_the_loop_where_the_workers_never_let_go(
    at_once: LiboqsSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    for processors, workers in ((1, 1), (2, 1), (8, 7)):
        monkeypatch.setattr(os, "cpu_count", lambda found=processors: found)
        assert threads_for(at_once) == workers
        assert threads_for(OpensslSuite()) == processors
