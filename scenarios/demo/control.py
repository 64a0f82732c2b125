"""The control socket, asked as docs/reference/control.md says."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import attrs
import trio

if TYPE_CHECKING:
    from trio_typing import TaskStatus

_ANSWER_S: Final = 10.0
_ANSWER_BYTES_MAX: Final = 1 << 22

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
Line: TypeAlias = dict[str, Json]


class NoAnswer(Exception):
    """The daemon is not there, or says why not."""


async def ask(path: Path, do: str, args: Mapping[str, Json] | None = None) -> Json:
    """Ask one thing.

    Raises:
        NoAnswer: no daemon, or its sentence.
    """
    with trio.move_on_after(_ANSWER_S):
        async with aclosing(_answers(path, do, args or {})) as answers:
            async for answer in answers:
                return answer
    raise NoAnswer(f"{path}: no answer to `{do}`")


async def _answers(
    path: Path, do: str, args: Mapping[str, Json]
) -> AsyncGenerator[Json, None]:
    request = {"v": 1, "id": 1, "do": do, "args": dict(args)}
    try:
        stream = await trio.open_unix_socket(str(path))
        async with stream:
            await stream.send_all(json.dumps(request).encode() + b"\n")
            waiting = b""
            async for chunk in stream:
                *lines, waiting = (waiting + chunk).split(b"\n")
                for line in lines:
                    answer = json.loads(line)
                    if "error" in answer:
                        raise NoAnswer(str(answer["error"]["sentence"]))
                    yield cast("Json", answer.get("ok"))
                if len(waiting) > _ANSWER_BYTES_MAX:
                    raise NoAnswer(f"{path}: an answer without end")
    except (OSError, ValueError, trio.BrokenResourceError) as wrong:
        raise NoAnswer(f"{path}: {wrong}") from None


@attrs.frozen(kw_only=True)
class Happening:
    """One line of one node's watch."""

    node: str
    event: str
    at_us: int
    line: Line = attrs.field(repr=False)

    def says(self, **wanted: Json) -> bool:
        """Whether the line has all these."""
        return all(self.line.get(key) == value for key, value in wanted.items())


@attrs.define
class Watch:
    """All that all nodes told since the demo began to watch."""

    happenings: list[Happening] = attrs.field(init=False, factory=list)
    _news: trio.Event = attrs.field(init=False, factory=trio.Event)

    async def follow(
        self,
        node: str,
        path: Path,
        task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Watch one node until its daemon ends."""
        begun = False
        try:
            async for line in _answers(path, "watch", {}):
                assert isinstance(line, dict)
                if not begun:
                    task_status.started()
                    begun = True
                self.add(node, line)
        except NoAnswer:
            if not begun:
                raise

    def add(self, node: str, line: Line) -> None:
        """Keep one line and wake who waits for it."""
        event, at_us = str(line["event"]), int(str(line["at_us"]))
        if event == "quiet":
            return
        self.happenings.append(
            Happening(node=node, event=event, at_us=at_us, line=line)
        )
        self._news.set()
        self._news = trio.Event()

    def now(self) -> int:
        """A mark: `first` looks only at what came after it."""
        return len(self.happenings)

    async def first(
        self,
        since: int,
        nodes: tuple[str, ...],
        wanted: Callable[[Happening], bool],
        within_s: float,
    ) -> dict[str, Happening]:
        """The first wanted happening at each of ``nodes``; those there by the end."""
        found: dict[str, Happening] = {}
        with trio.move_on_after(within_s):
            while True:
                news = self._news
                for happening in self.happenings[since:]:
                    if happening.node in nodes and wanted(happening):
                        found.setdefault(happening.node, happening)
                if len(found) == len(nodes):
                    break
                await news.wait()
        return found
