"""Bring liboqs up without its surprises: quietly, from one file, and tested.

`import oqs` takes whatever library the linker finds, prints to stdout, and where
it finds none clones one from the network and ends the process. `probe` has found
the file before; here the import is held to that file.
"""

import contextlib
import ctypes
import ctypes.util
import importlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.suite import SIGNATURE_BYTES, SIGNING_SEED_BYTES, Claim
from node.keys.suites.hybrid import LABEL, HybridSuite, representative
from node.keys.suites.liboqs import Calls, LiboqsLattice
from node.keys.suites.many import ManyAtOnce
from node.keys.suites.openssl import OpensslLattice
from node.keys.suites.selftest import SelfTestFailed, self_test

_SEED: Final = bytes(range(SIGNING_SEED_BYTES))


class LiboqsRefused(Exception):
    """This liboqs must not be used; the message says why, and what to do."""


class LiboqsSuite(HybridSuite):
    """Suite 1 on the liboqs that lies at ``path``.

    Raises:
        LiboqsRefused: it does not load, or fails its self-test.
    """

    def __init__(self, path: Path) -> None:
        lattice = load_lattice(path)
        super().__init__(lattice)
        self._many: ManyAtOnce | None = None
        with contextlib.suppress(AttributeError):  # another liboqs than ours
            self._many = ManyAtOnce(lattice.calls.library)
        if not self._tells_halves_apart():
            raise LiboqsRefused(
                f"{path} verifies many at once wrongly: run `make liboqs`"
            )

    @property
    def verifies_at_once(self) -> bool:
        """Whether the interpreter is let go of once for many, not twice for each."""
        return self._many is not None

    def verify_many(self, claims: Sequence[Claim]) -> list[bool]:
        many = self._many
        if many is None or len(claims) == 1:
            return super().verify_many(claims)
        holds = [False] * len(claims)
        places, keys, signed = [], [], []
        for place, claim in enumerate(claims):
            if len(claim.signature) == SIGNATURE_BYTES and self._knows(
                claim.public_key
            ):
                places.append(place)
                keys.append(claim.public_key)
                signed.append(representative(claim.message, claim.context.value))
        signatures = [claims[place].signature for place in places]
        answers = many.verify(keys, signatures, signed, LABEL)
        for place, answer in zip(places, answers, strict=True):
            holds[place] = self._holds(claims[place]) if answer is None else answer
        return holds

    def _knows(self, public_key: bytes) -> bool:
        try:
            self.parsed(public_key)
        except PeerError:
            return False
        return True

    def _tells_halves_apart(self) -> bool:
        """Whether, of four signatures at once, those hold that do."""
        key = self.signing_key_from_seed(_SEED)
        good = key.sign(b"", Domain.BATCH)
        forged = [good, bytes(1) + good[1:], good[:-1] + bytes(1), good]
        claims = [Claim(key.public_key, b"", each, Domain.BATCH) for each in forged]
        return self.verify_many(claims) == [each == good for each in forged]


def load_lattice(path: Path) -> LiboqsLattice:
    """Bring liboqs up from a file that `probe` accepted, and test it.

    Raises:
        LiboqsRefused: see the message.
    """
    try:
        library, version = _import_oqs(path)
        lattice = LiboqsLattice(Calls(library), version)
        self_test(lattice, OpensslLattice())
    except SelfTestFailed as error:
        raise LiboqsRefused(f"{path} is no good: {error}; run `make liboqs`") from error
    except (AttributeError, OSError, RuntimeError) as error:
        raise LiboqsRefused(f"{path} does not load: {error}") from error
    return lattice


def _import_oqs(path: Path) -> tuple[ctypes.CDLL, str]:
    """Import `oqs` so that it loads this file, says nothing, and installs nothing."""
    with _guarded(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # A version difference; the self-test decides.
        try:
            oqs = importlib.import_module("oqs")
        except ImportError as error:
            raise LiboqsRefused("liboqs-python is missing: install it") from error
        except (SystemExit, ValueError) as error:
            raise LiboqsRefused(f"liboqs-python cannot load {path}") from error
    library: ctypes.CDLL = oqs.native()
    if Path(library._name) != path:
        raise LiboqsRefused(f"liboqs-python has already loaded {library._name}")
    return library, str(oqs.oqs_version())


@contextlib.contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Answer the three questions `oqs` asks the world while it is imported."""

    def find_library(name: str) -> str | None:
        return str(path)

    log = logging.getLogger("oqs.oqs")
    found, version = ctypes.util.find_library, os.environ.get("PYOQS_VERSION")
    # It would take whatever the linker finds, running a compiler to ask it.
    ctypes.util.find_library = find_library
    # Should its loading fail all the same, this ends its download at once.
    os.environ["PYOQS_VERSION"] = "never"
    log.disabled = True  # It logs to stdout, where a wrapped MCP server speaks.
    try:
        yield
    finally:
        ctypes.util.find_library = found
        del os.environ["PYOQS_VERSION"]
        if version is not None:
            os.environ["PYOQS_VERSION"] = version
        log.handlers.clear()
