"""What a server's command is started with, and whether it can be found at all."""

import os
import shutil
from collections.abc import Iterable

from gossip.errors import UserError
from node.config import ServerConfig

_OURS = ("CREDENTIALS_", "LISTEN_", "NOTIFY_", "PICKET_", "WATCHDOG_")


def environment_of(config: ServerConfig) -> dict[str, str]:
    """What a server is told: our environment without what concerns only us."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
    return {**ours, **config.env}


def commands_missing(servers: Iterable[ServerConfig]) -> dict[str, UserError]:
    """Why servers cannot be started as they are configured, by name.

    Nothing is run: a command that is found may fail yet.
    """
    missing = {}
    for config in servers:
        path = environment_of(config).get("PATH")
        if config.command and shutil.which(config.command[0], path=path) is None:
            missing[config.name] = UserError(
                f"the command of `servers.{config.name}`, `{config.command[0]}`, is not"
                " found, or may not be run; give its full path"
            )
    return missing
