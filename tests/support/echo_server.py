"""A tiny stdio MCP server for tests: echoes, dawdles, asks, dies on request."""

import json
import os
import sys
import time

LISTED = ("echo", *sys.argv[1:])
"""The others are unlisted, as tools may be."""
listeners: list[object] = []


def say(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def result(key: object, text: str) -> None:
    content = [{"type": "text", "text": text}]
    say({"jsonrpc": "2.0", "id": key, "result": {"content": content}})


def tell(listener: object, method: str) -> None:
    meta = {"io.modelcontextprotocol/subscriptionId": listener}
    say({"jsonrpc": "2.0", "method": method, "params": {"_meta": meta}})


def call(key: object, params: dict[str, object]) -> None:
    tool = params["name"]
    arguments = params.get("arguments") or {}
    assert isinstance(arguments, dict)
    if tool == "die":
        os._exit(3)
    elif tool == "never":
        pass
    elif tool == "sleep":
        time.sleep(arguments["seconds"])
        result(key, "slept")
    elif tool == "pid":
        result(key, str(os.getpid()))
    elif tool == "environment":
        result(key, json.dumps(dict(os.environ)))
    elif tool == "big":
        result(key, "x" * arguments["size"])
    elif tool == "stray":
        say({"jsonrpc": "2.0", "id": "nobody asked", "result": {}})
        result(key, "strayed")
    elif tool == "progress":
        meta = params.get("_meta")
        assert isinstance(meta, dict)
        told = {"progressToken": meta["progressToken"], "progress": 1}
        say({"jsonrpc": "2.0", "method": "notifications/progress", "params": told})
        result(key, "progressed")
    elif tool == "news":
        say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        for listener in listeners:
            tell(listener, "notifications/prompts/list_changed")
        result(key, "told")
    elif tool == "ask":
        say({"jsonrpc": "2.0", "id": "question", "method": "roots/list"})
        answer = json.loads(sys.stdin.readline())
        result(key, json.dumps(answer["result"]))
    else:
        result(key, json.dumps(arguments))


def main() -> None:
    sys.stderr.write("echo server is up\n")
    sys.stderr.flush()
    for line in sys.stdin:
        message = json.loads(line)
        method, key = message.get("method"), message.get("id")
        if method == "initialize":
            info = {"name": "echo", "version": "1"}
            version = message["params"]["protocolVersion"]
            found: dict[str, object] = {
                "protocolVersion": version if version < "2026" else "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": info,
            }
            say({"jsonrpc": "2.0", "id": key, "result": found})
        elif method == "tools/list":
            schema = {"type": "object"}
            tools = [{"name": name, "inputSchema": schema} for name in LISTED]
            say({"jsonrpc": "2.0", "id": key, "result": {"tools": tools}})
        elif method == "ping":
            say({"jsonrpc": "2.0", "id": key, "result": {}})
        elif method == "subscriptions/listen":
            listeners.append(key)
            tell(key, "notifications/subscriptions/acknowledged")
        elif method == "tools/call":
            call(key, message["params"])
        elif key is not None and method is not None:
            error = {"code": -32601, "message": "no such method"}
            say({"jsonrpc": "2.0", "id": key, "error": error})


if __name__ == "__main__":
    main()
