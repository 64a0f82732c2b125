"""What the test vectors may ask of a provider, and what it cannot express.

Vectors fix what a protocol never does: expanded keys, the encapsulator's
randomness, the bytes before hashing. Each provider answers what its interface
reaches, and says why not otherwise.
"""

import ctypes
import hashlib
from typing import Final, NoReturn, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
)

from gossip.errors import LocalError, PeerError
from node.keys.suites.lattice import (
    MLDSA_PUBLIC_BYTES,
    MLDSA_SEED_BYTES,
    MLDSA_SIGNATURE_BYTES,
    MLKEM_CIPHERTEXT_BYTES,
    MLKEM_ENCAPSULATION_KEY_BYTES,
    MLKEM_SECRET_BYTES,
    MLKEM_SEED_BYTES,
    Lattice,
    MlkemSecret,
)
from node.keys.suites.liboqs import (
    MLDSA_EXPANDED_BYTES,
    MLKEM_EXPANDED_BYTES,
    LiboqsLattice,
    randomness,
)
from node.keys.suites.openssl import OpensslLattice

CONTEXT_BYTES_MAX: Final = 255
MU_BYTES: Final = 64


class NotExpressible(Exception):
    """The provider's interface does not reach this vector; the reason."""


class Refused(Exception):
    """The provider, or the length check before it, refused an input."""


class Backend(Protocol):
    """One provider under test. Inputs it refuses raise `Refused`."""

    @property
    def name(self) -> str: ...
    @property
    def lattice(self) -> Lattice: ...

    def mldsa_expand(self, seed: bytes) -> bytes: ...
    def mldsa_verify_internal(self, pk: bytes, m_prime: bytes, sig: bytes) -> bool: ...
    def mldsa_verify_mu(self, pk: bytes, mu: bytes, sig: bytes) -> bool: ...
    def mldsa_sign_mu(self, seed: bytes, mu: bytes) -> bytes: ...
    def mldsa_sign(self, sk: bytes, msg: bytes, ctx: bytes, rnd: bytes) -> bytes: ...
    def mldsa_sign_internal(self, sk: bytes, m_prime: bytes, rnd: bytes) -> bytes: ...
    def mlkem_expand(self, seed: bytes) -> bytes: ...
    def mlkem_encapsulate_with(self, ek: bytes, m: bytes) -> tuple[bytes, bytes]: ...
    def mlkem_decapsulate_expanded(self, dk: bytes, c: bytes) -> bytes: ...


def mldsa_public_key(backend: Backend, seed: bytes) -> bytes:
    _length(seed, MLDSA_SEED_BYTES)
    return backend.lattice.mldsa_secret(seed).public_key


def mldsa_verify(
    backend: Backend, pk: bytes, msg: bytes, sig: bytes, ctx: bytes
) -> bool:
    """FIPS 204 algorithm 3; what is refused before it counts as not verified."""
    if len(pk) != MLDSA_PUBLIC_BYTES or len(sig) != MLDSA_SIGNATURE_BYTES:
        return False
    try:
        return backend.lattice.mldsa_public(pk).verify(msg, sig, ctx)
    except PeerError:
        return False


def mldsa_sign_seed(backend: Backend, seed: bytes, msg: bytes, ctx: bytes) -> bytes:
    _length(seed, MLDSA_SEED_BYTES)
    if len(ctx) > CONTEXT_BYTES_MAX:
        raise Refused("a context that is too long")
    return backend.lattice.mldsa_secret(seed).sign(msg, ctx)


def mlkem_secret(backend: Backend, seed: bytes) -> MlkemSecret:
    _length(seed, MLKEM_SEED_BYTES)
    return backend.lattice.mlkem_secret(seed)


def mlkem_decapsulate(backend: Backend, seed: bytes, c: bytes) -> bytes:
    _length(c, MLKEM_CIPHERTEXT_BYTES)
    return mlkem_secret(backend, seed).decapsulate(c)


