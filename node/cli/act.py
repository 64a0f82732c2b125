"""`picket act`: operators sign at different desks, then one of them submits.

A draft is a small JSON file: what is to be signed, and the signatures so far.
It holds no secret and may travel by any way.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import attrs
import click

from gossip.errors import UserError
from gossip.membership.acts import join_act, read_draft_untrusted, sign_act
from gossip.membership.founders import Founders, parse_founders
from gossip.units import KeyId
from node.birth import operator_seed
from node.cli.common import config_option, read_config
from node.cli.wording import count_signers, describe
from node.config import read_text
from node.jsonlines import ask
from node.keys.keystore import replace_file
from node.keys.suites.registry import load_suite


@attrs.frozen
class Draft:
    """An act on its way through the operators' hands."""

    body: bytes = attrs.field(repr=False)
    signatures: Mapping[KeyId, bytes] = attrs.field(repr=False)

    def signed_by(self, key_file: str) -> "Draft":
        """Add one operator's signature.

        Raises:
            UserError: the key file is missing or is none.
        """
        if key_file.endswith(".toml"):
            raise UserError(
                f"{key_file}: this is a card, for others to see; sign with the key"
                " beside it, which ends in .key"
            )
        key = load_suite().signing_key_from_seed(operator_seed(Path(key_file)))
        key_id, signature = sign_act(self.body, key)
        return Draft(self.body, {**self.signatures, key_id: signature})

    def write(self, file: str) -> None:
        """Write it for the next operator."""
        pairs = {k.hex(): s.hex() for k, s in self.signatures.items()}
        text = json.dumps({"draft": self.body.hex(), "signatures": pairs}, indent=2)
        replace_file(Path(file), text.encode() + b"\n")

    def tell(self, founders: Founders | None) -> str:
        """What is being signed, in words, and by whom so far.

        Raises:
            UserError: it is broken, or for another cluster.
        """
        what = describe(self.body, founders)
        kind = read_draft_untrusted(self.body).kind
        return f"{what}; {count_signers(set(self.signatures), founders, kind)}"


def read_draft(file: str) -> Draft:
    """Read a draft file.

    Raises:
        UserError: missing or broken.
    """
    text = read_text(Path(file), "the draft")
    try:
        value = json.loads(text)
        pairs = {
            KeyId(bytes.fromhex(k)): bytes.fromhex(s)
            for k, s in value["signatures"].items()
        }
        return Draft(bytes.fromhex(value["draft"]), pairs)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{file}: is not a draft of an act") from None


def submit_draft(draft: Draft, config: str) -> None:
    """Bring a signed act to the daemon, which gossips it.

    Raises:
        UserError: too few or wrong signatures, or no daemon.
    """
    if not draft.signatures:
        raise UserError(
            "nobody has signed this draft; operators do by"
            " `picket act sign DRAFT --operator-key FILE`"
        )
    data = join_act(draft.body, list(draft.signatures.items()))
    ask(read_config(config).control_socket, "act.submit", {"act": data.hex()})


founders_option = click.option(
    "--founders",
    type=click.Path(path_type=Path),
    help="The founders' file, for names; by default ./founders.toml if it is there.",
)


def _founders(named: Path | None) -> Founders | None:
    path = named or Path("founders.toml")
    if named is None and not path.exists():
        return None
    return parse_founders(read_text(path, "the founders' file"), str(path))


@click.group()
def act() -> None:
    """Sign and submit operators' acts, at one desk or at several."""


@act.command("show")
@click.argument("file", metavar="DRAFT")
@founders_option
def act_show(file: str, founders: Path | None) -> None:
    """Tell what DRAFT would do, and who signed it."""
    click.echo(read_draft(file).tell(_founders(founders)))


@act.command("sign")
@click.argument("file", metavar="DRAFT")
@click.option("--operator-key", "key", required=True, metavar="FILE")
@founders_option
def act_sign(file: str, key: str, founders: Path | None) -> None:
    """Add an operator's signature to DRAFT, and tell what was signed."""
    read = _founders(founders)
    draft = read_draft(file)
    draft.tell(read)  # what cannot be read is not signed
    draft = draft.signed_by(key)
    draft.write(file)
    click.echo(draft.tell(read))


@act.command("submit")
@click.argument("file", metavar="DRAFT")
@config_option
def act_submit(file: str, config: str) -> None:
    """Bring DRAFT to the running node, which spreads it."""
    submit_draft(read_draft(file), config)
    click.echo("submitted")
