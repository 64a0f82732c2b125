"""Manifests: what a provider says that one of its servers offers, and two faces.

A provider signs each manifest outright, with the number it has in its own
sequence, so that it can be shown to a client and compared with what others were
shown. One key, server, version and number with two digests proves that somebody
was shown another face. An upgrade has the next number: it proves nothing.
"""

from typing import Final

import attrs

from gossip import limits
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.membership.identity import Chain, read_chain_untrusted
from gossip.membership.roster import Roster
from gossip.suite import SIGNATURE_BYTES, SigningKey, Suite, digest
from gossip.units import ID_BYTES, UNIX_MS_MAX, ClusterId, KeyId, NodeId, UnixMs
from gossip.wire import (
    Value,
    pack,
    take_bytes,
    take_int,
    take_list,
    take_str,
    unpack_untrusted,
)

_VERSION: Final = 1
_MANIFEST_BYTES_MAX: Final = 1_024
VERSION_CHARS_MAX: Final = 128


@attrs.frozen(kw_only=True)
class Manifest:
    """One manifest as its provider signed it.

    Attributes:
        version: What the server calls its version; may be empty.
        sequence: Grows with each manifest of this server, over all versions.
        content: Digest of the manifest, in its canonical form.
    """

    cluster: ClusterId = attrs.field(repr=bytes.hex)
    node: NodeId = attrs.field(repr=bytes.hex)
    key: KeyId = attrs.field(repr=bytes.hex)
    server: str
    version: str
    sequence: int
    content: bytes = attrs.field(repr=bytes.hex)
    issued_at_ms: UnixMs

    @property
    def slot(self) -> tuple[NodeId, KeyId, str, str, int]:
        """What may have only one content."""
        return (self.node, self.key, self.server, self.version, self.sequence)


def sign_manifest(manifest: Manifest, key: SigningKey) -> bytes:
    """The body of a manifest entry."""
    m = manifest
    signed = pack(
        [
            _VERSION,
            m.cluster,
            m.node,
            m.key,
            m.server,
            m.version,
            m.sequence,
            m.content,
            m.issued_at_ms,
        ]
    )
    return pack([signed, key.sign(signed, Domain.MANIFEST)])


def read_manifest_untrusted(body: bytes) -> Manifest:
    """Read a manifest. Its signature is still to be verified.

    Raises:
        PeerError: malformed.
    """
    return _split_untrusted(body)[0]


def _split_untrusted(body: bytes) -> tuple[Manifest, bytes, bytes]:
    parts = take_list(unpack_untrusted(body, limits.ENTRY_BODY_BYTES_MAX), 2, 2)
    signed = take_bytes(parts[0], 1, _MANIFEST_BYTES_MAX)
    f = take_list(unpack_untrusted(signed, _MANIFEST_BYTES_MAX), 9, 9)
    take_int(f[0], _VERSION, _VERSION)
    manifest = Manifest(
        cluster=ClusterId(take_bytes(f[1], ID_BYTES, ID_BYTES)),
        node=NodeId(take_bytes(f[2], ID_BYTES, ID_BYTES)),
        key=KeyId(take_bytes(f[3], ID_BYTES, ID_BYTES)),
        server=take_str(f[4], 1, limits.NAME_CHARS_MAX),
        version=take_str(f[5], 0, VERSION_CHARS_MAX),
        sequence=take_int(f[6], 0, UNIX_MS_MAX),
        content=take_bytes(f[7], ID_BYTES, ID_BYTES),
        issued_at_ms=UnixMs(take_int(f[8], 0, UNIX_MS_MAX)),
    )
    return manifest, signed, take_bytes(parts[1], SIGNATURE_BYTES, SIGNATURE_BYTES)


def verify_manifest_untrusted(
    body: bytes, chain: Chain, roster: Roster, suite: Suite
) -> Manifest:
    """Read a manifest and verify that ``chain`` signed it for this cluster.

    Raises:
        PeerError: malformed, of another cluster, or not signed by ``chain``.
    """
    manifest, signed, signature = _split_untrusted(body)
    if manifest.cluster != roster.cluster:
        raise PeerError("a manifest of another cluster")
    if (chain.node, chain.key) != (manifest.node, manifest.key):
        raise PeerError("a manifest that another key signed")
    suite.verify(chain.operational, signed, signature, Domain.MANIFEST)
    return manifest


@attrs.frozen(kw_only=True)
class TwoFaces:
    """A verified proof that ``node`` showed two faces of one server.

    Attributes:
        offence: The same for every pair of manifests of this slot.
        contents: The two digests, in order.
        issued_at_ms: The later of the two stamps, by the liar's clock.
        key_ends_ms: Until when its key was alive, as far as the proof shows.
    """

    node: NodeId = attrs.field(repr=bytes.hex)
    server: str
    offence: bytes = attrs.field(repr=bytes.hex)
    contents: tuple[bytes, bytes]
    issued_at_ms: UnixMs
    key_ends_ms: UnixMs


def offence_of(told: Manifest) -> bytes:
    """What every pair of manifests of this slot proves."""
    return digest(
        Domain.TWO_FACES,
        told.node,
        told.key,
        told.server.encode(),
        told.version.encode(),
        told.sequence.to_bytes(8, "big"),
    )


def write_two_faces(one: bytes, other: bytes, chain: Chain) -> bytes:
    """The proof that two manifest bodies make; ``chain`` holds the key of both."""
    bodies: list[Value] = [*sorted((one, other))]
    return pack([bodies, chain.encoded])


def read_two_faces_untrusted(data: bytes, roster: Roster, suite: Suite) -> TwoFaces:
    """Verify a proof from the entry and the roster alone.

    Raises:
        PeerError: malformed, not both signed by one key of one member of this
            cluster, or the two can both be honest.
    """
    parts = take_list(unpack_untrusted(data, limits.ENTRY_BODY_BYTES_MAX), 2, 2)
    chain = read_chain_untrusted(take_bytes(parts[1], 1, limits.CHAIN_BYTES_MAX), suite)
    roster.member(chain.node)
    one, other = (
        verify_manifest_untrusted(
            take_bytes(body, 1, limits.ENTRY_BODY_BYTES_MAX), chain, roster, suite
        )
        for body in take_list(parts[0], 2, 2)
    )
    if one.slot != other.slot:
        raise PeerError("manifests of two versions or numbers: an ordinary upgrade")
    if one.content == other.content:
        raise PeerError("the same manifest twice")
    low, high = sorted((one.content, other.content))
    return TwoFaces(
        node=one.node,
        server=one.server,
        offence=offence_of(one),
        contents=(low, high),
        issued_at_ms=UnixMs(max(one.issued_at_ms, other.issued_at_ms)),
        key_ends_ms=chain.not_after_ms,
    )