def mlkem_accepts(backend: Backend, ek: bytes) -> bool:
    """Whether an encapsulation key is taken (FIPS 203, section 7.2)."""
    if len(ek) != MLKEM_ENCAPSULATION_KEY_BYTES:
        return False
    try:
        backend.lattice.mlkem_encapsulate(ek)
    except PeerError:
        return False
    return True


def z_is_short(sig: bytes) -> bool:
    """FIPS 204, algorithm 8, line 13: z is packed as gamma1 - z in 20 bits."""
    packed = int.from_bytes(sig[48 : 48 + 3200], "little")
    coefficients = (packed >> 20 * i & 0xFFFFF for i in range(1280))
    return all(196 < c < 2**20 - 196 for c in coefficients)


class OpensslBackend:
    """pyca `cryptography`: seeds only, and no choice of randomness."""

    name = "openssl"

    def __init__(self) -> None:
        self.lattice: Lattice = OpensslLattice()

    def mldsa_expand(self, seed: bytes) -> bytes:
        _no_expanded_keys()

    def mldsa_verify_internal(self, pk: bytes, m_prime: bytes, sig: bytes) -> bool:
        if len(pk) != MLDSA_PUBLIC_BYTES:
            return False
        tr = hashlib.shake_256(pk).digest(64)
        mu = hashlib.shake_256(tr + m_prime).digest(MU_BYTES)
        return self.mldsa_verify_mu(pk, mu, sig)

    def mldsa_verify_mu(self, pk: bytes, mu: bytes, sig: bytes) -> bool:
        if len(pk) != MLDSA_PUBLIC_BYTES or len(sig) != MLDSA_SIGNATURE_BYTES:
            return False
        try:
            MLDSA65PublicKey.from_public_bytes(pk).verify_mu(sig, mu)
        except (InvalidSignature, ValueError):
            return False
        return True

    def mldsa_sign_mu(self, seed: bytes, mu: bytes) -> bytes:
        return MLDSA65PrivateKey.from_seed_bytes(seed).sign_mu(mu)

    def mldsa_sign(self, sk: bytes, msg: bytes, ctx: bytes, rnd: bytes) -> bytes:
        _no_expanded_keys()

    def mldsa_sign_internal(self, sk: bytes, m_prime: bytes, rnd: bytes) -> bytes:
        _no_expanded_keys()

    def mlkem_expand(self, seed: bytes) -> bytes:
        _no_expanded_keys()

    def mlkem_encapsulate_with(self, ek: bytes, m: bytes) -> tuple[bytes, bytes]:
        raise NotExpressible("pyca takes no chosen randomness")

    def mlkem_decapsulate_expanded(self, dk: bytes, c: bytes) -> bytes:
        _no_expanded_keys()


