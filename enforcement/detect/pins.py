"""Pins: what each tool of a server declared when it was first seen, kept from then on.

::

    first seen ──▶ pinned ──declared otherwise──▶ held ──an operator accepts──▶ pinned

A tool that changes what it says of itself after somebody came to trust it is the
oldest trick against agents. So a changed tool is neither shown nor called until an
operator accepts the change. Servers are updated for good reasons too: nobody is
reported for it.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Final

import attrs

from enforcement import limits
from enforcement.defend.compliance import Tags, read_tags_untrusted
from enforcement.defend.schema import Schema, read_schema_untrusted
from enforcement.mcp.headers import Mirrors, read_mirrors
from enforcement.mcp.leaves import TooManyValuesError, flatten
from enforcement.mcp.strictjson import Json, read_json_untrusted, write_json
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.suite import digest
from gossip.units import NodeId
from gossip.wire import Value, pack, take_bytes, take_list, unpack_untrusted


class Level(StrEnum):
    """How a tool's requests are authenticated; its ``security_policy`` tag."""

    LATTICE_HIGH = "pqc-lattice-high"
    """Signed by agent and node, ML-DSA and Ed25519: the default between nodes."""
    SESSION = "pqc-session"
    """A mac under a key agreed by ML-KEM: nothing to show to others."""
    CLASSICAL = "classical"
    NONE = "none"


@attrs.frozen(kw_only=True)
class Manifest:
    """One tool as its server declares it.

    Attributes:
        digest: Over every value of the declaration, whatever their order.
        schema: None if it declares one that cannot be used; `fault` says why.
        level: What it asks for; see `enforcement.screening.may_share`.
        mirrors: Headers that repeat a parameter, with its path.
    """

    server: str
    tool: str
    digest: bytes = attrs.field(repr=bytes.hex)
    encoded: bytes = attrs.field(repr=False)
    schema: Schema | None = attrs.field(repr=False, eq=False)
    fault: str
    level: Level
    tags: Tags = attrs.field(repr=False)
    mirrors: Mirrors = attrs.field(factory=dict, repr=False)

    @property
    def declared(self) -> dict[str, Json]:
        """The whole declaration, as the server gave it."""
        value = read_json_untrusted(self.encoded, limits.SERVER_KEYS_MAX)
        assert isinstance(value, dict), "we wrote it"
        return value


class Sighting(StrEnum):
    """What a declaration is to somebody who may have seen the tool before."""

    NEW = "new"
    SAME = "same"
    CHANGED = "changed"


_OF_NONE: Final = Tags()


def read_manifest_untrusted(server: str, tool: Json) -> Manifest:
    """Read one element of a ``tools/list`` answer.

    Raises:
        PeerError: nothing that could be shown to an agent or called.
    """
    if not isinstance(tool, dict):
        raise PeerError("a tool is an object")
    name = tool.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= limits.TOOL_CHARS_MAX:
        raise PeerError("a tool needs a name")
    encoded = write_json(tool)
    if len(encoded) > limits.MANIFEST_BYTES_MAX:
        raise PeerError(f"tool `{name}` declares more than a manifest may hold")
    schema: Schema | None = None
    fault, tags, level = "", _OF_NONE, Level.LATTICE_HIGH
    try:
        tags = read_tags_untrusted(tool)
        level = _read_level(tool)
        schema = read_schema_untrusted(tool.get("inputSchema", {}))
    except PeerError as wrong:
        fault = str(wrong)
    return Manifest(
        server=server,
        tool=name,
        digest=manifest_digest(server, tool),
        encoded=encoded,
        schema=schema,
        fault=fault,
        level=level,
        tags=tags,
        mirrors=read_mirrors(tool.get("inputSchema")),
    )


def manifest_digest(server: str, tool: dict[str, Json]) -> bytes:
    """What envelopes and people name a declaration by; order of members is nothing.

    Raises:
        PeerError: more values than a digest covers.
    """
    try:
        values = sorted(flatten(tool))
    except TooManyValuesError:
        raise PeerError("a tool declares too many values") from None
    listed: list[Value] = [[path, value] for path, value in values]
    return digest(Domain.MANIFEST_ID, server.encode(), pack(listed))


