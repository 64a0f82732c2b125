"""sd_notify(3) without a library: datagrams to the socket systemd names.

The watchdog is fed by a task of the event loop, so a loop that hangs feeds
nothing and systemd restarts us. Without systemd all of this does nothing.
"""

import contextlib
import os
import socket
from collections.abc import Mapping

import attrs
import trio


@attrs.frozen
class Notifier:
    """Tells the service manager at ``address`` (None: there is none)."""

    address: str | None
    watchdog_s: float | None

    def ready(self, status: str) -> None:
        """We serve now."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={status}")

    def stopping(self) -> None:
        """We are on the way out."""
        self._send("STOPPING=1")

    async def feed_watchdog(self) -> None:
        """Say that the loop turns, twice as often as asked; for ever."""
        if self.address is None or self.watchdog_s is None:
            return
        while True:
            self._send("WATCHDOG=1")
            await trio.sleep(self.watchdog_s / 2)

    def _send(self, text: str) -> None:
        if self.address is None:
            return
        name = self.address
        if name.startswith("@"):
            name = "\0" + name[1:]  # Linux's abstract namespace
        # The manager being gone or slow must not stop the guard.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        ):
            sock.setblocking(False)
            sock.sendto(text.encode(), name)


def notifier_from(environment: Mapping[str, str], pid: int) -> Notifier:
    """Read what systemd put into the environment of process ``pid``."""
    address = environment.get("NOTIFY_SOCKET") or None
    period = environment.get("WATCHDOG_USEC", "")
    meant = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
    fed = period.isdigit() and int(period) > 0 and meant
    return Notifier(address, int(period) / 1e6 if fed else None)


def notifier() -> Notifier:
    """The notifier of this process."""
    return notifier_from(os.environ, os.getpid())
