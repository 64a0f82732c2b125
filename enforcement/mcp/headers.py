"""Headers of the stateless revision that repeat the body, and must repeat it truly.

A header that names another tool than the body lets whatever routes or allows by
header be talked past, so such a request goes no further (-32020). A tool may have
parameters repeated too: ``"x-mcp-header": "Region"`` beside a property's type means
that ``Mcp-Param-Region`` is that parameter.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from enforcement.mcp.jsonrpc import Notification, Request
from enforcement.mcp.strictjson import Json, MalformedError

MISMATCH_CODE: Final = -32020
VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
NAMED: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
PARAM_PREFIX: Final = "mcp-param-"
ANNOTATION: Final = "x-mcp-header"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ENCODED = re.compile(r"=\?base64\?(.*)\?=")


Mirrors: TypeAlias = Mapping[str, tuple[str, ...]]
"""Headers, in lower case, that repeat a parameter, with its path."""


def check_headers_untrusted(
    headers: Mapping[str, str],
    message: Request | Notification,
    mirrors: Mirrors = MappingProxyType({}),
) -> None:
    """Compare the headers that are there with the message.

    ``headers`` have names in lower case. Which of them must be there is the
    server's to say; but one that repeats a parameter is there if and only if the
    parameter is, and is not null.

    Raises:
        MalformedError: with `MISMATCH_CODE`.
    """
    if isinstance(message, Request):
        _check_params(headers, mirrors, message)
    params = message.params or {}
    meta = params.get("_meta")
    version = meta.get(VERSION_KEY) if isinstance(meta, dict) else None
    told = {"mcp-method": message.method}
    member = NAMED.get(message.method)
    if member is not None:
        name = params.get(member)
        told["mcp-name"] = name if isinstance(name, str) else ""
    if isinstance(version, str):
        told["mcp-protocol-version"] = version
    for header, value in told.items():
        given = headers.get(header)
        if given is not None and _decode(given) != value:
            raise MalformedError(
                f"header `{header}` says something else than the message",
                MISMATCH_CODE,
                message.key if isinstance(message, Request) else None,
            )


def read_mirrors(schema: Json) -> Mirrors:
    """Which parameter each header of a tool repeats, by its path; none if unclear."""
    found: dict[str, tuple[str, ...]] = {}
    waiting: list[tuple[tuple[str, ...], Json]] = [((), schema)]
    while waiting:
        path, part = waiting.pop()
        if not isinstance(part, dict):
            continue
        if ANNOTATION in part:
            token = part[ANNOTATION]
            plain = isinstance(token, str) and _TOKEN.fullmatch(token) is not None
            header = f"{PARAM_PREFIX}{token}".lower()
            typed = part.get("type") in ("string", "integer", "boolean")
            if not (path and plain and typed) or header in found:
                return {}
            found[header] = path
        named = part.get("properties")
        if isinstance(named, dict):
            waiting += [((*path, name), inner) for name, inner in named.items()]
    return found


def _check_params(
    headers: Mapping[str, str], mirrors: Mirrors, request: Request
) -> None:
    for header, path in mirrors.items():
        value: Json = (request.params or {}).get("arguments")
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        given = headers.get(header)
        if (given is None) == (value is None) and (
            given is None or _says(_decode(given), value)
        ):
            continue
        raise MalformedError(
            f"header `{header}` says something else than parameter `{'.'.join(path)}`",
            MISMATCH_CODE,
            request.key,
        )


def _says(text: str | None, value: Json) -> bool:
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    if isinstance(value, int):
        plain = text is not None and re.fullmatch(r"-?[0-9]{1,20}(\.0+)?", text)
        return bool(plain and text) and int(str(text).partition(".")[0]) == value
    return isinstance(value, str) and text == value


def _decode(value: str) -> str | None:
    """A header's text; None if it is encoded in more than one way, or badly."""
    encoded = _ENCODED.fullmatch(value)
    if encoded is None:
        return value
    try:
        data = base64.b64decode(encoded[1], validate=True)
        text = data.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return text if base64.b64encode(data).decode() == encoded[1] else None
