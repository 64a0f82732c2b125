"""One daemon among the machine's other services: systemd, Prometheus, strangers."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import ROOT, Daemon, cluster, free_ports, picket, until

pytestmark = pytest.mark.live

PROMETHEUS = shutil.which("prometheus")
ANALYZE = shutil.which("systemd-analyze")


@pytest.fixture
def solo(tmp_path: Path) -> Iterator[Daemon]:
    home = tmp_path / "here"
    (port,) = free_ports(1)
    picket(
        *("init", str(home), "--name", "here", "--solo"),
        *("--metrics", f"127.0.0.1:{port}", "--http", "127.0.0.1:0"),
    )
    daemon = Daemon("here", home, port)
    try:
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()


def fetch(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def heard_until_silence(manager: socket.socket) -> list[bytes]:
    heard: list[bytes] = []
    manager.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        while len(heard) < 100:
            heard.append(manager.recv(999))
    return heard


# --- systemd ------------------------------------------------------------------


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
def test_the_unit_is_clean() -> None:
    assert ANALYZE is not None
    done = subprocess.run(
        [ANALYZE, "verify", str(ROOT / "node/systemd/picket.service")],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_is_told_when_we_are_ready_alive_and_stopping(
    solo: Daemon, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        solo.start(
            {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        )
        told: list[str] = []
        while not any(line.startswith("READY=1") for line in told):
            told.append(manager.recv(999).decode())
        assert told.count("WATCHDOG=1") <= 2
        assert solo.ask("status")
        assert manager.recv(999) == b"WATCHDOG=1"
        assert manager.recv(999) == b"WATCHDOG=1"
        # A loop that hangs feeds nobody.
        assert solo.process is not None
        solo.process.send_signal(signal.SIGSTOP)
        assert len(heard_until_silence(manager)) < 10
        solo.process.send_signal(signal.SIGCONT)
        manager.settimeout(10)
        assert manager.recv(999) == b"WATCHDOG=1"
        began = time.monotonic()
        assert solo.end() == 0
        assert time.monotonic() - began < 5
        assert heard_until_silence(manager)[-1] == b"STOPPING=1"


# --- Prometheus ---------------------------------------------------------------


def test_the_metrics_page_is_ours_alone(solo: Daemon) -> None:
    solo.start()
    solo.wait_ready()
    page = fetch(f"http://127.0.0.1:{solo.port}/metrics")
    names = {line.split("{")[0].split(" ")[0] for line in page.splitlines()}
    documented = (ROOT / "docs/reference/metrics.md").read_text()
    for name in names - {"#"}:
        assert name.startswith("picket_"), name
        stem = name
        for suffix in ("_bucket", "_sum", "_count", "_created"):
            stem = stem.removesuffix(suffix)
        assert f"`{stem}`" in documented or f"`{stem}_total`" in documented, name
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(f"http://127.0.0.1:{solo.port}/else")


@pytest.mark.skipif(PROMETHEUS is None, reason="Debian's prometheus is not installed")
def test_the_real_prometheus_scrapes_us(solo: Daemon, tmp_path: Path) -> None:
    assert PROMETHEUS is not None
    solo.start()
    solo.wait_ready()
    (port,) = free_ports(1)
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "scrape_configs:\n- job_name: picket\n  scrape_interval: 200ms\n"
        "  scrape_timeout: 200ms\n  static_configs:\n"
        f"  - targets: ['127.0.0.1:{solo.port}']\n"
    )
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )

    def query(expression: str) -> list[dict[str, object]]:
        url = f"http://127.0.0.1:{port}/api/v1/query?query={expression}"
        try:
            answer = json.loads(fetch(url))
        except OSError:
            return []
        rows: list[dict[str, object]] = answer["data"]["result"]
        return rows

    try:
        rows = until(lambda: query("picket_members"), 30)
        value = rows[0]["value"]
        assert isinstance(value, list)
        assert value[1] == "1"
        assert until(lambda: query("picket_store_commit_seconds_bucket"))
        up = query("up")[0]["value"]
        assert isinstance(up, list)
        assert up[1] == "1"
    finally:
        process.terminate()
        process.wait(20)


# --- strangers ----------------------------------------------------------------


def test_garbage_on_the_listening_port_is_one_sentence_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    with cluster(tmp_path, ["ledger", "branch"]) as bank:
        bank.start()
        victim = bank["ledger"]
        for noise in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"\x00" * 70_000):
            with socket.create_connection(("127.0.0.1", victim.port)) as stranger:
                stranger.sendall(noise)
        until(lambda: victim.log.count("no link with") >= 3)
        bank["branch"].ask("report", subject="ledger", category="x", severity=1)
        until(lambda: victim.reports())
        assert victim.linked() == 1
        assert "Traceback" not in victim.log
        assert victim.end() == 0


def test_a_second_daemon_in_the_same_folder_is_refused(solo: Daemon) -> None:
    solo.start()
    solo.wait_ready()
    done = picket("run", "-c", str(solo.home), check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "a daemon runs here already" in done.stderr
    assert solo.ask("status")


def test_a_lone_guard_does_not_pay_for_libp2p(solo: Daemon) -> None:
    solo.start()
    solo.wait_ready()
    assert solo.process is not None
    maps = Path(f"/proc/{solo.process.pid}/maps").read_text()
    assert "coincurve" not in maps
    assert "libsecp256k1" not in maps
