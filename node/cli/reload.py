"""`picket reload`: configuration and policy read again, all of it or nothing."""

from typing import cast

import click

from node.cli.common import config_option, read_config
from node.jsonlines import Json, ask


@click.command()
@config_option
def reload(config: str) -> None:
    """Let the running node read its configuration and policy again."""
    answer = ask(read_config(config).control_socket, "policy.reload", {})
    digest = str(cast("dict[str, Json]", answer)["policy"])
    click.echo(f"read again; policy {digest[:16]} is in force")
