"""The fast provider: liboqs, by way of `liboqs-python`.

`liboqs-python` brings the library up (`loading`) and describes it; the six
functions needed are then called through prototypes of our own, which take
`bytes` as they are (the wrapper copies each argument, and zero-pads what is
too short). See docs/decisions/0011-liboqs-python.md.

liboqs' AVX2 code before 0.15 accepts some signatures that FIPS 204 refuses, and
refuses some that it accepts: with it, nodes would disagree about what is a
proof. What `make liboqs` builds is repaired; `selftest` refuses any other.

ctypes releases the GIL during each call; all functions used are reentrant.
"""

import contextlib
import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Final, NoReturn

import attrs
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey

from gossip.errors import LocalError, PeerError
from node.keys.suites.lattice import (
    MLDSA_PUBLIC_BYTES,
    MLDSA_SEED_BYTES,
    MLDSA_SIGNATURE_BYTES,
    MLKEM_CIPHERTEXT_BYTES,
    MLKEM_ENCAPSULATION_KEY_BYTES,
    MLKEM_SECRET_BYTES,
    MLKEM_SEED_BYTES,
)

MLDSA_EXPANDED_BYTES: Final = 4032
MLKEM_EXPANDED_BYTES: Final = 2400
_SUCCESS: Final = 0

_bytes, _out, _size = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t
_Signature = ctypes.c_char * MLDSA_SIGNATURE_BYTES
_Ciphertext = ctypes.c_char * MLKEM_CIPHERTEXT_BYTES
_Secret = ctypes.c_char * MLKEM_SECRET_BYTES


