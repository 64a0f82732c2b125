"""The node's own file, `config.toml`: read once, checked whole, then frozen.

Every complaint is one sentence that names the file and the key. Unknown keys
are mistakes: a misspelt limit must not silently be no limit.
"""

import tomllib
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

import attrs

from enforcement.respond.addresses import IpNetwork
from gossip import limits
from gossip.errors import UserError
from gossip.membership.founders import (
    Founder,
    Founders,
    parse_card,
    parse_founders,
)
from node.keys.keystore import open_regular
from node.tables import Address, Table, is_name

FILE_NAME: Final = "config.toml"
MODES: Final = ("auto", "observe", "enforce")
MODES_OF: Final = ("gate", "isolation", "quarantine", "tools")
HOOK_EVENTS: Final = ("quarantined", "released", "held-back", "restored", "page")
PROVIDERS: Final = ("auto", "openssl", "liboqs")
_SIZE_BYTES_MAX: Final = 1 << 20
_RATE_MAX: Final = 1_000_000
_HOOK_S: Final = 10
_HOOK_S_MAX: Final = 300


@attrs.frozen(kw_only=True)
class AgentConfig:
    """An agent that works beside this node.

    Attributes:
        token_sha256: Digest of its bearer token; None if it may only use
            `picket wrap`.
    """

    name: str
    roles: tuple[str, ...]
    token_sha256: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ServerConfig:
    """An MCP server that this node provides: a command to start, or a URL."""

    name: str
    command: tuple[str, ...] = ()
    url: str | None = None
    env: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    visible_to: tuple[str, ...] | None = None
    """Which nodes are told what its tools declare; None: all."""
    resource: str = ""
    """What OAuth documents and tokens call it; empty: by its URL."""


@attrs.frozen(kw_only=True)
class RateConfig:
    """How fast each agent may call one server, here or on another node.

    Attributes:
        tools: Besides, its single tools.
    """

    calls_per_second: int
    burst: int
    tools: Mapping[str, "RateConfig"] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class HookConfig:
    """An operators' command that is told what happened.

    Attributes:
        events: What it is told; empty for everything.
    """

    command: tuple[str, ...]
    events: tuple[str, ...]
    deadline_s: int


@attrs.frozen(kw_only=True)
class ResponseConfig:
    """What a quarantine does to this machine.

    Attributes:
        nftables: Whether addresses of the quarantined are blocked.
        never_block: Networks of which no address ever is.
    """

    nftables: bool = False
    never_block: tuple[IpNetwork, ...] = ()
    hooks: Mapping[str, HookConfig] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class AuditConfig:
    """How long decisions are kept, and how many (half a gigabyte by default)."""

    days: int = 365
    rows: int = 1_000_000


@attrs.frozen(kw_only=True)
class TlsConfig:
    """The listener's certificate chain and its key, in PEM."""

    cert: Path
    key: Path


@attrs.frozen(kw_only=True)
class Config:
    """`config.toml`, read and checked; paths are absolute."""

    file: Path
    name: str
    founders_file: Path
    sponsor: str
    """Who brings this node in, if it joins after the founding; empty: a founder."""
    state: Path
    policy: Path
    listen: tuple[Address, ...]
    advertise: tuple[Address, ...]
    http: Address | None
    metrics: Address | None
    mode: str
    provider: str
    log_level: str
    agents: Mapping[str, AgentConfig]
    servers: Mapping[str, ServerConfig]
    rates: Mapping[str, RateConfig]
    tag_rates: Mapping[str, RateConfig] = attrs.field(factory=dict)
    modes: Mapping[str, str] = attrs.field(factory=dict)
    response: ResponseConfig = attrs.field(factory=ResponseConfig)
    http_agent: str | None = None
    http_hosts: Mapping[str, str] = attrs.field(factory=dict)
    http_tls: TlsConfig | None = None
    metrics_hosts: tuple[str, ...] = ()
    audit: AuditConfig = attrs.field(factory=AuditConfig)
    scan: str = "observe"

    def observes(self, what: str) -> bool:
        """Whether ``what`` of `MODES_OF` is only observed, not enforced."""
        return self.modes.get(what) == "observe"

    @property
    def control_socket(self) -> Path:
        """Where `picket status` and its like ask."""
        return self.state / "control.sock"

    @property
    def wrap_socket(self) -> Path:
        """Where `picket wrap` brings the bytes it guards."""
        return self.state / "wrap.sock"

    @property
    def store_file(self) -> Path:
        """Feeds, audit and meta."""
        return self.state / "picket.db"

    @property
    def keys(self) -> Path:
        """The keystore's folder."""
        return self.state / "keys"


