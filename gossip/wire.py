"""Canonical msgpack: one value, one encoding, or it is refused.

Signatures cover bytes as received, so a value must have exactly one encoding:
else two nodes could read one signed statement in two ways. `unpack_untrusted`
therefore decodes, encodes again and compares. No floats, no extension types,
string keys in sorted order, text in NFC, depth at most 16.
"""

import unicodedata
from typing import TypeAlias, cast

import msgpack

from gossip.errors import LocalError, PeerError

Value: TypeAlias = bool | int | bytes | str | list["Value"] | dict[str, "Value"] | None

DEPTH_MAX = 16


def pack(value: Value) -> bytes:
    """Encode ``value`` canonically.

    Raises:
        LocalError: we tried to say something the wire has no words for.
    """
    try:
        _check(value, DEPTH_MAX)
        return cast("bytes", msgpack.packb(value))
    except (ValueError, OverflowError, TypeError) as wrong:
        raise LocalError(f"not expressible on the wire: {wrong}") from wrong


def unpack_untrusted(data: bytes, size_max: int) -> Value:
    """Decode bytes from outside.

    Raises:
        PeerError: longer than ``size_max`` bytes, not msgpack, or not canonical.
    """
    if len(data) > size_max:
        raise PeerError(f"{len(data)} bytes where at most {size_max} are allowed")
    try:
        value = cast("Value", msgpack.unpackb(data, raw=False, use_list=True))
        _check(value, DEPTH_MAX)
        again = msgpack.packb(value)
    except (ValueError, OverflowError, TypeError, msgpack.UnpackException) as wrong:
        raise PeerError("not canonical msgpack") from wrong
    if again != data:
        raise PeerError("not canonical msgpack")
    return value


def _check(value: object, depth: int) -> None:
    """Raise ValueError for anything but the canonical values."""
    kind = type(value)
    if kind is bytes or kind is int or kind is bool or value is None:
        return
    if kind is str:
        text = cast("str", value)
        if not text.isascii() and not unicodedata.is_normalized("NFC", text):
            raise ValueError("text is not in NFC")
        return
    if depth == 0:
        raise ValueError("nested too deeply")
    if kind is list:
        for item in cast("list[object]", value):
            inner = type(item)
            if inner is not bytes and inner is not int:  # most are, and are fine
                _check(item, depth - 1)
        return
    if kind is dict:
        last: str | None = None
        for key, item in cast("dict[object, object]", value).items():
            if type(key) is not str or (last is not None and key <= last):
                raise ValueError("keys must be strings, sorted, and different")
            _check(key, 0)
            _check(item, depth - 1)
            last = key
        return
    raise ValueError(f"a {kind.__name__}")


def take_list(value: Value, low: int, high: int) -> list[Value]:
    """Read a list of ``low..high`` items, or raise ``PeerError``."""
    if type(value) is not list or not low <= len(value) <= high:
        raise PeerError(f"expected a list of {low}..{high} items")
    return value


def take_bytes(value: Value, low: int, high: int) -> bytes:
    """Read ``low..high`` bytes, or raise ``PeerError``."""
    if type(value) is not bytes or not low <= len(value) <= high:
        raise PeerError(f"expected {low}..{high} bytes")
    return value


def take_int(value: Value, low: int, high: int) -> int:
    """Read an integer in ``low..high``, or raise ``PeerError``."""
    if type(value) is not int or not low <= value <= high:
        raise PeerError(f"expected an integer in {low}..{high}")
    return value


def take_str(value: Value, low: int, high: int) -> str:
    """Read text of ``low..high`` characters, or raise ``PeerError``."""
    if type(value) is not str or not low <= len(value) <= high:
        raise PeerError(f"expected text of {low}..{high} characters")
    return value
