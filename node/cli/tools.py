"""`picket tools` and `picket approve`: what a person at a node lets through."""

from typing import cast

import click

from gossip.errors import UserError
from node.cli.common import (
    ask_node,
    config_option,
    json_option,
    say_json,
    say_table,
)
from node.jsonlines import Json


@click.group()
def tools() -> None:
    """The tools this node has pinned, and those that have changed."""


@tools.command("list")
@config_option
@json_option
def tools_list(config: str, as_json: bool) -> None:
    """List every pinned tool."""
    rows = cast("list[dict[str, Json]]", ask_node(config, "tools.list", {}))
    if as_json:
        say_json(cast("list[Json]", rows))
        return
    say_table(
        "tools",
        ["server", "tool", "level", "tags", "state", "digest"],
        [
            [
                str(r["server"]),
                str(r["tool"]),
                str(r["level"]),
                " ".join(cast("list[str]", r["tags"])),
                "held: it changed" if r["held"] else str(r["fault"] or "pinned"),
                str(r["digest"])[:16],
            ]
            for r in rows
        ],
    )


@tools.command("show")
@click.argument("server")
@click.argument("tool")
@config_option
def tools_show(server: str, tool: str, config: str) -> None:
    """Show what TOOL of SERVER declares, as pinned and as it is now."""
    say_json(ask_node(config, "tools.show", {"server": server, "tool": tool}))


@tools.command("accept")
@click.argument("server")
@click.argument("tool")
@click.option("--operator-key", "keys", multiple=True, metavar="FILE")
@click.option("--draft", "draft_file", metavar="FILE", help="Write the draft here.")
@config_option
def tools_accept(
    server: str,
    tool: str,
    keys: tuple[str, ...],
    draft_file: str | None,
    config: str,
) -> None:
    """Accept what TOOL of SERVER declares now; look at it with `show` first.

    At this node alone; with operators' keys, or by a draft they sign, at all nodes.
    """
    if keys or draft_file is not None:
        _accept_everywhere(server, tool, keys, draft_file, config)
        return
    answer = ask_node(config, "tools.accept", {"server": server, "tool": tool})
    click.echo(f"pinned {str(cast('dict[str, Json]', answer)['digest'])[:16]}")


@click.command()
@click.argument("agent")
@click.argument("tool", required=False, metavar="[SERVER/TOOL]")
@click.option("--seconds", default=600, show_default=True, type=click.IntRange(1))
@click.option("--operator-key", "keys", multiple=True, metavar="FILE")
@click.option("--draft", "draft_file", metavar="FILE", help="Write the draft here.")
@config_option
def approve(
    agent: str,
    tool: str | None,
    seconds: int,
    keys: tuple[str, ...],
    draft_file: str | None,
    config: str,
) -> None:
    """Vouch for AGENT: for one tool for a while, or for its trust.

    At this node alone; for a tool, with operators' keys or by a draft that they sign,
    at all nodes. An agent beside another node is named by its id.
    """
    asked: dict[str, Json] = {"agent": agent, "tool": tool or "", "seconds": seconds}
    if keys or draft_file is not None:
        if tool is None:
            raise UserError("trust is each node's own; name SERVER/TOOL to approve")
        if _sign(ask_node(config, "approve.draft", asked), keys, draft_file, config):
            click.echo(f"approved {agent} for {tool} everywhere, {seconds} s")
        return
    ask_node(config, "approve", asked)
    click.echo(
        f"approved {agent} for {tool}, {seconds} s" if tool else f"{agent} is trusted"
    )


def _accept_everywhere(
    server: str, tool: str, keys: tuple[str, ...], draft_file: str | None, config: str
) -> None:
    asked: dict[str, Json] = {"server": server, "tool": tool}
    told = cast("dict[str, Json]", ask_node(config, "tools.draft", asked))
    if _sign(told, keys, draft_file, config):
        click.echo(f"accepted everywhere: {str(told['digest'])[:16]}")


def _sign(
    answer: Json, keys: tuple[str, ...], draft_file: str | None, config: str
) -> bool:
    """Sign a draft and publish it; or write it down for others, and return False."""
    from node.cli.act import Draft, submit_draft

    told = cast("dict[str, Json]", answer)
    signed = Draft(bytes.fromhex(str(told["draft"])), {})
    for key in keys:
        signed = signed.signed_by(key)
    needed = int(str(told["needed"]))
    if draft_file is not None and len(signed.signatures) < needed:
        signed.write(draft_file)
        click.echo(f"{draft_file}: {len(signed.signatures)} of {needed} signatures")
        return False
    submit_draft(signed, config)
    return True
