"""A stdio MCP server whose tools do nothing: ``python -m scenarios.real.tools NAME…``."""

import json
import sys
from collections.abc import Sequence


def answer(method: str, tools: Sequence[str]) -> dict[str, object] | None:
    """What the server says to one request; None if it does not know it."""
    match method:
        case "initialize":
            return {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "tools", "version": "1"},
            }
        case "tools/list":
            schema = {"type": "object"}
            return {"tools": [{"name": n, "inputSchema": schema} for n in tools]}
        case "tools/call":
            return {"content": [{"type": "text", "text": "done"}]}
        case "ping":
            return {}
        case _:
            return None


def main(tools: Sequence[str]) -> None:
    """Serve until stdin ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked or "method" not in asked:
            continue
        told: dict[str, object] = {"jsonrpc": "2.0", "id": asked["id"]}
        found = answer(asked["method"], tools)
        if found is None:
            told["error"] = {"code": -32601, "message": "no such method"}
        else:
            told["result"] = found
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
