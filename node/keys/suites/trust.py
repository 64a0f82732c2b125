"""Whether a library may be loaded: whole, and nobody's to change but ours and root's."""

import contextlib
import grp
import hashlib
import os
import stat
import sys
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve()
_ROOT: Final = 0
_ADMIN: Final = 80
"""macOS' administrators, who may become root anyway; Homebrew's folders are theirs."""


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
        return f"is writable by group `{_group(status.st_gid)}`: `chmod g-w` it"
    return None


def _group(number: int) -> str:
    with contextlib.suppress(KeyError):
        return grp.getgrgid(number).gr_name
    return str(number)


def is_changed(file: Path) -> bool:
    """Whether ``file`` is not what was built, where its builder noted the digest.

    The linker maps a file that is cut short all the same, and the process ends by
    SIGBUS where it reads on. What nobody noted is for its package manager to check.

    Raises:
        OSError: it cannot be read.
    """
    note = file.with_name(file.name + ".sha256")
    if not note.is_file():
        return False
    with note.open("rb") as noted, file.open("rb") as library:
        digest = hashlib.file_digest(library, "sha256").hexdigest()
        return noted.read(len(digest)) != digest.encode()
