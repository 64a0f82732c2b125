"""Signals of a running daemon: SIGTERM and SIGINT stop it in order, SIGHUP reloads."""

import signal
from collections.abc import AsyncIterator

import trio

from gossip.errors import UserError
from node.daemon import Daemon


async def serve_until_signalled(daemon: Daemon) -> None:
    """Run until a signal says to stop.

    Raises:
        UserError: see `Daemon.run`.
    """
    with trio.open_signal_receiver(
        signal.SIGTERM, signal.SIGINT, signal.SIGHUP
    ) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_heed, daemon, signals)
            await daemon.run()
            nursery.cancel_scope.cancel()


async def _heed(daemon: Daemon, signals: AsyncIterator[int]) -> None:
    async for number in signals:
        if number != signal.SIGHUP:
            daemon.stop()
            continue
        try:
            daemon.reload()
        except UserError as wrong:
            daemon.log.error(f"nothing was changed: {wrong}")
