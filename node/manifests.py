"""Manifests: this node signs and numbers what it declares of each of its servers.

The number grows with each change, over restarts too, so that an upgrade has the next
one and proves nothing; two contents under one number, signed by one key, convict.
"""

from collections.abc import Callable, Iterable
from typing import Final

import attrs

from gossip.domains import Domain
from gossip.errors import PeerError, UserError
from gossip.ledger.manifests import Manifest, sign_manifest
from gossip.membership.roster import Roster
from gossip.suite import digest
from gossip.units import ID_BYTES, UNIX_MS_MAX, NodeId
from gossip.wire import Value, pack, take_bytes, take_int, take_list, unpack_untrusted
from node.clock import Clock
from node.database import PutMeta
from node.keys.node_keys import NodeKeys
from node.store import Store

_KEY: Final = "manifest/"
_BYTES_MAX: Final = 64


def content_of(server: str, tools: Iterable[bytes]) -> bytes:
    """Digest of a server's tools, each by the digest of what it declares."""
    listed: list[Value] = [*sorted(tools)]
    return digest(Domain.MANIFEST_ID, server.encode(), pack(listed))


@attrs.define(kw_only=True)
class Declarations:
    """What this node signed of its servers, and under which number.

    Args:
        keys: The keys that sign now.
    """

    me: NodeId
    roster: Roster
    store: Store
    clock: Clock
    keys: Callable[[], NodeKeys]
    _last: dict[str, tuple[int, bytes]] = attrs.field(init=False, factory=dict)

    def declare(self, server: str, tools: Iterable[bytes]) -> bytes:
        """The body of a manifest entry: the tools' digests, signed under a number.

        Raises:
            UserError: the store does not hold what we wrote.
        """
        content = content_of(server, tools)
        number, before = self._last.get(server) or self._recall(server)
        if content != before:
            number += 1
            self._last[server] = (number, content)
            self.store.submit(PutMeta(_KEY + server, pack([number, content])))
        keys = self.keys()
        manifest = Manifest(
            cluster=self.roster.cluster,
            node=self.me,
            key=keys.chain.key,
            server=server,
            version="",
            sequence=number,
            content=content,
            issued_at_ms=self.clock.unix_ms(),
        )
        return sign_manifest(manifest, keys.signing_key)

    def _recall(self, server: str) -> tuple[int, bytes]:
        data = self.store.meta(_KEY + server)
        if data is None:
            return 0, b""
        try:
            number, content = take_list(unpack_untrusted(data, _BYTES_MAX), 2, 2)
            return take_int(number, 0, UNIX_MS_MAX), take_bytes(
                content, ID_BYTES, ID_BYTES
            )
        except PeerError as wrong:
            raise UserError(
                f"the store's number of `{server}`'s manifest is damaged: {wrong};"
                " restore a backup of the node's state"
            ) from None
