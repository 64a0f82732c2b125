"""The cluster's tools, at every node: each provider says in its feed what it pinned.

So a look-up never leaves the node, an agent's own gate knows a tool's schema and tags
before anybody lists it, and who provides a server cannot declare one thing here and
another there: everybody reads the same entry, and what is listed otherwise is shown
to nobody. Each is followed by a signed, numbered manifest: two of one number convict.
Each node pins for itself. A change is held at each until somebody there, or a quorum of
operators for all, accepts it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from enforcement import limits
from enforcement.defend.session import Approvals
from enforcement.detect.pins import Pins, Sighting, read_manifest_untrusted
from enforcement.mcp.strictjson import read_json_untrusted
from enforcement.post import Post
from gossip.errors import PeerError
from gossip.ledger.entries import Entry, EntryKind
from gossip.limits import ENTRY_BODY_BYTES_MAX, NAME_CHARS_MAX
from gossip.membership.acts import Act, draft_act, read_act_untrusted
from gossip.membership.founders import ActKind
from gossip.membership.roster import Roster
from gossip.suite import Suite
from gossip.units import ID_BYTES, AgentId, NodeId, UnixMs
from gossip.wire import (
    Value,
    pack,
    take_bytes,
    take_int,
    take_list,
    take_str,
    unpack_untrusted,
)
from node.config import Config
from node.keys.keystore import Keystore
from node.log import Log
from node.policing import LIFE_MS
from node.sealing import (
    BOX_BYTES_MAX,
    READERS_MAX,
    SealingKey,
    read_public_untrusted,
    seal,
    write_public,
)
from node.second_factor import is_vouch, read_vouch_untrusted

_VERSION: Final = 1
_ROOM: Final = ENTRY_BODY_BYTES_MAX - 256
_SEALED_ROOM: Final = BOX_BYTES_MAX - 256


@attrs.define
class Catalogue:
    """What this node says of its own servers' tools, and hears of others'.

    Attributes:
        restricted: Who alone is told of a server: nodes' names, or ``role:NAME`` for
            those that may grant a role.
        say: Puts an entry into our feed; None until that is open.
        declare: Signs the digests of a server's tools, as one manifest of ours.
    """

    me: NodeId
    roster: Roster
    suite: Suite
    pins: Pins
    log: Log
    key: SealingKey
    restricted: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    approvals: Approvals = attrs.field(factory=Approvals)
    say: Callable[[int, bytes], None] | None = None
    declare: Callable[[str, list[bytes]], bytes] | None = None
    _keys: dict[NodeId, bytes] = attrs.field(init=False, factory=dict)
    _told: dict[str, tuple[list[bytes], list[bytes]]] = attrs.field(
        init=False, factory=dict
    )
    _vouched: dict[tuple[AgentId, str, str], tuple[int, bytes]] = attrs.field(
        init=False, factory=dict
    )
    """The act that vouched last for an agent's use of a tool: version and id."""

    @classmethod
    def of(
        cls,
        config: Config,
        me: NodeId,
        roster: Roster,
        suite: Suite,
        post: Post,
        log: Log,
    ) -> "Catalogue":
        """The catalogue of a node, with its sealing key.

        Raises:
            UserError: the keystore cannot be read or written.
        """
        key = SealingKey.of_store(Keystore(config.keys), suite)
        assert post.pins is not None, "a daemon's gates pin tools"
        given = restricted(config)
        made = cls(me, roster, suite, post.pins, log, key, given, post.approvals)
        post.shared_keys.unseal = made.unseal
        post.shared_keys.find_reader = made.sealing_key
        return made

    def open(self, say: Callable[[int, bytes], None]) -> None:
        """Our feed is open: tell what is pinned, now and whenever it changes."""
        self.say = say
        kept = self.pins.on_pinned

        def pinned(server: str) -> None:
            kept(server)
            self._publish(server)

        self.pins.on_pinned = pinned
        say(EntryKind.SEALING_KEY, write_public(self.key))
        for server in sorted({tool.server for tool in self.pins.tools()}):
            self._publish(server)

    def sealing_key(self, node: NodeId) -> bytes | None:
        """What is sealed to ``node`` with, if it has said so."""
        return self._keys.get(node)

    def unseal(self, sealed: bytes, author: NodeId) -> bytes | None:
        """A secret that ``author`` sealed to this node."""
        return self.key.open_secret_untrusted(sealed, self.roster.cluster, author)

    def change(self, restricted: Mapping[str, Sequence[str]]) -> None:
        """Others are told from now on; what was told stays told."""
        self.restricted = restricted
        for server in sorted({tool.server for tool in self.pins.tools()}):
            self._publish(server)

    def hear(self, entry: Entry) -> None:
        """An entry was admitted; most are about other things."""
        try:
            if entry.kind == EntryKind.TOOLS and entry.author != self.me:
                self._learn(entry.author, entry.body)
            elif entry.kind == EntryKind.SEALED_TOOLS and entry.author != self.me:
                cluster, author = self.roster.cluster, entry.author
                body = self.key.open_untrusted(entry.body, cluster, author)
                if body is not None:
                    self._learn(author, body)
            elif entry.kind == EntryKind.SEALING_KEY:
                self._keys[entry.author] = read_public_untrusted(entry.body)
                for server in self.restricted:
                    self._publish(server)
            elif entry.kind == EntryKind.ACT:
                self._approved(entry)
        except PeerError as wrong:
            self.log.warn(
                f"{self.roster.name(entry.author)} declares no tools: {wrong}"
            )

    def _publish(self, server: str) -> None:
        if self.say is None or self.me not in self.roster.providers(server):
            return
        sealed = server in self.restricted
        bodies = write_tools(server, self.pins, _SEALED_ROOM if sealed else _ROOM)
        readers = self._readers(server) if sealed else []
        if self._told.get(server) == (bodies, readers):
            return
        self._told[server] = (bodies, readers)
        if not sealed:
            for body in bodies:
                self.say(EntryKind.TOOLS, body)
            if self.declare is not None:
                tools = [t.digest for t in self.pins.tools() if t.server == server]
                self.say(EntryKind.MANIFEST, self.declare(server, tools))
        elif readers:
            cluster = self.roster.cluster
            for body in bodies:
                box = seal(body, readers, cluster, self.me, self.suite)
                self.say(EntryKind.SEALED_TOOLS, box)

    def _readers(self, server: str) -> list[bytes]:
        """The keys of those who may know of a restricted server, as far as told."""
        named = set(self.restricted[server])
        keys = [
            self._keys[member.node]
            for member in self.roster.members()
            if member.node in self._keys
            and member.node != self.me
            and named
            & {
                self.roster.name(member.node),
                *(f"role:{role}" for role in member.grants),
            }
        ]
        if len(keys) > READERS_MAX:
            self.log.warn(
                f"`servers.{server}.visible_to` names {len(keys)} nodes, and at most"
                f" {READERS_MAX} are told"
            )
        return sorted(keys)[:READERS_MAX]

    def _learn(self, author: NodeId, body: bytes) -> None:
        server, declared = read_tools_untrusted(body)
        providers = self.roster.providers(server)
        if author not in providers:
            raise PeerError(f"it does not provide `{server}`")
        if self.me in providers:
            return  # what our own server declares is ours to pin, and to tell
        for encoded in declared:
            value = read_json_untrusted(encoded, limits.SERVER_KEYS_MAX)
            manifest = read_manifest_untrusted(server, value)
            if (
                self.pins.publish(manifest, author) is Sighting.CHANGED
                and self.say is not None
            ):
                self.log.warn(
                    f"the tool `{manifest.tool}` of `{server}` declares something else"
                    f" at {self.roster.name(author)} than it did; it is held here until"
                    " it is accepted"
                )

    def _approved(self, entry: Entry) -> None:
        try:
            act = read_act_untrusted(entry.body, self.roster.founders, self.suite)
        except PeerError:
            return  # the court says so
        if act.kind is not ActKind.TOOL_APPROVAL:
            return
        if entry.issued_at_ms >= act.expires_at_ms:
            return
        if not is_vouch(act):
            server, tool, content = read_approval_untrusted(act)
            self.pins.approve(server, tool, act.version, content)
            return
        vouch = read_vouch_untrusted(act)
        what, told = (vouch.agent, vouch.server, vouch.tool), (act.version, act.id)
        if self._vouched.get(what, (-1, b"")) >= told:
            return  # carried again, or operators have said otherwise since
        self._vouched[what] = told
        if len(self._vouched) > limits.APPROVALS_MAX:
            del self._vouched[min(self._vouched, key=self._vouched.__getitem__)]
        if what in self._vouched:
            self.approvals.approve(*what, vouch.until_ms, act.issued_at_ms)


