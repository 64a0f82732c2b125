"""An MCP server over stdio that speaks HTTP behind it, made from an OpenAPI document.

It decides nothing: gates stand before it as before any other server. What an operation
costs is its HTTP request. Redirects are not followed, answers have a limit, and the
credentials come from the environment and go to the configured base alone.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs
import httpx
import trio

from enforcement import limits
from enforcement.defend.openapi import HttpCall, Operation, read_api_untrusted
from enforcement.defend.schema import Schema, read_schema_untrusted
from enforcement.mcp.jsonrpc import Notification, Request, read_message_untrusted
from enforcement.mcp.strictjson import (
    INVALID_CODE,
    Json,
    MalformedError,
    read_json_untrusted,
    write_json,
)
from gossip.errors import PeerError, UserError
from node.proxy.lines import LineSplitter
from node.yamltext import read_yaml_untrusted

DEADLINE_S: Final = 60.0
REVISIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
_CALLS_MAX: Final = 256
_READ_BYTES: Final = 65_536
_UNKNOWN_CODE: Final = -32601
_PARAMS_CODE: Final = -32602
_VERSION: Final = "1"
_KEY_PLACES: Final = ("header", "query", "cookie")


@attrs.frozen
class Credential:
    """One security scheme's secret, and where it goes."""

    place: str
    name: str
    value: str = attrs.field(repr=False)


def read_document(path: Path) -> Json:
    """Read an OpenAPI document in JSON or YAML.

    Raises:
        UserError: missing, too large, or neither.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limits.MESSAGE_BYTES_MAX + 1)
        if data.lstrip()[:1] != b"{" and len(data) <= limits.MESSAGE_BYTES_MAX:
            data = write_json(read_yaml_untrusted(data.decode("utf-8")))
        return read_json_untrusted(data, limits.SERVER_KEYS_MAX)
    except OSError as wrong:
        raise UserError(f"{path}: cannot be read: {wrong.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: cannot be read: it is not UTF-8") from None
    except PeerError as wrong:
        raise UserError(f"{path}: cannot be read: {wrong}") from None


def read_operations(path: Path, document: Json) -> list[Operation]:
    """Its operations as tools.

    Raises:
        UserError: which one cannot be one, and why.
    """
    try:
        operations = read_api_untrusted(document)
        for operation in operations:
            read_schema_untrusted(operation.tool["inputSchema"])
    except PeerError as wrong:
        raise UserError(f"{path}: {wrong}") from None
    return operations


def find_base(path: Path, document: Json, given: str | None) -> str:
    """Where requests go: ``given``, or the document's first server.

    Raises:
        UserError: neither is an http(s) URL.
    """
    listed = document.get("servers") if isinstance(document, dict) else None
    first = listed[0] if isinstance(listed, list) and listed else None
    url = given or str(first.get("url") if isinstance(first, dict) else "")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or "{" in url:
        raise UserError(f"{path}: names no usable server; give one with --base URL")
    return url.rstrip("/")


def read_credentials(
    path: Path, document: Json, given: Mapping[str, str]
) -> dict[str, Credential]:
    """Secrets by scheme: ``given`` says in which variable of the environment each is.

    Raises:
        UserError: the document has no such scheme, or the variable is not set.
    """
    components = document.get("components") if isinstance(document, dict) else None
    schemes = (
        components.get("securitySchemes") if isinstance(components, dict) else None
    )
    found: dict[str, Credential] = {}
    for name, variable in given.items():
        scheme = schemes.get(name) if isinstance(schemes, dict) else None
        if not isinstance(scheme, dict):
            raise UserError(f"{path}: has no security scheme `{name}`")
        secret = os.environ.get(variable)
        if not secret:
            raise UserError(f"the variable `{variable}` for `{name}` is not set")
        if scheme.get("type") == "apiKey" and scheme.get("in") in _KEY_PLACES:
            place, key = str(scheme["in"]), str(scheme.get("name"))
            found[name] = Credential(place, key, secret)
        elif scheme.get("type") == "http" and scheme.get("scheme") == "basic":
            found[name] = Credential("header", "authorization", f"Basic {secret}")
        else:
            found[name] = Credential("header", "authorization", f"Bearer {secret}")
    return found


@attrs.define
class ApiServer:
    """Answers one MCP client. ``say`` sends one message to it, whole."""

    name: str
    base: str
    operations: Mapping[str, Operation]
    credentials: Mapping[str, Credential]
    client: httpx.AsyncClient
    _schemas: dict[str, Schema] = attrs.field(init=False, factory=dict)
    _running: dict[int | str, trio.CancelScope] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        for name, operation in self.operations.items():
            schema = operation.tool["inputSchema"]
            self._schemas[name] = read_schema_untrusted(schema)

    async def answer(self, data: bytes) -> bytes | None:
        """The answer to one message; None if it wants none."""
        try:
            message = read_message_untrusted(data)
        except MalformedError as wrong:
            return _error(wrong.key, wrong.code, str(wrong))
        if isinstance(message, Notification):
            key = (message.params or {}).get("requestId")
            if message.method == "notifications/cancelled" and isinstance(
                key, int | str
            ):
                scope = self._running.get(key)
                if scope is not None:
                    scope.cancel()
            return None
        if not isinstance(message, Request):
            return None
        match message.method:
            case "initialize":
                return _result(message.key, self._initialize(message.params or {}))
            case "ping":
                return _result(message.key, {})
            case "tools/list":
                tools: list[Json] = [o.tool for o in self.operations.values()]
                return _result(message.key, {"tools": tools})
            case "tools/call":
                return await self._call(message)
        return _error(message.key, _UNKNOWN_CODE, f"no method `{message.method}`")

    def _initialize(self, params: dict[str, Json]) -> Json:
        asked = params.get("protocolVersion")
        return {
            "protocolVersion": asked if asked in REVISIONS else REVISIONS[0],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": self.name, "version": _VERSION},
        }

    async def _call(self, request: Request) -> bytes | None:
        operation = self.operations.get(request.tool)
        if operation is None:
            return _error(request.key, _PARAMS_CODE, f"no tool `{request.tool}`")
        arguments = (request.params or {}).get("arguments", {})
        fault = self._schemas[request.tool].find_fault(arguments)
        if fault is not None or not isinstance(arguments, dict):
            return _error(request.key, _PARAMS_CODE, fault or "no arguments")
        if not self._schemas[request.tool].fits(arguments):  # null: left out
            arguments = {k: v for k, v in arguments.items() if v is not None}
        try:
            asked = operation.call(arguments)
        except PeerError as wrong:
            return _error(request.key, _PARAMS_CODE, str(wrong))
        with trio.move_on_after(DEADLINE_S) as scope:
            self._running[request.key] = scope
            try:
                return _result(request.key, await self._fetch(operation, asked))
            except (httpx.HTTPError, httpx.InvalidURL) as wrong:
                return _result(request.key, _failed(type(wrong).__name__))
            finally:
                self._running.pop(request.key, None)
        if trio.current_time() < scope.deadline:
            return None  # its client lost interest
        return _result(request.key, _failed("no answer in time"))

    async def _fetch(self, operation: Operation, asked: HttpCall) -> Json:
        headers = {"accept": "application/json", **asked.headers}
        if asked.body is not None:
            headers["content-type"] = "application/json"
        url = self.base + asked.target
        for scheme in operation.schemes:
            secret = self.credentials.get(scheme)
            if secret is None:
                continue
            if secret.place == "header":
                headers[secret.name] = secret.value
            elif secret.place == "cookie":
                held = [headers["cookie"]] if "cookie" in headers else []
                headers["cookie"] = "; ".join([*held, f"{secret.name}={secret.value}"])
            else:
                extra = httpx.QueryParams({secret.name: secret.value})
                url += ("&" if "?" in url else "?") + str(extra)
        body = bytearray()
        async with self.client.stream(
            asked.method, url, headers=headers, content=asked.body
        ) as response:
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > limits.MESSAGE_BYTES_MAX // 2:
                    return _failed("its answer is too large")
        return _told(operation, response.status_code, bytes(body))


def _told(operation: Operation, status: int, body: bytes) -> Json:
    """An HTTP answer as a tool's result."""
    value: Json = None
    try:
        value = read_json_untrusted(body, limits.SERVER_KEYS_MAX)
        text = write_json(value).decode()
    except MalformedError:
        text = body.decode("utf-8", "replace")
    content: list[Json] = [{"type": "text", "text": text}]
    if not 200 <= status < 300:
        head: Json = {"type": "text", "text": f"HTTP {status}"}
        return {"content": [head, *content], "isError": True}
    if "outputSchema" not in operation.tool:
        return {"content": content}
    structured = {"result": value} if operation.wraps else value
    if not isinstance(structured, dict):
        return _failed("its answer is not what its document says")
    shown: Json = {"type": "text", "text": write_json(structured).decode()}
    return {"content": [shown], "structuredContent": structured}


