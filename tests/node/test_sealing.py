"""Sealed entries: only who is meant reads them, and nobody changes them unseen."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.errors import LocalError, PeerError
from gossip.units import ClusterId, NodeId
from node.keys.keystore import Keystore
from node.sealing import (
    BOX_BYTES_MAX,
    READERS_MAX,
    SEED_BYTES,
    SealingKey,
    read_public_untrusted,
    seal,
    write_public,
)
from tests.support.births import SUITE

HERE, AUTHOR = ClusterId(b"c" * 32), NodeId(b"a" * 32)
ONE, TWO, THREE = (SealingKey.of_seed(bytes([n]) * SEED_BYTES) for n in (1, 2, 3))
SEALED = seal(b"the tools", [ONE.public, TWO.public], HERE, AUTHOR, SUITE)


def test_each_reader_opens_it_and_nobody_else() -> None:
    assert ONE.open_untrusted(SEALED, HERE, AUTHOR) == b"the tools"
    assert TWO.open_untrusted(SEALED, HERE, AUTHOR) == b"the tools"
    assert THREE.open_untrusted(SEALED, HERE, AUTHOR) is None
    assert b"the tools" not in SEALED


def test_it_cannot_be_shown_as_anothers_or_in_another_cluster() -> None:
    assert ONE.open_untrusted(SEALED, HERE, NodeId(b"b" * 32)) is None
    assert ONE.open_untrusted(SEALED, ClusterId(b"d" * 32), AUTHOR) is None


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_no_byte_of_it_can_be_changed(at: int, change: int) -> None:
    bent = bytearray(SEALED)
    bent[at] ^= change
    for reader in (ONE, TWO):
        with contextlib.suppress(PeerError):
            assert reader.open_untrusted(bytes(bent), HERE, AUTHOR) is None


def test_lengths_tell_little() -> None:
    sizes = {
        len(seal(bytes(n), [ONE.public], HERE, AUTHOR, SUITE)) for n in (0, 9, 4_000)
    }
    assert len(sizes) == 1


def test_it_has_limits() -> None:
    most = seal(
        bytes(BOX_BYTES_MAX - 4), [ONE.public] * READERS_MAX, HERE, AUTHOR, SUITE
    )
    assert len(most) <= 65_536
    assert ONE.open_untrusted(most, HERE, AUTHOR) == bytes(BOX_BYTES_MAX - 4)
    for plain, readers in ((BOX_BYTES_MAX - 3, 1), (1, READERS_MAX + 1), (1, 0)):
        with pytest.raises(LocalError):
            seal(bytes(plain), [ONE.public] * readers, HERE, AUTHOR, SUITE)


def test_a_nodes_key_is_made_once(tmp_path: Path) -> None:
    keys = Keystore(tmp_path / "keys")
    assert (
        SealingKey.of_store(keys, SUITE).public
        == SealingKey.of_store(keys, SUITE).public
    )
    assert read_public_untrusted(write_public(ONE)) == ONE.public


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_or_sealed_or_a_peer_error(data: bytes) -> None:
    with contextlib.suppress(PeerError):
        read_public_untrusted(data)
    with contextlib.suppress(PeerError):
        ONE.open_untrusted(data, HERE, AUTHOR)
