"""How liboqs gets its ML-DSA keys from seeds, and what else happens meanwhile."""

import ctypes
import threading
import weakref

import pytest

from gossip.errors import LocalError
from node.keys.suites.hybrid import HybridSuite
from node.keys.suites.liboqs import Calls, LiboqsLattice, randomness


@pytest.fixture
def lattice(liboqs: HybridSuite) -> LiboqsLattice:
    assert isinstance(liboqs.lattice, LiboqsLattice)
    return liboqs.lattice


def draw(calls: Calls, size: int) -> bytes:
    buffer = ctypes.create_string_buffer(size)
    calls.library.OQS_randombytes(buffer, ctypes.c_size_t(size))
    return buffer.raw


def test_the_seed_is_served_once_and_then_entropy_again(lattice: LiboqsLattice) -> None:
    seed = bytes(range(32))
    with randomness.serving(seed, lattice.calls.library):
        assert draw(lattice.calls, 32) == seed
        assert draw(lattice.calls, 32) != seed
    assert draw(lattice.calls, 32) != seed


def test_a_seed_nobody_asked_for_is_an_error(lattice: LiboqsLattice) -> None:
    with (
        pytest.raises(LocalError, match="did not ask"),
        randomness.serving(bytes(32), lattice.calls.library),
    ):
        draw(lattice.calls, 16)


def test_other_threads_never_see_the_seed(lattice: LiboqsLattice) -> None:
    seed, seen = bytes(range(32)), list[bytes]()
    with randomness.serving(seed, lattice.calls.library):
        thread = threading.Thread(
            target=lambda: seen.extend(draw(lattice.calls, 32) for _ in range(50))
        )
        thread.start()
        thread.join(10)
        assert draw(lattice.calls, 32) == seed
    assert len(set(seen)) == 50
    assert seed not in seen


def test_signatures_made_while_keys_are_made_stay_randomised(
    lattice: LiboqsLattice,
) -> None:
    secret, stop, signatures = lattice.mldsa_secret(bytes(32)), threading.Event(), []

    def sign() -> None:
        while not stop.is_set():
            signatures.append(secret.sign(b"same", b""))

    thread = threading.Thread(target=sign)
    thread.start()
    for number in range(200):
        lattice.mldsa_secret(bytes([number]) * 32)
    stop.set()
    thread.join(30)
    assert len(signatures) > 10
    assert len(set(signatures)) == len(signatures)


def test_the_expanded_key_is_wiped_with_its_owner(lattice: LiboqsLattice) -> None:
    secret = lattice.mldsa_secret(bytes(range(32)))
    expanded = secret._expanded
    assert any(expanded.raw)
    gone = weakref.ref(secret)
    del secret
    assert gone() is None
    assert not any(expanded.raw)


@pytest.mark.parametrize("off", [-1, 1])
def test_a_wrong_length_never_reaches_liboqs(lattice: LiboqsLattice, off: int) -> None:
    for call, size in (
        (lattice.mldsa_public, 1952),
        (lattice.mldsa_secret, 32),
        (lattice.mlkem_secret, 64),
        (lattice.mlkem_encapsulate, 1184),
    ):
        with pytest.raises(LocalError):
            call(bytes(size + off))
    with pytest.raises(LocalError):
        lattice.mlkem_secret(bytes(64)).decapsulate(bytes(1088 + off))


def test_a_context_that_is_too_long_is_refused(lattice: LiboqsLattice) -> None:
    secret = lattice.mldsa_secret(bytes(32))
    with pytest.raises(LocalError):
        secret.sign(b"", bytes(256))
    signature = secret.sign(b"", bytes(255))
    public = lattice.mldsa_public(secret.public_key)
    assert public.verify(b"", signature, bytes(255))
    assert not public.verify(b"", signature, bytes(256))
    assert not public.verify(b"", signature[:-1], bytes(255))
