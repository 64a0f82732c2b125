"""The promises of a plain `pip install` of the wheel, and of the locks elsewhere."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBP2P = "libp2p==0.8.1"
SOURCE_ONLY = {"varint", "python-baseconv"}
# Wheels in the three shapes that Linux on x86-64 takes, oldest first.
PLATFORMS = ["manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment after `pip install` of the wheel with no compiler to call."""
    home = tmp_path_factory.mktemp("plain")
    wheel = run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
        *("--no-build-isolation", "--wheel-dir", str(home), "."),
    )
    assert wheel.returncode == 0, wheel.stderr
    venv.create(home / "venv", with_pip=True)
    python = home / "venv" / "bin" / "python"
    built = next(home.glob("picketd-*.whl"))
    done = pip_without_compiler(python, "install", str(built))
    assert done.returncode == 0, done.stderr
    return python


def pip_without_compiler(python: Path, *args: str) -> subprocess.CompletedProcess[str]:
    no_compiler = ["env", "CC=/nowhere/cc", "CXX=/nowhere/c++"]
    return run(*no_compiler, str(python), "-m", "pip", "--quiet", *args)


def test_plain_pip_installs_picket_without_a_compiler(plain: Path) -> None:
    said = run(str(plain.with_name("picket")), "--version")
    assert said.returncode == 0, said.stderr


def test_pip_alone_would_compile_to_get_libp2p(plain: Path) -> None:
    done = pip_without_compiler(plain, "install", LIBP2P)
    assert done.returncode != 0, "take decision 0001 back"
    assert "fastecdsa" in done.stderr


def test_one_more_line_completes_the_daemon(plain: Path) -> None:
    done = pip_without_compiler(plain, "install", "--no-deps", LIBP2P)
    assert done.returncode == 0, done.stderr
    said = run(str(plain), "-I", "-c", "from libp2p import new_host")
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_all_but_two_pure_packages_come_as_wheels(python: str, tmp_path: Path) -> None:
    lock = (ROOT / "requirements.lock").read_text().replace(" \\\n", " ")
    wheels = tmp_path / "wheels.lock"
    lines = [line for line in lock.splitlines() if "==" in line]
    kept = [line for line in lines if line.partition("==")[0] not in SOURCE_ONLY]
    assert len(lines) - len(kept) == len(SOURCE_ONLY)
    wheels.write_text("\n".join(kept))
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    done = run(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
        *("--require-hashes", "--only-binary", ":all:", "--python-version", python),
        *(*platforms, "--dest", str(tmp_path / "got"), "--requirement", str(wheels)),
    )
    assert done.returncode == 0, done.stderr
