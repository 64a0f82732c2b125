"""The packet filter, real: in a network namespace of its own."""

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
import trio
import trio.testing

from enforcement.decide.terms import UNENDING_MS
from enforcement.respond.addresses import IpAddress
from gossip.units import MonoMs, UnixMs
from node.actuators.nft import SECONDS_MAX, Nftables, write_ruleset
from node.clock import SystemClock
from node.log import Log
from tests.support.daemons import until

NFT = shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin:/bin")
MINUTE = 60_000


def at(text: str) -> IpAddress:
    return ip_address(text)


class Namespace:
    """A network of its own, for as long as its process lives."""

    def __init__(self) -> None:
        words = ["unshare", "-n", "sh", "-c", "ip link set lo up && exec sleep 600"]
        self.process = subprocess.Popen(words)

    @property
    def inside(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/proc/{self.process.pid}/ns/net")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*self.inside, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20)

    def elements(self) -> dict[str, int]:
        """Blocked addresses, and for how many seconds they were blocked."""
        found: dict[str, int] = {}
        for name in ("blocked4", "blocked6"):
            told = self.run(str(NFT), "-j", "list", "set", "inet", "picket", name)
            if told.returncode:
                return {}
            held = json.loads(told.stdout)["nftables"][1]["set"].get("elem", [])
            found |= {e["elem"]["val"]: e["elem"]["timeout"] for e in held}
        return found

    def pings(self, address: str) -> bool:
        script = (
            "import socket,sys\n"
            "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(0.5)\n"
            "r=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); r.settimeout(0.5)\n"
            "r.bind(('127.0.0.1',0)); s.bind((sys.argv[1],0))\n"
            "s.sendto(b'x',r.getsockname()); r.recv(9)\n"
        )
        return self.run("python3", "-c", script, address).returncode == 0


@pytest.fixture
def network() -> Iterator[Namespace]:
    if NFT is None or shutil.which("unshare") is None:
        pytest.skip("nftables are not installed")
    made = Namespace()
    try:
        probe = "ip -br link show lo | grep -q UP || ip -br a | grep -q 127"
        deadline = 50
        while made.run("sh", "-c", probe).returncode and deadline:
            if made.process.poll() is not None:
                pytest.skip("no network namespace may be made here")
            deadline -= 1
        yield made
    finally:
        made.process.kill()
        made.process.wait()


class Clock:
    def unix_ms(self) -> UnixMs:
        return UnixMs(SystemClock().unix_ms())

    def mono_ms(self) -> MonoMs:
        return SystemClock().mono_ms()


def filter_of(network: Namespace) -> Nftables:
    assert NFT is not None
    return Nftables(clock=Clock(), log=Log("error"), command=(*network.inside, NFT))


async def wait(truth: object) -> None:
    assert callable(truth)
    with trio.fail_after(15):
        while not await trio.to_thread.run_sync(truth):  # noqa: ASYNC110 another process
            await trio.sleep(0.01)


async def test_addresses_are_blocked_released_and_rebuilt(network: Namespace) -> None:
    now = Clock().unix_ms()
    wish = {
        at("127.0.0.9"): UnixMs(now + MINUTE),
        at("2001:db8::9"): UnixMs(now + MINUTE),
    }
    assert network.pings("127.0.0.9")
    async with trio.open_nursery() as nursery:
        nft = filter_of(network)
        nursery.start_soon(nft.run)
        nft.block(wish)
        await wait(lambda: set(network.elements()) == {"127.0.0.9", "2001:db8::9"})
        assert not network.pings("127.0.0.9")
        assert network.pings("127.0.0.8")
        assert max(network.elements().values()) <= 60
        nft.block({})
        await wait(lambda: not network.elements())
        assert network.pings("127.0.0.9")
        nft.block(wish)
        await wait(network.elements)
        nursery.cancel_scope.cancel()
    # A daemon that starts again does not depend on what it left.
    async with trio.open_nursery() as nursery:
        nft = filter_of(network)
        nft.block({at("127.0.0.7"): UnixMs(now + MINUTE)})
        nursery.start_soon(nft.run)
        await wait(lambda: set(network.elements()) == {"127.0.0.7"})
        nursery.cancel_scope.cancel()


async def test_who_never_blocked_touches_nothing_and_who_did_leaves_nothing(
    network: Namespace,
) -> None:
    def tables() -> str:
        return network.run(str(NFT), "list", "tables").stdout

    async with trio.open_nursery() as nursery:
        nft = filter_of(network)
        nursery.start_soon(nft.run)
        await trio.testing.wait_all_tasks_blocked()
        assert "picket" not in tables()
        until_ms = UnixMs(Clock().unix_ms() + MINUTE)
        for _ in range(2):
            nft.block({at("127.0.0.9"): until_ms})
            nft.block({at("127.0.0.9"): until_ms})
            await wait(network.elements)
            nft.block(None)
            await wait(lambda: "picket" not in tables())
            assert network.pings("127.0.0.9")
        nursery.cancel_scope.cancel()


async def test_a_block_ends_by_itself_when_nobody_is_there_to_end_it(
    network: Namespace,
) -> None:
    async with trio.open_nursery() as nursery:
        nft = filter_of(network)
        nft.block({at("127.0.0.9"): UnixMs(Clock().unix_ms() + 1_200)})
        nursery.start_soon(nft.run)
        await wait(network.elements)
        nursery.cancel_scope.cancel()
    await trio.to_thread.run_sync(lambda: until(lambda: network.pings("127.0.0.9")))


async def test_a_filter_that_fails_is_said_to_and_tried_again() -> None:
    said = Log("error", stream=(lines := io.StringIO()))
    nft = Nftables(clock=Clock(), log=said, command=("/bin/false",))
    nft.block({})
    with trio.move_on_after(0.5):
        await nft.run()
    assert "nftables were not changed" in lines.getvalue()
    absent = Nftables(clock=Clock(), log=said, command=("/nowhere/nft",))
    absent.block({})
    with trio.move_on_after(0.5):
        await absent.run()
    assert lines.getvalue().count("nftables were not changed") == 2


def test_what_is_over_is_not_written() -> None:
    ruleset = write_ruleset(
        {at("192.0.2.1"): UnixMs(5), at("192.0.2.2"): UnixMs(9)}, UnixMs(5)
    )
    assert "192.0.2.1" not in ruleset
    assert "192.0.2.2 timeout 1s" in ruleset


def test_what_has_no_end_is_written_as_the_kernel_takes_it() -> None:
    ruleset = write_ruleset({at("192.0.2.1"): UnixMs(UNENDING_MS)}, UnixMs(5))
    assert f"192.0.2.1 timeout {SECONDS_MAX}s" in ruleset
