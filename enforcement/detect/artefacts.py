"""Artefacts by content: models, resources and updates in what passes a gate.

Each is named by the plain SHA-256 of its bytes, as ``sha256sum`` prints it: text as
UTF-8, what is base64 decoded. So a poisoned one is dead everywhere by one report,
while the good version, which has another digest, goes on.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from typing import Final

from enforcement.mcp.strictjson import Json

BLOCKS_MAX: Final = 4_096

_NO_DIGIT: Final = re.compile(r"[^A-Za-z0-9+/]")
_URL_SAFE: Final = str.maketrans("-_", "+/")


def contents(result: Json) -> Iterator[bytes]:
    """The digest of each content in an answer to ``resources/read`` or ``tools/call``."""
    if not isinstance(result, dict):
        return
    inner = result.get("result")
    for part in (result, inner if isinstance(inner, dict) else {}):
        for name in ("contents", "content", "messages"):
            blocks = part.get(name)
            for block in blocks[:BLOCKS_MAX] if isinstance(blocks, list) else ():
                yield from _of_block(block)


def parameters(value: Json) -> Iterator[bytes]:
    """The digest of each text in a call's parameters, and of what it is in base64."""
    ahead = [value]
    while ahead:
        one = ahead.pop()
        if isinstance(one, str):
            yield from _of_text(one)
            yield from _of_base64(one.rpartition(";base64,")[2])
        elif isinstance(one, dict):
            ahead += one.values()
        elif isinstance(one, list):
            ahead += one


def _of_block(block: Json) -> Iterator[bytes]:
    if not isinstance(block, dict):
        return
    for within in (block.get("resource"), block.get("content")):
        yield from _of_block(within)
    text = block.get("text")
    if isinstance(text, str):
        yield from _of_text(text)
    for name in ("blob", "data"):
        encoded = block.get(name)
        if isinstance(encoded, str):
            yield from _of_base64(encoded)


def _of_text(text: str) -> Iterator[bytes]:
    yield hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _of_base64(encoded: str) -> Iterator[bytes]:
    """As anybody may decode it: clients skip what is no digit (line breaks), read the
    URL-safe digits or skip them too, end at the padding or do without."""
    forms: dict[str, None] = {}
    for text in (encoded, encoded.partition("=")[0]):
        forms[_NO_DIGIT.sub("", text.translate(_URL_SAFE))] = None
        forms[_NO_DIGIT.sub("", text)] = None
    for digits in forms:
        whole = digits[: len(digits) - (len(digits) % 4 == 1)]
        if whole:
            data = base64.b64decode(whole + "=" * (-len(whole) % 4))
            yield hashlib.sha256(data).digest()
