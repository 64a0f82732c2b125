"""Fixtures of the stateless revision: answers that ask back, headers, changes."""

import json
from typing import Annotated, TypeAlias

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)
from pydantic import Field

from tests.conformance.schemas import Schema, form

Ctx: TypeAlias = Context[object, object]
Region = Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]


def person(message: str, field: str = "name", kind: str = "string") -> ElicitRequest:
    """A question to the person."""
    asked: Schema = {"type": kind}
    schema = {**form(**{field: asked}), "required": [field]}
    params = ElicitRequestFormParams(message=message, requested_schema=schema)
    return ElicitRequest(params=params)


def model(prompt: str) -> CreateMessageRequest:
    """A question to the client's model."""
    said = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    params = CreateMessageRequestParams(messages=[said], max_tokens=50)
    return CreateMessageRequest(params=params)


def needs(state: str | None = None, **asked: InputRequest) -> InputRequiredResult:
    """An answer that asks back."""
    return InputRequiredResult(input_requests=asked, request_state=state)


def told(ctx: Ctx, name: str) -> str:
    """What the person said, as text."""
    answer = (ctx.input_responses or {}).get(name)
    return json.dumps(answer.content) if isinstance(answer, ElicitResult) else ""


def given(ctx: Ctx, *names: str) -> bool:
    """Whether all of these were answered."""
    return {*names} <= (ctx.input_responses or {}).keys()


async def test_input_required_result_elicitation(
    ctx: Ctx,
) -> str | InputRequiredResult:
    """Asks the person."""
    if given(ctx, "user_name"):
        return f"Hello, {told(ctx, 'user_name')}!"
    return needs(user_name=person("What is your name?"))


async def test_input_required_result_sampling(
    ctx: Ctx,
) -> str | InputRequiredResult:
    """Asks the model."""
    if given(ctx, "capital_question"):
        return "The model has spoken."
    return needs(capital_question=model("What is the capital of France?"))


async def test_input_required_result_list_roots(
    ctx: Ctx,
) -> str | InputRequiredResult:
    """Asks for roots."""
    if given(ctx, "client_roots"):
        return "There are roots."
    return needs(client_roots=ListRootsRequest())


async def test_input_required_result_request_state(
    ctx: Ctx,
) -> str | InputRequiredResult:
    """Remembers by its state."""
    if given(ctx, "confirm") and ctx.request_state == "a state":
        return "state-ok: confirmed"
    return needs("a state", confirm=person("Please confirm", "ok", "boolean"))


async def test_input_required_result_multiple_inputs(
    ctx: Ctx,
) -> str | InputRequiredResult:
    """Asks all three at once."""
    if given(ctx, "user_name", "greeting", "client_roots"):
        return "All is answered."
    return needs(
        "many",
        user_name=person("What is your name?"),
        greeting=model("Generate a greeting"),
        client_roots=ListRootsRequest(),
    )


async def test_input_required_result_multi_round(
    ctx: Ctx,
) -> str | InputRequiredResult:
    """Asks twice, one after the other."""
    if ctx.request_state == "two" and given(ctx, "step2"):
        return f"Likes {told(ctx, 'step2')}."
    if ctx.request_state == "one" and given(ctx, "step1"):
        return needs("two", step2=person("Step 2: What is your color?", "color"))
    return needs("one", step1=person("Step 1: What is your name?"))


async def test_input_required_result_tampered_state(
    ctx: Ctx,
) -> str | InputRequiredResult:
    """Its state is sealed by the SDK."""
    if ctx.request_state is not None:
        return "state-ok"
    return needs("sealed", confirm=person("Please confirm", "ok", "boolean"))


async def test_input_required_result_capabilities(ctx: Ctx) -> InputRequiredResult:
    """Asks only what the client can."""
    can = ctx.client_capabilities
    asked: dict[str, InputRequest] = {}
    if can is None or can.sampling is not None:
        asked["sample"] = model("Say hello")
    if can is None or can.elicitation is not None:
        asked["ask"] = person("What is your name?")
    return needs("can", **asked)


async def test_missing_capability(ctx: Ctx) -> str:
    """Needs a client that samples."""
    can = ctx.session.client_capabilities
    if can is None or can.sampling is None:
        raise MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="a client with sampling is needed",
            data={"requiredCapabilities": {"sampling": {}}},
        )
    return "done"


def test_x_mcp_header(region: Region) -> str:
    """Has a parameter that a header repeats."""
    return f"region={region}"


async def test_trigger_tool_change(ctx: Ctx) -> str:
    """Tells who listens."""
    await ctx.notify_tools_changed()
    return "done"


async def test_trigger_prompt_change(ctx: Ctx) -> str:
    """Tells who listens."""
    await ctx.notify_prompts_changed()
    return "done"


async def test_input_required_result_prompt(
    ctx: Ctx,
) -> list[UserMessage] | InputRequiredResult:
    """A prompt that asks back."""
    if given(ctx, "user_context"):
        words = TextContent(type="text", text=f"Context: {told(ctx, 'user_context')}")
        return [UserMessage(role="user", content=words)]
    return needs(user_context=person("What context?", "context"))


def add_to(mcp: MCPServer[object]) -> None:
    """Add them all."""
    mcp.add_tool(test_input_required_result_elicitation)
    mcp.add_tool(test_input_required_result_sampling)
    mcp.add_tool(test_input_required_result_list_roots)
    mcp.add_tool(test_input_required_result_request_state)
    mcp.add_tool(test_input_required_result_multiple_inputs)
    mcp.add_tool(test_input_required_result_multi_round)
    mcp.add_tool(test_input_required_result_tampered_state)
    mcp.add_tool(test_input_required_result_capabilities)
    mcp.add_tool(test_missing_capability)
    mcp.add_tool(test_x_mcp_header)
    mcp.add_tool(test_trigger_tool_change)
    mcp.add_tool(test_trigger_prompt_change)
    mcp.prompt()(test_input_required_result_prompt)
