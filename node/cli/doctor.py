"""`picket doctor`: examine this machine and this node, and say what to do.

Each finding has a verdict: ok, note (works, could be better) or bad (mend it).
Exit 1 if anything is bad.
"""

import socket
import ssl
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, cast

import attrs
import click

from gossip.clocks import is_wrong, tell_offset
from gossip.errors import UserError
from gossip.limits import DAY_MS
from node.birth import check_grants, root_path
from node.cli.common import config_option, json_option, say_json
from node.clock import SystemClock
from node.config import (
    Config,
    load_config,
    load_founders,
    load_member,
    locate,
)
from node.jsonlines import Json, ask
from node.keys.node_keys import certified_node, renewal_ends_ms
from node.keys.suites.probe import LOOKED
from node.keys.suites.registry import load_suite, providers_report
from node.lasting import FULL, MUCH
from node.standing import local_servers, missing_servers
from node.tables import Address, show_address

_RENEW_DAYS: Final = 14
_FOLDERS_SHOWN: Final = 3
_MLKEM_SINCE: Final = (3, 5)
OK, NOTE, BAD = "ok", "note", "bad"


@attrs.frozen
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: str
    sentence: str


@click.command()
@config_option
@json_option
def doctor(config: str, as_json: bool) -> None:
    """Examine this machine, and the node if there is one here."""
    named, state = _chosen(config)
    findings = [*_machine(named, state), *_node(config)]
    if as_json:
        say_json(
            {
                "findings": [attrs.asdict(f) for f in findings],
                "providers": [
                    attrs.asdict(r) | {"path": str(r.path) if r.path else None}
                    for r in providers_report(state)
                ],
                "provider": _loaded(named, state),
            }
        )
    else:
        for finding in findings:
            click.echo(f"{finding.verdict:<5} {finding.what:<12} {finding.sentence}")
    if any(f.verdict == BAD for f in findings):
        sys.exit(1)


def _chosen(path: str) -> tuple[str, Path]:
    """The provider that the node's configuration names, and its state folder."""
    try:
        config = load_config(locate(path))
    except UserError:  # There is none, or `_node` says what is wrong with it.
        return "auto", locate(path).parent
    return config.provider, config.state


def _loaded(named: str, state: Path) -> str | None:
    try:
        return load_suite(named, state).provider
    except UserError:
        return None


def _provider(named: str, state: Path) -> Finding:
    """What the daemon will compute with."""
    try:
        taken = load_suite(named, state).provider
    except UserError as wrong:
        return Finding("provider", BAD, str(wrong))
    if named == "auto":
        return Finding("provider", OK, f"auto takes {taken}")
    return Finding("provider", OK, f"{taken}, as the configuration says")


def _machine(named: str, state: Path) -> Iterator[Finding]:
    running = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    yield Finding("python", BAD if old else OK, f"Python {running}")
    yield Finding("openssl", OK, f"{ssl.OPENSSL_VERSION} (Python's own)")
    yield tls_groups(ssl.OPENSSL_VERSION_INFO)
    for report in providers_report(state):
        if report.usable:
            where = f" at {report.path}" if report.path else ""
            yield Finding(report.name, OK, f"{report.version}{where}")
        else:
            why, _, folders = str(report.why_not).partition(LOOKED)
            where = f"{LOOKED}{folders}" if folders else ""
            if (count := len(folders.split(", "))) > _FOLDERS_SHOWN:
                where = f"{LOOKED}{count} folders, which --json names"
            yield Finding(report.name, NOTE, f"not usable: {why}{where}")
    yield _provider(named, state)
    try:
        yield Finding("libp2p", OK, f"py-libp2p {version('libp2p')}")
    except PackageNotFoundError:
        yield Finding("libp2p", NOTE, "missing: this node can only be a cluster of one")


def tls_groups(openssl: tuple[int, ...]) -> Finding:
    """Whether TLS with agents and with servers behind URLs can be post-quantum."""
    if openssl >= _MLKEM_SINCE:
        sentence = "X25519MLKEM768 with agents and servers that speak it"
        return Finding("tls", OK, sentence)
    sentence = (
        "without X25519MLKEM768: that needs a Python on OpenSSL 3.5;"
        " links between nodes are post-quantum all the same"
    )
    return Finding("tls", NOTE, sentence)


def _node(path: str) -> Iterator[Finding]:
    if not locate(path).exists():
        yield Finding("node", NOTE, f"no {locate(path)}; `picket init` makes a node")
        return
    try:
        config = load_config(locate(path))
    except UserError as wrong:
        yield Finding("config", BAD, str(wrong))
        return
    yield Finding("config", OK, f"{config.file}: node `{config.name}`")
    status = _status(config)
    for what, look in (
        ("state", _state),
        ("certificate", _certificate),
        ("founders", _founders),
        ("policy", _policy),
        ("agents", _agents),
        ("servers", _servers),
    ):
        yield _look(what, config, look)
    yield from _differing_servers(config)
    if status and status["policy_version"]:
        yield _pushed(config, status)
    if root_path(config.state).exists():
        yield Finding(
            "root key",
            NOTE,
            f"{root_path(config.state)} is here; move it to a place that is offline",
        )
    if status is not None:
        yield _running(status)
        yield _clock(status)
        yield _lasting(status)
        return
    yield Finding("daemon", NOTE, "does not run; `picket run` starts it")
    yield from _ports(config)


