"""Batches of revision 2025-03-26, taken apart so that each message is judged alone.

What the gate judges and what travels on are the same bytes: the parts are cut out of
the array as they stand, and only allowed parts are joined to a new one.
"""

import json
from collections.abc import Sequence
from typing import Final

from enforcement import limits
from enforcement.mcp.strictjson import MalformedError, read_json_untrusted

BATCH_REVISION: Final = "2025-03-26"
"""The only revision of MCP that has batches."""

_SPACE: Final = " \t\r\n"
_DECODER: Final = json.JSONDecoder()


def is_batch(data: bytes) -> bool:
    """Whether this can only be an array."""
    return data.lstrip(_SPACE.encode())[:1] == b"["


def split_batch_untrusted(data: bytes, keys_max: int) -> list[bytes]:
    """Take a batch apart; each part still has to be read as a message.

    Raises:
        MalformedError: not one clear JSON array of 1 to `BATCH_MAX` values.
    """
    value = read_json_untrusted(data, keys_max)
    if not isinstance(value, list) or not value:
        raise MalformedError("a batch is an array of messages")
    if len(value) > limits.BATCH_MAX:
        raise MalformedError(f"a batch has at most {limits.BATCH_MAX} messages")
    text = data.decode("utf-8")  # it has been read: this and what follows holds
    parts: list[bytes] = []
    at = text.index("[") + 1
    for _ in value:
        while text[at] in _SPACE:
            at += 1
        _, end = _DECODER.raw_decode(text, at)
        parts.append(text[at:end].encode("utf-8"))
        at = end
        while text[at] in _SPACE:
            at += 1
        at += 1
    return parts


def join_batch(parts: Sequence[bytes]) -> bytes:
    """The parts as one batch."""
    return b"[%b]" % b",".join(parts)
