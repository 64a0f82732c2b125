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
from collections.abc import Iterator
from pathlib import Path

from node.keys.suites.hybrid import HybridSuite
from node.keys.suites.liboqs import Calls, LiboqsLattice
from node.keys.suites.openssl import OpensslLattice
from node.keys.suites.selftest import SelfTestFailed, self_test


class LiboqsRefused(Exception):
    """This liboqs must not be used; the message says why, and what to do."""


class LiboqsSuite(HybridSuite):
    """Suite 1 on the liboqs that lies at ``path``.

    Raises:
        LiboqsRefused: it does not load, or fails its self-test.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(load_lattice(path))


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
