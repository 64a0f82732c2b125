"""What a failed demo says: a sentence each time, and where the logs are."""

from pathlib import Path

import pytest
import trio

from scenarios.demo.processes import Daemon, Failed, first_sentence, save_logs


class Speechless(Daemon):
    """A daemon whose process cannot even be asked."""

    def __init__(self) -> None:
        """It has none."""

    @property
    def process(self) -> trio.Process:  # type: ignore[override]  # it fails, on purpose
        raise AssertionError


def test_what_says_something_is_quoted() -> None:
    group = ExceptionGroup("x", [ExceptionGroup("y", [Failed("the door is shut")])])
    assert first_sentence(group) == "the door is shut"


def test_what_says_nothing_is_told_with_its_kind_and_place() -> None:
    with pytest.raises(AssertionError) as wordless:
        Daemon.death(Speechless())
    told = first_sentence(wordless.value)
    assert told.startswith("AssertionError without a word, at `if self.process.poll")
    assert "processes.py, line " in told
    assert first_sentence(trio.TooSlowError()) == "no answer in time"


def test_logs_outlive_the_folder_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    home = tmp_path / "demo" / "ledger"
    home.mkdir(parents=True)
    (home / "log.txt").write_text("it was so\n")
    (home / "root.seed").write_text("secret")
    saved = save_logs(tmp_path / "demo")
    assert [log.name for log in saved.iterdir()] == ["ledger.txt"]
    assert (saved / "ledger.txt").read_text() == "it was so\n"
