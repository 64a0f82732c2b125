"""Find liboqs without importing it: where it may lie, and whether it may be used.

Importing `oqs` without its library starts a download and ends the process, so
every question is answered here first, on files and by `ctypes` alone.
"""

import contextlib
import ctypes
import os
import re
import sys
from pathlib import Path
from typing import Final

import attrs

from node.keys.suites.trust import foreign_hand, is_changed

ENVIRONMENT: Final = "PICKET_LIBOQS"
"""Names the library, or a folder it is in or under; nothing else is tried then."""

LOOKED: Final = "; looked in "
"""Before the folders, which fill a line: only who asks for details wants them."""

_LIBRARY: Final = "liboqs.dylib" if sys.platform == "darwin" else "liboqs.so"
_CHECKOUT: Final = Path(__file__).resolve().parents[1] / "liboqs" / "built"
_SYSTEM: Final = (
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/opt/homebrew/lib",
)
_VERSION_MIN: Final = (0, 13)  # The first to derive ML-KEM keys from a seed.
_VERSION_BYTES_MAX: Final = 32
_CPU_BYTES_MAX: Final = 4096
_WORD_MAX: Final = 32


@attrs.frozen
class Found:
    """A library that can be loaded, has both algorithms and is new enough."""

    path: Path
    version: str


@attrs.frozen
class Missing:
    """Why there is none, in one line that ends in what to do."""

    why: str
    path: Path | None = None
    """The file that was there and could not be used, if any."""


def find_liboqs(state_dir: Path | None = None) -> Found | Missing:
    """Take the first library of `places`; a broken one ends the search. Never raises."""
    try:
        return _find(state_dir)
    except OSError as error:
        return Missing(f"liboqs cannot be examined: {error}; mend that path")


def _find(state_dir: Path | None) -> Found | Missing:
    places_tried = places(state_dir)
    for path in places_tried:
        if path.is_file():
            return _examine(path)
    looked = ", ".join(dict.fromkeys(str(path.parent) for path in places_tried))
    return Missing(
        "liboqs is not installed: run `make liboqs` in the checkout (needs cargo, cmake "
        f"and libclang) or `brew install liboqs`{LOOKED}{looked}"
    )


def places(state_dir: Path | None = None) -> list[Path]:
    """Where the library may lie, the most particular place first.

    Raises:
        OSError: a place cannot be looked at.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        path = Path(named).absolute()  # A bare name would be the linker's to find.
        is_library = path.is_file() or {".so", ".dylib"} & set(path.suffixes)
        return [path] if is_library and not path.is_dir() else _under(path)
    paths = _under(_CHECKOUT)
    if state_dir is not None:
        paths += _under(state_dir.absolute() / "liboqs")
    own = os.environ.get("OQS_INSTALL_PATH")
    with contextlib.suppress(RuntimeError):  # Nobody's home.
        paths += _under(Path(own).absolute() if own else Path.home() / "_oqs")
    return paths + [Path(folder) / _LIBRARY for folder in _SYSTEM]


def _under(folder: Path) -> list[Path]:
    return [folder / _LIBRARY, folder / "lib" / _LIBRARY, folder / "lib64" / _LIBRARY]


def _examine(path: Path) -> Found | Missing:
    others = foreign_hand(path)
    if others:
        return Missing(others, path)
    file = path.resolve()
    if is_changed(file):
        why = "is not the file that was built, or cut short: run `make liboqs`"
        return Missing(f"{path} {why}", path)
    lacking = _instructions_lacking(file)
    if lacking:
        return Missing(
            f"{path} was built for another processor (this one has no "
            f"{', '.join(sorted(lacking)[:3])}): run `make liboqs` here",
            path,
        )
    try:
        library = ctypes.CDLL(str(path))
        version = _version(library)
        enabled = (
            library.OQS_SIG_alg_is_enabled(b"ML-DSA-65") == 1
            and library.OQS_KEM_alg_is_enabled(b"ML-KEM-768") == 1
        )
    except (OSError, AttributeError, ValueError) as error:
        return Missing(f"{path} does not load as liboqs: {error}", path)
    if tuple(int(part) for part in version.split(".")[:2]) < _VERSION_MIN:
        least = ".".join(str(part) for part in _VERSION_MIN)
        return Missing(f"{path} is liboqs {version}; {least} or later is needed", path)
    if not enabled:
        return Missing(f"{path} was built without ML-DSA-65 or ML-KEM-768", path)
    return Found(path, version)


def _version(library: ctypes.CDLL) -> str:
    library.OQS_version.restype = ctypes.c_char_p
    raw = library.OQS_version()
    match = re.match(rb"\d{1,4}\.\d{1,4}\.\d{1,4}", (raw or b"")[:_VERSION_BYTES_MAX])
    if match is None:
        raise ValueError("it does not tell its version")
    return match.group().decode()


def _instructions_lacking(path: Path) -> set[str]:
    """What `build.sh` noted beside the library and this processor does not have."""
    note, here = path.with_name(path.name + ".cpu"), Path("/proc/cpuinfo")
    if not (note.is_file() and here.is_file()):
        return set()
    with note.open("rb") as file:
        words = file.read(_CPU_BYTES_MAX).decode("ascii", "replace").split()
    wanted = {word.encode("unicode_escape").decode()[:_WORD_MAX] for word in words}
    for line in here.read_text("utf-8", "replace").splitlines():
        if line.startswith(("flags", "Features")):
            return wanted - set(line.partition(":")[2].split())
    return set()
