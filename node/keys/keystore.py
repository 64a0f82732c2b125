"""The keystore: a folder of secrets, one file each, for this user only.

Encryption at rest will stand behind `load` and `store`; nothing else in the
daemon touches a secret's file.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Final

import attrs

from gossip.errors import UserError
from gossip.suite import SIGNING_SEED_BYTES

ROOT: Final = "root"
RENEWAL: Final = "renewal"
_OTHERS_WRITE: Final = 0o022


@attrs.frozen
class Keystore:
    """Secrets by name in ``folder`` (0700), each in ``NAME.seed`` (0600)."""

    folder: Path

    def path(self, name: str) -> Path:
        """Where a secret is, for sentences that tell people."""
        return self.folder / f"{name}.seed"

    def has(self, name: str) -> bool:
        """Whether there is such a secret."""
        return self.path(name).is_file()

    def load(self, name: str, size: int = SIGNING_SEED_BYTES) -> bytes:
        """Read a secret of ``size`` bytes; see `load_secret`."""
        return load_secret(self.path(name), size)

    def store(self, name: str, secret: bytes) -> None:
        """Write a new secret; it is durable when this returns.

        Raises:
            UserError: it exists already (a key is never overwritten), or the
                disk refuses.
        """
        make_private_folder(self.folder)
        write_new(self.path(name), secret, mode=0o600)


def load_secret(path: Path, size: int = SIGNING_SEED_BYTES) -> bytes:
    """Read one secret file of ``size`` bytes.

    Raises:
        UserError: missing, readable by others, another user's, or of another
            size.
    """
    try:
        with open(path, "rb", opener=open_regular) as file:
            seen = os.fstat(file.fileno())
            if stat.S_IMODE(seen.st_mode) & 0o077:
                raise UserError(
                    f"{path}: others may read this key; run `chmod 600 {path}`"
                )
            if os.geteuid() not in (0, seen.st_uid):  # root reads whatever it likes
                raise UserError(f"{path}: this key belongs to another user")
            secret = file.read(size + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: this key is missing") from None
    except OSError as wrong:
        raise UserError(f"{path}: cannot read this key: {wrong.strerror}") from None
    if len(secret) != size:
        raise UserError(
            f"{path}: not a key, or a broken one: it must have {size} bytes; bring it"
            " back from a backup"
        )
    return secret


def open_regular(path: str, flags: int) -> int:
    """An opener for `open`: a pipe or a device is refused, and makes nobody wait.

    Raises:
        OSError: it is no regular file, or cannot be opened.
    """
    fd = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return fd


def check_ours(*paths: Path) -> None:
    """Refuse files and folders that somebody else could have changed.

    Whoever can write there decides what this node is and what it enforces.

    Raises:
        UserError: others may write to one, or it belongs to another user (root
            excepted).
    """
    for path in paths:
        try:
            seen = path.stat()
        except OSError:
            continue  # whoever needs it says that it is missing
        if stat.S_IMODE(seen.st_mode) & _OTHERS_WRITE:
            raise UserError(f"{path}: others may write here; run `chmod go-w {path}`")
        if seen.st_uid not in (0, os.geteuid()):
            raise UserError(
                f"{path}: belongs to user {seen.st_uid}, and this is user"
                f" {os.geteuid()}; run Picket as its owner, or `chown` it"
            )


def make_private_folder(folder: Path) -> None:
    """Make ``folder`` (0700) if it is not there.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as wrong:
        raise UserError(f"{folder}: cannot make it: {wrong.strerror}") from None


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file that must not exist yet; all of it, durably, or nothing.

    Raises:
        UserError: it exists, or the disk refuses.
    """
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.unlink(missing_ok=True)
        _write_synced(draft, data, mode)
        try:
            os.link(draft, path)  # Unlike rename, this never replaces.
        finally:
            draft.unlink()
        _sync_folder(path.parent)
    except FileExistsError:
        raise UserError(f"{path}: exists already; it is never overwritten") from None
    except OSError as wrong:
        raise UserError(f"{path}: cannot write: {wrong.strerror}") from None


def replace_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file anew; a crash leaves the old one or the new one, whole.

    Raises:
        UserError: the disk refuses.
    """
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.unlink(missing_ok=True)
        _write_synced(draft, data, mode)
        draft.replace(path)
        _sync_folder(path.parent)
    except OSError as wrong:
        raise UserError(f"{path}: cannot write: {wrong.strerror}") from None


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
