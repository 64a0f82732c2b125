"""Bounded reading of one JSON-RPC message, and the words of a denial.

A guard that reads a message differently from the server behind it is a bypass,
so whatever two JSON parsers could read in two ways is refused: a key twice,
bytes that are not UTF-8, lone surrogates, a method in unusual case, members
JSON-RPC does not know. The standard library's parser does the reading.
"""

import json
import re
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias, cast

import attrs

from enforcement import limits
from gossip.errors import PeerError

Json: TypeAlias = bool | int | Decimal | str | list["Json"] | dict[str, "Json"] | None
RequestKey: TypeAlias = int | str

DENIED_CODE: Final = -32050
"""JSON-RPC error code of every denial; in the range left to implementations."""
PARSE_CODE: Final = -32700
INVALID_CODE: Final = -32600


class Reason(StrEnum):
    """Why, for machines. Stable: scripts and dashboards read them."""

    ALLOWED = "allowed"
    MALFORMED = "malformed"
    RULE = "rule"
    NO_PERMIT = "no-permit"
    POLICY_ERROR = "policy-error"
    UNREADABLE = "unreadable-parameter"
    TOO_MANY_VALUES = "too-many-values"
    QUARANTINED = "quarantined"
    RATE = "rate"
    REQUEST_ID = "request-id"
    BUSY = "busy"
    UNSIGNED = "unsigned"
    ENVELOPE = "envelope"
    STALE = "stale"
    REPLAYED = "replayed"
    BUNDLE = "bundle"
    SIGNER = "signer"
    SERVER = "server"
    UNASKED = "unasked"
    INTERNAL = "internal"
    NO_DAEMON = "no-daemon"


