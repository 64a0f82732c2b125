"""What a proxy must know of a message to carry it: whose answer it is.

No decision rests on this: deciding is the gate's, which reads strictly.
"""

import json
from enum import Enum, auto
from json.scanner import make_scanner
from typing import TypeAlias

import attrs

Key: TypeAlias = tuple[type, int | str]
"""A JSON-RPC id; ``1`` and ``"1"`` are two."""


class Kind(Enum):
    """What a message is to its carrier."""

    REQUEST = auto()
    NOTIFICATION = auto()
    RESPONSE = auto()
    UNREADABLE = auto()


@attrs.frozen
class Peek:
    """The little a carrier reads.

    Attributes:
        key: The id of a request or response; None without a usable one.
        method: Of a request or notification.
        token: A request's own progress token, or the one a notification is about.
        failed: A response that is an error.
        code: The error's, if it has one.
    """

    kind: Kind
    key: Key | None = None
    method: str = ""
    token: Key | None = None
    failed: bool = False
    code: int | None = None


_UNREADABLE = Peek(Kind.UNREADABLE)
_scan = make_scanner(json.JSONDecoder())  # type: ignore[arg-type]  # its stub


def peek(data: bytes) -> Peek:
    """Read what a carrier needs. Never raises for bytes from outside."""
    try:
        value = _read(data.decode())
    except (ValueError, RecursionError):
        return _UNREADABLE
    if not isinstance(value, dict):
        return _UNREADABLE
    key, method = _key(value.get("id")), value.get("method")
    if isinstance(method, str):
        kind = Kind.NOTIFICATION if "id" not in value else Kind.REQUEST
        return Peek(kind, key, method, _token(value.get("params"), kind))
    if "result" in value or "error" in value:
        failed = "error" in value
        return Peek(Kind.RESPONSE, key, failed=failed, code=_code(value.get("error")))
    return _UNREADABLE


def _read(text: str) -> object:
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        end = -1
    return value if end == len(text) else json.loads(text)


def _code(error: object) -> int | None:
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else None


def _key(value: object) -> Key | None:
    if isinstance(value, int | str) and not isinstance(value, bool):
        return type(value), value
    return None


def _token(params: object, kind: Kind) -> Key | None:
    if kind is Kind.REQUEST and isinstance(params, dict):
        params = params.get("_meta")
    return _key(params.get("progressToken")) if isinstance(params, dict) else None