def locate(path: str) -> Path:
    """The configuration meant by ``path``: a file, or the folder it is in."""
    given = Path(path)
    return given / FILE_NAME if given.is_dir() else given


def read_text(path: Path, what: str, advice: str = "") -> str:
    """Read a small text file that a person is responsible for.

    Raises:
        UserError: missing, unreadable, too large, or not UTF-8.
    """
    try:
        with open(path, "rb", opener=open_regular) as file:
            data = file.read(_SIZE_BYTES_MAX + 1)
        if len(data) > _SIZE_BYTES_MAX:
            raise UserError(f"{path}: {what} is larger than {_SIZE_BYTES_MAX} bytes")
        return data.decode()
    except FileNotFoundError:
        raise UserError(f"{path}: {what} is missing{advice}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: {what} is not UTF-8 text") from None
    except OSError as wrong:
        raise UserError(f"{path}: cannot read {what}: {wrong.strerror}") from None


def load_config(path: Path) -> Config:
    """Read a configuration.

    Raises:
        UserError: one sentence that names the file and the key.
    """
    file = path.absolute()
    try:
        text = read_text(file, "the configuration")
    except UserError as wrong:
        raise UserError(
            f"{wrong}; make one with `picket init DIR --name NAME`, or name it with"
            " --config"
        ) from None
    return parse_config(text, file)


def parse_config(text: str, file: Path) -> Config:
    """Check the text of a configuration; see `load_config`."""
    try:
        document: Mapping[str, object] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise UserError(f"{file}: not valid TOML: {wrong}") from None
    top = Table(str(file), "", document)
    top.only(*(_TOP_KEYS))
    crypto = top.table("crypto")
    crypto.only("provider")
    home = file.parent
    return Config(
        file=file,
        name=top.name("name"),
        founders_file=home / top.text("founders", "founders.toml"),
        sponsor=top.text("sponsor", ""),
        state=home / top.text("state", "."),
        policy=home / top.text("policy", "policy"),
        listen=top.addresses("listen"),
        advertise=top.addresses("advertise"),
        http=top.address("http"),
        metrics=top.address("metrics"),
        mode=top.choice("mode", MODES),
        provider=crypto.choice("provider", PROVIDERS),
        log_level=top.choice("log", ("info", "debug", "warn", "error")),
        agents={name: _agent(name, t) for name, t in top.tables("agents")},
        servers={name: _server(name, t) for name, t in top.tables("servers")},
        rates={name: _rate(t, "tools") for name, t in top.tables("rates")},
        tag_rates={name: _rate(t) for name, t in top.tables("tag_rates")},
        modes=_modes(top.table("modes")),
        response=_response(top.table("response")),
        http_agent=_http_agent(top),
        http_hosts=_http_hosts(top.table("http_hosts")),
        http_tls=_tls(top.table("http_tls"), home),
        metrics_hosts=tuple(host.lower() for host in top.texts("metrics_hosts")),
        audit=_audit(top.table("audit")),
        scan=top.choice("scan", ("observe", "annotate", "off")),
    )


def load_founders(config: Config) -> Founders:
    """Read the founders' file that a configuration names.

    Raises:
        UserError: missing, broken, or this node is not in it by its name.
    """
    advice = "; `picket founders` makes it of all nodes' cards"
    if config.sponsor:
        advice = f"; copy founders.toml from {config.sponsor}, or any other member"
    text = read_text(config.founders_file, "the founders' file", advice)
    founders = parse_founders(text, str(config.founders_file))
    if config.name in {node.name for node in founders.nodes}:
        return founders
    if not config.sponsor:
        raise UserError(
            f"{config.founders_file}: no [[node]] is called `{config.name}`, the name"
            f" in {config.file}; one that joins later names its `sponsor` there"
        )
    return founders


def load_member(config: Config, founders: Founders) -> Founder:
    """This node as the founders' file has it, or else as its own card does.

    Raises:
        UserError: the card is missing or broken, or for another name.
    """
    for node in founders.nodes:
        if node.name == config.name:
            return node
    card = config.state / "card.toml"
    member = parse_card(read_text(card, "this node's card"), str(card))
    if member.name != config.name:
        raise UserError(f"{card}: is the card of `{member.name}`, not `{config.name}`")
    return member


_TOP_KEYS: Final = (
    "name",
    "founders",
    "sponsor",
    "state",
    "policy",
    "listen",
    "advertise",
    "http",
    "http_agent",
    "http_hosts",
    "http_tls",
    "metrics",
    "metrics_hosts",
    "audit",
    "scan",
    "mode",
    "log",
    "crypto",
    "agents",
    "servers",
    "rates",
    "tag_rates",
    "modes",
    "response",
)


