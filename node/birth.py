"""How a cluster is born: nodes, operators and agents are made, cards are joined.

A *card* is the public half of a node or an operator: one TOML table, handed to
whoever writes the founders' file. Nothing in it is secret.
"""

import base64
import hashlib
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

import attrs

from gossip.errors import UserError
from gossip.membership.founders import Founders, parse_founders
from gossip.units import NodeId, UnixMs
from node.config import (
    FILE_NAME,
    Config,
    load_config,
    load_founders,
    load_member,
    read_text,
)
from node.keys.keystore import (
    ROOT,
    Keystore,
    load_secret,
    make_private_folder,
    replace_file,
    write_new,
)
from node.keys.node_keys import agent_secret, bear_node
from node.keys.suites.registry import SuiteWithKeys
from node.tables import Address, show_address

CARD: Final = "card.toml"
_TOKEN_BYTES: Final = 32


@attrs.frozen(kw_only=True)
class NewNode:
    """What `make_node` is asked for."""

    name: str
    listen: tuple[Address, ...]
    advertise: tuple[Address, ...] = ()
    grants: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    http: Address | None = None
    metrics: Address | None = None
    sponsor: str = ""


def make_node(
    folder: Path,
    new: NewNode,
    policy: dict[str, str],
    suite: SuiteWithKeys,
    now: UnixMs,
) -> NodeId:
    """Make a state directory with keys, card, configuration and policy.

    Raises:
        UserError: something of it exists already.
    """
    for name in (FILE_NAME, CARD):
        if (folder / name).exists():
            raise UserError(f"{folder / name}: exists already; choose another folder")
    _make_unversioned_folder(folder)
    _make_unversioned_folder(folder / "keys")
    node = bear_node(folder, suite, now)
    addresses = new.advertise or tuple(a for a in new.listen if a[1])
    asks = _toml("", sponsor=new.sponsor) + "\n" if new.sponsor else ""
    card = asks + _toml(
        "[[node]]",
        name=new.name,
        id=node.hex(),
        addresses=[show_address(a) for a in addresses],
        grants=sorted(set(new.grants)),
        servers=sorted(set(new.servers)),
    )
    write_new(folder / CARD, card.encode())
    make_private_folder(folder / "policy")
    for name, text in policy.items():
        write_new(folder / "policy" / name, text.encode())
    write_new(folder / FILE_NAME, _config_text(new).encode())
    return node


def make_operator(folder: Path, name: str, suite: SuiteWithKeys) -> tuple[Path, Path]:
    """Make an operator's key and card; returns their paths.

    Raises:
        UserError: they exist already.
    """
    _make_unversioned_folder(folder)
    key, card = folder / f"{name}.key", folder / f"{name}.card.toml"
    seed = suite.generate_seed()
    public_key = suite.signing_key_from_seed(seed).public_key
    write_new(key, seed, mode=0o600)
    text = _toml(
        "[[operator]]", name=name, public_key=base64.b64encode(public_key).decode()
    )
    write_new(card, text.encode())
    return key, card


def _make_unversioned_folder(folder: Path) -> None:
    """Make a private folder whose content git does not see, secrets above all.

    What lies in a folder already is somebody's own, and git sees it as before.

    Raises:
        UserError: it cannot be made, or not looked into.
    """
    make_private_folder(folder)
    try:
        empty = not any(folder.iterdir())
    except OSError as wrong:
        raise UserError(f"{folder}: cannot look inside: {wrong.strerror}") from None
    if empty:
        write_new(folder / ".gitignore", b"*\n")


def join_founders(
    name: str,
    nodes: Sequence[Path],
    operators: Sequence[Path],
    output: Path,
    quorum: Mapping[str, int] | None = None,
    colluders: int | None = None,
    replicated: Sequence[str] = (),
) -> Founders:
    """Join cards into a founders' file, checked before it is written.

    Args:
        quorum: How many operators each kind of act takes, where not the default.
        replicated: The servers that more than one node provides.

    Raises:
        UserError: a card is broken, or together they make no cluster.
    """
    cards = [_read_card(path) for path in (*nodes, *operators)]
    _check_names("node", nodes, cards)
    _check_names("operator", operators, cards[len(nodes) :])
    given = [f"{kind} = {needed}" for kind, needed in (quorum or {}).items()]
    head = [_toml("", cluster=name).strip()]
    if colluders is not None:
        head.append(f"colluders = {colluders}")
    if replicated:
        head.append(_toml("", replicated=sorted(set(replicated))).strip())
    told = [*head, "", "[quorum]", *given]
    whole = parse_founders("\n".join([*told, "", *cards]), str(output))
    told[-len(given) - 1] += "  # how many operators each kind of act takes"
    told += [f"# {k} = {n}" for k, n in whole.quorum.items() if k not in (quorum or {})]
    text = "\n\n".join(["\n".join(told), *cards]) + "\n"
    write_new(output, text.encode())
    return parse_founders(text, str(output))


def _read_card(path: Path) -> str:
    if path.suffix in (".key", ".seed"):
        raise UserError(f"{path}: this is a key, not a card; a card ends in .toml")
    return read_text(path, "the card").strip()


