"""Where one node runs liboqs and the other OpenSSL: links, and what is sealed."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)

from gossip.link.handshake import Initiator, Responder
from gossip.link.steps import (
    Begin,
    Effect,
    Established,
    Local,
    Received,
    Sign,
    Signed,
    Transmit,
)
from gossip.units import ClusterId, UnixMs
from node.keys.suites.hybrid import HybridSuite
from tests.support.members import NOW, Member, member
from tests.vectors.hybrids import hpke_schedule

CLUSTER = ClusterId(b"c" * 32)
MESSAGES_MAX = 4


def side(suite: HybridSuite, who: Member, peers: set[Member]) -> Local:
    members = {peer.node for peer in peers}
    return Local(suite=suite, cluster=CLUSTER, chain=who.chain, members=members)


def step(
    core: Initiator | Responder, who: Member, effects: list[Effect]
) -> tuple[list[bytes], list[Established]]:
    """Sign what is to be signed; what is said, and what came of it."""
    said: list[bytes] = []
    done: list[Established] = []
    while effects:
        match effects.pop(0):
            case Sign(message, context):
                signed = Signed(who.key.sign(message, context))
                effects += core.handle(signed, UnixMs(NOW))
            case Transmit(data):
                said.append(data)
            case Established() as established:
                done.append(established)
    return said, done


def test_a_link_between_two_providers_has_one_pair_of_keys(
    suite: HybridSuite, other: HybridSuite
) -> None:
    caller, called = member(suite, "caller"), member(other, "called")
    cores = (
        Initiator(side(suite, caller, {caller, called}), called.node),
        Responder(side(other, called, {caller, called})),
    )
    who, ends = (caller, called), list[Established]()
    said, done = step(cores[0], caller, list(cores[0].handle(Begin(), UnixMs(NOW))))
    for turn in range(1, MESSAGES_MAX + 1):
        core = cores[turn % 2]
        (message,) = said
        effects = list(core.handle(Received(message), UnixMs(NOW)))
        said, done = step(core, who[turn % 2], effects)
        ends += done
        if not said:
            break
    one, two = ends
    assert (one.send_key, one.receive_key) == (two.receive_key, two.send_key)


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_what_pyca_seals_by_hpke_to_x_wing_each_provider_opens(
    suite: HybridSuite, size: int
) -> None:
    """RFC 9180 in base mode, with X-Wing, HKDF-SHA256 and ChaCha20-Poly1305."""
    seed, mine = bytes(range(64)), X25519PrivateKey.from_private_bytes(bytes(32))
    kem = suite.lattice.mlkem_secret(seed)
    public = hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(kem.encapsulation_key), mine.public_key()
    )
    sealing = hpke.Suite(
        hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305
    )
    sealed = sealing.encrypt(bytes(size), public, b"info")
    ciphertext, share, body = sealed[:1088], sealed[1088:1120], sealed[1120:]
    mixed = kem.decapsulate(ciphertext)
    mixed += mine.exchange(X25519PublicKey.from_public_bytes(share))
    mixed += share + mine.public_key().public_bytes_raw() + b"\\.//^\\"
    secret = hashlib.sha3_256(mixed).digest()
    suite_id = bytes.fromhex("48504b45647a00010003")
    key, nonce = hpke_schedule(suite_id, secret, b"info", 32)
    assert suite.aead(key).open(nonce, body, b"") == bytes(size)
    assert not hmac.compare_digest(secret[:12], nonce)
