"""What the commands share: options, sentences, tables for people or machines."""

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from gossip.errors import UserError
from node.config import Config, load_config, locate
from node.jsonlines import Json, ask
from node.log import printable
from node.tables import Address, parse_address

P = ParamSpec("P")
R = TypeVar("R")


def config_option(command: Callable[P, R]) -> Callable[P, R]:
    """``--config FILE``: a file, or the folder it is in."""
    return click.option(
        "--config",
        "-c",
        "config",
        default=".",
        show_default="./config.toml",
        envvar="PICKET_CONFIG",
        metavar="FILE",
        help="The node's config.toml, or its folder (PICKET_CONFIG).",
    )(command)


def json_option(command: Callable[P, R]) -> Callable[P, R]:
    """``--json``: for machines."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def read_config(path: str) -> Config:
    """Load what ``--config`` named."""
    return load_config(locate(path))


def ask_node(path: str, do: str, args: dict[str, Json] | None = None) -> Json:
    """Ask the daemon of the configuration that ``--config`` named.

    Raises:
        UserError: no daemon there, or its own sentence why not.
    """
    return ask(read_config(path).control_socket, do, args)


def this_command() -> str:
    """How to call this very `picket` from anywhere, as a shell reads it."""
    called = Path(sys.argv[0])
    if called.name == "picket" and called.is_file():
        return shlex.quote(str(called.absolute()))
    return f"{shlex.quote(sys.executable)} -m node.cli.main"


def address_option(text: str) -> Address:
    """Read an address given on the command line.

    Raises:
        UserError: it is not one.
    """
    address = parse_address(text)
    if address is None:
        raise UserError(f"`{text}` is not `host:port` (IPv6 as `[::1]:7946`)")
    return address


def say_error(sentence: str) -> None:
    """One sentence on stderr."""
    click.echo(f"picket: {printable(sentence)}", err=True)


def say_json(value: Json) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def say_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """A table: drawn for a terminal, tab-separated for anything else."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            click.echo("\t".join(printable(cell) for cell in row))
        return
    from rich import box, console, table, text

    drawn = table.Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        drawn.add_column(column)
    for row in rows:
        drawn.add_row(*[text.Text(printable(cell)) for cell in row])
    console.Console().print(drawn)
