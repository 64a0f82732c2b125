"""Scenario files: what is wrong is said with its line and its key."""

import pytest

from gossip.errors import UserError
from scenarios.reading import library, load, parse
from scenarios.swarm import random_scenario
from scenarios.tables import line_of
from scenarios.writing import write_scenario

GOOD = """\
title = "good"
length_s = 30

[nodes]
honest = 4
liar = 1

[[story]]
at_s = 1
who = "honest-0"
does = "report"

[[story]]
at_s = 2
who = "every liar"
does = "accuse"
whom = "agent-7"

[expect]
never = ["quarantine agent-7"]

[bars]
false_quarantines = 0
"""


@pytest.mark.parametrize(
    ("was", "becomes", "complaint"),
    [
        ('title = "good"', "title = 7", "line 1: title: is missing or not a string"),
        ("length_s = 30", "length_s = 0", "line 2: length_s: must be a number"),
        ("liar = 1", "lier = 1", "line 6: nodes.lier: unknown role `lier`"),
        ("liar = 1", "liar = 20000", "line 6: nodes.liar: must be a whole number"),
        ('"accuse"', '"acuse"', "line 16: story.2.does: unknown verb `acuse`"),
        ('whom = "agent-7"', "", "line 13: story.2: `accuse` needs `whom`"),
        ('whom = "agent-7"', 'whom = "x"', "line 17: story.2.whom: `x` names nobody"),
        ('"honest-0"', '"honest-4"', "line 10: story.1.who: there is no `honest-4`"),
        ('"every liar"', '"every mute"', "line 15: story.2.who: no node is of role"),
        ("at_s = 2", "at_s = 31", "line 14: story.2.at_s: must be a number, 0 to 30"),
        ('does = "report"', 'does = "report"\nfoo = 1', "story.1.foo: unknown key"),
        ("quarantine agent-7", "hug agent-7", "line 20: expect.never: `hug agent-7`"),
        ("quarantine agent-7", "quarantine bob-1", "there is no `bob-1`"),
        ("false_quarantines", "falsehoods", "line 23: bars.falsehoods: unknown figure"),
        (
            "[nodes]",
            '[network]\ncities = ["london", "lab"]\n[nodes]',
            "network.ways_ms: the way from `london` to `lab` is neither given here",
        ),
        (
            "[nodes]",
            '[network]\ncities = ["lab"]\nways_ms = { "lab rome" = 1 }\n[nodes]',
            "`lab rome` is not a pair of the cities",
        ),
        ("quarantine agent-7", "quarantine agent-x", "there is no `agent-x`"),
        ("quarantine agent-7", "quarantine guilty", "is about nobody"),
        (
            '"honest-0"',
            '"0 honest"',
            "line 10: story.1.who: `0 honest`: there are 1 to 4",
        ),
        ('"honest-0"', '"600 honest"', "`600 honest`: there are 1 to 4 to choose"),
        ('"honest-0"', '"1.2.3 % of honest"', "line 10: story.1.who: `1.2.3 % of"),
        ('"honest-0"', '"0 % of honest"', "`0 % of honest` is not a share"),
        ('"honest-0"', '"101 % of honest"', "`101 % of honest` is not a share"),
        ('"honest-0"', "[]", "line 10: story.1.who: names nobody"),
        ('"honest-0"', '"every hon"', "no node is of role `hon`"),
        ("[nodes]", "[nods]", "line 4: nods: unknown key `nods`"),
        ("[nodes]", "nodes]", "not valid TOML"),
        ('"accuse"', '"forge"', "story.2.whom: `agent-7`: `forge` is for nodes"),
        ('whom = "agent-7"', 'whom = "liar-0"', "`liar-0` would do it to itself alone"),
        ('whom = "agent-7"', 'whom = "1 liar"', "`liar-0` would do it to itself alone"),
        (
            "[expect]",
            '[[story]]\nat_s = 3\ndoes = "partition"\nfor_s = 1\n'
            'sides = ["everybody", "every honest"]\n[expect]',
            "story.3.sides: `every honest`: all are on another side",
        ),
        (
            "[expect]",
            '[[story]]\nat_s = 3\ndoes = "crash"\nwho = "every honest"\n'
            'but = "everybody"\n[expect]',
            "story.3.but: leaves nobody",
        ),
        ("quarantine agent-7", "quarantine agent-99999", "there is no `agent-99999`"),
        (
            "false_quarantines",
            "reach_p99_ms",
            "`reach_p99_ms` counts only what arrived: add a bar for `delivered_p",
        ),
        ("false_quarantines", "cut_p50_ms", "add a bar for `cut_percent`"),
    ],
)
def test_a_mistake_is_told_with_line_and_key(
    was: str, becomes: str, complaint: str
) -> None:
    parse(GOOD, "good.toml")
    with pytest.raises(UserError) as told:
        parse(GOOD.replace(was, becomes, 1), "good.toml")
    assert str(told.value).startswith("good.toml: ")
    assert complaint in str(told.value)