class LiboqsBackend:
    """liboqs: expanded keys, and its source of randomness is ours to replace."""

    name = "liboqs"

    def __init__(self, lattice: LiboqsLattice) -> None:
        self.lattice: Lattice = lattice
        self._calls = lattice.calls
        size, out = ctypes.c_size_t, ctypes.c_void_p
        text = (ctypes.c_char_p, size)
        self._verify_internal = self._internal("verify", *text, *text, *text, out)
        self._sign_internal = self._internal(
            "signature", out, out, *text, *text, out, out
        )

    def mldsa_expand(self, seed: bytes) -> bytes:
        _length(seed, MLDSA_SEED_BYTES)
        pk = ctypes.create_string_buffer(MLDSA_PUBLIC_BYTES)
        sk = ctypes.create_string_buffer(MLDSA_EXPANDED_BYTES)
        with randomness.serving(seed, self._calls.library):
            _succeed(self._calls.mldsa_keypair(pk, sk))
        return sk.raw

    def mldsa_verify_internal(self, pk: bytes, m_prime: bytes, sig: bytes) -> bool:
        if self._verify_internal is None:
            raise NotExpressible("this liboqs does not export the internal interface")
        if len(pk) != MLDSA_PUBLIC_BYTES or len(sig) != MLDSA_SIGNATURE_BYTES:
            return False
        if not z_is_short(sig):  # The repair is one call further out.
            return False
        arguments = (sig, len(sig), m_prime, len(m_prime), b"", 0, pk)
        return int(self._verify_internal(*arguments)) == 0

    def mldsa_verify_mu(self, pk: bytes, mu: bytes, sig: bytes) -> bool:
        raise NotExpressible("liboqs takes no external mu")

    def mldsa_sign_mu(self, seed: bytes, mu: bytes) -> bytes:
        raise NotExpressible("liboqs takes no external mu")

    def mldsa_sign(self, sk: bytes, msg: bytes, ctx: bytes, rnd: bytes) -> bytes:
        _length(sk, MLDSA_EXPANDED_BYTES)
        sig, length = _signature_buffer()
        try:
            with randomness.serving(rnd, self._calls.library):
                code = self._calls.mldsa_sign(
                    sig, ctypes.byref(length), msg, len(msg), ctx, len(ctx), sk
                )
        except LocalError as error:
            raise Refused("refused before randomness was asked for") from error
        _succeed(code)
        return sig.raw

    def mldsa_sign_internal(self, sk: bytes, m_prime: bytes, rnd: bytes) -> bytes:
        if self._sign_internal is None:
            raise NotExpressible("this liboqs does not export the internal interface")
        _length(sk, MLDSA_EXPANDED_BYTES)
        sig, length = _signature_buffer()
        _succeed(
            self._sign_internal(
                sig, ctypes.byref(length), m_prime, len(m_prime), b"", 0, rnd, sk
            )
        )
        return sig.raw

    def mlkem_expand(self, seed: bytes) -> bytes:
        _length(seed, MLKEM_SEED_BYTES)
        ek = ctypes.create_string_buffer(MLKEM_ENCAPSULATION_KEY_BYTES)
        dk = ctypes.create_string_buffer(MLKEM_EXPANDED_BYTES)
        _succeed(self._calls.mlkem_keypair(ek, dk, seed))
        return dk.raw

    def mlkem_encapsulate_with(self, ek: bytes, m: bytes) -> tuple[bytes, bytes]:
        _length(ek, MLKEM_ENCAPSULATION_KEY_BYTES)
        try:
            with randomness.serving(m, self._calls.library):
                return self.lattice.mlkem_encapsulate(ek)
        except PeerError as error:
            raise Refused(str(error)) from error
        except LocalError as error:
            raise Refused("refused before randomness was asked for") from error

    def mlkem_decapsulate_expanded(self, dk: bytes, c: bytes) -> bytes:
        _length(dk, MLKEM_EXPANDED_BYTES)
        _length(c, MLKEM_CIPHERTEXT_BYTES)
        secret = ctypes.create_string_buffer(MLKEM_SECRET_BYTES)
        _succeed(self._calls.mlkem_decapsulate(secret, c, dk))
        return secret.raw

    def _internal(self, verb: str, *arguments: type) -> "ctypes._CFunctionType | None":
        for build in ("avx2", "aarch64", "ref"):
            name = f"pqcrystals_ml_dsa_65_{build}_{verb}_internal"
            try:
                return ctypes.CFUNCTYPE(ctypes.c_int, *arguments)(
                    (name, self._calls.library)
                )
            except AttributeError:
                continue
        return None


def _signature_buffer() -> "tuple[ctypes.Array[ctypes.c_char], ctypes.c_size_t]":
    return (
        ctypes.create_string_buffer(MLDSA_SIGNATURE_BYTES),
        ctypes.c_size_t(MLDSA_SIGNATURE_BYTES),
    )


def _length(value: bytes, length: int) -> None:
    if len(value) != length:
        raise Refused(f"{len(value)} bytes, not {length}")


def _succeed(code: object) -> None:
    if code != 0:
        raise Refused("liboqs returned an error")


def _no_expanded_keys() -> NoReturn:
    raise NotExpressible("pyca takes and gives seeds only")
