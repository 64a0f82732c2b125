"""Proofs for simulations: a hostile request, signed by the node that sent it.

As small as a proof can be that only the offender can make: its chain, what it
did and when, and its signature. The product's own proofs carry policy and
parameters besides; to the court both are an `Offence`.
"""

import attrs

from enforcement.decide.court import Offence
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.ledger.entries import Subject, SubjectKind
from gossip.membership.identity import read_chain_untrusted
from gossip.suite import SIGNATURE_BYTES, Suite
from gossip.units import ID_BYTES, UNIX_MS_MAX, UnixMs
from gossip.wire import pack, take_bytes, take_int, take_list, unpack_untrusted
from scenarios.people import Person

_PROOF_BYTES_MAX = 32_768
SEVERITY = 9


def confess(offender: Person, request: bytes, at_ms: UnixMs) -> bytes:
    """The proof that ``offender`` signed the hostile request with this id."""
    claim = pack([request, at_ms])
    signature = offender.key.sign(claim, Domain.REQUEST_NODE)
    return pack([offender.chain.encoded, claim, signature])


def forge(accused: Person, request: bytes, at_ms: UnixMs) -> bytes:
    """The best a slanderer can do: everything true but the signature."""
    claim = pack([request, at_ms])
    return pack([accused.chain.encoded, claim, bytes(SIGNATURE_BYTES)])


@attrs.frozen
class ProofReader:
    """Reads proofs for every court of a simulated cluster.

    Implements `enforcement.decide.court.ReadProof`.
    """

    suite: Suite

    def __call__(self, data: bytes) -> Offence:
        """Verify a proof.

        Raises:
            PeerError: it proves nothing.
        """
        parts = take_list(unpack_untrusted(data, _PROOF_BYTES_MAX), 3, 3)
        chain = read_chain_untrusted(
            take_bytes(parts[0], 1, _PROOF_BYTES_MAX), self.suite
        )
        claim = take_bytes(parts[1], 1, _PROOF_BYTES_MAX)
        signature = take_bytes(parts[2], SIGNATURE_BYTES, SIGNATURE_BYTES)
        self.suite.verify(chain.operational, claim, signature, Domain.REQUEST_NODE)
        fields = take_list(unpack_untrusted(claim, _PROOF_BYTES_MAX), 2, 2)
        at_ms = UnixMs(take_int(fields[1], 0, UNIX_MS_MAX))
        if not chain.covers(at_ms):
            raise PeerError("a request signed outside its key's life")
        return Offence(
            convicts=(Subject(SubjectKind.NODE, chain.node),),
            request_id=take_bytes(fields[0], ID_BYTES, ID_BYTES),
            rule="simulated",
            severity=SEVERITY,
            committed_at_ms=at_ms,
        )
