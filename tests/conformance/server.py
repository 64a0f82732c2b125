"""An MCP server with every fixture the official conformance suites call, on the SDK.

Run as ``python -m tests.conformance.server``: prints its port and serves both eras
over Streamable HTTP until it is ended; with ``stdio`` behind it, over stdin and stdout.
Names and texts are the suites' own demands.
"""

import base64
import json
import socket
import sys
from typing import TypeAlias

import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import MCPServer, RequestStateSecurity
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.types import (
    AudioContent,
    Completion,
    CompletionArgument,
    CompletionContext,
    ContentBlock,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    JSONRPCMessage,
    PromptReference,
    ResourceTemplateReference,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)

from tests.conformance import rounds, schemas
from tests.conformance.rounds import Ctx
from tests.conformance.tasks import Tasks

RequestCtx: TypeAlias = ServerRequestContext[object, object]

IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
SOUND = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="

mcp: MCPServer[object] = MCPServer(
    "conformance",
    version="1",
    request_state_security=RequestStateSecurity(keys=[b"k" * 32]),
    extensions=[Tasks()],
)


def text(words: str) -> TextContent:
    return TextContent(type="text", text=words)


def image() -> ImageContent:
    return ImageContent(type="image", data=IMAGE, mime_type="image/png")


def resource(uri: str, kind: str, words: str) -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, mime_type=kind, text=words)
    return EmbeddedResource(type="resource", resource=contents)


@mcp.tool()
def test_simple_text() -> str:
    """Text."""
    return "This is a simple text response for testing."


@mcp.tool()
def test_image_content() -> list[ImageContent]:
    """An image."""
    return [image()]


@mcp.tool()
def test_audio_content() -> list[AudioContent]:
    """A sound."""
    return [AudioContent(type="audio", data=SOUND, mime_type="audio/wav")]


@mcp.tool()
def test_embedded_resource() -> list[EmbeddedResource]:
    """A resource within."""
    words = "This is an embedded resource content."
    return [resource("test://embedded-resource", "text/plain", words)]


@mcp.tool()
def test_multiple_content_types() -> list[ContentBlock]:
    """All three."""
    data = '{"test":"data","value":123}'
    return [
        text("Multiple content types test:"),
        image(),
        resource("test://mixed-content-resource", "application/json", data),
    ]


@mcp.tool()
async def test_tool_with_logging(ctx: Ctx) -> str:
    """Three lines of log on the way."""
    for words in ("started", "processing data", "completed"):
        await ctx.session.send_log_message("info", f"Tool {words}")
    return "done"


@mcp.tool()
async def test_tool_with_progress(ctx: Ctx) -> str:
    """Three steps."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"Completed step {done} of 100")
    return "done"


@mcp.tool()
def test_error_handling() -> str:
    """Fails."""
    raise RuntimeError("This tool intentionally returns an error for testing")


@mcp.tool()
async def test_sampling(prompt: str, ctx: Ctx) -> str:
    """Asks the client's model."""
    answer = await ctx.session.create_message(
        messages=[SamplingMessage(role="user", content=text(prompt))],
        max_tokens=100,
        related_request_id=ctx.request_id,
    )
    said = answer.content.text if answer.content.type == "text" else "nothing"
    return f"LLM response: {said}"


async def ask(ctx: Ctx, message: str, schema: schemas.Schema) -> str:
    answer = await ctx.session.elicit_form(message, schema, ctx.request_id)
    return f"action={answer.action}, content={json.dumps(answer.content or {})}"


@mcp.tool()
async def test_elicitation(message: str, ctx: Ctx) -> str:
    """Asks the person."""
    return "User response: " + await ask(ctx, message, schemas.WORD)


@mcp.tool()
async def test_elicitation_sep1034_defaults(ctx: Ctx) -> str:
    """Asks with defaults."""
    return "Elicitation completed: " + await ask(ctx, "Please", schemas.DEFAULTS)


