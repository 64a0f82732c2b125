"""Arguments written into an HTTP request, so that none leaves its place."""

import re
from typing import Final
from urllib.parse import quote, unquote

from enforcement.mcp.strictjson import Json, write_json
from gossip.errors import PeerError

_COOKIE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DECODED_MAX: Final = 3


def _text(value: Json) -> str:
    return value if isinstance(value, str) else write_json(value).decode()


def segment(value: Json) -> str:
    """One segment of a path: it can neither end it nor climb out of it."""
    listed = value if isinstance(value, list) else [value]
    plain = ",".join(map(_text, listed))
    read = plain
    for _ in range(_DECODED_MAX):  # servers have been seen to decode twice
        if {".", ".."} & set(read.replace("\\", "/").split("/")) or not read:
            raise PeerError("a parameter of the path is empty, or climbs out of it")
        read = unquote(read)
    return ",".join(quote(_text(item), safe="") for item in listed)


def pairs(name: str, style: str, explode: bool, value: Json) -> list[tuple[str, str]]:
    """A query parameter, in its style; an object's members may become parameters."""
    if isinstance(value, list):
        texts = [_text(item) for item in value]
        if explode:
            return [(name, text) for text in texts]
        gap = {"spaceDelimited": " ", "pipeDelimited": "|"}.get(style, ",")
        return [(name, gap.join(texts))]
    if isinstance(value, dict):
        if style == "deepObject":
            return [(f"{name}[{k}]", _text(v)) for k, v in value.items()]
        if explode:
            return [(k, _text(v)) for k, v in value.items()]
        flat = ",".join(f"{k},{_text(v)}" for k, v in value.items())
        return [(name, flat)]
    return [] if value is None else [(name, _text(value))]


def cookie(value: Json) -> str:
    """A cookie's value as RFC 6265 has it."""
    text = _text(value)
    if not _COOKIE.fullmatch(text):
        raise PeerError("a cookie holds what no cookie may")
    return text


def header(value: Json) -> str:
    """A header's value: one line."""
    listed = value if isinstance(value, list) else [value]
    text = ",".join(map(_text, listed))
    if _CONTROL.search(text) or not text.isascii():
        raise PeerError("a header holds what no header may")
    return text
