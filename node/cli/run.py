"""`picket run`: the daemon in the foreground, logging to stderr."""

import click
import trio

from gossip.errors import LocalError, UserError
from node.cli.common import config_option, read_config
from node.daemon import Daemon, serve_until_signalled


@click.command()
@config_option
def run(config: str) -> None:
    """Run the node in the foreground until SIGTERM or Ctrl-C; SIGHUP reloads."""
    daemon = Daemon(read_config(config))
    try:
        trio.run(serve_until_signalled, daemon)
    except* UserError as mistakes:
        raise _first(mistakes) from None
    except* LocalError as broken:
        raise UserError(
            f"stopped, this is a defect of Picket: {_first(broken)}"
        ) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
