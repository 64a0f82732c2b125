"""Fixtures of the tasks extension: calls that go on behind a name, and ask back.

The SDK brings no tasks, only the place for an extension; so this is one. Names and
behaviour are the suite's own demands.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias

import attrs
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding, ToolBinding
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
    ElicitResult,
    RequestParams,
)
from pydantic import Field

from tests.conformance.rounds import needs, person

Ctx: TypeAlias = ServerRequestContext[object, object]
Given: TypeAlias = dict[str, object]
NAME: Final = "io.modelcontextprotocol/tasks"
ACK: Final[Given] = {"resultType": "complete"}
QUESTIONS: Final = {"confirm_delete": ["confirm"], "multi_input": ["first", "second"]}
TASKED: Final = (
    "slow_compute",
    "failing_job",
    "protocol_error_job",
    "test_tool_with_task",
    *QUESTIONS,
)


class TaskParams(RequestParams):  # type: ignore[explicit-any] # pydantic makes it so
    """What names a task, and what is said to it."""

    task_id: str = Field(alias="taskId")
    input_responses: dict[str, object] = Field(default={}, alias="inputResponses")


def said(words: str, *, failed: bool = False) -> Given:
    """A tool's result."""
    content = [{"type": "text", "text": words}]
    return {"content": content, "isError": failed, **ACK}


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@attrs.define
class Task:
    """One call that goes on."""

    key: str = attrs.field(factory=lambda: secrets.token_hex(16))
    status: str = "working"
    told: Given = attrs.field(factory=dict)
    began: str = attrs.field(factory=now)
    changed: str = attrs.field(factory=now)
    work: asyncio.Task[None] | None = None
    answered: asyncio.Event = attrs.field(factory=asyncio.Event)

    def turn(self, status: str, **told: object) -> None:
        """It is something else now; what has ended stays as it is."""
        if self.status in ("working", "input_required"):
            self.status, self.told, self.changed = status, told, now()

    def show(self) -> Given:
        """What is told of it wherever it is named."""
        return {
            "taskId": self.key,
            "status": self.status,
            "createdAt": self.began,
            "lastUpdatedAt": self.changed,
            "ttlMs": 60_000,
            "pollIntervalMs": 100,
        }


def greet(name: str = "you") -> str:
    """Answers at once."""
    return f"Hello, {name}!"


async def slow_compute(seconds: float = 0, label: str = "") -> str:
    """Takes a while."""
    await asyncio.sleep(seconds)
    return f"computed {label}"


def failing_job() -> str:
    """Fails as tools do."""
    raise RuntimeError("this job fails")


def protocol_error_job() -> str:
    """Fails as servers do."""
    return "never"


def confirm_delete(filename: str = "") -> str:
    """Asks one thing."""
    return filename


def multi_input() -> str:
    """Asks two things at once."""
    return "done"


def test_tool_with_task() -> str:
    """Asks first, and then takes its time."""
    return "done"


class Tasks(Extension):
    """The extension; one for all sessions of a server."""

    identifier = NAME

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def tools(self) -> Sequence[ToolBinding]:
        """Those that the suite calls."""
        tools = (
            *(greet, slow_compute, failing_job, protocol_error_job),
            *(confirm_delete, multi_input, test_tool_with_task),
        )
        return [ToolBinding(fn=tool) for tool in tools]

    def methods(self) -> Sequence[MethodBinding]:
        """How tasks are asked after."""
        return [
            MethodBinding("tasks/get", TaskParams, self._get),
            MethodBinding("tasks/update", TaskParams, self._update),
            MethodBinding("tasks/cancel", TaskParams, self._cancel),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: Ctx, call_next: CallNext
    ) -> HandlerResult:
        """Make a task of what takes its time, if the client knows tasks."""
        name = params.name
        if name not in TASKED:
            return await call_next(ctx)
        answers = params.input_responses or {}
        if name == "test_tool_with_task" and "user_name" not in answers:
            return needs(user_name=person("What is your name?"))
        if not knows(ctx):
            if name == "failing_job":
                raise missing()
            return await call_next(ctx)
        task = Task()
        self._tasks[task.key] = task
        if name in QUESTIONS:
            self._ask(task, QUESTIONS[name])
        work = self._work(task, name, params.arguments or {}, answers)
        task.work = asyncio.create_task(work)
        return {**task.show(), "resultType": "task"}

    def _ask(self, task: Task, names: Sequence[str]) -> None:
        asked = {
            name: person(f"Please say {name}", name).model_dump(
                by_alias=True, exclude_none=True, mode="json"
            )
            for name in names
        }
        task.turn("input_required", inputRequests=asked)

    async def _work(
        self, task: Task, name: str, given: Given, answers: Mapping[str, object]
    ) -> None:
        if name == "slow_compute":
            await asyncio.sleep(float(str(given.get("seconds", 0))))
        elif name in QUESTIONS:
            await task.answered.wait()
        else:
            await asyncio.sleep(0.2)
        if name == "protocol_error_job":
            task.turn("failed", error={"code": -32603, "message": "it broke"})
        elif name == "failing_job":
            task.turn("completed", result=said("this job fails", failed=True))
        elif name == "test_tool_with_task":
            answer = answers["user_name"]
            held = answer.content if isinstance(answer, ElicitResult) else answer
            task.turn("completed", result=said(f"Hello, {held}!"))
        else:
            task.turn("completed", result=said(f"{name} is done"))

    def _find(self, ctx: Ctx, params: TaskParams) -> Task:
        if not knows(ctx):
            raise missing()
        task = self._tasks.get(params.task_id)
        if task is None:
            raise MCPError(code=INVALID_PARAMS, message="there is no such task")
        return task

    async def _get(self, ctx: Ctx, params: TaskParams) -> HandlerResult:
        task = self._find(ctx, params)
        return {**task.show(), **task.told, **ACK}

    async def _update(self, ctx: Ctx, params: TaskParams) -> HandlerResult:
        task = self._find(ctx, params)
        asked = task.told.get("inputRequests")
        if isinstance(asked, dict):
            left = {k: v for k, v in asked.items() if k not in params.input_responses}
            if left:
                task.turn("input_required", inputRequests=left)
            else:
                task.turn("working")
                task.answered.set()
        return ACK

    async def _cancel(self, ctx: Ctx, params: TaskParams) -> HandlerResult:
        task = self._find(ctx, params)
        task.turn("cancelled")
        if task.work is not None:
            task.work.cancel()
        return ACK


def knows(ctx: Ctx) -> bool:
    """Whether the client has said that it knows tasks."""
    can = ctx.session.client_capabilities
    return can is not None and NAME in (can.extensions or {})


def missing() -> MCPError:
    """It has not, and must."""
    return MCPError(
        code=MISSING_REQUIRED_CLIENT_CAPABILITY,
        message="a client that knows tasks is needed",
        data={"requiredCapabilities": {"extensions": {NAME: {}}}},
    )
