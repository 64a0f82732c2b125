"""`picket run`: the daemon in the foreground, logging to stderr."""

import traceback

import attrs
import click
import trio

from gossip.errors import UserError
from node.cli.common import config_option, read_config
from node.garbage import collect_nothing, collect_rarely
from node.keys.suites.registry import PROVIDERS


@click.command()
@config_option
@click.option(
    "--provider",
    type=click.Choice(PROVIDERS),
    help="Who computes the suite; overrides `crypto.provider`.",
)
def run(config: str, provider: str | None) -> None:
    """Run the node in the foreground until SIGTERM or Ctrl-C; SIGHUP reloads."""
    collect_nothing()
    # Only here, after that: imports are most of what a start takes.
    from node.daemon import Daemon
    from node.signals import serve_until_signalled

    read = read_config(config)
    if provider is not None:
        read = attrs.evolve(read, provider=provider)
    daemon = Daemon(read)
    collect_rarely()
    try:
        trio.run(serve_until_signalled, daemon)
    except BaseExceptionGroup as group:
        mistakes, defects = group.split(UserError)
        if mistakes is not None:
            raise UserError(str(_first(mistakes))) from None
        if daemon.config.log_level == "debug":
            traceback.print_exception(defects)
        raise UserError(
            f'stopped by a defect of Picket: {_describe(group)}; `log = "debug"`'
            " shows more"
        ) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _describe(group: BaseExceptionGroup[BaseException]) -> str:
    """A defect and the line it happened at, enough to report it."""
    error = _first(group)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
