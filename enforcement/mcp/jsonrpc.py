"""One JSON-RPC message: request, notification or answer; and the words of a denial.

A guard that reads a message differently from the server behind it is a bypass,
so besides ambiguous JSON (`enforcement.mcp.strictjson`) whatever two servers could
take for two things is refused: a method in unusual case, members JSON-RPC does
not know, a call without an id.
"""

import json
import re
from enum import StrEnum
from typing import Final, TypeAlias

import attrs

from enforcement import limits
from enforcement.mcp.strictjson import (
    Json,
    MalformedError,
    RequestKey,
    as_one_line,
    read_json_untrusted,
)

DENIED_CODE: Final = -32010
"""JSON-RPC error code of every denial; in the range left to implementations."""


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
    TOOL_CHANGED = "tool-changed"
    SCHEMA = "schema"
    UNPROVABLE = "unprovable"
    TRUST = "trust"
    CHALLENGE = "challenge"
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
    SUSPECT = "suspect"
    NO_DAEMON = "no-daemon"


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
    result: Json = attrs.field(default=None, repr=False, eq=False)
    error: Json = attrs.field(default=None, repr=False, eq=False)


Message: TypeAlias = Request | Notification | Response

_MEMBERS = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_METHOD = re.compile(r"[A-Za-z0-9_$./-]+")
METHODS = frozenset(
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
_FOLDED_METHODS = frozenset(m.casefold() for m in METHODS)
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
    if not _MEMBERS.issuperset(value) or value.get("jsonrpc") != "2.0":
        raise MalformedError("not a JSON-RPC 2.0 message", key=key)
    if "method" in value:
        return _read_call(value, key)
    if ("result" in value) == ("error" in value) or "params" in value:
        raise MalformedError("neither a request nor an answer", key=key)
    failed = "error" in value
    if key is None and not failed:
        raise MalformedError("an answer without an id")
    result, error = value.get("result"), value.get("error")
    return Response(key=key, failed=failed, result=result, error=error)


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
    if not isinstance(method, str):
        raise MalformedError("a method is a short name", key=key)
    if method not in METHODS:
        _check_unknown(method, key)
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


def _check_unknown(method: str, key: RequestKey | None) -> None:
    if len(method) > limits.METHOD_CHARS_MAX or not _METHOD.fullmatch(method):
        raise MalformedError("a method is a short name", key=key)
    if method.casefold() in _FOLDED_METHODS:
        raise MalformedError(f"method `{method}` is in the wrong case", key=key)


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
        if member not in known and member.casefold() in known:
            raise MalformedError(f"member `{member}` is in the wrong case", key=key)
    return name


def line_of(message: Message, data: bytes) -> bytes:
    """The message's bytes on one line; see `as_one_line`.

    Raises:
        MalformedError: so written it is too large.
    """
    return as_one_line(data, None if isinstance(message, Notification) else message.key)


def write_denial(
    key: RequestKey | None,
    sentence: str,
    reason: Reason,
    *,
    rule: str = "",
    advice: str = "",
    code: int = DENIED_CODE,
) -> bytes:
    """A JSON-RPC error that says which rule, why, and what to do.

    The message says it all, for people; programs find the parts in ``data``.
    """
    message = f"{sentence}; {advice}" if advice else sentence
    picket = {"rule": rule, "reason": reason.value, "advice": advice}
    return json.dumps(
        {
            "jsonrpc": "2.0",
            "id": key,
            "error": {"code": code, "message": message, "data": {"picket": picket}},
        },
        separators=(",", ":"),
    ).encode()


def guess_key_untrusted(data: bytes) -> RequestKey | None:
    """The id of an answer that a strict reader refuses, such as one with NaN in it.

    Only tells which waiting call failed; nothing else of it is believed.
    """
    if len(data) > limits.MESSAGE_BYTES_MAX:
        return None
    try:
        message: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    key = message.get("id") if isinstance(message, dict) else None
    return key if isinstance(key, str) or type(key) is int else None
