"""Commands of servers: who cannot be started is known before anybody calls it."""

import json
import sys
from pathlib import Path

import pytest

from node.config import ServerConfig
from node.proxy.starting import commands_missing, environment_of
from tests.support.daemons import picket


def test_a_command_is_looked_for_where_the_server_would_be_started(
    tmp_path: Path,
) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    here = ServerConfig(name="a", command=("tool",), env={"PATH": str(tmp_path)})
    assert "`tool`" in str(commands_missing([here])["a"])  # it may not be run yet
    (tmp_path / "tool").chmod(0o700)
    nowhere = ServerConfig(name="b", command=("tool",), env={"PATH": "/nowhere"})
    far = ServerConfig(name="c", url="http://127.0.0.1:9/mcp")
    full = ServerConfig(name="d", command=(sys.executable,))
    assert [*commands_missing([here, nowhere, far, full])] == ["b"]


def test_a_server_is_not_told_what_concerns_only_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PICKET_CONFIG", "secret")
    told = environment_of(ServerConfig(name="a", command=("x",), env={"OWN": "1"}))
    assert "PICKET_CONFIG" not in told
    assert told["OWN"] == "1"


def test_doctor_does_not_call_a_provider_healthy_whose_server_cannot_start(
    tmp_path: Path,
) -> None:
    picket("init", str(tmp_path / "n"), "--name", "here", "--solo")
    config = tmp_path / "n" / "config.toml"
    born = config.read_text()
    for command, verdict in (("no-such-command-here", "bad"), (sys.executable, "ok")):
        config.write_text(f'{born}\n[servers.sql]\ncommand = ["{command}"]\n')
        done = picket("doctor", "--json", "-c", str(tmp_path / "n"), check=False)
        findings = {f["what"]: f for f in json.loads(done.stdout)["findings"]}
        assert findings["servers"]["verdict"] == verdict
        assert command in findings["servers"]["sentence"] or verdict == "ok"
        assert done.returncode == (1 if verdict == "bad" else 0)
