"""The keystore: secrets are private, durable, and never overwritten."""

import os
from pathlib import Path

import pytest

from gossip.errors import UserError
from node.keys.keystore import Keystore, check_ours, replace_file, write_new

SEED = bytes(range(64))
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")


def test_a_secret_comes_back_and_only_we_may_read_it(tmp_path: Path) -> None:
    keystore = Keystore(tmp_path / "keys")
    keystore.store("root", SEED)
    assert keystore.load("root") == SEED
    assert keystore.path("root").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_a_secret_is_never_overwritten(tmp_path: Path) -> None:
    keystore = Keystore(tmp_path)
    keystore.store("root", SEED)
    with pytest.raises(UserError, match="never overwritten"):
        keystore.store("root", bytes(64))
    assert keystore.load("root") == SEED
    assert [p.name for p in tmp_path.iterdir()] == ["root.seed"]


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    keystore = Keystore(tmp_path)
    keystore.store("root", SEED)
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


@pytest.mark.parametrize("data", [b"", SEED[:63], SEED + b"x"])
def test_a_truncated_key_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    write_new(tmp_path / "root.seed", data, mode=0o600)
    with pytest.raises(UserError, match=r"root\.seed: not a key, or a broken one"):
        Keystore(tmp_path).load("root")


@pytest.mark.timeout(5)
def test_a_pipe_in_place_of_a_key_makes_nobody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root.seed", 0o600)
    with pytest.raises(UserError, match="not a regular file"):
        Keystore(tmp_path).load("root")


def test_what_others_may_write_is_refused(tmp_path: Path) -> None:
    check_ours(tmp_path, tmp_path / "missing")
    tmp_path.chmod(0o770)
    with pytest.raises(UserError, match="chmod go-w"):
        check_ours(tmp_path)


@as_root
def test_what_belongs_to_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "root.seed"
    write_new(path, SEED, mode=0o600)
    os.chown(path, 12_345, 0)
    with pytest.raises(UserError, match="belongs to user 12345"):
        check_ours(path)
