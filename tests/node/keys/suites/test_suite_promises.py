"""What suite 1 promises, under each provider and between each pair of them."""

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gossip.domains import Domain
from gossip.errors import LocalError, PeerError
from gossip.suite import (
    AGREE_REPLY_BYTES,
    AGREE_REQUEST_BYTES,
    PUBLIC_KEY_BYTES,
    SHARED_SECRET_BYTES,
    SIGNATURE_BYTES,
    Claim,
)
from node.keys.suites.hybrid import HybridSuite, representative

SEED = bytes(range(64))
few = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@few
@given(seed=st.binary(min_size=64, max_size=64), message=st.binary(max_size=300))
def test_each_verifies_what_the_other_signs_with_a_key_of_the_same_seed(
    suite: HybridSuite, other: HybridSuite, seed: bytes, message: bytes
) -> None:
    mine, theirs = suite.signing_key_from_seed(seed), other.signing_key_from_seed(seed)
    assert mine.public_key == theirs.public_key
    assert len(mine.public_key) == PUBLIC_KEY_BYTES
    signature = mine.sign(message, Domain.BATCH)
    assert len(signature) == SIGNATURE_BYTES
    other.verify(mine.public_key, message, signature, Domain.BATCH)


def test_a_signature_is_for_one_message_one_key_and_one_use(suite: HybridSuite) -> None:
    key, stranger = (suite.signing_key_from_seed(suite.generate_seed()) for _ in "ab")
    signature = key.sign(b"message", Domain.BATCH)
    suite.verify(key.public_key, b"message", signature, Domain.BATCH)
    for public, message, domain in (
        (stranger.public_key, b"message", Domain.BATCH),
        (key.public_key, b"messagf", Domain.BATCH),
        (key.public_key, b"message", Domain.ACT),
    ):
        with pytest.raises(PeerError):
            suite.verify(public, message, signature, domain)


def test_both_halves_must_verify(suite: HybridSuite) -> None:
    one, two = (suite.signing_key_from_seed(suite.generate_seed()) for _ in "ab")
    first, second = (key.sign(b"message", Domain.BATCH) for key in (one, two))
    for mixed in (first[:3309] + second[3309:], second[:3309] + first[3309:]):
        for key in (one, two):
            with pytest.raises(PeerError):
                suite.verify(key.public_key, b"message", mixed, Domain.BATCH)


def test_signatures_are_randomised(suite: HybridSuite) -> None:
    key = suite.signing_key_from_seed(SEED)
    assert key.sign(b"same", Domain.BATCH) != key.sign(b"same", Domain.BATCH)


def test_a_batch_says_of_each_claim_what_verify_says(
    suite: HybridSuite, other: HybridSuite
) -> None:
    key = other.signing_key_from_seed(SEED)
    good = key.sign(b"message", Domain.BATCH)
    claims = [
        Claim(key.public_key, b"message", good, Domain.BATCH),
        Claim(key.public_key, b"message", good, Domain.ACT),
        Claim(key.public_key[:-1], b"message", good, Domain.BATCH),
        Claim(key.public_key, b"message", good[:-1], Domain.BATCH),
        Claim(bytes(PUBLIC_KEY_BYTES), b"message", good, Domain.BATCH),
        Claim(key.public_key, b"", good, Domain.BATCH),
        Claim(key.public_key, b"message", good, Domain.BATCH),
    ]
    assert suite.verify_many(claims) == [True, *[False] * 5, True]


def test_initiator_and_responder_agree_across_providers(
    suite: HybridSuite, other: HybridSuite
) -> None:
    initiator = suite.agree_begin()
    assert len(initiator.request) == AGREE_REQUEST_BYTES
    reply, secret = other.agree_reply(initiator.request)
    assert len(reply) == AGREE_REPLY_BYTES
    assert len(secret) == SHARED_SECRET_BYTES
    assert initiator.finish(reply) == secret


def test_an_agreement_is_finished_once(suite: HybridSuite) -> None:
    initiator = suite.agree_begin()
    reply, _ = suite.agree_reply(initiator.request)
    initiator.finish(reply)
    with pytest.raises(LocalError):
        initiator.finish(reply)


def test_two_agreements_have_nothing_in_common(suite: HybridSuite) -> None:
    one, two = suite.agree_begin(), suite.agree_begin()
    assert one.request != two.request
    assert suite.agree_reply(one.request) != suite.agree_reply(one.request)


def test_what_is_sealed_opens_only_unchanged(suite: HybridSuite) -> None:
    aead, nonce = suite.aead(bytes(32)), bytes(12)
    sealed = aead.seal(nonce, b"plain", b"header")
    assert aead.open(nonce, sealed, b"header") == b"plain"
    for n, s, h in (
        (bytes(11) + b"\x01", sealed, b"header"),
        (nonce, sealed[:-1], b"header"),
        (nonce, b"", b"header"),
        (nonce, sealed, b"other"),
    ):
        with pytest.raises(PeerError):
            aead.open(n, s, h)


def test_our_own_misuse_is_ours(suite: HybridSuite) -> None:
    for misuse in (
        lambda: suite.aead(bytes(31)),
        lambda: suite.aead(bytes(32)).seal(bytes(11), b"", b""),
        lambda: suite.aead(bytes(32)).open(bytes(13), bytes(16), b""),
        lambda: suite.random(-1),
        lambda: suite.random(2**20),
        lambda: suite.signing_key_from_seed(bytes(63)),
        lambda: suite.signing_key_from_seed(bytes(65)),
        lambda: suite.signing_key_from_seed(b""),
        lambda: representative(b"", bytes(256)),
    ):
        with pytest.raises(LocalError):
            misuse()


def test_no_secret_is_ever_shown(suite: HybridSuite) -> None:
    key, secret = suite.signing_key_from_seed(SEED), suite.agree_begin()
    for thing in (key, secret, suite.aead(bytes(32)), suite):
        assert len(repr(thing)) < 60
        assert SEED.hex()[:8] not in repr(thing)


def test_random_bytes_are_as_many_as_asked_for(suite: HybridSuite) -> None:
    assert [len(suite.random(n)) for n in (0, 1, 32)] == [0, 1, 32]
    assert suite.random(32) != suite.random(32)


def test_four_threads_agree(openssl: HybridSuite, liboqs: HybridSuite) -> None:
    """Signing, verifying, agreeing and making keys at once, across providers."""
    wrong: list[str] = []

    def work(mine: HybridSuite, theirs: HybridSuite, mark: bytes) -> None:
        for number in range(40):
            message = mark + number.to_bytes(4, "big")
            key = mine.signing_key_from_seed(mark * 63 + bytes([number]))
            signature = key.sign(message, Domain.BATCH)
            claims = [Claim(key.public_key, message, signature, Domain.BATCH)]
            claims += [Claim(key.public_key, b"x", signature, Domain.BATCH)]
            if theirs.verify_many(claims) != [True, False]:
                wrong.append(f"verify {mark!r} {number}")
            initiator = mine.agree_begin()
            reply, secret = theirs.agree_reply(initiator.request)
            if initiator.finish(reply) != secret:
                wrong.append(f"agree {mark!r} {number}")

    pairs = [(openssl, liboqs), (liboqs, openssl), (liboqs, liboqs), (openssl, openssl)]
    threads = [
        threading.Thread(target=work, args=(*pair, bytes([65 + i])))
        for i, pair in enumerate(pairs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
