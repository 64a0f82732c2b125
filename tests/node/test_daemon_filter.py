"""A daemon and the real packet filter: blocked, rebuilt after a restart, undone."""

from collections.abc import Callable
from pathlib import Path

import trio

from node import birth
from node.clock import SystemClock
from node.daemon import Daemon
from node.keys.suites.registry import load_suite
from tests.node.actuators.test_nft import NFT, Namespace
from tests.node.actuators.test_nft import network as network
from tests.node.test_daemon import running, tell, until
from tests.node.test_daemon_justice import enforcing, sign
from tests.support.daemons import free_ports

SUITE = load_suite()
BLOCKS = "\n[response]\nnftables = true\n"


def bear(home: Path) -> dict[str, Path]:
    """Four nodes, each at an address of its own but that the last two share one."""
    names, last = "abcd", (2, 3, 4, 4)
    for name, host, port in zip(names, last, free_ports(4), strict=True):
        listen = ((f"127.0.0.{host}", port),)
        new = birth.NewNode(name=name, listen=listen, grants=("agent",))
        now = SystemClock().unix_ms()
        birth.make_node(home / name, new, birth.starter_policy(), SUITE, now)
    _, card = birth.make_operator(home, "opal", SUITE)
    cards = [home / name / birth.CARD for name in names]
    birth.join_founders("bank", cards, [card], home / "founders.toml")
    for name in names:
        text = (home / "founders.toml").read_text()
        (home / name / "founders.toml").write_text(text)
    return {name: home / name / "config.toml" for name in names}


def filtered(config: Path, network: Namespace, extra: str = "") -> Daemon:
    """A daemon whose packet filter is the namespace's."""
    daemon = enforcing(config, extra)
    assert NFT is not None
    daemon.response.nft.command = (*network.inside, NFT)
    return daemon


async def blocks(network: Namespace, *addresses: str) -> None:
    def same() -> bool:
        return set(network.elements()) == set(addresses)

    await eventually(same)


async def eventually(truth: Callable[[], bool]) -> None:
    with trio.fail_after(15):
        while not await trio.to_thread.run_sync(truth):  # noqa: ASYNC110 another process
            await trio.sleep(0.02)


async def test_a_quarantined_node_is_blocked_rebuilt_and_let_go(
    tmp_path: Path, network: Namespace
) -> None:
    homes = bear(tmp_path)
    a = filtered(homes["a"], network, BLOCKS)
    others = [enforcing(homes[name]) for name in "bcd"]
    async with running(a, *others):
        for other in others[1:]:
            await tell(other, "report", subject="b", category="odd", severity=9)
        await blocks(network, "127.0.0.3")
        ((_, standing),) = a.court.denied_nodes().items()
        assert standing.until_ms is not None
        seconds = network.elements()["127.0.0.3"]
        assert abs(standing.until_ms - a.clock.unix_ms() - seconds * 1_000) < 15_000
    network.run(str(NFT), "flush", "ruleset")
    a = filtered(homes["a"], network)
    async with trio.open_nursery() as nursery:
        await nursery.start(a.run)  # alone: what it knows is enough
        await blocks(network, "127.0.0.3")
        assert network.elements()["127.0.0.3"] <= seconds
        homes["a"].write_text(homes["a"].read_text().replace(BLOCKS, ""))
        a.reload()
        tables = (str(NFT), "list", "tables")
        await eventually(lambda: "picket" not in network.run(*tables).stdout)
        homes["a"].write_text(homes["a"].read_text() + BLOCKS)
        a.reload()
        await blocks(network, "127.0.0.3")
        drafted = await tell(a, "release.draft", subject="b", reason="x")
        await sign(tmp_path, a, drafted)
        await blocks(network)
        await until(lambda: not a.court.denied_nodes())
        a.stop()


async def test_an_address_that_two_members_share_is_never_blocked(
    tmp_path: Path, network: Namespace
) -> None:
    homes = bear(tmp_path)
    a = filtered(homes["a"], network, BLOCKS)
    others = [enforcing(homes[name]) for name in "bcd"]
    async with running(a, *others):
        for other in (others[0], others[2]):
            await tell(other, "report", subject="c", category="odd", severity=9)
        await until(lambda: a.court.denied_nodes())
        assert a.response.nft.wish == {}
        await blocks(network)
