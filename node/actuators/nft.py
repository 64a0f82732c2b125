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
SECONDS_MAX: Final = 3_650 * 86_400
"""What has no end: the kernel refuses a time beyond its clock's, and all with it."""

_NOTHING: Final = f"add table inet {TABLE}\ndelete table inet {TABLE}\n"
_TABLE: Final = f"""\
{_NOTHING}table inet {TABLE} {{
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


def write_ruleset(blocked: Mapping[IpAddress, UnixMs] | None, now: UnixMs) -> str:
    """What to feed to ``nft -f -``: the whole table, as it shall be from now on.
    None: there shall be none."""
    if blocked is None:
        return _NOTHING
    lines = [_TABLE]
    for address, until in sorted(blocked.items(), key=lambda item: str(item[0])):
        seconds = min(SECONDS_MAX, -(-(until - now) // 1_000))
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
    wish: Mapping[IpAddress, UnixMs] | None = attrs.field(init=False, default=None)
    """What is to be blocked now, and until when; None: not to have a table at all."""
    _changed: trio.Event = attrs.field(init=False, factory=trio.Event)

    def block(self, addresses: Mapping[IpAddress, UnixMs] | None) -> None:
        """From now on block exactly these, each until its time. None: take back all
        that was ever done here. Said twice, it is done once."""
        if addresses != self.wish:
            self.wish = addresses
            self._changed.set()

    async def run(self) -> None:
        """Fulfil the wish, and each that follows, until cancelled."""
        is_there = False
        while True:
            self._changed = trio.Event()
            wish, done = self.wish, True
            if wish is not None or is_there:
                done = await self._write(write_ruleset(wish, self.clock.unix_ms()))
                is_there = wish is not None or not done
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
