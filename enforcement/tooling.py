"""What one gate knows of its server's tools: it asks, learns, hides and remembers.

A call to a tool that nobody has listed yet is held while the gate itself asks the
server (``tools/list``, all pages). So no order of messages evades pins, schemas or tags.
What is in no list is policy's to judge, and its answer may carry any of the server's tags. Between an agent and another node
the provider's gate does this.
"""

import json
import re
from collections.abc import Callable
from typing import Final

import attrs

from enforcement import limits
from enforcement.defend.compliance import Tags, mark, redact
from enforcement.detect.pins import Manifest, Pins, Sighting, read_manifest_untrusted
from enforcement.effects import Effect, Subject, SubjectKind, ToolSeen
from enforcement.mcp.jsonrpc import Notification, Request, Response, write_denial
from enforcement.mcp.strictjson import (
    Json,
    RequestKey,
    read_json_untrusted,
    write_json,
)
from enforcement.post import DeniedError
from gossip.errors import PeerError
from gossip.units import NodeId, UnixMs

_LISTS: Final = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
WORDLESS: Final = ("ping", "roots/list")
"""What a server may ask while it works on data that the agent must not see."""
_TASKS_MAX: Final = 1_024
_STATES: Final = ("working", "input_required", "completed", "failed", "cancelled")
_DATE: Final = re.compile(r"[0-9T:.Z+-]{10,40}")
_PROGRESS: Final = ("taskId", "status", "createdAt", "lastUpdatedAt", "resultType")
_TIMES: Final = ("ttl", "ttlMs", "pollInterval", "pollIntervalMs")
_PLAIN: Final = {
    "notifications/cancelled": ("requestId",),
    "notifications/elicitation/complete": ("elicitationId",),
    "notifications/message": ("level",),
    "notifications/progress": ("progressToken", "progress", "total"),
    "notifications/resources/updated": ("uri",),
}
"""Of a notification, what says nothing of a call's data; of others: nothing."""


@attrs.frozen
class Note:
    """What was asked, so that the answer can be read."""

    method: str
    tool: str = ""
    lists: bool = False
    manifest: Manifest | None = None


