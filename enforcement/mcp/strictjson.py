"""Strict reading of JSON: what two parsers could read in two ways is refused.

The standard library's parser does the reading; its hooks refuse keys that come twice
and numbers no other parser would read alike.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from json.scanner import make_scanner
from typing import Final, TypeAlias, cast

from enforcement import limits
from gossip.errors import PeerError

Json: TypeAlias = bool | int | Decimal | str | list["Json"] | dict[str, "Json"] | None
RequestKey: TypeAlias = int | str

PARSE_CODE: Final = -32700
INVALID_CODE: Final = -32600


class MalformedError(PeerError):
    """A message that is not one clear JSON-RPC message.

    Attributes:
        key: The request's id where it could be read, so that it can be answered.
    """

    def __init__(
        self, sentence: str, code: int = INVALID_CODE, key: RequestKey | None = None
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.key = key


def read_json_untrusted(data: bytes, keys_max: int) -> Json:
    """Parse strictly: UTF-8, one value, nothing twice, nothing too large.

    Integers come as `int`, all other numbers as the exact `Decimal`.

    Raises:
        MalformedError: with `PARSE_CODE`.
    """
    if len(data) > limits.MESSAGE_BYTES_MAX:
        raise _unparsable(f"a message has at most {limits.MESSAGE_BYTES_MAX} bytes")
    if data.count(b",") > limits.VALUES_MAX and _has_too_many_values(data):
        raise _unparsable(f"a message has at most {limits.VALUES_MAX} values")
    try:
        # A BOM survives the decoding, and is refused by the parser.
        value = _decode(data.decode("utf-8"))
    except UnicodeDecodeError as wrong:
        raise _unparsable("the message is not UTF-8") from wrong
    except RecursionError as wrong:
        raise _unparsable("the message is nested too deeply") from wrong
    except json.JSONDecodeError as wrong:
        raise _unparsable(f"the message is not JSON: {wrong.msg}") from wrong
    if not _is_plain(data, keys_max):
        _check_shape(value, keys_max, texts=b"\\u" in data)
    return value


def _decode(text: str) -> Json:
    """One value and nothing else: mostly there is not even white space around it."""
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        end = -1
    return cast("Json", value if end == len(text) else _STRICT.decode(text))


def _is_plain(data: bytes, keys_max: int) -> bool:
    """Whether no look at the value could find what `_check_shape` refuses."""
    return (
        data.count(b"{") + data.count(b"[") <= limits.DEPTH_MAX
        and data.count(b":") <= keys_max
        and b"\\u" not in data
        and _PROTOTYPE_BYTES not in data
    )


def _has_too_many_values(data: bytes) -> bool:
    """Count commas outside strings, before the parser makes a value of each."""
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * limits.VALUES_MAX:
        return True
    return b"".join(bare.split(b'"')[::2]).count(b",") > limits.VALUES_MAX


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _unparsable("an object has the same key twice")
    return members


def _integer(text: str) -> int:
    if len(text) > limits.NUMBER_CHARS_MAX:
        raise _unparsable("a number is too long")
    return int(text)


def _decimal(text: str) -> Decimal:
    number = Decimal(text) if len(text) <= limits.NUMBER_CHARS_MAX else None
    # 400 is past what a double can hold: one parser's infinity.
    if number is None or abs(number.adjusted()) > 400:
        raise _unparsable("a number is too long or too large")
    return number


def _constant(text: str) -> Json:
    raise _unparsable(f"`{text}` is not JSON")


_STRICT: Final = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_int=_integer,
    parse_float=_decimal,
    parse_constant=_constant,
)
_scan: Final = make_scanner(_STRICT)  # type: ignore[arg-type]  # its stub names itself


_PROTOTYPE: Final = "__proto__"
"""Below it some readers in JavaScript find members that others do not see there."""
_PROTOTYPE_BYTES: Final = _PROTOTYPE.encode()


def _check_shape(value: Json, keys_max: int, *, texts: bool) -> None:
    """Refuse too many keys, too deep a nest, and text that has no UTF-8 form."""
    layer: list[Json] = [value]
    keys = 0
    for _ in range(limits.DEPTH_MAX + 1):
        below: list[Json] = []
        containers = False
        for item in layer:
            if isinstance(item, dict):
                containers = True
                keys += len(item)
                if _PROTOTYPE in item:
                    raise _unparsable(f"the key `{_PROTOTYPE}` is no key to everybody")
                below += item.values()
                if texts:
                    below += item
            elif isinstance(item, list):
                containers = True
                below += item
            elif texts and isinstance(item, str):
                _check_text(item)
        if keys > keys_max:
            raise _unparsable(f"a message has at most {keys_max} keys")
        if not containers:
            return
        layer = below
    raise _unparsable("the message is nested too deeply")


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as wrong:
        raise _unparsable("a string holds half a character") from wrong


def _unparsable(sentence: str) -> MalformedError:
    return MalformedError(sentence, PARSE_CODE)


def write_json(value: Json) -> bytes:
    """The JSON of what `read_json_untrusted` read, every number exactly as it was."""
    return "".join(_written(value)).encode()


def _written(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{"
        for at, (key, member) in enumerate(value.items()):
            yield f"{',' if at else ''}{json.dumps(key)}:"
            yield from _written(member)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for at, item in enumerate(value):
            yield "," if at else ""
            yield from _written(item)
        yield "]"
    else:
        yield str(value) if isinstance(value, Decimal) else json.dumps(value)


def as_one_line(data: bytes, key: RequestKey | None = None) -> bytes:
    """The same JSON with nothing in it that any reader takes for a line's end.

    Only for data that `read_json_untrusted` accepted: there a raw line feed is
    white space between tokens, and U+0085, U+2028, U+2029 stand in strings. Left
    as they are, one message could arrive at a line reader as several.

    Raises:
        MalformedError: so written it is larger than a message may be.
    """
    if b"\n" in data or b"\r" in data:
        data = data.strip().replace(b"\n", b" ").replace(b"\r", b" ")
    if data.isascii():
        return data
    line = (
        data.replace(b"\xc2\x85", b"\\u0085")
        .replace(b"\xe2\x80\xa8", b"\\u2028")
        .replace(b"\xe2\x80\xa9", b"\\u2029")
    )
    if len(line) > limits.MESSAGE_BYTES_MAX:
        sentence = f"on one line, it has more than {limits.MESSAGE_BYTES_MAX} bytes"
        raise MalformedError(sentence, key=key)
    return line
