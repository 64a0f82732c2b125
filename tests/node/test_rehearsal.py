"""`picket policy test | explain | diff | learn`, as a person uses them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from enforcement.defend.policy import Policy
from gossip.errors import UserError
from node.cli.main import cli
from node.rehearsal import differences, draft, read_cases

TUTORIAL = Path("enforcement/defend/starter")
CASES = """
[[case]]
name = "a till reads sales"
agent = "till-1"
roles = ["retail"]
server = "sql"
tool = "read_query"
arguments = { query = "select * from sales" }
expect = "allow"

[[case]]
name = "a till reads the configuration"
agent = "till-1"
roles = ["retail"]
server = "sql"
tool = "read_query"
arguments = { query = "select * from SYSTEM_config" }
expect = "deny"
rule = "retail-no-system-config"
"""


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["policy", *words])
    if isinstance(result.exception, UserError):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    file = tmp_path / "cases.toml"
    file.write_text(CASES)
    return file


def test_cases_pass_or_say_what_is_otherwise(cases: Path) -> None:
    assert run("test", str(cases), "--policy", str(TUTORIAL))[0] == 0
    cases.write_text(CASES.replace('expect = "deny"', 'expect = "allow"'))
    code, said = run("test", str(cases), "--policy", str(TUTORIAL))
    assert code == 1
    assert "a till reads the configuration: expected allow, got deny" in said


def test_two_agents_of_one_name_are_judged_by_their_own_roles(cases: Path) -> None:
    policy = Policy.load({"p": (TUTORIAL / "tutorial.cedar").read_text()})
    first, second = read_cases(cases)
    cases.write_text(CASES.replace('["retail"]', "[]"))
    free = read_cases(cases)[1]
    decided = [policy.decide(c.call).allow for c in (first, second, free)]
    assert decided == [True, False, True]


def test_explaining_names_each_rule_and_its_answer(tmp_path: Path) -> None:
    call = tmp_path / "call.json"
    request = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "write_query", "arguments": {"query": "financial_ledger"}},
        "server": "sql",
    }
    call.write_text(json.dumps(request))
    _, said = run("explain", str(call), "--policy", str(TUTORIAL), "--json")
    (told,) = json.loads(said)
    assert (told["decision"], told["rule"]) == ("deny", "ledger-admin-only")
    answers = {rule["id"]: rule["answer"] for rule in told["rules"]}
    assert answers["ledger-admin-only"] == answers["everything-else"] == "applies"
    assert answers["hr-no-sql"] == "does not apply"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[case]]\nrolls = []", "`rolls` is unknown"),
        ("[[case]]\nroles = 'x'", "`roles` must be a list"),
        ("[[case]]\nexpect = 'maybe'", "`expect`"),
        ("case = 1", "no cases"),
        ("[[", "cannot be read"),
    ],
)
def test_a_mistake_in_a_file_of_cases_is_one_sentence(
    cases: Path, text: str, fault: str
) -> None:
    cases.write_text(text)
    with pytest.raises(UserError, match=r"cases\.toml") as told:
        read_cases(cases)
    assert fault in str(told.value)


def test_a_diff_names_rules_by_what_happened_to_them() -> None:
    old = Policy.load({"p": '@id("a") permit(principal, action, resource);'})
    new = Policy.load(
        {
            "p": '@id("a") permit(principal in Role::"x", action, resource);'
            '@id("b") @severity("7") forbid(principal, action, resource);'
        }
    )
    assert differences(old, new) == [
        ("changed", "a", "permit"),
        ("added", "b", "forbid 7"),
    ]
    assert [what for what, _, _ in differences(new, old)] == ["changed", "removed"]


def test_learning_drafts_what_passed_and_says_what_it_would_newly_allow() -> None:
    def row(tool: str, verdict: str, reason: str) -> dict[str, str]:
        return {
            "agent": "ab" * 32,
            "server": "sql",
            "method": "tools/call",
            "tool": tool,
            "verdict": verdict,
            "reason": reason,
        }

    live = Policy.load(
        {"p": 'permit(principal, action, resource == Tool::"sql/read");'}
    )
    odd = 'x"); permit(principal, action, resource); //'
    text, newly = draft(
        [
            row("read", "allowed", "allowed"),
            row("read", "allowed", "allowed"),
            row("write", "denied", "no-permit"),
            row("drop", "denied", "rule"),
            row(odd, "denied", "no-permit"),
        ],
        live,
    )
    learnt = Policy.load({"draft.cedar": text})
    assert len(learnt.rules) == 3, "a tool's name cannot smuggle a rule in"
    assert "drop" not in text
    assert len(newly) == 2
    assert all("sql/read" not in line for line in newly)


def test_a_draft_is_never_written_where_it_would_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must not end in"):
        run("learn", str(tmp_path / "learnt.cedar"))
