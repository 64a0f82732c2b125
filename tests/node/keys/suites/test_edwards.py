"""Which Ed25519 keys are refused, and that each refusal is needed."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.errors import PeerError
from node.keys.suites.edwards import check_ed25519_public

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def add(a: Point, b: Point) -> Point:
    """The complete addition law of the twisted Edwards curve."""
    t = D * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + t, -1, P) % P
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - t, -1, P) % P
    return x, y


def small_order_points() -> list[Point]:
    """All multiples of a point of order 8, found from the curve's equation."""
    # Halving (i, 0): a point of order 8 has y = i * x, so x^4 * d - 2 x^2 = 1.
    i = pow(2, (P - 1) // 4, P)
    for root in (pow(1 + D, (P + 3) // 8, P), i * pow(1 + D, (P + 3) // 8, P) % P):
        if root * root % P != (1 + D) % P:
            continue
        for x2 in ((1 + root) * pow(D, -1, P) % P, (1 - root) * pow(D, -1, P) % P):
            for x in (pow(x2, (P + 3) // 8, P), i * pow(x2, (P + 3) // 8, P) % P):
                if x * x % P == x2:
                    start = (x, i * x % P)
                    points = [start]
                    while points[-1] != (0, 1):
                        points.append(add(points[-1], start))
                    return points
    raise AssertionError("no point of order 8")


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def test_all_eight_points_of_small_order_are_refused() -> None:
    points = small_order_points()
    assert len(set(points)) == 8
    for point in points:
        with pytest.raises(PeerError, match="small order"):
            check_ed25519_public(encode(point))


def test_the_neutral_point_verifies_anything_where_it_is_not_refused() -> None:
    neutral = encode((0, 1))
    forged = neutral + bytes(32)  # R is the neutral point, S is zero.
    Ed25519PublicKey.from_public_bytes(neutral).verify(forged, b"never signed")


@pytest.mark.parametrize("sign", [0, 1 << 255])
@pytest.mark.parametrize("y", range(P, 2**255))
def test_no_point_has_two_names(y: int, sign: int) -> None:
    with pytest.raises(PeerError, match="canonical"):
        check_ed25519_public((y | sign).to_bytes(32, "little"))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_has_32_bytes(size: int) -> None:
    with pytest.raises(PeerError):
        check_ed25519_public(bytes(size))


def test_half_of_all_encodings_are_no_point() -> None:
    refused = 0
    for y in range(2, 202):
        try:
            check_ed25519_public(y.to_bytes(32, "little"))
        except PeerError:
            refused += 1
    assert 60 < refused < 140


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_every_honest_key_is_taken(seed: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    check_ed25519_public(key.public_bytes_raw())
