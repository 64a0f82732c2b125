"""`picket`: every command, each loaded only when it is asked for.

A person's mistake ends in one sentence on stderr and exit 1 (2 for how the
command was called), never in a traceback.
"""

import importlib
import sys
from importlib.metadata import (
    EntryPoints,
    PackageNotFoundError,
    entry_points,
    version,
)
from typing import Final, cast

import click

from gossip.errors import UserError
from node.cli.common import say_error

_COMMANDS: Final = {
    "init": ("node.cli.init", "init", "Make a node: keys, card, configuration."),
    "renew": ("node.cli.init", "renew", "Renew the node's certificate for 90 days."),
    "operator": ("node.cli.init", "operator", "Make operators' keys."),
    "founders": ("node.cli.init", "founders", "Join cards into a founders' file."),
    "agent": ("node.cli.init", "agent", "Add and list the agents beside this node."),
    "run": ("node.cli.run", "run", "Run the node, in the foreground."),
    "reload": ("node.cli.reload", "reload", "Read configuration and policy again."),
    "wrap": ("node.cli.wrap", "wrap", "Guard a stdio MCP server."),
    "member": ("node.cli.member", "member", "List members; bring in newcomers."),
    "status": ("node.cli.ask", "status", "Show what the running node knows."),
    "reports": ("node.cli.ask", "reports", "Show the latest reports of the cluster."),
    "report": ("node.cli.ask", "report", "Say that somebody misbehaved."),
    "watch": ("node.cli.ask", "watch", "Tell what happens, as it happens."),
    "audit": ("node.cli.audit", "audit", "Show the latest decisions of this node."),
    "quarantine": (
        "node.cli.quarantine",
        "quarantine",
        "List, explain, release, allow.",
    ),
    "appeal": ("node.cli.mercy", "appeal", "Ask for another look, and answer."),
    "false-positive": ("node.cli.mercy", "false_positive", "Strike a report."),
    "stand-down": ("node.cli.mercy", "stand_down", "Suspend automatic quarantine."),
    "observe": ("node.cli.mercy", "observe", "Show what observe mode let be."),
    "act": ("node.cli.act", "act", "Sign and submit operators' acts."),
    "policy": ("node.cli.policy", "policy", "Check, test, try and push policies."),
    "bench": ("node.cli.bench", "bench", "Measure this machine."),
    "tools": ("node.cli.tools", "tools", "List, show and accept pinned tools."),
    "approve": ("node.cli.tools", "approve", "Vouch for an agent or a call."),
    "openapi": ("node.cli.openapi", "openapi", "Serve an OpenAPI document as tools."),
    "doctor": ("node.cli.doctor", "doctor", "Examine this machine and this node."),
}


class _Lazy(click.Group):
    """Imports a command's module when the command runs, not to list it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *_guests().names]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return next((guest.load() for guest in _guests().select(name=name)), None)
        module, attribute, _ = _COMMANDS[name]
        return cast("click.Command", vars(importlib.import_module(module))[attribute])

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, text) for name, (_, _, text) in _COMMANDS.items()]
                + [(g.name, g.load().get_short_help_str(60)) for g in _guests()]
            )


def _guests() -> EntryPoints:
    """Commands of packages that this one may not know, such as the simulator's."""
    return entry_points(group="picket.commands")


def _version() -> str:
    try:
        return version("picketd")
    except PackageNotFoundError:
        return "from a checkout"


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="picket", message="%(prog)s %(version)s")
def cli() -> None:
    """Guard MCP servers, and warn the other nodes of the cluster."""


def main() -> None:
    """The console script."""
    if sys.flags.optimize:
        say_error("`python -O` drops the checks Picket relies on; run it without -O")
        raise SystemExit(1)
    try:
        code = cli.main(prog_name="picket", standalone_mode=False)
    except UserError as wrong:
        say_error(str(wrong))
        raise SystemExit(1) from None
    except click.exceptions.NoArgsIsHelpError as wrong:
        click.echo(wrong.format_message(), err=True)  # a whole page, as it was drawn
        raise SystemExit(wrong.exit_code) from None
    except click.ClickException as wrong:
        asked = wrong.ctx if isinstance(wrong, click.UsageError) else None
        page = asked.command_path if asked is not None else "picket"
        say_error(f"{wrong.format_message().rstrip('.')}; see `{page} --help`")
        raise SystemExit(wrong.exit_code) from None
    except (click.Abort, KeyboardInterrupt):
        raise SystemExit(130) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(1) from None
    raise SystemExit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