class _Random:
    """liboqs' source of randomness while an ML-DSA key is made from its seed.

    liboqs has no public function for that; it asks its source for the seed.
    While this one is installed, every thread gets the operating system's
    entropy, but the thread inside `serving`: its first request is answered
    with the seed. So a signature made meanwhile elsewhere is as good as ever.
    The callback lives as long as the process: another thread may be about to
    call it when it is taken out again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._here = threading.local()
        self.callback = ctypes.CFUNCTYPE(None, _out, _size)(self._fill)

    @contextlib.contextmanager
    def serving(self, seed: bytes, library: ctypes.CDLL) -> Iterator[None]:
        """Install the source, answer one request with ``seed``, take it out.

        Raises:
            LocalError: liboqs did not ask for exactly these bytes.
        """
        with self._lock:
            self._here.seed = seed
            library.OQS_randombytes_custom_algorithm(self.callback)
            try:
                yield
            finally:
                library.OQS_randombytes_switch_algorithm(b"system")
                unused, self._here.seed = self._here.seed is not None, None
        if unused:
            raise LocalError("liboqs did not ask for the seed of an ML-DSA key")

    def _fill(self, buffer: int, size: int) -> None:
        # ctypes would swallow an exception and leave the buffer as it was:
        # better no process than a signature with predictable randomness.
        try:
            seed = getattr(self._here, "seed", None)
            if seed is not None and size == len(seed):
                self._here.seed = None
                ctypes.memmove(buffer, seed, size)
            else:
                ctypes.memmove(buffer, os.urandom(size), size)
        except BaseException:
            os.abort()


randomness: Final = _Random()


@attrs.frozen
class _Public:
    _verify: "ctypes._CFunctionType" = attrs.field(repr=False)
    _key: bytes = attrs.field(repr=False)

    def verify(self, message: bytes, signature: bytes, context: bytes) -> bool:
        length, key = len(signature), self._key
        code: int = self._verify(
            message, len(message), signature, length, context, len(context), key
        )
        return code == _SUCCESS


class _MldsaSecret:
    def __init__(self, calls: "Calls", seed: bytes) -> None:
        public = ctypes.create_string_buffer(MLDSA_PUBLIC_BYTES)
        self._expanded = _secret_buffer(self, MLDSA_EXPANDED_BYTES, calls)
        with randomness.serving(seed, calls.library):
            code = calls.mldsa_keypair(public, self._expanded)
        self.public_key = public.raw
        expected = MLDSA65PrivateKey.from_seed_bytes(seed).public_key()
        if code != _SUCCESS or self.public_key != expected.public_bytes_raw():
            raise LocalError("liboqs made another ML-DSA key of a seed than OpenSSL")
        self._sign = calls.mldsa_sign

    def __repr__(self) -> str:
        return "_MldsaSecret(<SECRET>)"

    def sign(self, message: bytes, context: bytes) -> bytes:
        signature, length = _Signature(), _size(MLDSA_SIGNATURE_BYTES)
        code = self._sign(
            signature,
            ctypes.byref(length),
            message,
            len(message),
            context,
            len(context),
            self._expanded,
        )
        if code != _SUCCESS or length.value != MLDSA_SIGNATURE_BYTES:
            raise LocalError("liboqs could not sign")
        return signature.raw


class _MlkemSecret:
    def __init__(self, calls: "Calls", seed: bytes) -> None:
        public = ctypes.create_string_buffer(MLKEM_ENCAPSULATION_KEY_BYTES)
        self._expanded = _secret_buffer(self, MLKEM_EXPANDED_BYTES, calls)
        if calls.mlkem_keypair(public, self._expanded, seed) != _SUCCESS:
            raise LocalError("liboqs could not make an ML-KEM key")
        self.encapsulation_key = public.raw
        self._decapsulate = calls.mlkem_decapsulate

    def __repr__(self) -> str:
        return "_MlkemSecret(<SECRET>)"

    def decapsulate(self, ciphertext: bytes) -> bytes:
        if len(ciphertext) != MLKEM_CIPHERTEXT_BYTES:
            _refuse_length(ciphertext, MLKEM_CIPHERTEXT_BYTES)
        secret = _Secret()
        if self._decapsulate(secret, ciphertext, self._expanded) != _SUCCESS:
            raise LocalError("liboqs could not decapsulate")
        return secret.raw


class Calls:
    """Prototypes of the functions used, all of them exported and documented."""

    def __init__(self, library: ctypes.CDLL) -> None:
        def call(name: str, *arguments: type) -> "ctypes._CFunctionType":
            return ctypes.CFUNCTYPE(ctypes.c_int, *arguments)((name, library))

        sig, kem = "OQS_SIG_ml_dsa_65", "OQS_KEM_ml_kem_768"
        text = (_bytes, _size)
        self.library = library
        self.mldsa_keypair = call(f"{sig}_keypair", _out, _out)
        self.mldsa_sign = call(
            f"{sig}_sign_with_ctx_str", _out, _out, *text, *text, _out
        )
        self.mldsa_verify = call(
            f"{sig}_verify_with_ctx_str", *text, *text, *text, _bytes
        )
        self.mlkem_keypair = call(f"{kem}_keypair_derand", _out, _out, _bytes)
        # All arguments are pointers, which ctypes passes as they are: without
        # declared types a call costs 0.3 us less, of 9.
        self.mlkem_encapsulate = library[f"{kem}_encaps"]
        self.mlkem_decapsulate = library[f"{kem}_decaps"]
        self.cleanse = ctypes.CFUNCTYPE(None, _out, _size)(("OQS_MEM_cleanse", library))


class LiboqsLattice:
    """ML-DSA-65 and ML-KEM-768 by liboqs; see `lattice.Lattice`."""

    name = "liboqs"

    def __init__(self, calls: Calls, version: str) -> None:
        self.calls = calls
        self.version = version
        self._encapsulate = calls.mlkem_encapsulate

    def mldsa_public(self, public_key: bytes) -> _Public:
        _check_length(public_key, MLDSA_PUBLIC_BYTES)
        return _Public(self.calls.mldsa_verify, public_key)

    def mldsa_secret(self, seed: bytes) -> _MldsaSecret:
        _check_length(seed, MLDSA_SEED_BYTES)
        return _MldsaSecret(self.calls, seed)

    def mlkem_secret(self, seed: bytes) -> _MlkemSecret:
        _check_length(seed, MLKEM_SEED_BYTES)
        return _MlkemSecret(self.calls, seed)

    def mlkem_encapsulate(self, encapsulation_key: bytes) -> tuple[bytes, bytes]:
        if len(encapsulation_key) != MLKEM_ENCAPSULATION_KEY_BYTES:
            _refuse_length(encapsulation_key, MLKEM_ENCAPSULATION_KEY_BYTES)
        ciphertext, secret = _Ciphertext(), _Secret()
        if self._encapsulate(ciphertext, secret, encapsulation_key) != _SUCCESS:
            raise PeerError("an ML-KEM-768 key with coefficients above q")
        return ciphertext.raw, secret.raw


def _secret_buffer(
    owner: object, size: int, calls: Calls
) -> "ctypes.Array[ctypes.c_char]":
    """Memory that is wiped as soon as its owner goes."""
    buffer = ctypes.create_string_buffer(size)
    weakref.finalize(owner, calls.cleanse, buffer, size)
    return buffer


def _check_length(value: bytes, length: int) -> None:
    if len(value) != length:
        _refuse_length(value, length)


def _refuse_length(value: bytes, length: int) -> NoReturn:
    # `hybrid` has checked; but here a wrong length reads beyond the bytes.
    raise LocalError(f"{len(value)} bytes handed to liboqs, not {length}")
