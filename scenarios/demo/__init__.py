"""The demo: five real daemons, real MCP servers, one real attack."""
