"""Headers of the stateless revision that repeat the body, and must repeat it truly.

A header that names another tool than the body lets whatever routes or allows by
header be talked past, so such a request goes no further (-32020).
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

from enforcement.mcp.jsonrpc import Notification, Request
from enforcement.mcp.strictjson import MalformedError

MISMATCH_CODE: Final = -32020
_VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_NAMES: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_ENCODED = re.compile(r"=\?base64\?(.*)\?=")


def check_headers_untrusted(
    headers: Mapping[str, str], message: Request | Notification
) -> None:
    """Compare the headers that are there with the message.

    ``headers`` have names in lower case. Which of them must be there is the
    server's to say.

    Raises:
        MalformedError: with `MISMATCH_CODE`.
    """
    params = message.params or {}
    meta = params.get("_meta")
    version = meta.get(_VERSION_KEY) if isinstance(meta, dict) else None
    told = {"mcp-method": message.method}
    member = _NAMES.get(message.method)
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
