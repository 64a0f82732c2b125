"""A Picket link beside py-libp2p's Noise link, in one run; prints JSON.

Run as ``python -m tests.bench.link``. Both on one core, one process, loopback
TCP; handshakes and throughput of the two alternate, so that a busy machine
hurts both alike.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median
from time import perf_counter
from typing import Final

import attrs
import multiaddr  # type: ignore[import-untyped]  # ships no types
import trio
from libp2p import new_swarm
from libp2p.abc import INetConn, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.config import ConnectionConfig
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux

from gossip.link.steps import Local
from gossip.units import ClusterId
from node.keys.suites.registry import load_suite
from node.links.host import LinkHost
from node.links.mux import LinkMux
from node.links.raw import TcpStream, quieten
from node.links.security import Identity, PqTransport
from node.links.stream import LinkStream
from tests.support.births import NOW, Newborn, newborn

ROUNDS: Final = 5
HANDSHAKES: Final = 20
VOLUME_BYTES: Final = 16 * 1024 * 1024
WRITE_BYTES: Final = 65_536
SINK: Final = "/bench/sink/1"

Write = Callable[[bytes], Awaitable[None]]


@attrs.define
class Sink:
    """Counts what arrives."""

    heard: int = 0
    enough: trio.Event = attrs.field(factory=trio.Event)

    def take(self, size: int) -> None:
        self.heard += size
        if self.heard >= VOLUME_BYTES:
            self.enough.set()


class Picket:
    """Two link hosts; handshakes over fresh sockets."""

    def __init__(self, provider: str) -> None:
        self._suite = load_suite(provider)
        self.name = f"picket, {self._suite.provider}"
        self._a, self._b = newborn(suite=self._suite), newborn(suite=self._suite)
        self._hosts = [self._host(who) for who in (self._a, self._b)]
        self.sink = Sink()

    def _host(self, who: Newborn) -> LinkHost:
        members = {self._a.node, self._b.node}
        local = Local(
            suite=self._suite,
            cluster=ClusterId(bytes(32)),
            chain=who.chain,
            members=members,
        )
        identity = Identity(local, who.signing_key, lambda: NOW)
        transport = PqTransport(
            identity, lambda _: None, lambda _: True, lambda _: None
        )
        return LinkHost(who.chain.operational, transport)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        a, b = self._hosts
        b.serve(SINK, self._drain)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self._where = listeners[0].socket.getsockname()
        async with a.run([]), b.run([]), trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._serve, listeners)
            yield
            nursery.cancel_scope.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        mux = await self._hosts[1].swarm.accept_node(TcpStream(stream))
        await mux.event_closed.wait()

    async def _drain(self, stream: LinkStream) -> None:
        while data := await stream.receive_some(262_144):
            self.sink.take(len(data))

    async def _dial(self) -> LinkMux:
        stream = await trio.open_tcp_stream(*self._where)
        return await self._hosts[0].swarm.dial_node(TcpStream(stream), self._b.node)

    async def handshake(self) -> float:
        began = perf_counter()
        mux = await self._dial()
        took = perf_counter() - began
        await mux.close()
        return took

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[Write]:
        mux = await self._dial()
        stream = await self._hosts[0].open(mux, SINK)
        yield stream.send_all
        await mux.close()


class PlainHost(BasicHost):
    """libp2p's own host, without the identify exchange that it starts at once."""

    async def _on_notifee_connected(self, conn: INetConn) -> None:
        """Nothing: ours does nothing either."""


class Noise:
    """Two plain libp2p hosts with Noise and Yamux."""

    name = "py-libp2p, noise"

    def __init__(self) -> None:
        self._hosts = [self._host(), self._host()]
        self.sink = Sink()

    def _host(self) -> BasicHost:
        pair = create_new_key_pair()
        noise = NoiseTransport(pair, noise_privkey=create_x25519_pair().private_key)
        swarm = new_swarm(
            key_pair=pair,
            sec_opt={NOISE: noise},
            muxer_opt={TProtocol(YAMUX): Yamux},
            connection_config=ConnectionConfig(
                min_connections=0, low_watermark=0, max_connections=10_000
            ),
        )
        return PlainHost(swarm, disable_identify_address_discovery=True)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        a, b = self._hosts
        b.set_stream_handler(TProtocol(SINK), self._drain)
        here = multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")
        async with a.run([]), b.run([here]):
            (self._where,) = b.get_transport_addrs()
            yield
            await a.close()
            await b.close()

    async def _drain(self, stream: INetStream) -> None:
        while self.sink.heard < VOLUME_BYTES:
            self.sink.take(len(await stream.read(262_144)))

    async def handshake(self) -> float:
        swarm = self._hosts[0].get_network()
        assert isinstance(swarm, Swarm)
        began = perf_counter()
        connection = await swarm.dial_addr(self._where, self._peer())
        took = perf_counter() - began
        await connection.close()
        return took

    def _peer(self) -> ID:
        return self._hosts[1].get_id()

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[Write]:
        swarm = self._hosts[0].get_network()
        await swarm.dial_addr(self._where, self._peer())
        stream = await self._hosts[0].new_stream(self._peer(), [TProtocol(SINK)])
        yield stream.write
        await swarm.close_peer(self._peer())


async def throughput(link: Picket | Noise) -> float:
    """MiB/s of 64 KiB writes on one stream, until all has arrived."""
    link.sink = Sink()
    piece = bytes(WRITE_BYTES)
    async with link.stream() as write:
        began = perf_counter()
        for _ in range(VOLUME_BYTES // WRITE_BYTES):
            await write(piece)
        with trio.fail_after(60):
            await link.sink.enough.wait()
        return VOLUME_BYTES / 2**20 / (perf_counter() - began)


async def measure(link: Picket | Noise, took: list[float], rate: list[float]) -> None:
    """One round."""
    for _ in range(HANDSHAKES):
        try:
            took.append(await link.handshake())
        except SwarmException:
            continue
    rate.append(await throughput(link))


async def main() -> None:
    """Measure and print."""
    quieten()
    contenders = [Picket(p) for p in ("openssl", "auto")] + [Noise()]
    results: dict[str, tuple[list[float], list[float]]] = {}
    for _ in range(ROUNDS):
        for link in contenders:
            took, rate = results.setdefault(link.name, ([], []))
            fresh = (
                Picket(link._suite.provider) if isinstance(link, Picket) else Noise()
            )
            async with fresh.running():
                await measure(fresh, took, rate)
    noise_took, noise_rate = (median(x) for x in results[Noise.name])
    table = {
        name: {
            "dial_handshake_mux_ms_p50": round(median(took) * 1e3, 2),
            "throughput_mib_s_p50": round(median(rate), 1),
            "handshake_over_noise": round(median(took) / noise_took, 2),
            "throughput_over_noise": round(median(rate) / noise_rate, 2),
        }
        for name, (took, rate) in results.items()
    }
    figures = {"links": table, "import": import_cost()}
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


def import_cost() -> dict[str, float]:
    """What `import libp2p` costs a process that has trio and attrs already."""
    script = """
import time, trio, attrs, cryptography.hazmat.primitives.asymmetric.mldsa
def rss():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096 / 2**20
before, began = rss(), time.perf_counter()
import libp2p
print(rss() - before, time.perf_counter() - began)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    rss, seconds = map(float, done.stdout.split())
    return {"libp2p_rss_mib": round(rss, 1), "libp2p_seconds": round(seconds, 2)}


if __name__ == "__main__":
    trio.run(main)
