"""What real nodes cannot do is refused before anything starts, with line and key."""

from pathlib import Path

import pytest

from gossip.errors import UserError
from scenarios.figures import BARS
from scenarios.reading import load, parse
from scenarios.real.conduct import DEEDS
from scenarios.real.fit import check_fit
from scenarios.real.seen import MEASURED
from scenarios.verbs import VERBS

BEGIN = 'title = "t"\n[nodes]\nhonest = 4\nliar = 1\n'


def refusal(folder: Path, text: str, *, namespaces: bool = True) -> str:
    file = folder / "s.toml"
    file.write_text(text)
    with pytest.raises(UserError) as told:
        check_fit(str(file), parse(text, str(file)), namespaces=namespaces)
    return str(told.value).replace(str(file), "s.toml")


def test_too_many_nodes(tmp_path: Path) -> None:
    told = refusal(tmp_path, 'title = "t"\n[nodes]\nhonest = 17\n')
    assert told.startswith("s.toml: line 2: nodes: 17 nodes; at most 16")
    assert "`--nodes 16`" in told


def test_more_colluders_than_so_few_nodes_can_bear(tmp_path: Path) -> None:
    told = refusal(tmp_path, BEGIN + "[cluster]\ncolluders = 2\n")
    assert told == "s.toml: line 6: cluster.colluders: must be 0 to 1 for 5 nodes"


def test_datagrams_and_sponsors(tmp_path: Path) -> None:
    told = refusal(tmp_path, BEGIN + "[network]\ndatagrams = true\n")
    assert told.startswith("s.toml: line 6: network.datagrams: ")
    told = refusal(tmp_path, BEGIN + '[cluster]\nsponsored = ["liar"]\n')
    assert told.startswith("s.toml: line 6: cluster.sponsored: ")


@pytest.mark.parametrize(
    "rest",
    [
        "[network]\nloss = 0.1\n",
        '[[story]]\ndoes = "lose"\nshare = 0.1\nfor_s = 1\n',
        '[[story]]\ndoes = "deafen"\nwho = "liar-0"\nfor_s = 1\n',
        '[[story]]\ndoes = "partition"\nsides = [["liar-0"], ["the rest"]]\nfor_s = 1\n',
    ],
)
def test_without_namespaces_no_packet_can_be_touched(tmp_path: Path, rest: str) -> None:
    told = refusal(tmp_path, BEGIN + rest, namespaces=False)
    assert told.startswith("s.toml: line 6: ")
    assert "needs network namespaces" in told
    file = tmp_path / "s.toml"
    check_fit(str(file), parse(file.read_text(), "s"), namespaces=True)


@pytest.mark.parametrize(
    "name",
    [
        "honest_baseline",
        "proven",
        "slander",
        "bank",
        "equivocator",
        "restarts",
        "slow_detectors",
    ],
)
def test_what_the_library_tells_of_a_few_nodes_can_be_real(name: str) -> None:
    check_fit(name, load(name).resized(16), namespaces=True)


def test_every_verb_and_figure_is_accounted_for() -> None:
    assert set(VERBS) == set(DEEDS)
    assert set(BARS) == MEASURED
