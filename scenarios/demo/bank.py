"""The bank of the demo: who is in it, what they provide, and its data.

::

    branch-north   retail-bot, night-batch        honest, later it floods
    branch-south   loan-bot, teller               its egress is compromised
    fraud-desk     investigator       git         accused of what it did not do
    ledger         bookkeeper         sql         what the attack is after
    gateway        clerk              time        will lie
"""

import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

CLUSTER: Final = "bank"
OPERATORS: Final = ("auditor", "chief", "warden")
RATES: Final[Mapping[str, tuple[int, int]]] = {
    "sql": (10, 20),
    "git": (2, 6),
    "time": (2, 6),
}
"""What a node lets one agent ask of a server: calls a second, and at once. The
server's own node bears twice that before it complains."""

READ_ACCOUNTS: Final = "SELECT owner, cents FROM accounts ORDER BY owner"
READ_LEDGER: Final = "SELECT note, cents FROM financial_ledger"
READ_CONFIG: Final = "SELECT value FROM system_config WHERE name = 'vault_code'"
STEAL: Final = "INSERT INTO financial_ledger VALUES ('loan payout', 100000000)"

_TABLES: Final = """
CREATE TABLE accounts (owner TEXT, cents INTEGER);
INSERT INTO accounts VALUES ('bakery', 120500), ('cinema', 98000), ('dairy', 4200);
CREATE TABLE financial_ledger (note TEXT, cents INTEGER);
INSERT INTO financial_ledger VALUES ('opening balance', 222700);
CREATE TABLE system_config (name TEXT, value TEXT);
INSERT INTO system_config VALUES ('vault_code', '0000');
"""


@attrs.frozen(kw_only=True)
class Member:
    """One node of the bank.

    Attributes:
        agents: Their roles, by name.
        serves: The MCP server it provides, or none.
        rogue: Whether it runs `scenarios.demo.rogue` instead of `picket run`.
        unlimited: Whether somebody took the rate limits out of its configuration.
    """

    name: str
    agents: Mapping[str, tuple[str, ...]]
    serves: str | None = None
    rogue: bool = False
    unlimited: bool = False

    @property
    def grants(self) -> tuple[str, ...]:
        """Every role it must be able to grant."""
        return tuple(sorted({role for roles in self.agents.values() for role in roles}))


MEMBERS: Final = (
    Member(
        name="branch-north",
        agents={"retail-bot": ("retail",), "night-batch": ("agent",)},
        unlimited=True,
    ),
    Member(
        name="branch-south",
        agents={"loan-bot": ("retail",), "teller": ("agent",)},
        rogue=True,
    ),
    Member(name="fraud-desk", agents={"investigator": ("agent",)}, serves="git"),
    Member(name="ledger", agents={"bookkeeper": ("admin",)}, serves="sql"),
    Member(name="gateway", agents={"clerk": ("agent",)}, serves="time"),
)
NAMES: Final = tuple(member.name for member in MEMBERS)


def server_commands(folder: Path, servers: Path) -> dict[str, list[str]]:
    """How each MCP server is started; ``servers`` is what `make servers` made."""

    def program(name: str) -> str:
        return str(servers / name / "bin" / f"mcp-server-{name}")

    return {
        "sql": [program("sqlite"), "--db-path", str(database(folder))],
        "git": [program("git"), "--repository", str(repository(folder))],
        "time": [program("time"), "--local-timezone", "UTC"],
    }


def database(folder: Path) -> Path:
    """The file of the ledger's database."""
    return folder / "bank.db"


def repository(folder: Path) -> Path:
    """The fraud desk's case files, under version control."""
    return folder / "cases"


def fill(folder: Path) -> None:
    """Make the database and the repository."""
    with sqlite3.connect(database(folder)) as connection:
        connection.executescript(_TABLES)
    connection.close()
    cases = repository(folder)
    cases.mkdir()
    (cases / "case-1.md").write_text("Two withdrawals in one minute. Closed.\n")
    git = [
        "git",
        "-C",
        str(cases),
        "-c",
        "user.name=desk",
        "-c",
        "user.email=desk@bank",
    ]
    for words in (
        ["init", "--quiet"],
        ["add", "."],
        ["-c", "commit.gpgsign=false", "commit", "--quiet", "-m", "Close case 1"],
    ):
        subprocess.run([*git, *words], check=True, capture_output=True)


def stolen(folder: Path) -> int:
    """How many rows the attack got into the ledger, asked behind everybody's back."""
    with sqlite3.connect(f"file:{database(folder)}?mode=ro", uri=True) as connection:
        query = "SELECT count(*) FROM financial_ledger WHERE note = 'loan payout'"
        count = int(connection.execute(query).fetchone()[0])
    connection.close()
    return count