@mcp.tool()
async def test_elicitation_sep1330_enums(ctx: Ctx) -> str:
    """Asks with choices."""
    return "Elicitation completed: " + await ask(ctx, "Please", schemas.CHOICES)


@mcp.tool()
async def test_reconnection(ctx: Ctx) -> str:
    """Closes its stream in mid-call; the answer waits for who comes back."""
    await ctx.close_sse_stream()
    await ctx.report_progress(1, 2)
    return "Reconnection test completed"


@mcp.tool(name="json_schema_2020_12_tool")
def json_schema_tool() -> str:
    """Has a schema with every keyword."""
    return "done"


# The SDK derives schemas from signatures and has no public way to give one.
mcp._tool_manager._tools["json_schema_2020_12_tool"].parameters = schemas.KEYWORDS


@mcp.resource("test://static-text")
def static_text() -> str:
    """Text."""
    return "This is the content of the static text resource."


@mcp.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """Bytes."""
    return base64.b64decode(IMAGE)


@mcp.resource("test://template/{id}/data")
def template(id: str) -> str:  # noqa: A002 - the suite's own name
    """By name."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@mcp.resource("test://watched-resource")
def watched() -> str:
    """To subscribe to."""
    return "Watched resource content"


def says(*content: ContentBlock) -> list[UserMessage]:
    return [UserMessage(role="user", content=part) for part in content]


@mcp.prompt()
def test_simple_prompt() -> list[UserMessage]:
    """Text."""
    return says(text("This is a simple prompt for testing."))


@mcp.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
    """With arguments."""
    return says(text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))


@mcp.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
    """With a resource."""
    words = "Embedded resource content for testing."
    return says(
        resource(resourceUri, "text/plain", words),
        text("Please process the embedded resource above."),
    )


@mcp.prompt()
def test_prompt_with_image() -> list[UserMessage]:
    """With an image."""
    return says(image(), text("Please analyze the image above."))


async def complete(
    ref: PromptReference | ResourceTemplateReference,
    argument: CompletionArgument,
    context: CompletionContext | None,
) -> Completion:
    """Knows no completions."""
    del ref, argument, context
    return Completion(values=[], total=0, has_more=False)


mcp.completion()(complete)  # type: ignore[no-untyped-call]  # the SDK left it so


async def set_level(ctx: RequestCtx, params: SetLevelRequestParams) -> EmptyResult:
    del ctx, params
    return EmptyResult()


async def subscribe(ctx: RequestCtx, params: SubscribeRequestParams) -> EmptyResult:
    del ctx, params
    return EmptyResult()


async def unsubscribe(ctx: RequestCtx, params: UnsubscribeRequestParams) -> EmptyResult:
    del ctx, params
    return EmptyResult()


lower = mcp._lowlevel_server  # where handlers without a decorator are added
lower.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)
lower.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
lower.add_request_handler(
    "resources/unsubscribe", UnsubscribeRequestParams, unsubscribe
)
rounds.add_to(mcp)


class Events(EventStore):
    """What was sent, for who comes back."""

    def __init__(self) -> None:
        self._sent: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Number an event."""
        self._sent.append((stream_id, message))
        return str(len(self._sent))

    async def replay_events_after(
        self, last_event_id: str, send_callback: EventCallback
    ) -> str | None:
        """Send again what followed on the same stream."""
        last = int(last_event_id)
        if not 0 < last <= len(self._sent):
            return None
        stream = self._sent[last - 1][0]
        for number, (where, message) in enumerate(self._sent[last:], last + 1):
            if where == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


def main() -> None:
    """Serve on a free port, or its parent."""
    if sys.argv[1:] == ["stdio"]:
        mcp.run("stdio")
        return
    sock = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{sock.getsockname()[1]}\n")
    sys.stdout.flush()
    app = mcp.streamable_http_app(event_store=Events(), retry_interval=100)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[sock])


if __name__ == "__main__":
    main()
