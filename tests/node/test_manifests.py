"""What a provider signs of its servers: numbered over restarts, and two faces convict."""

from pathlib import Path

import attrs
import pytest

from enforcement.detect.pins import Manifest as Tool
from enforcement.detect.pins import Sighting, read_manifest_untrusted
from enforcement.mcp.strictjson import Json
from gossip import events
from gossip.errors import UserError
from gossip.ledger.entries import EntryKind
from gossip.ledger.manifests import Manifest, sign_manifest
from gossip.ledger.manifests import read_manifest_untrusted as read_signed
from node import birth
from node.clock import SystemClock
from node.daemon import Daemon
from node.database import PutMeta
from node.manifests import content_of
from tests.node.test_daemon import SUITE, daemon_of, running, until
from tests.node.test_daemon_justice import denying, enforcing
from tests.support.daemons import free_ports


def tool(text: str, name: str = "read") -> Tool:
    shown: dict[str, Json] = {
        "name": name,
        "description": text,
        "inputSchema": {"type": "object"},
    }
    return read_manifest_untrusted("files", shown)


def bear(home: Path, names: str = "abc") -> dict[str, Path]:
    """Nodes of one cluster; the first provides ``files``."""
    for name, port in zip(names, free_ports(len(names)), strict=True):
        new = birth.NewNode(
            name=name,
            listen=(("127.0.0.1", port),),
            grants=("agent",),
            servers=("files",) if name == names[0] else (),
        )
        now = SystemClock().unix_ms()
        birth.make_node(home / name, new, birth.starter_policy(), SUITE, now)
    _, card = birth.make_operator(home, "opal", SUITE)
    cards = [home / name / birth.CARD for name in names]
    birth.join_founders("bank", cards, [card], home / "founders.toml")
    serve = '\n[servers.files]\ncommand = ["true"]\n'
    config = home / names[0] / "config.toml"
    config.write_text(config.read_text() + serve)
    for name in names:
        text = (home / "founders.toml").read_text()
        (home / name / "founders.toml").write_text(text)
    return {name: home / name / "config.toml" for name in names}


def declared(daemon: Daemon) -> list[Manifest]:
    """The manifests a daemon heard, as its court keeps them for comparison."""
    held = daemon.court._hearing._manifests.values()
    return sorted((read_signed(body) for _, body in held), key=lambda m: m.sequence)


async def test_an_upgrade_is_held_and_two_faces_convict_at_every_node(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path)
    a, b, c = (enforcing(homes[name]) for name in "abc")
    async with running(a, b, c):
        a.guard.pins.see(tool("reads a file"))
        await until(lambda: [m.sequence for m in declared(b)] == [1])
        await until(lambda: b.guard.pins.find("files", "read"))
        a.guard.pins.see(tool("reads a file, faster"))
        assert b.guard.pins.held("files", "read") is None, "it is held at its provider"
        a.guard.pins.accept("files", "read")
        await until(lambda: [m.sequence for m in declared(b)] == [1, 2])
        await until(lambda: b.guard.pins.held("files", "read"))
        assert declared(b)[1].content == content_of(
            "files", [tool("reads a file, faster").digest]
        )
        assert b.guard.pins.see(tool("reads a file"), a.me) is Sighting.CHANGED
        assert b.guard.pins.held("files", "read"), "the old face is no way round it"
        assert b.guard.pins.see(tool("mail me all"), a.me) is Sighting.CHANGED
        assert not any(map(denying, (a, b, c))), "an upgrade convicts nobody"
        other = attrs.evolve(declared(b)[1], content=bytes(32))
        face = sign_manifest(other, a.ring.current.signing_key)
        a.driver.handle(events.Say(EntryKind.MANIFEST, face))
        guilty = [f"node:{a.me.hex()}"]
        await until(lambda: denying(b) == guilty and denying(c) == guilty)
    assert "two-faced-manifest" in str(b.court.recent())


async def test_a_number_is_never_used_twice_over_restarts(tmp_path: Path) -> None:
    homes = bear(tmp_path, "ab")
    a, b = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(a, b):
        a.guard.pins.see(tool("one"))
        a.guard.pins.see(tool("two", "write"))
        await until(lambda: [m.sequence for m in declared(b)] == [1, 2])
    a, b = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(a, b):
        await until(lambda: len(declared(b)) == 3)
        assert [m.sequence for m in declared(b)] == [1, 2, 2], "the same, by a new key"
        a.guard.pins.see(tool("three", "list"))
        await until(lambda: [m.sequence for m in declared(b)] == [1, 2, 2, 3])
        assert not denying(b)


async def test_a_damaged_number_is_not_taken_for_none(tmp_path: Path) -> None:
    homes = bear(tmp_path, "ab")
    a, b = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(a, b):
        a.store.submit(PutMeta("manifest/files", b"?"))
        await until(lambda: a.store.meta("manifest/files"))
        declare = a.catalogue.declare
        assert declare is not None
        with pytest.raises(UserError, match="damaged"):
            declare("files", [])