def _audit(table: Table) -> AuditConfig:
    table.only("days", "rows")
    usual = AuditConfig()
    return AuditConfig(
        days=table.number("days", 36_500) or usual.days,
        rows=table.number("rows", 10**9) or usual.rows,
    )


def _http_agent(top: Table) -> str | None:
    name, http = top.text("http_agent", ""), top.address("http")
    if not name:
        return None
    if http is None or not _is_loopback(http[0]):
        raise top.wrong("http_agent", "needs `http` on a loopback address")
    if name not in dict(top.tables("agents")):
        raise top.wrong("http_agent", "must be one of [agents]")
    return name


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _http_hosts(table: Table) -> dict[str, str]:
    hosts = {host.lower(): server for host, server in table.all_texts().items()}
    for host, server in hosts.items():
        if not is_name(server) or "/" in host:
            raise table.wrong(host, "must be a `Host` header and name a server")
    return hosts


def _tls(table: Table, home: Path) -> TlsConfig | None:
    table.only("cert", "key")
    if not table.values:
        return None
    cert, key = table.text("cert", ""), table.text("key", "")
    if not cert or not key:
        raise table.wrong("cert", "and `key` are both needed")
    return TlsConfig(cert=home / cert, key=home / key)


def _agent(name: str, table: Table) -> AgentConfig:
    table.only("roles", "token_sha256")
    token = table.text("token_sha256", "")
    if token and (len(token) != 64 or set(token) - set("0123456789abcdef")):
        raise table.wrong("token_sha256", "must be 64 hex digits")
    roles = table.texts("roles")
    if len(roles) > limits.ROLES_MAX or not all(map(is_name, roles)):
        raise table.wrong("roles", f"must be at most {limits.ROLES_MAX} plain names")
    return AgentConfig(
        name=name,
        roles=tuple(sorted(set(roles))),
        token_sha256=bytes.fromhex(token) if token else None,
    )


def _server(name: str, table: Table) -> ServerConfig:
    table.only("command", "url", "env", "visible_to", "resource")
    command, url = table.texts("command"), table.text("url", "")
    if bool(command) == bool(url):
        raise table.wrong("command", "or `url` is needed, and not both")
    if url and not url.startswith(("http://", "https://")):
        raise table.wrong("url", "must start with http:// or https://")
    resource = table.text("resource", "")
    if resource and not (url and resource.startswith(("http://", "https://"))):
        raise table.wrong("resource", "is an http or https URL, of a server with `url`")
    return ServerConfig(
        name=name,
        command=command,
        url=url or None,
        env=table.table("env").all_texts(),
        visible_to=table.texts("visible_to") if "visible_to" in table.values else None,
        resource=resource,
    )


def _rate(table: Table, *more: str) -> RateConfig:
    table.only("calls_per_second", "burst", *more)
    rate = table.number("calls_per_second", _RATE_MAX)
    if rate is None:
        raise table.wrong("calls_per_second", "is missing")
    burst = table.number("burst", _RATE_MAX)
    return RateConfig(
        calls_per_second=rate,
        burst=rate if burst is None else burst,
        tools={name: _rate(t) for name, t in table.tables("tools")} if more else {},
    )


def _modes(table: Table) -> dict[str, str]:
    table.only(*MODES_OF)
    told = [what for what in MODES_OF if what in table.values]
    return {what: table.choice(what, ("enforce", "observe")) for what in told}


def _response(table: Table) -> ResponseConfig:
    table.only("nftables", "never_block", "hooks")
    try:
        never = tuple(ip_network(text) for text in table.texts("never_block"))
    except ValueError as wrong:
        raise table.wrong(
            "never_block", f"must be a list of networks such as 10.0.0.0/8: {wrong}"
        ) from None
    return ResponseConfig(
        nftables=table.flag("nftables"),
        never_block=never,
        hooks={name: _hook(t) for name, t in table.tables("hooks")},
    )


def _hook(table: Table) -> HookConfig:
    table.only("command", "events", "deadline_s")
    command, events = table.texts("command"), table.texts("events")
    if not command or not command[0].startswith("/"):
        raise table.wrong("command", "must begin with the full path of a program")
    for event in events:
        if event not in HOOK_EVENTS:
            known = ", ".join(HOOK_EVENTS)
            raise table.wrong("events", f"has `{event}`; known are {known}")
    deadline_s = table.number("deadline_s", _HOOK_S_MAX) or _HOOK_S
    return HookConfig(command=command, events=events, deadline_s=deadline_s)