def restricted(config: Config) -> dict[str, tuple[str, ...]]:
    """The servers of a configuration that not everybody is told of."""
    return {
        name: server.visible_to
        for name, server in config.servers.items()
        if server.visible_to is not None
    }


def write_tools(server: str, pins: Pins, room: int = _ROOM) -> list[bytes]:
    """The bodies of as many entries as a server's pinned tools fill."""
    bodies: list[list[Value]] = [[]]
    size = 0
    for tool in pins.tools():
        if tool.server != server or len(tool.encoded) > room - 8:
            continue  # one too large for an entry is learnt when it is listed
        size += len(tool.encoded) + 8
        if size > room:
            bodies.append([])
            size = len(tool.encoded) + 8
        bodies[-1].append(tool.encoded)
    return [pack([_VERSION, server, body]) for body in bodies if body]


def read_tools_untrusted(body: bytes) -> tuple[str, list[bytes]]:
    """A server and its tools' declarations, each still to be read.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(unpack_untrusted(body, ENTRY_BODY_BYTES_MAX), 3, 3)
    take_int(fields[0], _VERSION, _VERSION)
    listed = take_list(fields[2], 1, limits.TOOLS_PER_SERVER_MAX)
    server = take_str(fields[1], 1, NAME_CHARS_MAX)
    return server, [take_bytes(item, 1, _ROOM) for item in listed]


def draft_approval(
    roster: Roster, server: str, tool: str, content: bytes, now_ms: UnixMs
) -> bytes:
    """What operators sign to accept a tool's changed declaration on all nodes."""
    payload: list[Value] = [server, tool.encode(), content]
    until = UnixMs(now_ms + LIFE_MS)
    cluster, kind = roster.cluster, ActKind.TOOL_APPROVAL
    return draft_act(cluster, kind, now_ms, now_ms, until, payload)


def read_approval_untrusted(act: Act) -> tuple[str, str, bytes]:
    """Server, tool and the digest of the declaration that operators accept.

    Raises:
        PeerError: malformed.
    """
    server, tool, content = take_list(act.payload, 3, 3)
    name = take_bytes(tool, 1, 4 * limits.TOOL_CHARS_MAX).decode(errors="replace")
    return (
        take_str(server, 1, NAME_CHARS_MAX),
        name,
        take_bytes(content, ID_BYTES, ID_BYTES),
    )
