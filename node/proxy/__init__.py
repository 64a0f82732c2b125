"""Where MCP bytes enter and leave: HTTP, stdio, mesh."""
