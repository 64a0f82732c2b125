"""The agents: clients of the official MCP SDK, each at its own node's endpoint."""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import anyio
import attrs
import httpx2
import trio
from mcp import MCPError
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client

from scenarios.demo.processes import first_sentence

if TYPE_CHECKING:
    from trio_typing import TaskStatus

CALL_S: Final = 20.0
"""No call may take longer, a server's start included."""

_FAILURES: Final = (
    MCPError,
    httpx2.HTTPError,
    OSError,
    trio.TooSlowError,
    anyio.BrokenResourceError,  # closed while a call was under way
    anyio.ClosedResourceError,
)

logging.getLogger("mcp").setLevel(logging.CRITICAL)


class Unreachable(Exception):
    """A session could not be opened: the sentence says why."""


@attrs.frozen(kw_only=True)
class Answer:
    """What became of one call.

    Attributes:
        text: The server's answer; or the sentence of who denied.
        rule: The rule that denied, if one did.
        reason: Machine-readable, as in the denial; empty if it passed.
        began_us: When the agent made it, Unix microseconds.
    """

    passed: bool
    text: str
    ms: float
    began_us: int
    rule: str = ""
    reason: str = ""


@attrs.frozen(kw_only=True)
class Seat:
    """Where an agent sits: its node's endpoint and its own token."""

    agent: str
    node: str
    url: str
    token: str = attrs.field(repr=False)


@attrs.define(eq=False)
class Caller:
    """One open MCP session of one agent with one server."""

    seat: Seat
    server: str
    _session: ClientSession
    _done: trio.Event

    async def call(self, tool: str, **arguments: str | int | bool) -> Answer:
        """Call a tool and wait for what becomes of it."""
        began_us, began = time.time_ns() // 1_000, time.perf_counter()
        rule = reason = ""
        try:
            with trio.fail_after(CALL_S):
                result = await self._session.call_tool(tool, {**arguments})
            passed = not result.is_error
            text = " ".join(getattr(part, "text", "") for part in result.content)
        except MCPError as error:
            passed, text = False, error.message
            rule, reason = _denial(error.data)
        except trio.TooSlowError:
            passed, text, reason = False, f"no answer within {CALL_S:.0f} s", "slow"
        except _FAILURES as broken:
            passed, text, reason = False, first_sentence(broken), "broken"
        return Answer(
            passed=passed,
            text=text,
            ms=(time.perf_counter() - began) * 1_000,
            began_us=began_us,
            rule=rule,
            reason=reason,
        )

    def close(self) -> None:
        """End the session, soon."""
        self._done.set()


@attrs.define
class Agents:
    """Opens sessions and holds each in a task of its own until it is closed."""

    seats: Mapping[str, Seat]
    nursery: trio.Nursery

    async def open(self, agent: str, server: str) -> Caller:
        """A fresh session.

        Raises:
            Unreachable: the node refused it.
        """
        opened: Caller | str = await self.nursery.start(
            _hold, self.seats[agent], server
        )
        if isinstance(opened, str):
            raise Unreachable(opened)
        return opened

    async def once(
        self, agent: str, server: str, tool: str, **arguments: str
    ) -> Answer:
        """Open a session, call, close; a session refused is a call refused."""
        began_us, began = time.time_ns() // 1_000, time.perf_counter()
        try:
            caller = await self.open(agent, server)
        except Unreachable as refused:
            ms = (time.perf_counter() - began) * 1_000
            text, reason = str(refused), "unreachable"
            return Answer(
                passed=False, text=text, ms=ms, began_us=began_us, reason=reason
            )
        try:
            return await caller.call(tool, **arguments)
        finally:
            caller.close()


async def _hold(
    seat: Seat, server: str, task_status: "TaskStatus[Caller | str]"
) -> None:
    opened = False
    try:
        async with (
            httpx2.AsyncClient(
                headers={"authorization": f"Bearer {seat.token}"},
                timeout=httpx2.Timeout(CALL_S, read=300),
                trust_env=False,
            ) as http,
            streamable_http_client(f"{seat.url}/{server}", http_client=http) as streams,
            ClientSession(streams[0], streams[1]) as session,
        ):
            with trio.fail_after(CALL_S):
                await session.initialize()
            caller = Caller(seat, server, session, trio.Event())
            task_status.started(caller)
            opened = True
            await caller._done.wait()
    except* _FAILURES as failed:
        if not opened:
            task_status.started(first_sentence(failed))


def _denial(data: object) -> tuple[str, str]:
    """Rule and reason out of a denial's ``data``."""
    told = data.get("picket") if isinstance(data, dict) else None
    if not isinstance(told, dict):
        return "", "error"
    return str(told.get("rule") or ""), str(told.get("reason") or "")
