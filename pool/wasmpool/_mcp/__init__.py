"""The tools of a loader, served by the Model Context Protocol (MCP).

The parts, and how a program puts them together:

- `catalog.Catalog(loader, exposures)`: which tools are served, and how one of them is called.
- `endpoint.open_endpoint(catalog, mode=..., scripts=...)`: a block that yields an `Endpoint`. It
  answers the protocol's requests for any number of connections, tells clients when the list of
  tools has changed, and knows the calls under way.
- `stdio.run_stdio(endpoint)` serves it over the standard streams, until the input ends.
- `http.http_app(endpoint, token=..., allowed_hosts=..., allowed_origins=..., routes=...)` is an
  ASGI application: the protocol at ``/mcp``, and your own routes behind the same checks.
- `http_server.run_http(endpoint, application, sockets=...)` serves an ASGI application, until the
  endpoint is drained; `http_server.listen(host, port)` makes the sockets.

The graceful end is the same for both: ``await endpoint.drain(grace)`` refuses new calls, gives
those under way ``grace`` seconds, cancels the rest, and returns. `run_stdio` and `run_http` return
when the answers are written. ``endpoint.draining`` and ``endpoint.drained`` are events;
``endpoint.calls`` is the number of calls under way.
"""
