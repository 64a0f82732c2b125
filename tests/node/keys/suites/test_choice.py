"""Finding liboqs, refusing what must not be loaded, and choosing a provider."""

import grp
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gossip.errors import UserError
from node.keys.suites import probe
from node.keys.suites.hybrid import HybridSuite
from node.keys.suites.loading import LiboqsRefused, load_lattice
from node.keys.suites.openssl import OpensslSuite
from node.keys.suites.probe import ENVIRONMENT, Found, Missing, find_liboqs
from node.keys.suites.registry import load_suite, providers_report

ROOT = Path(__file__).parents[4]


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without liboqs."""
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    return tmp_path


def why_missing(state_dir: Path | None = None) -> str:
    found = find_liboqs(state_dir)
    assert isinstance(found, Missing)
    assert "\n" not in found.why
    return found.why


def test_where_liboqs_is_missing_the_line_says_how_to_get_it_and_where_it_looked(
    nowhere: Path,
) -> None:
    why = why_missing()
    assert "make liboqs" in why
    assert "brew install liboqs" in why
    assert str(nowhere) in why


def test_auto_falls_back_to_openssl_and_a_named_provider_does_not(
    nowhere: Path,
) -> None:
    assert load_suite("auto").provider == "openssl"
    with pytest.raises(UserError, match="make liboqs"):
        load_suite("liboqs")
    with pytest.raises(UserError, match="choose one of auto, openssl, liboqs"):
        load_suite("libressl")


def test_auto_takes_liboqs_where_it_is_usable(liboqs_path: Path) -> None:
    """Fails, not skips, where the run says that liboqs is to be there."""
    assert load_suite("auto").provider == "liboqs"
    assert load_suite("openssl").provider == "openssl"


def test_the_report_tells_both_sides(nowhere: Path) -> None:
    openssl, liboqs = providers_report()
    assert (openssl.name, openssl.usable, openssl.why_not) == ("openssl", True, None)
    assert "OpenSSL" in (openssl.version or "")
    assert (liboqs.name, liboqs.usable, liboqs.path) == ("liboqs", False, None)
    assert liboqs.why_not


def test_the_report_names_the_file_in_use(liboqs_path: Path) -> None:
    _, liboqs = providers_report()
    assert liboqs.usable
    assert liboqs.path == liboqs_path
    assert "liboqs-python" in (liboqs.version or "")
    assert liboqs.why_not is None


def test_a_library_in_the_state_directory_is_found(
    liboqs_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setattr(probe, "_CHECKOUT", tmp_path / "none")
    target = tmp_path / "liboqs" / "lib" / liboqs_path.name
    target.parent.mkdir(parents=True)
    shutil.copy(liboqs_path, target)
    found = find_liboqs(tmp_path)
    assert isinstance(found, Found)
    assert found.path == target


def named(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(ENVIRONMENT, str(path))
    return why_missing()


def test_what_is_no_library_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "liboqs.so"
    path.write_bytes(b"\x7fELF and nothing else")
    assert "does not load" in named(path, monkeypatch)


def test_a_library_that_anybody_may_change_is_not_loaded(
    liboqs_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "liboqs.so"
    shutil.copy(liboqs_path, path)
    path.chmod(0o777)
    assert "chmod o-w" in named(path, monkeypatch)


@pytest.fixture
def copied(liboqs_path: Path, tmp_path: Path) -> Path:
    """A library that is loaded, before anybody tampers with it."""
    path = tmp_path / "deep" / "liboqs.so"
    path.parent.mkdir(mode=0o755)
    shutil.copy(liboqs_path, path)
    path.chmod(0o755)
    return path


def test_a_library_in_a_folder_that_anybody_may_change_is_not_loaded(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = tmp_path / "link.so"
    linked.symlink_to(copied)
    copied.parent.chmod(0o777)
    for path in (copied, linked):
        assert f"{copied.parent} is writable by everybody" in named(path, monkeypatch)
    copied.parent.chmod(0o1777)
    assert isinstance(find_liboqs(), Found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_library_that_is_somebody_elses_is_not_loaded(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = grp.getgrgid(65534).gr_name
    for owned in (copied, copied.parent):
        os.chown(owned, 65534, 0)
        assert f"{owned} belongs to user 65534" in named(copied, monkeypatch)
        os.chown(owned, 0, 65534)
        owned.chmod(0o775)
        assert f"{owned} is writable by group `{group}`" in named(copied, monkeypatch)
        owned.chmod(0o755)
    assert isinstance(find_liboqs(), Found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_whose_picket_is_may_own_its_library_too(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = copied.parent.parent / "picket.py"
    code.touch()
    code.chmod(0o664)
    for place in (code, copied, copied.parent):
        os.chown(place, 65534, 65534)
    copied.parent.chmod(0o775)
    code.parent.chmod(0o777)
    assert "belongs to user 65534" in named(copied, monkeypatch)
    monkeypatch.setattr("node.keys.suites.trust._HERE", code)
    assert isinstance(find_liboqs(), Found)


@pytest.mark.parametrize("left", [40, 1_000, 300_000, -1])
def test_a_library_that_is_cut_short_ends_no_process(copied: Path, left: int) -> None:
    whole = copied.read_bytes()
    note = copied.with_name("liboqs.so.sha256")
    note.write_text(f"{hashlib.sha256(whole).hexdigest()}\n")
    copied.write_bytes(whole[:left])
    code = LOAD.replace("load_suite()", "load_suite('auto')")
    done = run_python(code, **{ENVIRONMENT: str(copied)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "openssl")


def test_a_library_that_is_not_the_one_that_was_built_is_not_loaded(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = tmp_path / "link.so"
    linked.symlink_to(copied)
    note = copied.with_name("liboqs.so.sha256")
    note.write_text(f"{hashlib.sha256(copied.read_bytes()).hexdigest()}\n")
    monkeypatch.setenv(ENVIRONMENT, str(linked))
    assert isinstance(find_liboqs(), Found)
    with copied.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    for path in (copied, linked):
        assert "not the file that was built" in named(path, monkeypatch)
    note.write_bytes(b"")
    assert "not the file that was built" in named(copied, monkeypatch)


def test_a_numbered_library_is_a_file_and_no_folder(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied.rename(copied.with_name("liboqs.so.5"))
    monkeypatch.setenv(ENVIRONMENT, str(path))
    found = find_liboqs()
    assert isinstance(found, Found)
    assert found.path == path


def test_no_odd_path_or_note_stops_the_choice(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "File name too long" in named(copied / ("a" * 5_000), monkeypatch)
    copied.with_name("liboqs.so.cpu").write_bytes(b"\xff\xfe\x1b[2J")
    assert "another processor" in named(copied, monkeypatch)
    assert why_missing().isprintable()
    assert load_suite("auto").provider == "openssl"
    assert not providers_report()[1].usable


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs /proc/cpuinfo")
def test_a_library_built_for_another_processor_is_not_loaded(
    liboqs_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "liboqs.so"
    shutil.copy(liboqs_path, path)
    path.with_name("liboqs.so.cpu").write_text("avx2 avx9000\n")
    why = named(path, monkeypatch)
    assert "another processor" in why
    assert "avx9000" in why


def test_another_library_of_that_name_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    path = tmp_path / "liboqs.so"
    for source, message in (
        ("int unrelated;", "does not load as liboqs"),
        ('const char *OQS_version(void) { return "x"; }', "does not load as liboqs"),
        (
            'const char *OQS_version(void) { return "0.9.0"; }'
            "int OQS_SIG_alg_is_enabled(const char *n) { return 1; }"
            "int OQS_KEM_alg_is_enabled(const char *n) { return 1; }",
            "0.13 or later",
        ),
        (
            'const char *OQS_version(void) { return "0.16.0"; }'
            "int OQS_SIG_alg_is_enabled(const char *n) { return 0; }"
            "int OQS_KEM_alg_is_enabled(const char *n) { return 1; }",
            "without ML-DSA-65",
        ),
    ):
        path = tmp_path / str(len(message + source)) / "liboqs.so"
        path.parent.mkdir()
        code = path.with_suffix(".c")
        code.write_text(source)
        command = [compiler, "-shared", "-fPIC", "-o", str(path), str(code)]
        subprocess.run(command, check=True, timeout=60)
        assert message in named(path, monkeypatch)


def test_a_second_library_in_one_process_is_refused(
    liboqs: HybridSuite, liboqs_path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / liboqs_path.name
    shutil.copy(liboqs_path, copy)
    with pytest.raises(LiboqsRefused, match="already loaded"):
        load_lattice(copy)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


LOAD = """
import sys
from node.keys.suites.registry import load_suite, providers_report
providers_report()
sys.stderr.write(load_suite().provider)
"""


def test_loading_says_nothing_on_stdout_and_warns_of_nothing(liboqs_path: Path) -> None:
    """Standard output belongs to the MCP server that Picket wraps."""
    done = run_python(LOAD)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "liboqs")


def test_loading_starts_no_process_and_opens_no_connection(liboqs_path: Path) -> None:
    guard = """
import sys
def hook(event, arguments):
    if event.startswith(("subprocess.", "socket.", "os.system", "os.exec", "os.posix_spawn")):
        raise SystemExit(event)
sys.addaudithook(hook)
"""
    done = run_python(guard + LOAD)
    assert (done.returncode, done.stderr) == (0, "liboqs")


def test_without_the_library_the_wrapper_is_not_even_imported(tmp_path: Path) -> None:
    """Its import would clone a repository and end the process."""
    code = LOAD + "assert 'oqs' not in sys.modules"
    done = run_python(code, **{ENVIRONMENT: str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "openssl")


def test_openssl_needs_nothing(nowhere: Path) -> None:
    assert OpensslSuite().provider == "openssl"
