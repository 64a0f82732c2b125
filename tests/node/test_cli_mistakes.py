"""Calling a command wrongly: one sentence that says what to do, or the whole page."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gossip.errors import PeerError, UserError
from node.cli import policy
from node.cli.act import read_draft
from node.cli.signing import duration_ms, finish_act
from node.jsonlines import Json
from tests.node.test_cli import fails
from tests.node.test_daemon import bear, daemon_of, running, tell
from tests.support.daemons import picket


@pytest.fixture(scope="module")
def solo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("solo") / "n"
    picket("init", str(home), "--name", "here", "--solo")
    return home


@pytest.mark.parametrize("words", [(), ("sim",), ("quarantine",)])
def test_a_group_without_a_command_shows_its_page(words: tuple[str, ...]) -> None:
    done = picket(*words, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(" ".join(("Usage: picket", *words)))
    assert "\\n" not in done.stderr
    assert done.stderr == picket(*words, "--help").stdout


def test_who_calls_a_command_wrongly_is_led_to_its_own_page() -> None:
    words = ("act", "sign", "x", "--operator-key", "k", "-c", "gum")
    assert "see `picket act sign --help`" in fails(*words, code=2)
    assert "see `picket --help`" in fails("nosuch", code=2)


def test_a_card_does_not_sign_and_an_unsigned_draft_is_not_submitted(
    solo: Path, tmp_path: Path
) -> None:
    draft, card = tmp_path / "d", solo / "operator" / "here.card.toml"
    draft.write_text('{"draft": "90", "signatures": {}}')
    said = fails("act", "submit", str(draft), "-c", str(solo))
    assert "nobody has signed this draft" in said
    assert "picket act sign" in said
    with pytest.raises(UserError, match="this is a card"):
        read_draft(str(draft)).signed_by(str(card))


def test_a_duration_that_cannot_be_is_refused_in_its_own_words() -> None:
    assert duration_ms("1d", days_max=1) == 86_400_000
    assert duration_ms("1s") == 1_000
    with pytest.raises(UserError, match=r"--for: `2d` must .* a day at most"):
        duration_ms("2d", days_max=1)
    for text in ("366d", "0m", "9" * 5_000 + "m"):
        with pytest.raises(UserError, match="365 days at most"):
            duration_ms(text)


def test_a_node_without_founders_says_what_it_lacks_and_what_it_could_not_check(
    tmp_path: Path,
) -> None:
    picket("init", str(tmp_path / "n"), "--name", "here")
    said = fails("run", "-c", str(tmp_path / "n"))
    assert "the founders' file is missing" in said
    assert "picket founders" in said
    picket("init", str(tmp_path / "m"), "--name", "late", "--sponsor", "north")
    said = fails("run", "-c", str(tmp_path / "m"))
    assert "copy founders.toml from north, or any other member" in said
    assert "picket founders" not in said


def test_a_role_is_checked_by_the_card_before_there_is_a_founders_file(
    tmp_path: Path,
) -> None:
    home = str(tmp_path / "n")
    picket("init", home, "--name", "here", "--grant", "agent")
    said = fails("agent", "add", "x", "--role", "emperor", "-c", home)
    assert "does not ask to grant role `emperor`; its grants are agent" in said
    assert "[agents.x]" not in (tmp_path / "n" / "config.toml").read_text()
    done = picket("agent", "add", "x", "--role", "agent", "-c", home)
    assert "checked by this node's card only" in done.stderr
    card = tmp_path / "n" / "card.toml"
    card.write_text(f'sponsor = "a"\n\n{card.read_text()}')
    picket("agent", "add", "y", "--role", "agent", "-c", home)
    for text in ("[[node]", "", 'node = "x"', "[[node]]\ngrants = 3"):
        card.write_text(text)
        said = fails("agent", "add", "z", "--role", "agent", "-c", home)
        assert "not the card of one node" in said


async def test_an_agent_whom_this_node_never_met_is_named_by_its_id(
    tmp_path: Path,
) -> None:
    homes = bear(tmp_path, ["a", "b"])
    picket("agent", "add", "clerk", "--role", "agent", "-c", str(homes["b"]))
    (row,) = json.loads(picket("agent", "list", "--json", "-c", str(homes["b"])).stdout)
    a, b = daemon_of(homes["a"]), daemon_of(homes["b"])
    async with running(a, b):
        with pytest.raises(PeerError, match="has not met `clerk`; ask at"):
            await tell(a, "quarantine.why", subject="clerk")
        by_name = await tell(b, "quarantine.why", subject="clerk")
        by_id = await tell(a, "quarantine.why", subject=f"agent:{row['id']}")
        assert row["id"] in str(by_name)
        assert row["id"] in str(by_id)


def test_an_act_that_nobody_would_hear_here_is_neither_signed_nor_written(
    tmp_path: Path,
) -> None:
    draft = tmp_path / "draft"
    with pytest.raises(click.UsageError, match="run this at another node") as refused:
        finish_act({"elsewhere": "run this at another node"}, (), str(draft), ".")
    assert refused.value.exit_code == 2
    assert not draft.exists()


async def test_a_check_of_a_policy_knows_wrapped_servers_and_the_tutorial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that are somebody's are no slips; of the tutorial's examples one line."""
    homes = bear(tmp_path, ["a"])
    mine = 'permit(principal, action, resource in Server::"%s");'
    rules = "\n".join(f'@id("{name}") ' + mine % name for name in ("clock", "nosuch"))
    (tmp_path / "a" / "policy" / "mine.cedar").write_text(rules)
    rows: list[Json] = [{"server": "clock"}]
    answers: dict[str, Json] = {"tools.list": rows, "policy.show": {"version": 0}}
    monkeypatch.setattr(policy, "ask_node", lambda _, do, args: answers[do])
    told = CliRunner().invoke(policy.policy, ["check", "-c", str(homes["a"])])
    assert told.exit_code == 0
    assert "clock`, which nobody" not in told.stderr
    assert "rule `nosuch` names the server `nosuch`, which nobody here" in told.stderr
    assert told.stderr.count("tutorial policy name") == 1
    assert "ledger-admin-only" not in told.stderr
