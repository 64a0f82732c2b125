"""Real daemons as processes, for live tests: birth, start, questions, end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import attrs

from node.jsonlines import Json, ask

ROOT = Path(__file__).parents[2]
PICKET = (sys.executable, "-m", "node.cli.main")
T = TypeVar("T")


def picket(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    done = subprocess.run(
        [*PICKET, *words], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    if check and done.returncode:
        raise AssertionError(f"picket {words}: {done.stderr}")
    return done


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on; held open together so that they differ."""
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(sock.getsockname()[1]) for sock in socks]
    for sock in socks:
        sock.close()
    return ports


def until(truth: Callable[[], T | None], seconds: float = 20.0) -> T:
    """Poll until ``truth`` is true; fail after a while."""
    deadline = time.monotonic() + seconds
    while True:
        value = truth()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {seconds} s")
        time.sleep(0.02)


@attrs.define(eq=False)
class Daemon:
    """One node: its folder, and its process while it runs."""

    name: str
    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.home / "config.toml"

    @property
    def log(self) -> str:
        path = self.home.parent / f"{self.name}.log"
        return path.read_text() if path.exists() else ""

    def start(self, env: dict[str, str] | None = None) -> None:
        """Start it, without waiting."""
        with (self.home.parent / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*PICKET, "run", "-c", str(self.home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
            )

    def wait_ready(self) -> None:
        """Wait until it answers on its control socket."""

        def answers() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended: {self.log}")
            try:
                return bool(self.ask("status"))
            except Exception:
                return False

        until(answers)

    def ask(self, do: str, **args: Json) -> Json:
        """Ask on the control socket."""
        return ask(self.home / "control.sock", do, args)

    def linked(self) -> int:
        """How many links are up."""
        status = self.ask("status")
        assert isinstance(status, dict)
        members = status["members"]
        assert isinstance(members, list)
        return sum(bool(isinstance(m, dict) and m["linked"]) for m in members)

    def reports(self) -> list[dict[str, Json]]:
        """What it heard."""
        rows = self.ask("reports", last=1_000)
        assert isinstance(rows, list)
        return [row for row in rows if isinstance(row, dict)]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end: {self.log}") from None


@attrs.define(eq=False)
class Cluster:
    """Some nodes that know each other."""

    home: Path
    nodes: list[Daemon]
    operator: Path

    def __getitem__(self, name: str) -> Daemon:
        return next(node for node in self.nodes if node.name == name)

    def start(self) -> None:
        """Start all, and wait until everybody is linked with everybody."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready()
        self.wait_linked()

    def wait_linked(self) -> None:
        """Wait until everybody is linked with everybody."""
        for node in self.nodes:
            until(lambda node=node: node.linked() == len(self.nodes) - 1)  # type: ignore[misc]  # mypy cannot infer a lambda's default


@contextmanager
def cluster(
    home: Path,
    names: Sequence[str],
    *,
    extra: Mapping[str, str] | None = None,
    init: Mapping[str, Sequence[str]] | None = None,
    replicated: Sequence[str] = (),
) -> Iterator[Cluster]:
    """Make a cluster in ``home``; ends whatever still runs at the end.

    ``extra`` is added to each node's config.toml, ``init`` to its `picket init`;
    several nodes may provide what is ``replicated``.
    """
    ports = free_ports(len(names))
    nodes = [Daemon(n, home / n, p) for n, p in zip(names, ports, strict=True)]
    for node in nodes:
        words = (init or {}).get(node.name, ())
        listen = f"127.0.0.1:{node.port}"
        picket(
            *("init", str(node.home), "--name", node.name, "--listen", listen), *words
        )
        text = (extra or {}).get(node.name, (extra or {}).get("*", ""))
        config = node.config.read_text().replace('mode = "auto"', 'mode = "enforce"')
        node.config.write_text(config + text)
    picket("operator", "init", str(home / "operators"), "--name", "opal")
    cards = [str(node.home / "card.toml") for node in nodes]
    founders = home / "founders.toml"
    card = str(home / "operators" / "opal.card.toml")
    picket(
        *("founders", *cards, "--operator", card),
        *("--name", "bank", "-o", str(founders)),
        *(word for server in replicated for word in ("--replicated", server)),
    )
    for node in nodes:
        (node.home / "founders.toml").write_bytes(founders.read_bytes())
    made = Cluster(home, nodes, home / "operators" / "opal.key")
    try:
        yield made
    finally:
        for node in nodes:
            if node.process is not None and node.process.poll() is None:
                node.process.kill()
                node.process.wait()


def as_json(text: str) -> dict[str, Json]:
    """A command's ``--json`` answer."""
    value = json.loads(text)
    assert isinstance(value, dict)
    return value
