"""The promises of ``enforcement.defend.policy`` and its rules."""

from pathlib import Path

import pytest

from enforcement import limits
from enforcement.defend.policy import Call, Decision, Policy
from enforcement.mcp.jsonrpc import Reason
from enforcement.mcp.strictjson import Json
from gossip.errors import UserError
from tests.support.sessions import PERMIT, Agent, Town

STARTER = Path(__file__).parents[3] / "enforcement" / "defend" / "starter"
TOOL = 'action == Action::"tools/call"'


@pytest.fixture(scope="module")
def clerk(town: Town) -> Agent:
    return town.agent("clerk-1", "clerk")


def ask(
    rules: str, agent: Agent, tool: str = "t", server: str = "sql", **arguments: Json
) -> Decision:
    return decide(Policy.load({"p.cedar": rules}), agent, tool, server, **arguments)


def decide(
    policy: Policy, agent: Agent, tool: str, server: str = "sql", **arguments: Json
) -> Decision:
    return policy.decide(
        Call(
            principal=agent.principal,
            server=server,
            method="tools/call",
            tool=tool,
            params={"name": tool, "arguments": arguments},
        )
    )


def mistake(rules: str) -> str:
    with pytest.raises(UserError) as caught:
        Policy.load({"p.cedar": rules})
    said = str(caught.value)
    assert said.startswith("p.cedar: ")
    assert "\n" not in said
    return said


def test_nothing_is_allowed_that_no_rule_permits(clerk: Agent) -> None:
    assert ask("", clerk).reason is Reason.NO_PERMIT
    assert ask(PERMIT, clerk).allow


def test_a_forbid_wins_and_the_gravest_is_named(clerk: Agent) -> None:
    rules = PERMIT + "".join(
        f'@id("{name}") @severity("{n}") forbid(principal, {TOOL}, resource);'
        for name, n in (("a", 5), ("b", 8), ("c", 7))
    )
    said = ask(rules, clerk)
    assert (said.allow, said.rule, said.severity, said.hostile) == (False, "b", 8, True)


def test_a_rule_that_errs_denies(clerk: Agent) -> None:
    """Cedar itself would skip it, and allow."""
    rules = PERMIT + (
        f"forbid(principal, {TOOL}, resource) when"
        " { context.params has amount && context.params.amount > 1000 };"
    )
    assert ask(rules, clerk, amount=5).allow
    assert ask(rules, clerk, amount=5000).reason is Reason.RULE
    assert ask(rules, clerk, amount="5000").reason is Reason.POLICY_ERROR
    assert ask(rules, clerk, amount=None).allow
    assert ask(rules, clerk, other="5000").allow
    assert ask(rules, clerk, AMOUNT=5000).reason is Reason.UNREADABLE
    assert ask(rules, clerk, amount=2**70).reason is Reason.UNREADABLE


def test_scopes_are_sliced_as_cedar_reads_them(clerk: Agent) -> None:
    for scope, tools in {
        'resource == Tool::"sql/t"': {("sql", "t")},
        'resource in Server::"sql"': {("sql", "t"), ("sql", "u")},
        'resource is Tool in Server::"sql"': {("sql", "t"), ("sql", "u")},
        "resource is Server": set(),
        "resource is Tool": {("sql", "t"), ("sql", "u"), ("git", "t")},
        'resource in Tool::"git/t"': {("git", "t")},
        "resource": {("sql", "t"), ("sql", "u"), ("git", "t")},
    }.items():
        for action in ("action", TOOL, 'action in [Action::"x", Action::"tools/call"]'):
            rules = f"{PERMIT} forbid(principal, {action}, {scope});"
            for server, tool in (("sql", "t"), ("sql", "u"), ("git", "t")):
                allowed = ask(rules, clerk, tool, server).allow
                assert allowed == ((server, tool) not in tools)
    assert ask(
        f'{PERMIT} forbid(principal, action == Action::"x", resource);', clerk
    ).allow


def test_other_methods_are_judged_by_server_and_params(clerk: Agent) -> None:
    policy = Policy.load(
        {
            "p.cedar": PERMIT + 'forbid(principal, action == Action::"resources/read",'
            ' resource == Server::"sql") when { context.params has uri &&'
            ' context.words.uri.contains("secrets") };'
        }
    )

    def allowed(uri: str) -> bool:
        return policy.decide(
            Call(
                principal=clerk.principal,
                server="sql",
                method="resources/read",
                tool="",
                params={"uri": uri},
            )
        ).allow

    assert allowed("memo://insights")
    assert not allowed("memo://%53ecrets")