def _look(what: str, config: Config, look: Callable[[Config], str]) -> Finding:
    try:
        return Finding(what, OK, look(config))
    except UserError as wrong:
        return Finding(what, BAD, str(wrong))


def _state(config: Config) -> str:
    from node.guard import check_files

    folder = config.state
    if not folder.is_dir():
        raise UserError(f"{folder}: the state folder is missing")
    for path in (folder, config.keys):
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise UserError(f"{path}: others may look inside; run `chmod 700 {path}`")
    check_files(config)
    return f"{folder} is private"


def _certificate(config: Config) -> str:
    suite = load_suite(config.provider, config.state)
    ends, now = renewal_ends_ms(config.state, suite), SystemClock().unix_ms()
    day = datetime.fromtimestamp(ends / 1_000, UTC).strftime("%Y-%m-%d")
    if ends < now:
        raise UserError(f"expired on {day}; bring the root key and run `picket renew`")
    left = (ends - now) // DAY_MS
    if left < _RENEW_DAYS:
        raise UserError(f"ends in {left} days, on {day}; run `picket renew`")
    return f"good until {day}, {left} days"


def _founders(config: Config) -> str:
    founders = load_founders(config)
    me = load_member(config, founders)
    if me.node != certified_node(config.state):
        raise UserError(
            f"{config.founders_file}: `{config.name}` has another id than this node's"
            " keys"
        )
    return (
        f"cluster `{founders.cluster_name}`, {len(founders.nodes)} nodes, digest"
        f" {founders.cluster.hex()[:16]}"
    )


def _policy(config: Config) -> str:
    from node.guard import read_policy

    loaded = read_policy(config.policy)
    return f"{len(loaded.rules)} rules, digest {loaded.digest.hex()[:16]}"


def _agents(config: Config) -> str:
    for agent in config.agents.values():
        check_grants(config, agent.roles)
    return ", ".join(sorted(config.agents)) or "none; `picket agent add` makes one"


def _servers(config: Config) -> str:
    from node.proxy.starting import commands_missing

    missing = commands_missing(config.servers.values())
    if missing:
        sentences = "; ".join(map(str, missing.values()))
        raise UserError(f"{config.file}: {sentences}")
    return ", ".join(sorted(config.servers)) or "none; [servers.NAME] provides one"


def _differing_servers(config: Config) -> Iterator[Finding]:
    """What no other node can call, and what all think they can: easily overlooked."""
    try:
        founders = load_founders(config)
    except UserError:
        return  # said already
    missing = ", ".join(missing_servers(config, founders))
    if missing:
        yield Finding(
            "servers",
            NOTE,
            f"{missing}: {config.founders_file} promises it here; add it to"
            f" {config.file} as [servers.NAME], or nobody can call it",
        )
    local = ", ".join(local_servers(config, founders))
    if local:
        yield Finding(
            "servers",
            NOTE,
            f"{local}: for agents beside this node only, as this node does not provide"
            f" it in {config.founders_file}",
        )


def _status(config: Config) -> dict[str, Json] | None:
    try:
        return cast("dict[str, Json]", ask(config.control_socket, "status"))
    except UserError:
        return None


def _pushed(config: Config, status: dict[str, Json]) -> Finding:
    digest = str(status["policy"])[:16]
    by = ", ".join(map(str, cast("list[Json]", status["policy_signers"])))
    sentence = (
        f"operators ({by}) pushed {digest}, which is in force; {config.policy} is not"
        " read"
    )
    return Finding("policy", NOTE, sentence)


def _running(status: dict[str, Json]) -> Finding:
    members = status["members"]
    assert isinstance(members, list)
    linked = sum(bool(isinstance(m, dict) and m["linked"]) for m in members)
    others = len(members) - 1
    return Finding(
        "daemon",
        OK if linked == others else NOTE,
        f"runs, linked with {linked} of {others} others",
    )


def _clock(status: dict[str, Json]) -> Finding:
    offset_ms = status["clock_offset_ms"]
    if not isinstance(offset_ms, int):
        return Finding("clock", NOTE, "no peer has told its time yet")
    verdict = BAD if is_wrong(offset_ms) else OK
    return Finding("clock", verdict, tell_offset(offset_ms))


def _lasting(status: dict[str, Json]) -> Finding:
    part = float(str(status["lasting"]))
    sentence = f"this node has said {part:.0%} of what all keep of it for good"
    verdict = OK if part < MUCH else NOTE if part < FULL else BAD
    return Finding("lasting", verdict, sentence)


def _ports(config: Config) -> Iterator[Finding]:
    wanted = [*config.listen, *(a for a in (config.http, config.metrics) if a)]
    for address in wanted:
        wrong = _cannot_bind(address)
        sentence = f"{show_address(address)} {wrong or 'is free'}"
        yield Finding("port", BAD if wrong else OK, sentence)


def _cannot_bind(address: Address) -> str:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError as wrong:
            return f"cannot be listened on: {wrong.strerror or wrong}"
    return ""
