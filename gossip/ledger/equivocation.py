"""Equivocation: two signed headers that cannot both be honest.

One author, one incarnation, and either one number with two ids, or a header
that names another predecessor than the one its author signed. The proof carries
the author's chains, so whoever knows the roster can check it alone. From the
disputed number on the feed is frozen: nothing after it is accepted, and what
was accepted is void, so that all heads agree again.
"""

import attrs

from gossip import limits
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.ledger.batch import Batch, FeedId, Header, read_header_untrusted
from gossip.membership.identity import Chain, read_chain_untrusted
from gossip.membership.roster import Roster
from gossip.suite import SIGNATURE_BYTES, Suite, digest
from gossip.units import UnixMs
from gossip.wire import Value, pack, take_bytes, take_list, unpack_untrusted

_HEADER_BYTES_MAX = 512


@attrs.frozen(kw_only=True)
class Equivocation:
    """A verified proof that ``feed``'s author said two things at ``number``.

    Attributes:
        offence: The same for every pair about this feed and number.
        issued_at_ms: The later of the two stamps, by the liar's clock.
        key_ends_ms: Until when the keys that signed were alive, the later of the two.
    """

    feed: FeedId
    number: int
    offence: bytes = attrs.field(repr=bytes.hex)
    issued_at_ms: UnixMs
    key_ends_ms: UnixMs


def write_equivocation(one: Batch, other: Batch, chains: list[Chain]) -> bytes:
    """The proof that two batches make; ``chains`` hold the keys that signed."""
    headers: list[Value] = [
        [batch.header, batch.signature]
        for batch in sorted((one, other), key=lambda b: b.header)
    ]
    encoded: list[Value] = [*sorted({chain.encoded for chain in chains})]
    return pack([headers, encoded])


def read_equivocation_untrusted(
    data: bytes, roster: Roster, suite: Suite
) -> Equivocation:
    """Verify a proof from the entry and the roster alone.

    Raises:
        PeerError: malformed, not both signed by one member for this cluster, or
            the two headers can both be honest.
    """
    parts = take_list(unpack_untrusted(data, limits.ENTRY_BODY_BYTES_MAX), 2, 2)
    chains = [
        read_chain_untrusted(take_bytes(item, 1, limits.CHAIN_BYTES_MAX), suite)
        for item in take_list(parts[1], 1, 2)
    ]
    (one, one_ends), (other, other_ends) = (
        _read_signed(item, chains, roster, suite) for item in take_list(parts[0], 2, 2)
    )
    number = _disputed(one, other)
    feed = (one.author, one.incarnation)
    return Equivocation(
        feed=feed,
        number=number,
        offence=digest(Domain.EQUIVOCATION, *feed, number.to_bytes(8, "big")),
        issued_at_ms=max(one.issued_at_ms, other.issued_at_ms),
        key_ends_ms=max(one_ends, other_ends),
    )


def _read_signed(
    item: Value, chains: list[Chain], roster: Roster, suite: Suite
) -> tuple[Header, UnixMs]:
    header_value, signature_value = take_list(item, 2, 2)
    data = take_bytes(header_value, 1, _HEADER_BYTES_MAX)
    signature = take_bytes(signature_value, SIGNATURE_BYTES, SIGNATURE_BYTES)
    header = read_header_untrusted(data)
    roster.member(header.author)
    if header.cluster != roster.cluster:
        raise PeerError("a header of another cluster")
    for chain in chains:
        if chain.node == header.author and chain.key == header.key:
            suite.verify(chain.operational, data, signature, Domain.BATCH)
            return header, chain.not_after_ms
    raise PeerError("the proof lacks the chain of a key that signed")


def _disputed(one: Header, other: Header) -> int:
    """The number from which on the feed cannot be trusted."""
    if (one.author, one.incarnation) != (other.author, other.incarnation):
        raise PeerError("two headers of different feeds contradict nothing")
    first, second = sorted((one, other), key=lambda h: (h.number, h.id))
    if first.number == second.number and first.id != second.id:
        return first.number
    if first.number + 1 == second.number and second.previous != first.id:
        return first.number
    raise PeerError("the two headers can both be honest")
