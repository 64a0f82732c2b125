"""Two faces convict; an ordinary upgrade never does."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.errors import PeerError
from gossip.ledger.manifests import (
    Manifest,
    read_manifest_untrusted,
    read_two_faces_untrusted,
    sign_manifest,
    write_two_faces,
)
from gossip.units import ClusterId, UnixMs
from scenarios.toy import ToySuite
from tests.support.members import NOW, Member, member, roster

SUITE = ToySuite()
ROSTER = roster(SUITE, ["ash", "birch"])
ASH, BIRCH = member(SUITE, "ash"), member(SUITE, "birch")


def manifest(content: bytes = b"1" * 32, who: Member = ASH, **more: object) -> Manifest:
    made = Manifest(
        cluster=ROSTER.cluster,
        node=who.node,
        key=who.chain.key,
        server="sql",
        version="1.0",
        sequence=4,
        content=content,
        issued_at_ms=NOW,
    )
    return attrs.evolve(made, **more)  # type: ignore[arg-type] # passed on as given


def signed(made: Manifest, by: Member = ASH) -> bytes:
    return sign_manifest(made, by.key)


ONE = signed(manifest())
OTHER = signed(manifest(b"2" * 32, issued_at_ms=UnixMs(NOW + 5)))


def test_two_contents_in_one_slot_convict_whoever_shows_them() -> None:
    proof = write_two_faces(ONE, OTHER, ASH.chain)
    told = read_two_faces_untrusted(proof, ROSTER, SUITE)
    assert (told.node, told.server, told.issued_at_ms) == (ASH.node, "sql", NOW + 5)
    assert proof == write_two_faces(OTHER, ONE, ASH.chain)
    third = signed(manifest(b"3" * 32))
    again = read_two_faces_untrusted(
        write_two_faces(ONE, third, ASH.chain), ROSTER, SUITE
    )
    assert again.offence == told.offence, "one slot is one offence"


@pytest.mark.parametrize(
    "other",
    [
        signed(manifest(b"2" * 32, sequence=5)),
        signed(manifest(b"2" * 32, version="1.1")),
        signed(manifest(b"2" * 32, server="git")),
        ONE,
        signed(manifest(issued_at_ms=UnixMs(NOW + 9))),
        signed(manifest(b"2" * 32), by=BIRCH),
        signed(manifest(b"2" * 32, who=BIRCH), by=BIRCH),
        signed(manifest(b"2" * 32, cluster=ClusterId(b"c" * 32))),
    ],
    ids=[
        "next number",
        "next version",
        "other server",
        "itself",
        "said again",
        "forged",
        "somebody else's",
        "foreign cluster",
    ],
)
def test_what_an_honest_provider_may_do_convicts_nobody(other: bytes) -> None:
    with pytest.raises(PeerError):
        read_two_faces_untrusted(write_two_faces(ONE, other, ASH.chain), ROSTER, SUITE)


def test_a_strangers_two_faces_are_nobodys_business() -> None:
    who = member(SUITE, "stranger")
    one, other = (signed(manifest(c * 32, who=who), by=who) for c in (b"1", b"2"))
    with pytest.raises(PeerError, match="not a member"):
        read_two_faces_untrusted(write_two_faces(one, other, who.chain), ROSTER, SUITE)


@given(st.binary(max_size=200))
def test_garbage_is_a_peers_error(data: bytes) -> None:
    with pytest.raises(PeerError):
        read_two_faces_untrusted(data, ROSTER, SUITE)
    with pytest.raises(PeerError):
        read_manifest_untrusted(data)