def _read_level(tool: dict[str, Json]) -> Level:
    """The level asked for. An unknown one makes the tool unusable: fail closed."""
    asked = tool.get("security_policy", tool.get("x-security-policy"))
    for key in ("_meta", "annotations"):
        notes = tool.get(key)
        if asked is None and isinstance(notes, dict):
            asked = notes.get("security_policy", notes.get("x-security-policy"))
    if asked is None:
        return Level.LATTICE_HIGH
    try:
        return Level(str(asked))
    except ValueError:
        raise PeerError(f"`security_policy` is `{str(asked)[:40]}`") from None


@attrs.define
class Pins:
    """The tools of all servers. One object for all gates of a daemon."""

    on_pinned: Callable[[str], None] = lambda server: None
    """Called with the server whenever what `write` would return has changed."""
    on_shown: Callable[[str], None] = lambda server: None
    """Called with the server whenever a tool is held, or is no longer."""
    _pinned: dict[str, dict[str, Manifest]] = attrs.field(
        init=False, factory=dict, repr=False
    )
    _held: dict[tuple[str, str], dict[NodeId | None, Manifest]] = attrs.field(
        init=False, factory=dict, repr=False
    )
    """What each provider declares otherwise: nobody holds a tool for the others."""
    _published: dict[tuple[str, NodeId | None], dict[str, bytes]] = attrs.field(
        init=False, factory=dict, repr=False
    )
    """What providers elsewhere declare in their feeds."""
    _tasks: dict[tuple[str, str], Manifest] = attrs.field(
        init=False, factory=dict, repr=False
    )
    _approved: dict[tuple[str, str], tuple[int, bytes]] = attrs.field(
        init=False, factory=dict, repr=False
    )
    """The declaration that operators accepted last, by the version of their act."""

    def note_task(self, server: str, task: str, manifest: Manifest) -> None:
        """Remember which tool a task of a server works for; the oldest is forgotten."""
        self._tasks.pop((server, task), None)
        self._tasks[server, task] = manifest
        if len(self._tasks) > limits.TASKS_MAX:
            del self._tasks[next(iter(self._tasks))]

    def task(self, server: str, task: str) -> Manifest | None:
        """The tool that a task works for, if anybody here has seen it begin."""
        return self._tasks.get((server, task))

    def find(self, server: str, tool: str) -> Manifest | None:
        """The tool as it was pinned."""
        return self._pinned.get(server, {}).get(tool)

    def held(self, server: str, tool: str, by: NodeId | None = None) -> Manifest | None:
        """What the tool declares now, if that waits for an operator: of this
        provider, or without one of the first that declared otherwise."""
        waiting = self._held.get((server, tool), {})
        if by is None:
            return next(iter(waiting.values()), None)
        return waiting.get(by) or waiting.get(None)  # nobody's in particular: all's

    def differs(self, server: str, by: NodeId) -> bool:
        """Whether a provider's feed declares another tool than is pinned."""
        pinned = self._pinned.get(server, {})
        published = self._published.get((server, by), {})
        return any(
            tool in pinned and pinned[tool].digest != digest
            for tool, digest in published.items()
        )

    def tools(self) -> list[Manifest]:
        """All pinned tools, sorted by server and name."""
        return [
            tools[name]
            for _, tools in sorted(self._pinned.items())
            for name in sorted(tools)
        ]

    def named(self, digest: bytes) -> Iterator[Manifest]:
        """The pinned tools that declare just this; no sorting, for whoever asks often."""
        for tools in self._pinned.values():
            yield from (m for m in tools.values() if m.digest == digest)

    def see(self, manifest: Manifest, by: NodeId | None = None) -> Sighting:
        """A server declared this, at this provider: pin it, know it again, or hold it.

        Raises:
            PeerError: more tools than one server may have.
        """
        key = (manifest.server, manifest.tool)
        pinned = self.find(*key)
        published = self._published.get((manifest.server, by), {})
        if published.get(manifest.tool, manifest.digest) != manifest.digest:
            return Sighting.CHANGED
        if pinned is not None and pinned.digest == manifest.digest:
            if self._let_go(key, by):
                self.on_shown(manifest.server)
            return Sighting.SAME
        if pinned is not None and self._is_approved(manifest):
            self._let_go(key, by)
            self._replace(manifest)
            return Sighting.SAME
        if pinned is not None:
            waiting = self._held.setdefault(key, {})
            before, waiting[by] = waiting.get(by), manifest
            if before is None:
                self.on_shown(manifest.server)
            return Sighting.CHANGED
        tools = self._pinned.setdefault(manifest.server, {})
        size = sum(len(m.encoded) for m in tools.values()) + len(manifest.encoded)
        if len(tools) >= limits.TOOLS_PER_SERVER_MAX or size > limits.PINNED_BYTES_MAX:
            raise PeerError(f"`{manifest.server}` declares more than can be pinned")
        tools[manifest.tool] = manifest
        self.on_pinned(manifest.server)
        return Sighting.NEW

    def _let_go(self, key: tuple[str, str], by: NodeId | None) -> bool:
        """Hold a tool no longer for one provider; whether it was."""
        waiting = self._held.get(key, {})
        was = waiting.pop(by, None) is not None
        if not waiting:
            self._held.pop(key, None)
        return was

    def _replace(self, manifest: Manifest) -> None:
        """Pin a change; who still declares what was pinned is held from now on."""
        key = (manifest.server, manifest.tool)
        before = self._pinned[manifest.server][manifest.tool]
        waiting = self._held.pop(key, {})
        left = {n: m for n, m in waiting.items() if m.digest != manifest.digest}
        for (server, by), published in self._published.items():
            if server == key[0] and published.get(key[1]) == before.digest:
                left[by] = before
        if left:
            self._held[key] = left
        self._pinned[manifest.server][manifest.tool] = manifest
        self.on_pinned(manifest.server)
        self.on_shown(manifest.server)

    def publish(self, manifest: Manifest, by: NodeId | None = None) -> Sighting:
        """Its provider declares this in its feed, to everybody alike; see `see`.

        What it shows somebody otherwise is never shown on, nor taken for the tool.

        Raises:
            PeerError: more tools than one server may have.
        """
        published = self._published.setdefault((manifest.server, by), {})
        published.pop(manifest.tool, None)
        sighting = self.see(manifest, by)
        published[manifest.tool] = manifest.digest
        return sighting

    def accept(self, server: str, tool: str) -> Manifest | None:
        """An operator accepts the change that is held; None if none is."""
        changed = self.held(server, tool)
        if changed is not None:
            self._replace(changed)
        return changed

    def approve(self, server: str, tool: str, version: int, digest: bytes) -> None:
        """Operators accept this declaration on all nodes, seen already or not.

        The highest version wins, whenever it comes: to go back to what they accepted
        before is a change like any other, and an act carried again does nothing.
        """
        key, accepted = (server, tool), (version, digest)
        if self._approved.get(key, (-1, b"")) >= accepted:
            return
        self._approved[key] = accepted
        if len(self._approved) > limits.APPROVALS_MAX:
            # Never the newest: who carries old acts again would push it out.
            del self._approved[min(self._approved, key=self._approved.__getitem__)]
        waiting = self._held.get(key, {}).values()
        accepted_now = next((m for m in waiting if self._is_approved(m)), None)
        if accepted_now is not None:
            self._replace(accepted_now)

    def _is_approved(self, manifest: Manifest) -> bool:
        accepted = self._approved.get((manifest.server, manifest.tool))
        return accepted is not None and accepted[1] == manifest.digest

    def forget(self, server: str, tool: str) -> bool:
        """An operator wants the tool pinned anew at its next sight."""
        self._held.pop((server, tool), None)
        gone = self._pinned.get(server, {}).pop(tool, None)
        if gone is not None:
            self.on_pinned(server)
        return gone is not None

    def write(self, server: str) -> bytes:
        """The pins of one server, for the store."""
        tools: Mapping[str, Manifest] = self._pinned.get(server, {})
        listed: list[Value] = [tools[name].encoded for name in sorted(tools)]
        return pack(listed)

    def read(self, server: str, data: bytes) -> None:
        """Take over what `write` wrote before a restart.

        Raises:
            PeerError: the store does not hold what we wrote.
        """
        size = 2 * limits.PINNED_BYTES_MAX
        listed = take_list(unpack_untrusted(data, size), 0, limits.TOOLS_PER_SERVER_MAX)
        tools: dict[str, Manifest] = {}
        for item in listed:
            encoded = take_bytes(item, 1, limits.MANIFEST_BYTES_MAX)
            value = read_json_untrusted(encoded, limits.SERVER_KEYS_MAX)
            manifest = read_manifest_untrusted(server, value)
            tools[manifest.tool] = manifest
        self._pinned[server] = tools
