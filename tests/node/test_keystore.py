"""The keystore: secrets are private, durable, and never overwritten."""

from pathlib import Path

import pytest

from gossip.errors import UserError
from node.keys.keystore import Keystore, replace_file, write_new


def test_a_secret_comes_back_and_only_we_may_read_it(tmp_path: Path) -> None:
    keystore = Keystore(tmp_path / "keys")
    keystore.store("root", b"seed")
    assert keystore.load("root") == b"seed"
    assert keystore.path("root").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_a_secret_is_never_overwritten(tmp_path: Path) -> None:
    keystore = Keystore(tmp_path)
    keystore.store("root", b"first")
    with pytest.raises(UserError, match="never overwritten"):
        keystore.store("root", b"second")
    assert keystore.load("root") == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["root.seed"]


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    keystore = Keystore(tmp_path)
    keystore.store("root", b"seed")
    keystore.path("root").chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        keystore.load("root")


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"renewal\.seed: this key is missing"):
        Keystore(tmp_path).load("renewal")


def test_replacing_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_new(path, b"old")
    (tmp_path / ".f.new").write_bytes(b"left over from a crash")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
