"""Measuring: what is not there is left out aloud, never a reason to stop or to shine."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.bench import crypto as bench_crypto
from node.cli.doctor import doctor
from node.keys.suites import measure, probe
from node.keys.suites.probe import ENVIRONMENT
from tests.bench import crypto


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One short round of everything; no figure is looked at."""
    monkeypatch.setattr(measure, "ROUNDS", 1)
    monkeypatch.setattr(measure, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(measure, "BATCH_CLAIMS", 2)
    monkeypatch.setattr(crypto, "ROUNDS", 1)
    monkeypatch.setattr(crypto, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(sys, "argv", ["crypto"])


def test_the_command_says_that_liboqs_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    done = CliRunner().invoke(bench_crypto, ["--json"])
    assert done.exit_code == 0
    assert [figures["provider"] for figures in json.loads(done.stdout)] == ["openssl"]
    assert done.stderr.startswith("liboqs is left out: liboqs is not installed: run ")
    assert str(tmp_path) in done.stderr


def test_the_benchmark_measures_openssl_where_liboqs_is_not_installed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    monkeypatch.setattr(crypto, "OF_BARE_MIN", 0.0)
    assert crypto.main() == 0
    said = json.loads(capsys.readouterr().out)
    assert [*said["microseconds"]] == [*said["beside the bare call"]] == ["openssl"]
    assert "liboqs is not installed" in said["left out"]["liboqs"]
    assert said["liboqs times faster"] == {}


def test_without_liboqs_a_bar_of_openssl_can_still_be_missed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    monkeypatch.setattr(crypto, "OF_BARE_MIN", 1_000.0)
    assert crypto.main() == 1
    assert "openssl, ML-DSA-65 verify" in capsys.readouterr().out


def test_a_broken_liboqs_is_no_absent_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "liboqs.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setenv(ENVIRONMENT, str(broken))
    with pytest.raises(SystemExit, match="does not load as liboqs"):
        crypto.main()


def test_the_doctor_names_the_folders_where_liboqs_was_looked_for_if_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of fifteen paths hides what to do; `--json` has them all."""
    many = [tmp_path / str(n) / "liboqs.so" for n in range(15)]
    monkeypatch.setattr(probe, "places", lambda _=None: many)
    words = ["-c", str(tmp_path / "none")]
    told = CliRunner().invoke(doctor, words).output
    assert "; looked in 15 folders, which --json names" in told
    assert str(tmp_path / "7") not in told
    assert str(tmp_path / "7") in CliRunner().invoke(doctor, [*words, "--json"]).output
    monkeypatch.setattr(probe, "places", lambda _=None: many[:1])
    assert str(tmp_path / "0") in CliRunner().invoke(doctor, words).output
