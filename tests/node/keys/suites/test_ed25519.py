"""Ed25519 by two libraries says what one of them says alone."""

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from node.keys.suites.ed25519 import Ed25519Public

ORDER = 2**252 + 27742317777372353535851937790883648493
SEED = bytes(range(32))
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
RAW = KEY.public_key().public_bytes_raw()
MESSAGE = b"what was signed"


def openssl_accepts(message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(RAW).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def signed_with_the_neutral_point(message: bytes) -> bytes:
    """R is the neutral point, S = k · a: the equation holds (RFC 8032, 5.1.7)."""
    secret = bytearray(hashlib.sha512(SEED).digest()[:32])
    secret[0] &= 248
    secret[31] = secret[31] & 63 | 64
    r = b"\x01" + bytes(31)
    k = int.from_bytes(hashlib.sha512(r + RAW + message).digest(), "little")
    s = k * int.from_bytes(secret, "little") % ORDER
    return r + s.to_bytes(32, "little")


def test_what_only_openssl_accepts_is_accepted() -> None:
    signature = signed_with_the_neutral_point(MESSAGE)
    with pytest.raises(BadSignatureError):
        crypto_sign_open(signature + MESSAGE, RAW)
    assert openssl_accepts(MESSAGE, signature)
    assert Ed25519Public.read_untrusted(RAW).verify(MESSAGE, signature)


def test_an_s_beyond_the_order_is_refused() -> None:
    signature = KEY.sign(MESSAGE)
    s = int.from_bytes(signature[32:], "little") + ORDER
    again = signature[:32] + s.to_bytes(32, "little")
    assert not Ed25519Public.read_untrusted(RAW).verify(MESSAGE, again)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 64 * 8))
def test_signatures_with_one_bit_turned_are_judged_as_openssl_does(
    message: bytes, bit: int
) -> None:
    number = int.from_bytes(KEY.sign(message), "big") ^ (1 << bit >> 1)
    signature = number.to_bytes(64, "big")
    accepted = Ed25519Public.read_untrusted(RAW).verify(message, signature)
    assert accepted is openssl_accepts(message, signature) is (bit == 0)
