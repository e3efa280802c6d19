"""`wasmpool serve`: plugins as tools over MCP, with a page, metrics and health."""
