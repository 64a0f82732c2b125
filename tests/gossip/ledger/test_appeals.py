"""Appeals stand by themselves; retractions and answers are read or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.errors import PeerError
from gossip.ledger.appeals import (
    APPEAL_BYTES_MAX,
    Answer,
    Retraction,
    read_answer_untrusted,
    read_appeal_untrusted,
    read_retraction_untrusted,
    sign_appeal,
    write_answer,
    write_retraction,
)
from gossip.ledger.entries import Subject, SubjectKind
from gossip.units import ClusterId, UnixMs
from scenarios.toy import ToySuite
from tests.support.members import HOUR, NOW, member, roster

SUITE = ToySuite()
ROSTER = roster(SUITE, ["ash", "birch"])
FIR = member(SUITE, "ash")
ME = Subject(SubjectKind.NODE, FIR.node)


def appeal(
    text: str = "my egress was mended",
    *,
    cluster: ClusterId = ROSTER.cluster,
    who: str = "ash",
    by: str | None = None,
    at: int = NOW,
) -> bytes:
    speaker = member(SUITE, who)
    return sign_appeal(
        cluster=cluster,
        chain=speaker.chain,
        key=member(SUITE, by or who).key,
        subject=ME,
        issued_at_ms=UnixMs(at),
        text=text,
    )


def test_an_appeal_is_read_by_anybody_from_its_bytes_alone() -> None:
    read = read_appeal_untrusted(appeal(), ROSTER, SUITE)
    assert (read.node, read.subject) == (FIR.node, ME)
    assert read.text == "my egress was mended"
    assert read.id == read_appeal_untrusted(appeal(), ROSTER, SUITE).id


@pytest.mark.parametrize(
    "bad",
    [
        appeal(cluster=ClusterId(b"c" * 32)),
        appeal(by="birch"),
        appeal(who="stranger"),
        appeal(at=NOW + 30 * HOUR),
        appeal("x" * (APPEAL_BYTES_MAX + 1)),
        appeal("é" * (APPEAL_BYTES_MAX // 2 + 1)),
        appeal(""),
    ],
)
def test_an_appeal_of_somebody_else_or_too_long_is_refused(bad: bytes) -> None:
    with pytest.raises(PeerError):
        read_appeal_untrusted(bad, ROSTER, SUITE)


def test_any_changed_bit_is_refused() -> None:
    data = appeal()
    for at in range(0, len(data), 37):
        bent = bytearray(data)
        bent[at] ^= 1 << at % 8
        with pytest.raises(PeerError):
            read_appeal_untrusted(bytes(bent), ROSTER, SUITE)


@given(st.binary(max_size=200))
def test_garbage_is_a_peers_error(data: bytes) -> None:
    for read in (
        lambda d: read_appeal_untrusted(d, ROSTER, SUITE),
        read_retraction_untrusted,
        read_answer_untrusted,
    ):
        with pytest.raises(PeerError):
            read(data)


def test_what_is_written_is_read() -> None:
    retraction = Retraction(
        incarnation=b"i" * 16, number=3, index=1, subject=ME, reason="a mistake"
    )
    assert read_retraction_untrusted(write_retraction(retraction)) == retraction
    answer = Answer(appeal=b"a" * 32, upheld=True, reason="we saw it again")
    assert read_answer_untrusted(write_answer(answer)) == answer