def _check_names(what: str, paths: Sequence[Path], cards: Sequence[str]) -> None:
    """Refuse two cards of one name, and say which they are."""
    seen: dict[object, Path] = {}
    for path, card in zip(paths, cards, strict=False):
        try:
            document = tomllib.loads(card)
        except tomllib.TOMLDecodeError as wrong:
            raise UserError(f"{path}: not valid TOML: {wrong}") from None
        if "sponsor" in document:
            raise UserError(
                f"{path}: is the card of a newcomer, whom `picket member admit` brings"
                " in; for a founder take `sponsor` out of it and of its config.toml"
            )
        tables: object = document.get(what)
        if not isinstance(tables, list) or len(tables) != 1:
            raise UserError(f"{path}: not the card of one {what}")
        name: object = tables[0].get("name")
        if name in seen:
            raise UserError(
                f"{seen[name]} and {path}: both are cards of {what} `{name}`; names"
                " must differ"
            )
        seen[name] = path


def add_agent(
    config: Config, name: str, roles: Sequence[str], suite: SuiteWithKeys
) -> str:
    """Make an agent's key and write it into the configuration.

    Returns:
        Its bearer token, which is stored nowhere.

    Raises:
        UserError: it exists, or this node may not grant one of the roles; before
            there is a founders' file, the node's card says which.
    """
    if name in config.agents:
        raise UserError(f"{config.file}: agent `{name}` exists already")
    if config.founders_file.exists():
        check_grants(config, roles)
    elif (card := config.file.with_name(CARD)).exists():
        _check_card(card, roles)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    table = _toml(
        f"[agents.{_key(name)}]",
        roles=sorted(set(roles)),
        token_sha256=token_digest(token).hex(),
    )
    text = read_text(config.file, "the configuration").rstrip() + "\n\n" + table
    Keystore(config.keys).store(agent_secret(name), suite.generate_seed())
    replace_file(config.file, text.encode())
    load_config(config.file)
    return token


def starter_policy() -> dict[str, str]:
    """The policy a new node starts from: file names and their Cedar texts."""
    folder = resources.files("enforcement.defend") / "starter"
    if not folder.is_dir():
        return {}
    return {
        entry.name: entry.read_text("utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".cedar")
    }


def check_grants(config: Config, roles: Sequence[str]) -> None:
    """Refuse roles that the founders' file does not let this node grant.

    Raises:
        UserError: naming the role.
    """
    mine = load_member(config, load_founders(config))
    for role in roles:
        if role not in mine.grants:
            raise UserError(
                f"{config.founders_file}: node `{config.name}` may not grant role"
                f" `{role}`; its grants are {', '.join(sorted(mine.grants)) or 'none'}"
            )


def _check_card(path: Path, roles: Sequence[str]) -> None:
    """Refuse roles that a node's own card does not ask for."""
    try:
        (node,) = tomllib.loads(_read_card(path)).get("node", [])
        known = {str(role) for role in node.get("grants", [])}
    except (tomllib.TOMLDecodeError, ValueError, AttributeError, TypeError):
        raise UserError(f"{path}: not the card of one node") from None
    for role in roles:
        if role not in known:
            raise UserError(
                f"{path}: this node's card does not ask to grant role `{role}`; its"
                f" grants are {', '.join(sorted(known)) or 'none'}. Before the card is"
                " joined to others they may be changed there"
            )


def token_digest(token: str) -> bytes:
    """What is kept of a bearer token; it has 256 random bits, so no salt."""
    return hashlib.sha256(token.encode()).digest()


def operator_seed(path: Path) -> bytes:
    """Read an operator's key file.

    Raises:
        UserError: missing, readable by others, or not a key.
    """
    return load_secret(path)


def root_path(folder: Path) -> Path:
    """Where `make_node` left the root key."""
    return Keystore(folder / "keys").path(ROOT)


def _config_text(new: NewNode) -> str:
    lines = [
        "# One node of a Picket cluster. docs/reference/config.md explains each key.",
        _toml(
            "",
            name=new.name,
            founders="founders.toml",
            policy="policy",
            listen=[show_address(a) for a in new.listen],
        ).strip(),
    ]
    if new.http is not None:
        lines.append(_toml("", http=show_address(new.http)).strip())
    if new.sponsor:
        lines.append(_toml("", sponsor=new.sponsor).strip())
    if new.metrics is not None:
        lines.append(_toml("", metrics=show_address(new.metrics)).strip())
    lines.append(
        "# auto: for the first day quarantines by voices are shown, not enforced."
    )
    lines.append(_toml("", mode="auto").strip())
    return "\n".join(lines) + "\n"


def _toml(header: str, **values: str | list[str]) -> str:
    lines = [header] if header else []
    for key, value in values.items():
        shown = (
            _quote(value)
            if isinstance(value, str)
            else f"[{', '.join(map(_quote, value))}]"
        )
        lines.append(f"{key} = {shown}")
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    if not text.isprintable() or '"' in text or "\\" in text:
        raise UserError(f"{text!r} is not plain text")
    return f'"{text}"'


def _key(name: str) -> str:
    return _quote(name) if "." in name else name
