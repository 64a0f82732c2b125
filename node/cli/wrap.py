"""`picket wrap -- COMMAND`: guard a stdio MCP server."""

import sys
from functools import partial
from pathlib import PurePath

import click

from gossip.errors import UserError
from node.cli.common import config_option, read_config
from node.config import Config, locate
from node.log import Log
from node.proxy.wrap import Ends, NewGuard, run_wrap
from node.tables import is_name

_AGENT_ALONE = "agent"


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--agent", default="", help="Whose calls these are; see `picket agent`.")
@click.option(
    "--server", default="", help="What policy calls it; default: COMMAND's file name."
)
@config_option
@click.option("--standalone", is_flag=True, help="Decide here, without a daemon.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def wrap(
    agent: str, server: str, config: str, standalone: bool, command: tuple[str, ...]
) -> None:
    """Run COMMAND, a stdio MCP server, with a guard on every message.

    Ends as COMMAND ends. Calls are decided by the node's daemon; while it does
    not answer they are denied. With --standalone they are decided here, by the
    configuration's policy, or by the tutorial policy where there is none; tools
    are pinned for this session, as the server lists them first.
    """
    server = server or PurePath(command[0]).name
    if not is_name(server):
        raise UserError(f"`{server}` cannot name a server; name it with --server")
    guarded = _alone(agent, server, config) if standalone else None
    sys.exit(run_wrap(command, guarded or _by_daemon(agent, server, config)))


def _by_daemon(agent: str, server: str, config: str) -> NewGuard:
    from node.proxy.wrap_daemon import DaemonGuard

    read = read_config(config)
    socket, log = read.wrap_socket, Log(read.log_level)

    def guard(ends: Ends) -> DaemonGuard:
        return DaemonGuard(socket, agent, server, ends, log)

    return guard


def _alone(agent: str, server: str, config: str) -> NewGuard:
    from enforcement.defend.policy import Policy
    from node.birth import starter_policy
    from node.guard import DEFAULT_RATE, rates, read_policy
    from node.keys.suites.registry import load_suite
    from node.proxy.wrap_standalone import Alone

    read = read_config(config) if locate(config).exists() else None
    alone = partial(
        Alone,
        server=server,
        policy=read_policy(read.policy) if read else Policy.load(starter_policy()),
        suite=load_suite(read.provider, read.state) if read else load_suite(),
        log=Log(read.log_level if read else "info"),
        rate=rates(read).get(server, DEFAULT_RATE) if read else DEFAULT_RATE,
    )
    name, roles = _who(agent, read)
    return alone(agent=name, roles=roles).guard


def _who(agent: str, config: Config | None) -> tuple[str, tuple[str, ...]]:
    """The agent's name and roles, as the daemon would choose them."""
    agents = config.agents if config else {}
    if agent in agents:
        return agent, agents[agent].roles
    if agent and config:
        raise UserError(f"{config.file}: there is no agent `{agent}`")
    if len(agents) == 1:
        (only,) = agents.values()
        return only.name, only.roles
    return agent or _AGENT_ALONE, ()
