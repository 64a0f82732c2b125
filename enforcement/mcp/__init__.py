"""The MCP protocol: bounded parsing, phases, signed requests."""
