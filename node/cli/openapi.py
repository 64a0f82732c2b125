"""`picket openapi`: an OpenAPI document as an MCP server, to be guarded like any other."""

import os
from functools import partial
from pathlib import Path

import click
import trio

from gossip.errors import UserError
from node.cli.common import say_json
from node.tables import is_name


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--server", required=True, metavar="NAME", help="What it calls itself.")
@click.option("--base", metavar="URL", help="Instead of the document's first server.")
@click.option(
    "--credential",
    "credentials",
    multiple=True,
    metavar="SCHEME=VARIABLE",
    help="A security scheme's secret, in a variable of the environment.",
)
@click.option("--list", "listing", is_flag=True, help="Show the tools and end.")
def openapi(
    spec: Path,
    server: str,
    base: str | None,
    credentials: tuple[str, ...],
    listing: bool,
) -> None:
    """Serve the operations of SPEC (OpenAPI 3, JSON) as MCP tools on stdin and stdout.

    Put it where gates stand: `command` of a [servers.NAME], or behind `picket wrap --`.
    """
    from node.openapi import (
        ApiServer,
        find_base,
        read_credentials,
        read_document,
        read_operations,
        serve_stdio,
    )

    if not is_name(server):
        raise UserError(f"`{server}` cannot name a server")
    document = read_document(spec)
    operations = read_operations(spec, document)
    if listing:
        say_json([operation.name for operation in operations])
        return
    given = dict(_pair(each) for each in credentials)
    make = partial(
        ApiServer,
        server,
        find_base(spec, document, base),
        {operation.name: operation for operation in operations},
        read_credentials(spec, document, given),
    )
    trio.run(serve_stdio, make, os.dup(0), os.dup(1))


def _pair(text: str) -> tuple[str, str]:
    scheme, equals, variable = text.partition("=")
    if not equals or not scheme or not variable:
        raise UserError(f"`--credential {text}` is not SCHEME=VARIABLE")
    return scheme, variable
