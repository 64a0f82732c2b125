"""Calibration: what daemons cost here, written, read, reckoned by, and borne out."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import pytest
import trio
from click.testing import CliRunner

from gossip.errors import UserError
from scenarios import calibrate
from scenarios.calibration import (
    Calibration,
    calibrated,
    read_calibration,
    write_calibration,
)
from scenarios.cli import sim
from scenarios.prediction import predict_to_all_ms
from scenarios.reading import load
from scenarios.real import gauge
from scenarios.real.gauge import Measured, pooled, town
from scenarios.script import Costs, Delay
from tests.support.daemons import ROOT, until

HERE = Calibration(
    hop=Delay(min_ms=0.2, mean_ms=0.5),
    costs=Costs(frame_us=60, batch_us=1_000, sign_us=300, disk_us=2_000, processors=2),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "here.toml"
    path.write_text(write_calibration(HERE, {"nodes": 5, "provider": "openssl"}))
    return path


def test_what_is_written_reads_as_the_same(file: Path) -> None:
    assert read_calibration(str(file)) == HERE


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ("min = 0.200", "min = -1", "hop_ms.min: must be a number"),
        ("sign_us = 300", 'sign_us = "x"', "costs.sign_us: must be a whole number"),
        ("[costs]", "[cost]", "unknown key `cost`"),
        ("mean = 0.500", "mean = 0.1", "hop_ms.mean: must be a number"),
    ],
)
def test_a_mistake_is_told_with_its_line(
    file: Path, was: str, becomes: str, told: str
) -> None:
    file.write_text(file.read_text().replace(was, becomes))
    with pytest.raises(UserError, match="line ") as wrong:
        read_calibration(str(file))
    assert told in str(wrong.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`make calibrate` writes one"):
        read_calibration(str(tmp_path / "none.toml"))


def test_the_machines_own_way_is_added_to_the_wires() -> None:
    bank = load("bank")
    made = calibrated(bank, HERE)
    assert made.costs == HERE.costs
    before, after = bank.network.delay, made.network.delay
    assert after.min_ms == before.min_ms + 0.2
    assert after.mean_ms == before.mean_ms + 0.5
    assert made.story == bank.story


def test_the_command_reckons_by_it_and_replays_with_it(file: Path) -> None:
    words = ("run", "one_liar_of_five", "--calibration", str(file), "--json")
    done = CliRunner().invoke(sim, words, standalone_mode=False)
    told = json.loads(done.stdout)
    assert told["replay"].endswith(f"--calibration {file}")
    plain = CliRunner().invoke(
        sim, ["run", "one_liar_of_five", "--json"], standalone_mode=False
    )
    assert told["trace_digest"] != json.loads(plain.stdout)["trace_digest"]


def test_daemons_that_share_processors_wait_for_each_other() -> None:
    def soon(nodes: int, processors: int) -> float:
        costs = Costs(batch_us=2_000, sign_us=300, disk_us=0, processors=processors)
        here = Calibration(hop=Delay(min_ms=0.1, mean_ms=0.1), costs=costs)
        return median(predict_to_all_ms(nodes, here, reports=10, per_s=2.0))

    # Each of 15 daemons takes 2 ms of two processors; with its own, only its own.
    assert soon(16, 2) >= 15 * 2 / 2
    assert soon(16, 16) < soon(16, 2) < soon(16, 1) / 1.5
    assert soon(4, 2) < soon(16, 2)


@pytest.mark.live
@pytest.mark.timeout(200)
def test_three_daemons_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (("QUIET", 10), ("BUSY", 60), ("IDLE_S", 1.0), ("BURST", 32)):
        monkeypatch.setattr(gauge, name, few)
    monkeypatch.setattr(calibrate, "LOOKS", 1)
    made, found = calibrate.calibrate(3)
    assert len(found.hop_us) == 10 * 2
    assert 0 < found.sign_us < found.delivery_us * 20
    assert calibrate.verify_us("auto") > 10
    assert found.commit_us > 0
    assert found.coalescing > 1
    assert made.costs.batch_us > 0
    assert made.costs.processors >= 1
    # The very reports it was made from: the small brother of the slow test below.
    foretold = median(predict_to_all_ms(3, made, reports=20, per_s=4.0))
    assert 0.5 <= foretold / (median(found.to_all_us) / 1_000) <= 2
    text = write_calibration(made, calibrate.told(found, 3))
    assert "hop_ms_p99 = " in text


@pytest.mark.live
@pytest.mark.timeout(200)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_however_it_is_ended_it_leaves_no_keys_behind(number: signal.Signals) -> None:
    """Also where SIGINT is ignored, as in the background of a script."""
    with tempfile.TemporaryDirectory(prefix="cal-") as short:
        home = Path(short)
        process = subprocess.Popen(
            [
                *("/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh"),
                *(sys.executable, "-m", "scenarios.calibrate", "--nodes", "3"),
            ],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": short},
            stderr=subprocess.PIPE,
        )
        try:
            until(lambda: len(list(home.glob("picket-cal-*/*/control.sock"))) == 3, 90)
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
        assert err == b""
        assert process.returncode == (130 if number == signal.SIGTERM else -9)
        until(lambda: not list(home.glob("picket-cal-*")), 20)


SMALL, LARGE, ROUNDS = 5, 16, 4


async def in_turn(folder: Path) -> tuple[Measured, list[float]]:
    """Look at a small cluster and at a large one in turn: both see the same machine."""
    looks, heard = [], []
    async with (
        town(folder / "small", SMALL, 1) as small,
        town(folder / "large", LARGE, 2) as large,
    ):
        for _ in range(ROUNDS):
            looks.append(await small.look())
            heard += await large.to_all_ms(15, 2.0)
    return pooled(looks), heard


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_foretells_16_daemons_within_a_factor_of_one_and_a_half() -> None:
    with tempfile.TemporaryDirectory(prefix="cal-") as folder:
        for name in ("small", "large"):
            (Path(folder) / name).mkdir()
        found, heard = trio.run(in_turn, Path(folder))
    made = calibrate.calibration_of(found, SMALL, calibrate.processors())
    foretold = median(predict_to_all_ms(LARGE, made, reports=60, per_s=2.0))
    ratio = foretold / median(heard)
    told = f"foretold {foretold:.1f} ms, measured {median(heard):.1f} ms: {ratio:.2f}"
    print(told)  # noqa: T201 - worth knowing, held or not
    assert 1 / 1.5 <= ratio <= 1.5, told
