"""The founders' file on servers that several nodes provide."""

import pytest

from gossip.errors import UserError
from gossip.membership.founders import parse_founders
from gossip.membership.roster import Roster
from scenarios.toy import ToySuite
from tests.support.members import founders_text, member

SUITE = ToySuite()


def told(replicated: str = "") -> str:
    """North and south provide ``sql``; east provides a server of its own."""
    text = founders_text(SUITE, ["south", "east", "north"])
    for name in ("south", "north"):
        text = text.replace(f'servers = ["{name}-db"]', 'servers = ["sql"]')
    return replicated + text


def test_several_nodes_provide_a_server_in_the_order_of_the_file() -> None:
    known = Roster(parse_founders(told('replicated = ["sql"]\n'), "f.toml"))
    both = tuple(member(SUITE, name).node for name in ("south", "north"))
    assert known.providers("sql") == both
    assert known.providers("east-db") == (member(SUITE, "east").node,)
    assert known.providers("no-such") == ()
    assert known.servers() == ("east-db", "sql")


@pytest.mark.parametrize(
    ("replicated", "wrong"),
    [
        ("", "server `sql` is provided by south and north; if they shall"),
        ('replicated = ["east-db", "sql"]\n', "`east-db`, which 1 node provides"),
        ('replicated = ["sql", "x"]\n', "`x`, which 0 nodes provide"),
        ('replicated = "sql"\n', "`replicated` must be a list of strings"),
        ('replicated = ["sql", "sql"]\n', "replicated server `sql` appears twice"),
    ],
)
def test_nobody_takes_part_in_a_server_unless_the_file_says_so(
    replicated: str, wrong: str
) -> None:
    with pytest.raises(UserError) as mistake:
        parse_founders(told(replicated), "f.toml")
    assert str(mistake.value).startswith("f.toml: the file: ")
    assert wrong in str(mistake.value)


def test_one_node_names_a_server_once() -> None:
    text = told('replicated = ["sql"]\n').replace('["sql"]\n[[o', '["sql", "sql"]\n[[o')
    with pytest.raises(UserError, match="server `sql` appears twice"):
        parse_founders(text, "f.toml")