def test_principals_have_roles_a_name_and_a_node(clerk: Agent) -> None:
    for condition, holds in {
        'principal in Role::"clerk"': True,
        'principal in Role::"admin"': False,
        'principal.name == "clerk-1"': True,
        'principal.node == "branch"': True,
        'principal.node == "other"': False,
        'resource.name == "t" && resource.server == "sql"': True,
    }.items():
        rules = f"{PERMIT} forbid(principal, {TOOL}, resource) when {{ {condition} }};"
        assert ask(rules, clerk).allow is not holds


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (PERMIT + "\n// a ; \n\nforbid(principle, action, resource);", "line 5"),
        (PERMIT + "permit(", "line 2"),
        ('@id("x") permit(principal, action, resource) when { ";" == };', "line 1"),
        ("permit(principal == ?principal, action, resource);", "templates"),
        ('@severty("8") ' + PERMIT, "@severty"),
        ('@severity("8") ' + PERMIT, "@severity"),
        ('@severity("10") forbid(principal, action, resource);', "@severity"),
        ('@severity("0x8") forbid(principal, action, resource);', "@severity"),
        ('@id("a") ' + PERMIT + '@id("a") ' + PERMIT, "already used"),
        (
            "forbid(principal, action, resource) when { context.params.x == 1 };",
            "context.params has x",
        ),
        (
            "forbid(principal, action, resource) when { context.params has x ||"
            " context.params.x == 1 };",
            "context.params has x",
        ),
        (
            "forbid(principal, action, resource) when { !(context.params has x) &&"
            " context.words.x == [] };",
            "context.words has x",
        ),
        (
            "forbid(principal, action, resource) unless { context.params has x }"
            " when { context.params.x == 1 };",
            "context.params has x",
        ),
        (
            "forbid(principal, action, resource) when { context.time > 1 };",
            "context.time",
        ),
        ("forbid(principal, action, resource) when { context == {} };", "context"),
        (
            "forbid(principal, action, resource) when { principal.trust > 1 };",
            "principal.trust",
        ),
        (
            '@severity("7") forbid(principal, action, resource)'
            " when { context.params == {} };",
            "single parameters",
        ),
    ],
)
def test_a_mistake_is_one_clear_sentence(rules: str, says: str) -> None:
    assert says in mistake(rules)


@pytest.mark.parametrize(
    "condition",
    [
        "context.params has x && context.params.x == 1",
        "context.params has x.y && context.params.x.y == 1",
        "if context.params has x then context.params.x == 1 else false",
        "(context.params has x && context.params has y) && context.params.x == 1",
        "((context.params has x && true) || (context.params has x)) &&"
        " context.params.x == 1",
        "true } unless { context.params has x && context.words.x == [] ",
        "context.params has x } when { context.params.x == 1 ",
        "principal has name && {a: [context.params]}.a.contains({b: 1})",
        "context has params && !(resource is Server)",
        " || ".join(['principal.name like "a*"'] * 100),
    ],
)
def test_a_guarded_read_is_understood(condition: str) -> None:
    Policy.load({"p": f"forbid(principal, action, resource) when {{ {condition} }};"})


def test_bundles_and_rules_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nested too deeply" in mistake(
        "forbid(principal, action, resource) when {"
        + " || ".join(["principal.name == resource.name"] * 300)
        + "};"
    )
    assert "printable" in mistake(f'@id("{"x" * 129}") {PERMIT}')
    for files in (
        {str(i): PERMIT for i in range(limits.POLICY_FILES_MAX + 1)},
        {"a": " " * (limits.POLICY_BYTES_MAX + 1)},
    ):
        with pytest.raises(UserError, match="at most"):
            Policy.load(files)
    monkeypatch.setattr(limits, "RULES_MAX", 1)
    with pytest.raises(UserError, match="at most"):
        Policy.load({"a": PERMIT * 2})


