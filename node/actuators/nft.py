"""The packet filter: nftables sets of blocked addresses, each with its own end.

One table of our own, written anew in one transaction whenever the wish changes
and at every start, so that nothing depends on what was there before. Elements
end by themselves: a daemon that is down blocks nobody for longer than decided.
"""

import subprocess
from collections.abc import Mapping
from typing import Final

import attrs
import trio

from enforcement.respond.addresses import IpAddress
from gossip.units import UnixMs
from node.clock import Clock
from node.log import Log

TABLE: Final = "picket"
DEADLINE_S: Final = 5.0
RETRY_S: Final = 15.0

_TABLE: Final = f"""\
add table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  set blocked4 {{ type ipv4_addr; flags timeout; }}
  set blocked6 {{ type ipv6_addr; flags timeout; }}
  chain incoming {{
    type filter hook input priority -10; policy accept;
    ip saddr @blocked4 drop
    ip6 saddr @blocked6 drop
  }}
  chain outgoing {{
    type filter hook output priority -10; policy accept;
    ip daddr @blocked4 drop
    ip6 daddr @blocked6 drop
  }}
}}
"""


def write_ruleset(blocked: Mapping[IpAddress, UnixMs], now: UnixMs) -> str:
    """What to feed to ``nft -f -``: the whole table, as it shall be from now on."""
    lines = [_TABLE]
    for address, until in sorted(blocked.items(), key=lambda item: str(item[0])):
        seconds = -(-(until - now) // 1_000)
        if seconds > 0:
            lines.append(
                f"add element inet {TABLE} blocked{address.version}"
                f" {{ {address} timeout {seconds}s }}\n"
            )
    return "".join(lines)


@attrs.define(kw_only=True)
class Nftables:
    """Keeps the table as it was last wished.

    Attributes:
        command: The nft program, and what comes before its own arguments.
    """

    clock: Clock
    log: Log
    command: tuple[str, ...] = ("nft",)
    wish: Mapping[IpAddress, UnixMs] = attrs.field(init=False, factory=dict)
    """What is to be blocked now, and until when."""
    _changed: trio.Event = attrs.field(init=False, factory=trio.Event)

    def block(self, addresses: Mapping[IpAddress, UnixMs]) -> None:
        """From now on block exactly these, each until its time."""
        if addresses != self.wish:
            self.wish = addresses
            self._changed.set()

    async def run(self) -> None:
        """Fulfil the wish, and each that follows, until cancelled."""
        while True:
            self._changed = trio.Event()
            done = await self._write(write_ruleset(self.wish, self.clock.unix_ms()))
            with trio.move_on_after(float("inf") if done else RETRY_S):
                await self._changed.wait()

    async def _write(self, ruleset: str) -> bool:
        try:
            with trio.fail_after(DEADLINE_S):
                done = await trio.run_process(
                    [*self.command, "-f", "-"],
                    stdin=ruleset.encode(),
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                )
        except (OSError, subprocess.SubprocessError, trio.TooSlowError) as wrong:
            self.log.error(
                f"nftables were not changed: {str(wrong) or 'nft is too slow'}"
            )
            return False
        if done.returncode:
            told = done.stderr.decode(errors="replace").strip().splitlines()
            self.log.error(f"nftables were not changed: {told[0] if told else '?'}")
            return False
        return True