WITNESSED = """
title = "witnessed"
[nodes]
honest = 4
attacker = 1
[[story]]
at_s = 1
does = "offend"
who = "attacker-0"
seen_by = "honest-0"
"""


@pytest.mark.parametrize(
    "seers",
    ["attacker-0", "every attacker", "1 attacker", "50 % of attacker"],
)
def test_nobody_is_its_own_only_witness(seers: str) -> None:
    parse(WITNESSED, "x")
    parse(WITNESSED.replace("honest-0", "everybody"), "x")
    with pytest.raises(
        UserError, match=r"line 10: story.1.seen_by: `attacker-0` would"
    ):
        parse(WITNESSED.replace("honest-0", seers), "x")


@pytest.mark.parametrize("seers", ["[]", '"0 honest"', '"5 honest"'])
def test_witnesses_are_as_many_as_there_are_and_one_at_least(seers: str) -> None:
    with pytest.raises(UserError, match=r"line 10: story.1.seen_by: "):
        parse(WITNESSED.replace('"honest-0"', seers), "x")


def test_what_a_story_counts_remains_in_other_sizes() -> None:
    scenario = parse(WITNESSED.replace("honest-0", "4 honest"), "x")
    assert dict(scenario.resized(2).nodes)["honest"] == 4


def test_a_scenario_that_is_nowhere_is_told_in_one_sentence() -> None:
    with pytest.raises(UserError, match="neither in the library nor a file"):
        load("no-such-scenario")


def test_the_line_of_a_table_that_is_not_there_is_unknown() -> None:
    assert line_of(["[a]", "b = 1"], ("c", "d")) is None
    assert line_of(["[a]", "b = 1"], ("a", "z")) == 1


@pytest.mark.parametrize("name", sorted(library()))
def test_every_file_of_the_library_says_what_it_is_for(name: str) -> None:
    text = library()[name].read_text()
    assert text.startswith("# ")
    assert "Bar: " in text
    scenario = load(name)
    assert scenario.reduced().size <= 100


@pytest.mark.parametrize("name", sorted(library()))
def test_a_scenario_of_the_library_written_down_reads_the_same(name: str) -> None:
    assert parse(write_scenario(load(name)), name) == load(name)


@pytest.mark.parametrize("seed", range(30))
def test_a_random_scenario_written_down_reads_the_same(seed: int) -> None:
    scenario = random_scenario(seed)
    assert parse(write_scenario(scenario), "swarm") == scenario


@pytest.mark.parametrize("size", [13, 40, 1000])
def test_other_sizes_keep_roles_and_the_nodes_that_are_named(size: int) -> None:
    scenario = load("slander").resized(size)
    assert scenario.size == size
    assert dict(scenario.nodes)["liar"] == pytest.approx(size * 4 / 13, abs=1)
    assert load("hospital").resized(3).size >= 13


def test_measured_ways_written_down_read_the_same() -> None:
    network = '[network]\ncities = ["lab", "tokyo"]\nways_ms = { "lab tokyo" = 80 }\n'
    scenario = parse(GOOD + network, "good")
    assert scenario.network.ways_ms == (("lab tokyo", 80.0),)
    assert parse(write_scenario(scenario), "good") == scenario