def test_many_agents_cannot_fill_the_memory(
    town: Town, clerk: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SLICE_PRINCIPALS_MAX", 1)
    policy = Policy.load({"p": PERMIT})
    for agent in (clerk, town.agent("another", "clerk"), clerk):
        assert decide(policy, agent, "t").allow
        (part,) = policy._slices.values()
        assert len(part._entities) == 1


def test_the_digest_names_the_texts() -> None:
    one, two = Policy.load({"a": PERMIT}), Policy.load({"a": PERMIT + " "})
    assert one.digest == Policy.load({"a": PERMIT}).digest
    assert len({one.digest, two.digest, Policy.load({"b": PERMIT}).digest}) == 3


def test_a_file_name_that_strangers_choose_cannot_fill_the_memory(clerk: Agent) -> None:
    policy = Policy.load({"p": PERMIT})
    for number in range(5_000):
        assert decide(policy, clerk, f"t{number}").allow
    assert len(policy._slices) <= 4_096


# The tutorial policy


@pytest.fixture(scope="module")
def starter() -> Policy:
    return Policy.load({p.name: p.read_text() for p in STARTER.glob("*.cedar")})


@pytest.mark.parametrize(
    ("role", "tool", "server", "arguments", "rule"),
    [
        ("admin", "write_query", "sql", {"query": "UPDATE financial_ledger"}, ""),
        ("clerk", "read_query", "sql", {"query": "SELECT * FROM financial_ledger"}, ""),
        ("clerk", "write_query", "sql", {"query": "INSERT INTO notes"}, ""),
        (
            "clerk",
            "write_query",
            "sql",
            {"query": 'insert into "FINANCIAL_LEDGER"'},
            "ledger-admin-only",
        ),
        (
            "retail",
            "create_table",
            "sql",
            {"query": "create table financial_ledger"},
            "ledger-admin-only",
        ),
        (
            "retail",
            "read_query",
            "sql",
            {"query": "select * from System_Config"},
            "retail-no-system-config",
        ),
        (
            "retail",
            "describe_table",
            "sql",
            {"table_name": "system_config"},
            "retail-no-system-config",
        ),
        ("retail", "describe_table", "sql", {"table_name": "notes"}, ""),
        ("clerk", "describe_table", "sql", {"table_name": "system_config"}, ""),
        ("hr", "list_tables", "sql", {}, "hr-no-sql"),
        ("hr", "get_current_time", "time", {}, ""),
        ("clerk", "git_log", "git", {"repo_path": "."}, ""),
    ],
)
def test_the_tutorial_policy_holds(
    town: Town,
    starter: Policy,
    role: str,
    tool: str,
    server: str,
    arguments: dict[str, Json],
    rule: str,
) -> None:
    said = decide(starter, town.agent(f"{role}-1", role), tool, server, **arguments)
    assert said.rule == rule
    assert said.allow == (rule == "")
    assert said.hostile == (rule != "")


LEDGER = "ledger-admin-only"


@pytest.mark.parametrize(
    ("tool", "query", "rule"),
    [
        ("read_query", "VACUUM INTO '/tmp/copy.db'", "no-copies"),
        ("write_query", "vacuum/**/into 'copy.db'", "no-copies"),
        ("write_query", "ATTACH 'bank.db' AS other", "no-copies"),
        ("write_query", "PRAGMA writable_schema = 1", "no-copies"),
        ("read_query", "select load_extension('x')", "no-copies"),
        ("read_query", "WITH x AS (SELECT 1) INSERT INTO financial_ledger", LEDGER),
        ("read_query", "SELECT * INTO other FROM financial_ledger", LEDGER),
        ("read_query", "select 1; drop table financial_ledger", LEDGER),
        ("read_query", "select replace(a, 'x', 'y') from financial_ledger", ""),
        ("read_query", "select vacuumed from cleaners", ""),
    ],
)
def test_what_only_looks_like_reading_is_no_reading(
    town: Town, starter: Policy, tool: str, query: str, rule: str
) -> None:
    clerk = town.agent("clerk-1", "clerk")
    assert decide(starter, clerk, tool, query=query).rule == rule
    admin = town.agent("admin-1", "admin")
    assert decide(starter, admin, tool, query=query).allow


@pytest.mark.parametrize(
    ("role", "method", "server", "uri", "rule"),
    [
        ("hr", "resources/read", "sql", "memo://insights", "hr-no-sql-by-address"),
        ("hr", "prompts/get", "sql", "", "hr-no-sql-by-address"),
        ("hr", "resources/read", "files", "file:///a", ""),
        ("hr", "tools/list", "sql", "", ""),
        (
            "retail",
            "resources/read",
            "sql",
            "db://bank/System%5fconfig",
            "retail-no-system-config-by-address",
        ),
        ("retail", "resources/read", "sql", "db://bank/stock", ""),
        ("clerk", "resources/read", "sql", "db://bank/system_config", ""),
    ],
)
def test_the_tutorial_policy_holds_for_what_is_read_by_address(
    town: Town,
    starter: Policy,
    role: str,
    method: str,
    server: str,
    uri: str,
    rule: str,
) -> None:
    call = Call(
        principal=town.agent(f"{role}-1", role).principal,
        server=server,
        method=method,
        tool="",
        params={"uri": uri} if uri else {},
    )
    said = starter.decide(call)
    assert (said.rule, said.hostile) == (rule, False)
    assert said.allow == (rule == "")