class MalformedError(PeerError):
    """A message that is not one clear JSON-RPC message.

    Attributes:
        id: The request's id where it could be read, so that it can be answered.
    """

    def __init__(
        self, sentence: str, code: int = INVALID_CODE, key: RequestKey | None = None
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.key = key


@attrs.frozen
class Request:
    """A call that wants an answer.

    Attributes:
        tool: The tool's name; empty unless the method is ``tools/call``.
    """

    key: RequestKey
    method: str
    params: dict[str, Json] | None = attrs.field(repr=False)
    tool: str


@attrs.frozen
class Notification:
    """A message that wants no answer; its method starts ``notifications/``."""

    method: str
    params: dict[str, Json] | None = attrs.field(repr=False)


@attrs.frozen
class Response:
    """An answer. ``key`` is None for an error about an unreadable message."""

    key: RequestKey | None
    failed: bool


Message: TypeAlias = Request | Notification | Response

_MEMBERS = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_METHOD = re.compile(r"[A-Za-z0-9_$./-]+")
_METHODS = frozenset(
    {
        "completion/complete",
        "elicitation/create",
        "initialize",
        "logging/setLevel",
        "notifications/cancelled",
        "notifications/elicitation/complete",
        "notifications/initialized",
        "notifications/message",
        "notifications/progress",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/roots/list_changed",
        "notifications/tasks/status",
        "notifications/tools/list_changed",
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "resources/templates/list",
        "resources/unsubscribe",
        "roots/list",
        "sampling/createMessage",
        "server/discover",
        "subscriptions/listen",
        "tasks/cancel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tasks/update",
        "tools/call",
        "tools/list",
    }
)
_FOLDED_METHODS = frozenset(m.casefold() for m in _METHODS)
_NOTIFICATION = "notifications/"


def read_message_untrusted(
    data: bytes, keys_max: int = limits.CLIENT_KEYS_MAX
) -> Message:
    """Read one message.

    Raises:
        MalformedError: a `PeerError`; too large, ambiguous, or not JSON-RPC.
    """
    value = read_json_untrusted(data, keys_max)
    if isinstance(value, list):
        raise MalformedError("batches of messages are not accepted")
    if not isinstance(value, dict):
        raise MalformedError("a message must be a JSON object")
    key = _read_key(value)
    unknown = value.keys() - _MEMBERS
    if unknown or value.get("jsonrpc") != "2.0":
        raise MalformedError("not a JSON-RPC 2.0 message", key=key)
    if "method" in value:
        return _read_call(value, key)
    if ("result" in value) == ("error" in value) or "params" in value:
        raise MalformedError("neither a request nor an answer", key=key)
    failed = "error" in value
    if key is None and not failed:
        raise MalformedError("an answer without an id")
    return Response(key=key, failed=failed)


def read_json_untrusted(data: bytes, keys_max: int) -> Json:
    """Parse strictly: UTF-8, one value, nothing twice, nothing too large.

    Integers come as `int`, all other numbers as the exact `Decimal`.

    Raises:
        MalformedError: with `PARSE_CODE`.
    """
    if len(data) > limits.MESSAGE_BYTES_MAX:
        raise _unparsable(f"a message has at most {limits.MESSAGE_BYTES_MAX} bytes")
    if data.count(b",") > limits.VALUES_MAX and (
        _STRING.sub(b"", data).count(b",") > limits.VALUES_MAX
    ):
        raise _unparsable(f"a message has at most {limits.VALUES_MAX} values")
    reader = _Reader(keys_max)
    try:
        value = cast(
            "Json",
            json.loads(
                data.decode("utf-8"),  # a BOM survives this and is refused below
                object_pairs_hook=reader.members,
                parse_int=reader.integer,
                parse_float=reader.decimal,
                parse_constant=reader.constant,
            ),
        )
    except UnicodeDecodeError as wrong:
        raise _unparsable("the message is not UTF-8") from wrong
    except RecursionError as wrong:
        raise _unparsable("the message is nested too deeply") from wrong
    except json.JSONDecodeError as wrong:
        raise _unparsable(f"the message is not JSON: {wrong.msg}") from wrong
    _check_shape(value, texts=b"\\u" in data)
    return value


@attrs.define
class _Reader:
    """The parser's hooks, and the count of keys they share."""

    keys_max: int
    _keys: int = attrs.field(init=False, default=0)

    def members(self, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        self._keys += len(pairs)
        if self._keys > self.keys_max:
            raise _unparsable(f"a message has at most {self.keys_max} keys")
        members = dict(pairs)
        if len(members) != len(pairs):
            raise _unparsable("an object has the same key twice")
        return members

    def integer(self, text: str) -> int:
        if len(text) > limits.NUMBER_CHARS_MAX:
            raise _unparsable("a number is too long")
        return int(text)

    def decimal(self, text: str) -> Decimal:
        number = Decimal(text) if len(text) <= limits.NUMBER_CHARS_MAX else None
        # 400 is past what a double can hold: one parser's infinity.
        if number is None or abs(number.adjusted()) > 400:
            raise _unparsable("a number is too long or too large")
        return number

    def constant(self, text: str) -> Json:
        raise _unparsable(f"`{text}` is not JSON")


def _check_shape(value: Json, *, texts: bool) -> None:
    """Refuse what is nested too deeply, and text that has no UTF-8 form."""
    layer: list[Json] = [value]
    for _ in range(limits.DEPTH_MAX + 1):
        below: list[Json] = []
        containers = False
        for item in layer:
            if isinstance(item, dict):
                containers = True
                below.extend(item.values())
                if texts:
                    below.extend(item)
            elif isinstance(item, list):
                containers = True
                below.extend(item)
            elif texts and isinstance(item, str):
                _check_text(item)
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


def _read_key(value: dict[str, Json]) -> RequestKey | None:
    key = value.get("id")
    if isinstance(key, str) and len(key) <= limits.ID_CHARS_MAX:
        return key
    if type(key) is int and abs(key) <= limits.SAFE_INT_MAX:
        return key
    if key is None and ("id" not in value or "error" in value):
        return None
    raise MalformedError("an id must be a short string or a safe integer")


def _read_call(value: dict[str, Json], key: RequestKey | None) -> Message:
    method, params = value["method"], value.get("params")
    if "result" in value or "error" in value:
        raise MalformedError("a message is a request or an answer, not both", key=key)
    if (
        not isinstance(method, str)
        or len(method) > limits.METHOD_CHARS_MAX
        or not _METHOD.fullmatch(method)
    ):
        raise MalformedError("a method is a short name", key=key)
    if method not in _METHODS and method.casefold() in _FOLDED_METHODS:
        raise MalformedError(f"method `{method}` is in the wrong case", key=key)
    if ("params" in value and not isinstance(params, dict)) or (
        params is not None and not isinstance(params, dict)
    ):
        raise MalformedError("params must be an object", key=key)
    if key is None:
        if not method.startswith(_NOTIFICATION):
            raise MalformedError(f"`{method}` needs an id")
        return Notification(method, params)
    if method.startswith(_NOTIFICATION):
        raise MalformedError(f"`{method}` takes no id", key=key)
    return Request(key, method, params, _read_tool(method, params, key))


def _read_tool(method: str, params: dict[str, Json] | None, key: RequestKey) -> str:
    if method != "tools/call":
        return ""
    name = (params or {}).get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= limits.TOOL_CHARS_MAX:
        raise MalformedError("tools/call needs the tool's name", key=key)
    if not isinstance((params or {}).get("arguments", {}), dict):
        raise MalformedError("a tool's arguments must be an object", key=key)
    known = ("name", "arguments")
    for member in params or {}:
        # Some parsers match members without regard to case.
        if member.casefold() in known and member not in known:
            raise MalformedError(f"member `{member}` is in the wrong case", key=key)
    return name


def as_one_line(data: bytes) -> bytes:
    """The same JSON with nothing in it that any reader takes for a line's end.

    Only for data that `read_json_untrusted` accepted: there a raw line feed is
    white space between tokens, and U+0085, U+2028, U+2029 stand in strings. Left
    as they are, one message could arrive at a line reader as several.
    """
    if b"\n" in data or b"\r" in data:
        data = data.strip().replace(b"\n", b" ").replace(b"\r", b" ")
    if data.isascii():
        return data
    return (
        data.replace(b"\xc2\x85", b"\\u0085")
        .replace(b"\xe2\x80\xa8", b"\\u2028")
        .replace(b"\xe2\x80\xa9", b"\\u2029")
    )


def write_denial(
    key: RequestKey | None,
    sentence: str,
    reason: Reason,
    *,
    rule: str = "",
    advice: str = "",
    code: int = DENIED_CODE,
) -> bytes:
    """A JSON-RPC error that says which rule, why, and what to do."""
    picket = {"rule": rule, "reason": reason.value, "advice": advice}
    return json.dumps(
        {
            "jsonrpc": "2.0",
            "id": key,
            "error": {"code": code, "message": sentence, "data": {"picket": picket}},
        },
        separators=(",", ":"),
    ).encode()
