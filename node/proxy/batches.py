"""Batches before servers spoken to in messages: taken apart, each message for itself.

Only revision 2025-03-26 has them; in a session of another a batch stays what it is,
and the gate refuses it.
"""

import attrs

from enforcement import limits
from enforcement.mcp.batch import BATCH_REVISION, is_batch, split_batch_untrusted
from enforcement.mcp.strictjson import MalformedError
from node.proxy.passage import read_revision


@attrs.define
class Batches:
    """Those of one session."""

    _revision: str = ""

    @property
    def are_known(self) -> bool:
        """Whether the session's revision has them."""
        return self._revision == BATCH_REVISION

    def hear(self, data: bytes) -> None:
        """What the server says; its answer to `initialize` names the revision."""
        if not self._revision and b"protocolVersion" in data:
            self._revision = read_revision(data)

    def part(self, data: bytes, keys_max: int = limits.CLIENT_KEYS_MAX) -> list[bytes]:
        """The messages of a batch; empty if it is none, or none that may be."""
        if not is_batch(data) or not self.are_known:
            return []
        try:
            return split_batch_untrusted(data, keys_max)
        except MalformedError:
            return []


def of_batch_revision() -> Batches:
    """Those of a session that has begun elsewhere, in the revision that has them."""
    return Batches(BATCH_REVISION)
