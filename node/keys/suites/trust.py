"""Whether a library may be loaded: whole, and nobody's to change but ours and root's."""

import os
import stat
import struct
import sys
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve()
_ROOT: Final = 0
_ADMIN: Final = 80
"""macOS' administrators, who may become root anyway; Homebrew's folders are theirs."""
_ELF: Final = b"\x7fELF"
_ELF_64_BIT: Final = 2
_BYTE_ORDERS: Final = {1: "<", 2: ">"}
_HEADER_BYTES: Final = 64
_SEGMENT_BYTES: Final = 56


def foreign_hand(path: Path) -> str | None:
    """Why somebody else could change what is loaded from the absolute ``path``.

    Looked at are the file and every folder above it, before links are followed
    and after. Whoever can change Picket's own code is nobody to fear here: its owner
    and group may own these places too, and what lies above it is not asked about.
    Returns one line that ends in what to do; None where all is well.

    Raises:
        OSError: one of them cannot be looked at.
    """
    file = path.resolve(strict=True)
    for place in dict.fromkeys((path, *path.parents, file, *file.parents)):
        why = None if place in _HERE.parents else _foreign_hand_at(place)
        if why:
            return f"{place} {why}"
    return None


def _foreign_hand_at(place: Path) -> str | None:
    status, ours, user = place.stat(), _HERE.stat(), os.geteuid()
    if status.st_uid not in (_ROOT, user, ours.st_uid):
        return f"belongs to user {status.st_uid}: `chown` it to root or to this user"
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return None  # Sticky: who may write there may not replace what is ours.
    easier = status.st_mode & ~ours.st_mode
    if easier & stat.S_IWOTH:
        return "is writable by everybody: `chmod o-w` it"
    # A group with the user's own number is the user's alone.
    groups = {_ROOT, user, *([_ADMIN] if sys.platform == "darwin" else [])}
    if ours.st_mode & stat.S_IWGRP:
        groups.add(ours.st_gid)
    if status.st_mode & stat.S_IWGRP and status.st_gid not in groups:
        return f"is writable by group {status.st_gid}: `chmod g-w` it"
    return None


def is_cut_short(path: Path) -> bool:
    """Whether a 64-bit ELF file ends before what its headers promise.

    The linker maps it all the same, and the process ends by SIGBUS where it
    reads on. Other formats are the linker's to refuse.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header = file.read(_HEADER_BYTES)
        if header[:4] != _ELF:
            return False
        if len(header) < _HEADER_BYTES:
            return True
        order = _BYTE_ORDERS.get(header[5])
        if header[4] != _ELF_64_BIT or order is None:
            return False
        # e_phoff, e_shoff; e_phentsize, e_phnum, e_shentsize, e_shnum (gABI, 4)
        segments_at, sections_at = struct.unpack_from(f"{order}QQ", header, 32)
        step, count, section_bytes, sections = struct.unpack_from(
            f"{order}4H", header, 54
        )
        if sections_at + section_bytes * sections > size or step < _SEGMENT_BYTES:
            return True
        if segments_at + step * count > size:
            return True
        file.seek(segments_at)
        table = file.read(step * count)
    for number in range(count):
        # p_offset, and p_filesz three fields on
        at = struct.unpack_from(f"{order}Q", table, number * step + 8)[0]
        length = struct.unpack_from(f"{order}Q", table, number * step + 32)[0]
        if at + length > size:
            return True
    return False