def _failed(why: str) -> Json:
    return {"content": [{"type": "text", "text": f"failed: {why}"}], "isError": True}


def _result(key: int | str, result: Json) -> bytes:
    answer: Json = {"jsonrpc": "2.0", "id": key, "result": result}
    return write_json(answer)


def _error(key: int | str | None, code: int, sentence: str) -> bytes:
    error = {"code": code or INVALID_CODE, "message": sentence}
    return json.dumps({"jsonrpc": "2.0", "id": key, "error": error}).encode()


async def serve_stdio(
    make: Callable[[httpx.AsyncClient], ApiServer], read_fd: int, write_fd: int
) -> None:
    """Answer on two file descriptors until the client ends."""
    room = trio.Semaphore(_CALLS_MAX)
    turn = trio.Lock()
    async with (
        httpx.AsyncClient(
            follow_redirects=False, trust_env=False, timeout=DEADLINE_S
        ) as http,
        trio.lowlevel.FdStream(read_fd) as source,
        trio.lowlevel.FdStream(write_fd) as sink,
        trio.open_nursery() as nursery,
    ):
        server = make(http)

        async def answer(line: bytes) -> None:
            try:
                said = await server.answer(line)
                if said is not None:
                    async with turn:
                        await sink.send_all(said + b"\n")
            except trio.BrokenResourceError:
                nursery.cancel_scope.cancel()
            finally:
                room.release()

        lines = LineSplitter(limits.MESSAGE_BYTES_MAX)
        while data := await source.receive_some(_READ_BYTES):
            for line in lines.feed(data):
                if line is not None:  # else it was too long to be a message
                    await room.acquire()
                    nursery.start_soon(answer, line)
