"""The same scenario against real daemons: what it expects holds, and nothing is left."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemons import PICKET, ROOT, until

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

SHORT = """
title = "short"
length_s = 60
[nodes]
honest = 3
[[story]]
at_s = 0
who = "every honest"
does = "report"
every_s = 0.5
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a short name: Unix sockets will be in it."""
    with tempfile.TemporaryDirectory(prefix="real-") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _heeded() -> Iterator[None]:
    """A run inherits what is ignored, as SIGINT is behind a script's `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def running(home: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [*PICKET, "sim", "run", *words, "--real", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(home)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def verdict(home: Path, *words: str) -> dict[str, object]:
    with running(home, *words) as process:
        out, err = process.communicate()
    assert out, err
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


def processes(home: Path) -> list[str]:
    """Command lines of whatever runs in a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(home) in words:
            found.append(words)
    return found


def nothing_left(home: Path) -> bool:
    return not processes(home) and not list(home.glob("picket-real-*"))


def wires() -> set[str]:
    """Devices called as ours; others may come and go meanwhile."""
    return {path.name for path in Path("/sys/class/net").glob("wire*")}


def interrupted(home: Path, number: signal.Signals) -> None:
    """A run that gets a signal while its nodes talk; then nothing may be left."""
    before = wires()
    file = home / "short.toml"
    file.write_text(SHORT)
    with running(home, str(file)) as process:
        until(lambda: len(list(home.glob("picket-real-*/*/control.sock"))) == 3, 90)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        assert process.returncode == (130 if number != signal.SIGKILL else -9)
    until(lambda: nothing_left(home), 20)
    assert wires() == before


def test_an_honest_baseline_of_five(home: Path) -> None:
    found = verdict(home, "honest_baseline", "--nodes", "5")
    assert found["failures"] == []
    assert found["nodes"] == 5
    assert nothing_left(home)


def test_an_attack_is_cut_by_one_proof_at_five(home: Path) -> None:
    found = verdict(home, "proven", "--nodes", "5")
    assert found["failures"] == []
    figures = found["figures"]
    assert isinstance(figures, dict)
    assert figures["cut_percent"] == 100
    assert figures["forbidden_served"] == 0


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_however_a_run_is_ended_it_leaves_nothing(
    home: Path, number: signal.Signals
) -> None:
    interrupted(home, number)


def test_sigterm_ends_a_run_in_the_background_of_a_script(home: Path) -> None:
    """There SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as our children will
    try:
        interrupted(home, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_node_that_dies_unasked_fails_the_run_and_leaves_nothing(home: Path) -> None:
    file = home / "short.toml"
    file.write_text(SHORT.replace("length_s = 60", "length_s = 6"))
    with running(home, str(file)) as process:
        until(lambda: list(home.glob("picket-real-*/honest-1/control.sock")), 90)
        until(lambda: _kill_one(process.pid, "honest-1"), 30)
        out, err = process.communicate(timeout=120)
    told = json.loads(out)["failures"] if out else [err]
    assert any("the daemon of honest-1 has ended" in sentence for sentence in told)
    until(lambda: nothing_left(home), 20)


def _kill_one(parent: int, name: str) -> bool:
    for file in Path("/proc").glob("[0-9]*"):
        try:
            words = (file / "cmdline").read_bytes().decode()
            of = int((file / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if of == parent and words.rstrip("\0").endswith(f"/{name}") and "run" in words:
            os.kill(int(file.name), signal.SIGKILL)
            return True
    return False


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not here")
def test_without_namespaces_loopback_addresses_do_and_it_is_said(home: Path) -> None:
    file = home / "short.toml"
    file.write_text(SHORT.replace("length_s = 60", "length_s = 4"))
    done = subprocess.run(
        [
            *("setpriv", "--bounding-set=-all", "--inh-caps=-all"),
            *(*PICKET, "sim", "run", str(file), "--real"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(home)},
        timeout=200,
    )
    assert "3 real daemons, on loopback addresses" in done.stdout, done.stderr
    assert done.stdout.endswith("passed\n")
    until(lambda: nothing_left(home), 20)


SLANDER = """
title = "one slanderer of five"
length_s = 12
[nodes]
honest = 4
slanderer = 1
[expect]
never = ["quarantine honest", "deny honest"]
eventually = ["ledgers agree", "standings agree"]
[bars]
false_quarantines = 0
"""


@pytest.mark.slow
def test_forged_proofs_and_a_lone_voice_convict_nobody(home: Path) -> None:
    file = home / "slander.toml"
    file.write_text(SLANDER)
    found = verdict(home, str(file))
    assert found["failures"] == found["unanswered"] == []
    disbelieved = found["disbelieved"]
    assert isinstance(disbelieved, int)
    assert disbelieved >= 4  # each honest node, at least once


FAULTS = """
title = "faults"
length_s = 30
[nodes]
honest = 4
dropper = 1
[network]
delay_ms = { min = 2, mean = 4 }
[[story]]
at_s = 1
who = ["honest-0", "honest-1"]
does = "report"
every_s = 0.5
[[story]]
at_s = 3
who = "honest-2"
does = "crash"
for_s = 3
[[story]]
at_s = 4
who = "honest-3"
does = "slow"
factor = 20
for_s = 3
[[story]]
at_s = 8
does = "partition"
sides = [["honest-0"], ["the rest"]]
for_s = 10
[[story]]
at_s = 12
who = "honest-3"
does = "crash"
keep_disk = false
for_s = 4
[[story]]
at_s = 20
who = "honest-1"
does = "deafen"
for_s = 4
[[story]]
at_s = 22
who = "honest-2"
does = "rotate"
[[story]]
at_s = 23
does = "lose"
share = 0.05
for_s = 5
[expect]
never = ["quarantine honest"]
eventually = ["ledgers agree", "standings agree", "deliver everything"]
within_s = 40
"""


@pytest.mark.slow
def test_crashes_partitions_slowness_and_loss_lose_nothing(home: Path) -> None:
    file = home / "faults.toml"
    file.write_text(FAULTS)
    found = verdict(home, str(file))
    assert found["network"] == "namespaces"
    assert found["failures"] == []
    assert nothing_left(home)


SIEGE = """
title = "one of six besieges another, and one is there by turns"
length_s = 20
[nodes]
honest = 4
eclipser = 1
on-off = 1
[[story]]
at_s = 1
who = "honest-0"
does = "report"
every_s = 0.5
[expect]
never = ["quarantine honest"]
eventually = ["ledgers agree", "deliver everything"]
[bars]
delivered_percent = 100
"""


@pytest.mark.slow
def test_a_siege_and_a_node_that_is_there_by_turns_lose_nothing(home: Path) -> None:
    file = home / "siege.toml"
    file.write_text(SIEGE)
    found = verdict(home, str(file))
    assert found["failures"] == found["unanswered"] == []
    assert nothing_left(home)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "nodes"), [("bank", 6), ("proven", 16), ("restarts", 16)]
)
def test_the_library_holds_for_real(home: Path, name: str, nodes: int) -> None:
    found = verdict(home, name, "--nodes", str(nodes))
    assert found["failures"] == [], found
    assert found["nodes"] == nodes
    assert nothing_left(home)
