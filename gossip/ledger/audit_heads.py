"""Audit heads: each node signs where its trail of decisions stands.

What was signed lies at every member, so a node cannot rewrite what it decided
without contradicting itself. A head says nothing about any decision.
"""

from typing import Final

import attrs

from gossip import limits
from gossip.units import ID_BYTES, UNIX_MS_MAX
from gossip.wire import pack, take_bytes, take_int, take_list, unpack_untrusted

_VERSION = 1
NO_CHAIN: Final = bytes(ID_BYTES)


@attrs.frozen(kw_only=True)
class AuditHead:
    """Body of `EntryKind.AUDIT_HEAD`.

    Attributes:
        base: Number of the last row that was let go; 0 if none was.
        base_chain: The chain up to it.
        seq: Number of the last row.
        chain: The chain up to it.
    """

    base: int
    base_chain: bytes = attrs.field(repr=bytes.hex)
    seq: int
    chain: bytes = attrs.field(repr=bytes.hex)


def write_audit_head(head: AuditHead) -> bytes:
    """The body of an audit head entry."""
    return pack([_VERSION, head.base, head.base_chain, head.seq, head.chain])


def read_audit_head_untrusted(body: bytes) -> AuditHead:
    """Read an audit head.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(unpack_untrusted(body, limits.ENTRY_BODY_BYTES_MAX), 5, 5)
    take_int(fields[0], _VERSION, _VERSION)
    base = take_int(fields[1], 0, UNIX_MS_MAX)
    return AuditHead(
        base=base,
        base_chain=take_bytes(fields[2], ID_BYTES, ID_BYTES),
        seq=take_int(fields[3], base, UNIX_MS_MAX),
        chain=take_bytes(fields[4], ID_BYTES, ID_BYTES),
    )
