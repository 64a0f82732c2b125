"""OAuth's protected resource: a server's RFC 9728 document, and whom a token is for.

A server says in its document who issues tokens for it. An agent meets it at another
address, so the document travels on with that address in place of the server's; but
only a document that is about the server is passed on at all.
"""

import base64
import binascii
import json
import re
from collections.abc import Collection
from typing import Final
from urllib.parse import urljoin, urlsplit

import attrs

from node.proxy.asks import Headers, Piece, find

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
DOCUMENT_BYTES_MAX: Final = 65_536
CHALLENGED: Final = (401, 403)

_NAMED = re.compile(r'resource_metadata="([^"]*)"')
_PORTS: Final = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, each as it is compared; empty for none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return ""
    if parts.scheme not in _PORTS or not parts.hostname or port is None:
        return ""
    return f"{parts.scheme}://{parts.hostname.lower()}:{port}"


def named_document(status: int, headers: Headers, url: str) -> str | None:
    """Where a challenge says the document lies: a target at the server itself.

    Empty for a challenge that names none there, None for no challenge.
    """
    if status not in CHALLENGED:
        return None
    named = _NAMED.search(find(headers, "www-authenticate"))
    there = "" if named is None else urljoin(url, named[1])
    target = there.partition("#")[0].split("/", 3)[3:] if there else []
    plain = bool(target) and target[0].isascii() and target[0].isprintable()
    if origin_of(there) != origin_of(url) or not plain or " " in there:
        return ""
    return "/" + target[0]


def places(target: str, named: str) -> tuple[str, ...]:
    """Where to look for the document: as told, beside the path, at the root."""
    path = target.partition("?")[0].rstrip("/")
    return tuple(dict.fromkeys(p for p in (named, WELL_KNOWN + path, WELL_KNOWN) if p))


def is_about_untrusted(body: bytes, resource: str) -> bool:
    """Whether a document is about this resource, or about what it is a part of."""
    if len(body) > DOCUMENT_BYTES_MAX:
        return False
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        return False
    named = document.get("resource") if isinstance(document, dict) else None
    if not isinstance(named, str) or not origin_of(named):
        return False
    whole, part = (urlsplit(url).path.rstrip("/") + "/" for url in (named, resource))
    return origin_of(named) == origin_of(resource) and part.startswith(whole)


def stand_in(resource: str) -> bytes:
    """For a server of revision 2025-03-26, which issues its tokens itself."""
    parts = urlsplit(resource)
    issuer = f"{parts.scheme}://{parts.netloc}"
    return json.dumps(
        {"resource": resource, "authorization_servers": [issuer]}
    ).encode()


def is_meant_for(token: str, resources: Collection[str], host: str = "") -> bool:
    """Whether a bearer token may be for one of ``resources``, or all of ``host``.

    Only a JWT (RFC 9068) that names its audience tells; whether a token is genuine,
    and whom any other is for, is the server's to say.
    """
    audience = _audience(token)
    if audience is None:
        return True
    known = {_comparable(url) for url in resources}
    whole = origin_of(host) or None
    return any(_comparable(n) in known or origin_of(n) == whole for n in audience)


def _audience(token: str) -> list[str] | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims: object = json.loads(base64.urlsafe_b64decode(padded))
    except (ValueError, binascii.Error, RecursionError):
        return None
    named = claims.get("aud") if isinstance(claims, dict) else None
    if named is None:
        return None
    listed = named if isinstance(named, list) else [named]
    return [name for name in listed if isinstance(name, str)]


def _comparable(url: str) -> str:
    origin = origin_of(url)
    return origin + urlsplit(url).path.rstrip("/") if origin else url


@attrs.define
class Document:
    """A document as an answer; see `node.proxy.asks.Answer`."""

    status: int
    headers: Headers
    body: bytes
    events: bool = False

    async def next(self) -> Piece | None:
        """All of it, then None."""
        body, self.body = self.body, b""
        return Piece(body) if body else None

    def rest(self) -> bool:
        """Nothing carries it."""
        return True

    async def aclose(self) -> None:
        """Nothing is open."""
