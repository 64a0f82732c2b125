"""config.toml: what is right is read whole, what is wrong is one clear sentence."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.errors import UserError
from node.config import Config, load_config, parse_config
from node.guard import scanner_of
from node.tables import parse_address, show_address

FULL = """
name = "ledger"
founders = "cluster.toml"
state = "state"
policy = "rules"
listen = ["127.0.0.1:7946", "[::1]:7946"]
advertise = ["10.0.0.1:7946"]
http = "127.0.0.1:8080"
metrics = "127.0.0.1:9464"
mode = "enforce"
log = "debug"
http_agent = "clerk"
[http_hosts]
"A.example" = "far"
[http_tls]
cert = "cert.pem"
key = "key.pem"
[crypto]
provider = "openssl"
[agents.clerk]
roles = ["teller", "agent"]
token_sha256 = "%s"
[servers.accounts]
command = ["mcp-server-sqlite", "--db-path", "a.db"]
env = { LANG = "C" }
[servers.elsewhere]
url = "http://127.0.0.1:9000/mcp"
[rates.far]
calls_per_second = 50
""" % ("ab" * 32)


def read(text: str) -> Config:
    return parse_config(text, Path("/etc/picket/config.toml"))


@pytest.mark.parametrize(
    ("scan", "looks", "warns"),
    [("off", False, False), ("observe", True, False), ("annotate", True, True)],
)
def test_answers_are_looked_at_as_the_configuration_says(
    scan: str, looks: bool, warns: bool
) -> None:
    scanner = scanner_of(read(f'scan = "{scan}"\n{FULL}'))
    assert (scanner is not None) == looks
    assert (scanner is not None and scanner.annotates) == warns
    assert read(FULL).scan == "observe"


def test_a_full_file_is_read() -> None:
    config = read(FULL)
    assert config.listen == (("127.0.0.1", 7946), ("::1", 7946))
    assert config.founders_file == Path("/etc/picket/cluster.toml")
    assert config.control_socket == Path("/etc/picket/state/control.sock")
    assert config.agents["clerk"].roles == ("agent", "teller")
    assert config.rates["far"].burst == 50
    assert (config.http_agent, config.http_hosts) == ("clerk", {"a.example": "far"})
    assert config.http_tls is not None
    assert config.http_tls.key == Path("/etc/picket/key.pem")
    assert config.servers["elsewhere"].url == "http://127.0.0.1:9000/mcp"


def test_a_name_is_all_it_takes() -> None:
    config = read('name = "a"')
    assert (config.mode, config.provider, config.listen) == ("auto", "auto", ())
    assert config.http is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = x", "line 1"),
        ("", "`name` is missing"),
        ('name = "a b"', "`name` must be"),
        ('name = "a"\nlisen = []', "`lisen` is unknown"),
        ('name = "a"\nlisten = "x:1"', "`listen` must be a list"),
        ('name = "a"\nlisten = ["::1:7946"]', "is not `host:port`"),
        ('name = "a"\nhttp = "localhost:99999"', "is not `host:port`"),
        ('name = "a"\nhttp = "0.0.0.0:1"\nhttp_agent = "b"', "on a loopback address"),
        ('name = "a"\nhttp = "x:1"\nhttp_agent = "b"', "on a loopback address"),
        ('name = "a"\nhttp = "[::1]:1"\nhttp_agent = "b"', "one of [agents]"),
        ('name = "a"\n[http_hosts]\n"h:1" = "a b"', "name a server"),
        ('name = "a"\n[http_tls]\ncert = "c"', "`key` are both needed"),
        ('name = "a"\nmode = "off"', "choose one of auto, observe, enforce"),
        ('name = "a"\ncrypto = 1', "written as [crypto]"),
        ('name = "a"\n[crypto]\nprovider = "rot13"', "`crypto.provider` is `rot13`"),
        ('name = "a"\n[agents."a b"]\nroles=[]', "plain name"),
        ('name = "a"\n[agents.x]\nroles=["x"]\ntoken_sha256="A"', "64 hex digits"),
        ('name = "a"\n[servers.x]\ncommand=[]', "`servers.x.command` or `url`"),
        ('name = "a"\n[servers.x]\nurl="ftp://x"', "must start with http://"),
        ('name = "a"\n[rates.x]\nburst=3', "`rates.x.calls_per_second` is missing"),
        ('name = "a"\n[rates.x]\ncalls_per_second=true', "whole number"),
        ('name = "a"\n[servers.x]\ncommand=["x"]\nenv={A=1}', "`servers.x.env.A`"),
    ],
)
def test_each_mistake_is_one_sentence_that_names_file_and_key(
    text: str, says: str
) -> None:
    with pytest.raises(UserError) as caught:
        read(text)
    sentence = str(caught.value)
    assert says in sentence
    assert sentence.startswith("/etc/picket/config.toml: ")
    assert "\n" not in sentence


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="picket init"):
        load_config(tmp_path / "config.toml")


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_an_address_shown_is_the_address_read(host: object, port: int) -> None:
    address = (str(host), port)
    assert parse_address(show_address(address)) == address


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = parse_address(text)
    assert address is None or 0 <= address[1] <= 65_535


@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_a_users_mistake(text: str) -> None:
    try:
        read(text)
    except UserError as mistake:
        wrong = str(mistake)
    else:
        return
    assert wrong.startswith("/etc/picket/config.toml: ")
