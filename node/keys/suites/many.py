"""Many composite signatures in one call of C, with the interpreter let go of once.

A thread that is done with half a signature waits for the interpreter while the event
loop has it, and takes it from the loop; with this, once for a whole batch.
`liboqs/many.c` is the other half: a liboqs built without it has no such function, and
signatures are then checked one by one.
"""

import ctypes
from collections.abc import Sequence
from typing import Final

from nacl._sodium import ffi, lib  # type: ignore[import-not-found]  # compiled

from gossip.suite import PUBLIC_KEY_BYTES, SIGNATURE_BYTES

_HOLDS: Final = 1
_REFUSED_BY_ED25519: Final = 2
_OPEN: Final = int(ffi.cast("uintptr_t", ffi.addressof(lib, "crypto_sign_open")))
"""libsodium's, as `nacl.bindings` uses it."""


class ManyAtOnce:
    """`picket_verify_many` of one library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Look the function up.

        Raises:
            AttributeError: this liboqs was built without it.
        """
        self._call = library.picket_verify_many
        self._call.restype = None

    def verify(
        self,
        keys: Sequence[bytes],
        signatures: Sequence[bytes],
        messages: Sequence[bytes],
        context: bytes,
    ) -> list[bool | None]:
        """For each signature, of the length that is right, whether both halves hold.

        Args:
            keys: composite public keys that were checked before.
            messages: what both halves sign.
            context: for the ML-DSA half.

        Returns:
            None where libsodium alone refused: OpenSSL is to judge.
        """
        count = len(keys)
        # From here on C trusts the lengths.
        assert all(len(key) == PUBLIC_KEY_BYTES for key in keys)
        assert all(len(signature) == SIGNATURE_BYTES for signature in signatures)
        pointers = ctypes.c_char_p * count
        answers = ctypes.create_string_buffer(count)
        self._call(
            ctypes.c_size_t(count),
            pointers(*keys),
            pointers(*signatures),
            pointers(*messages),
            (ctypes.c_size_t * count)(*map(len, messages)),
            context,
            ctypes.c_size_t(len(context)),
            ctypes.c_void_p(_OPEN),
            answers,
        )
        return [
            None if answer == _REFUSED_BY_ED25519 else answer == _HOLDS
            for answer in answers.raw
        ]
