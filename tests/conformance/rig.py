"""A listener before one server behind a URL, and a mesh of two nodes before the same.

Both listeners also go by the server's own name, for who is led to them by that. Two more
stand before the same server started as a command.

Run as ``python -m tests.conformance.rig URL``: prints their addresses as a JSON line
and serves until its stdin ends. Everybody is one agent, since the suites know no
tokens; gates, envelopes and signatures are the real ones.
"""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import attrs
import trio

from enforcement.defend.policy import Policy
from node.config import ServerConfig
from node.proxy.provider import MeshProvider
from tests.support.proxies import Pipes, desk_of, found, guard, site

COMMAND = (sys.executable, "-m", "tests.conformance.server", "stdio")
OPEN = Policy.load({"open.cedar": "permit(principal, action, resource);\n"})


@asynccontextmanager
async def paths_to(
    url: str, command: tuple[str, ...] = ()
) -> AsyncIterator[dict[str, str]]:
    """The server's addresses: its own, before the gate, and at the mesh's far end.

    With ``command`` both stand before that instead.
    """
    roster, places = found("branch", "vault")
    config = ServerConfig(name="vault-db", url=None if command else url)
    servers = {"vault-db": attrs.evolve(config, command=command)}
    vault = desk_of(places["vault"], roster, servers=servers)
    guard(vault, places["vault"], OPEN, strict=True)
    async with trio.open_nursery() as nursery:
        pipes = Pipes(nursery, MeshProvider(vault), places["branch"].node)
        branch = desk_of(places["branch"], roster, links=pipes)
        guard(branch, places["branch"], OPEN, strict=True)
        async with (
            site(vault, "vault-db", anybody="vault-bot") as gate,
            site(branch, "vault-db", anybody="branch-bot") as mesh,
        ):
            for door in (gate.door, mesh.door):
                name = urlsplit(url).netloc
                door.hosts = {name: "vault-db"}
                hosts = door.origins.hosts | {name}
                door.origins = attrs.evolve(door.origins, hosts=hosts)
            yield {"direct": url, "gate": gate.url, "mesh": mesh.url}
        nursery.cancel_scope.cancel()


async def serve(url: str) -> None:
    """Serve both, and both before the command, until stdin ends."""
    async with paths_to(url) as paths, paths_to(url, COMMAND) as started:
        paths |= {"command": started["gate"], "command-mesh": started["mesh"]}
        sys.stdout.write(json.dumps(paths) + "\n")
        sys.stdout.flush()
        await trio.lowlevel.wait_readable(sys.stdin.fileno())


if __name__ == "__main__":
    trio.run(serve, sys.argv[1])