@attrs.define(kw_only=True)
class Tooling:
    """The tools of one session's server."""

    server: str
    pins: Pins
    asks: bool
    """Whether this gate lists tools by itself."""
    by: NodeId | None = None
    """The node that provides the server."""
    is_refused: Callable[[Subject], bool] = lambda _subject: False
    """Whether a tool is quarantined: then it is not shown."""
    _heard: bool = attrs.field(init=False, default=False)
    _complete: bool = attrs.field(init=False, default=False)
    _asking: str | None = attrs.field(init=False, default=None)
    _pages: int = attrs.field(init=False, default=0)
    _meta: Json = attrs.field(init=False, default=None, repr=False)
    _notes: dict[RequestKey, Note] = attrs.field(init=False, factory=dict, repr=False)
    _tasks: dict[str, Manifest] = attrs.field(init=False, factory=dict, repr=False)

    def must_ask(self, request: Request) -> bool:
        """Whether nobody has listed the tool yet, and the server can be asked."""
        return (
            self.asks
            and bool(request.tool)
            and not self._complete
            and self.pins.find(self.server, request.tool) is None
        )

    def ask(self, request: Request, key: str) -> bytes | None:
        """The request to send for it; None if one is under way. ``key`` is random."""
        if self._asking is not None:
            return None
        self._asking, self._pages = key, 0
        meta = (request.params or {}).get("_meta")
        if isinstance(meta, dict):  # the stateless era wants it in each request
            meta = {k: v for k, v in meta.items() if k != "progressToken"}
        self._meta = meta
        return self._page(None)

    def is_answer(self, key: RequestKey | None) -> bool:
        """Whether this answers a question of our own: nobody else may see it."""
        return key is not None and key == self._asking

    def take_page(
        self, answer: Response | None, now_ms: UnixMs
    ) -> tuple[bytes | None, list[Effect]]:
        """Learn from the answer to our own question; the next page's request, if any.

        None: it was the last, or could not be read. Then held calls go on.
        """
        result = answer.result if answer is not None else None
        if not isinstance(result, dict):
            self._asking, self._complete = None, True  # until `changed` is called
            return None, []
        effects = [seen for _, seen in self._learn(result, now_ms) if seen is not None]
        cursor = result.get("nextCursor")
        self._pages += 1
        if isinstance(cursor, str) and self._pages < limits.PAGES_MAX:
            return self._page(cursor), [*effects]
        self._asking, self._complete = None, True
        return None, [*effects]

    def changed(self) -> None:
        """The server says that its tools are others now."""
        self._complete = False

    def lost(self) -> None:
        """The server is gone: nothing is answered any more."""
        self._asking, self._complete = None, False
        self._notes.clear()

    def note(self, request: Request) -> None:
        """Remember what was let through, for its answer."""
        self._heard = True
        method, tool = request.method, request.tool
        if method == "tools/list":
            note = Note(method, lists=True)
        elif method == "tools/call":
            pinned = self.pins.find(self.server, tool)
            note = Note(method, tool, manifest=pinned or self._anything())
        elif method in ("tasks/result", "tasks/get", "tasks/update"):
            task = self._task(str((request.params or {}).get("taskId")))
            tool = "" if task is None else task.tool
            note = Note(method, tool, manifest=task or self._anything())
        elif method in ("resources/read", "prompts/get"):
            note = Note(method)
        else:
            return
        self._notes[request.key] = note
        bound = limits.PENDING_MAX + limits.CANCELLED_MAX
        assert len(self._notes) <= bound, "each is taken with its answer"

    def _task(self, task: str) -> Manifest | None:
        return self._tasks.get(task) or self.pins.task(self.server, task)

    def open_manifests(self) -> list[Manifest]:
        """The tools whose data the server may speak of now, if it is tagged.

        On a stream that no request of this gate opened: all it has.
        """
        if not self._heard:
            anything = self._anything()
            return [] if anything is None else [anything]
        noted = [note.manifest for note in self._notes.values()]
        found = {
            (manifest.digest, manifest.tags.answers): manifest
            for manifest in (*noted, *self._tasks.values())
            if manifest is not None and manifest.tags.answers
        }
        return [*found.values()]

    def show_notification(
        self, data: bytes, said: Notification, hidden: frozenset[str]
    ) -> bytes:
        """What the server says meanwhile, without what could be a call's data."""
        if not hidden or not said.params:
            return data
        kept = _PLAIN.get(said.method, ())
        params = {key: said.params[key] for key in kept if key in said.params}
        if said.method == "notifications/tasks/status":
            params = _progress(said.params)
        if said.method == "notifications/message":
            params["data"] = mark(hidden)
        message: dict[str, Json] = {"jsonrpc": "2.0", "method": said.method}
        return write_json({**message, "params": params})

    def take_note(self, key: RequestKey | None) -> Note | None:
        """What an answer answers, if that matters."""
        return None if key is None else self._notes.pop(key, None)

    def show_list(
        self, data: bytes, answer: Response, now_ms: UnixMs
    ) -> tuple[bytes, list[Effect]]:
        """An answer to the agent's ``tools/list``, without tools that are held."""
        result = answer.result
        if not isinstance(result, dict) or not isinstance(result.get("tools"), list):
            return data, []
        learnt = self._learn(result, now_ms)
        effects: list[Effect] = [seen for _, seen in learnt if seen is not None]
        if all(shown for shown, _ in learnt):
            return data, effects
        tools = result["tools"]
        assert isinstance(tools, list), "checked above"
        kept = [t for t, (shown, _) in zip(tools, learnt, strict=True) if shown]
        return with_result(data, {**result, "tools": kept}), effects

    def show_answer(
        self, data: bytes, answer: Response, manifest: Manifest, hidden: frozenset[str]
    ) -> bytes:
        """A call's answer without what the agent may not be shown."""
        result = answer.result
        if isinstance(result, dict):
            task = result.get("task", result)
            name = task.get("taskId") if isinstance(task, dict) else None
            if isinstance(name, str):
                self._tasks[name] = manifest
                self.pins.note_task(self.server, name, manifest)
                if len(self._tasks) > _TASKS_MAX:
                    del self._tasks[next(iter(self._tasks))]
        if not hidden:
            return data
        if answer.failed or not isinstance(result, dict):
            return _with_error(answer.key, mark(hidden))
        return with_result(data, _shown(result, manifest.tags, hidden))

    def _anything(self) -> Manifest | None:
        """For what no list or note tells of: whatever this server may tag."""
        tools = [m for m in self.pins.tools() if m.server == self.server]
        tags = frozenset().union(*(m.tags.answers for m in tools))
        return attrs.evolve(tools[0], tags=Tags(whole=tags)) if tags else None

    def _page(self, cursor: str | None) -> bytes:
        params: dict[str, Json] = {}
        if cursor is not None:
            params["cursor"] = cursor
        if self._meta is not None:
            params["_meta"] = self._meta
        asked: dict[str, Json] = {
            "jsonrpc": "2.0",
            "id": self._asking,
            "method": "tools/list",
            "params": params,
        }
        return write_json(asked)

    def _learn(
        self, result: dict[str, Json], now_ms: UnixMs
    ) -> list[tuple[bool, ToolSeen | None]]:
        """Of each listed tool: whether it may be shown, and what is news."""
        tools = result.get("tools")
        learnt: list[tuple[bool, ToolSeen | None]] = []
        for tool in tools if isinstance(tools, list) else []:
            try:
                manifest = read_manifest_untrusted(self.server, tool)
                sighting = self.pins.see(manifest, self.by)
            except PeerError:
                learnt.append((False, None))
                continue
            seen = ToolSeen(
                server=self.server,
                tool=manifest.tool,
                digest=manifest.digest,
                held=sighting is Sighting.CHANGED,
                at_ms=now_ms,
            )
            news = None if sighting is Sighting.SAME else seen
            refused = self.is_refused(Subject(SubjectKind.ARTEFACT, manifest.digest))
            learnt.append((sighting is not Sighting.CHANGED and not refused, news))
        return learnt


