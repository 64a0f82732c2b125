"""Which 32 bytes are an Ed25519 public key that an honest party could hold.

Libraries load anything of 32 bytes. A point of small order then verifies
chosen signatures over *every* message, and two encodings of one point would be
two names of one key; both are refused here (RFC 8032, section 5.1.3; the
small-order points are the eight of the curve's torsion subgroup).
"""

from typing import Final

from gossip.errors import PeerError

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_SIGN_BIT: Final = 1 << 255
# y of the points of order 8 is a root of d*y^4 + 2*y^2 - 1, of which these are
# the two in the field; with y = 0 (order 4), 1 and -1 that is all of them.
_Y_ORDER_8: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_Y: Final = frozenset({0, 1, _P - 1, _Y_ORDER_8, _P - _Y_ORDER_8})


def check_ed25519_public(public_key: bytes) -> None:
    """Accept the canonical encoding of a curve point of large order.

    Raises:
        PeerError: not 32 bytes, y not below p, no such point, or small order.
    """
    if len(public_key) != 32:
        raise PeerError(f"an Ed25519 key of {len(public_key)} bytes, not 32")
    y = int.from_bytes(public_key, "little") & ~_SIGN_BIT
    if y >= _P:
        raise PeerError("an Ed25519 key that is not canonical")
    if y in _SMALL_ORDER_Y:
        raise PeerError("an Ed25519 key of small order")
    y2 = y * y % _P
    # x^2 = (y^2 - 1) / (d*y^2 + 1) has a root exactly if u*v is a square.
    if pow((y2 - 1) * (_D * y2 + 1) % _P, (_P - 1) // 2, _P) != 1:
        raise PeerError("an Ed25519 key that is no point of the curve")