def write_refusal(request: Request, why: DeniedError) -> bytes:
    """What the agent is told: the denial, or that nothing is offered any more."""
    offered = _LISTS.get(request.method)
    if why.withdraws and offered is not None:
        result: Json = {offered: [], "resultType": "complete"}
        return write_json({"jsonrpc": "2.0", "id": request.key, "result": result})
    return write_denial(
        request.key, str(why), why.reason, rule=why.rule, advice=why.advice
    )


def _shown(result: dict[str, Json], tags: Tags, hidden: frozenset[str]) -> Json:
    """A result, or what is told of the task that will have one."""
    task = result.get("task", result)
    if not isinstance(task, dict) or not isinstance(task.get("taskId"), str):
        return redact(result, tags, hidden)
    shown = _progress(task)
    if task is not result:
        return {"task": shown}
    inner = result.get("result")
    if isinstance(inner, dict):
        shown["result"] = redact(inner, tags, hidden)
    return shown


def _progress(task: dict[str, Json]) -> dict[str, Json]:
    """Of a task, what says nothing of its data."""
    shown: dict[str, Json] = {}
    for key in _PROGRESS:
        value = task.get(key)
        if not isinstance(value, str):
            continue
        if (
            key == "taskId"
            or (key == "status" and value in _STATES)
            or (key == "resultType" and value in ("task", "complete"))
            or (key.endswith("At") and _DATE.fullmatch(value))
        ):
            shown[key] = value
    for key in _TIMES:
        if key in task and (task[key] is None or type(task[key]) is int):
            shown[key] = task[key]
    return shown


def withheld(data: bytes, answer: Response, why: str, *, of_tool: bool) -> bytes:
    """An answer of which nothing may be shown; of what is no tool's, an error."""
    tags, result = frozenset({why}), answer.result
    if answer.failed or not of_tool or not isinstance(result, dict):
        return _with_error(answer.key, mark(tags))
    return with_result(data, _shown(result, Tags(whole=tags), tags))


def with_result(data: bytes, result: Json) -> bytes:
    """The same answer with another result."""
    message = read_json_untrusted(data, limits.SERVER_KEYS_MAX)
    assert isinstance(message, dict), "it was read as an answer"
    return write_json({**message, "result": result})


def _with_error(key: RequestKey | None, sentence: str) -> bytes:
    error = {"code": -32603, "message": sentence}
    return json.dumps({"jsonrpc": "2.0", "id": key, "error": error}).encode()
