"""The tools of a loader, served to agents and other clients by the Model Context Protocol.

`serve_stdio` serves one client over the standard streams, `serve_http` any number of clients over
HTTP, and `app` is an ASGI application for a server of your own. All of them serve the tools of all
plugins of a `Loader`, also of those that are loaded later. They need the extra ``serve``.
"""

from __future__ import annotations

try:
    import jsonschema  # noqa: F401 - is it installed?
    import mcp as _sdk  # noqa: F401
    import starlette  # noqa: F401
except ImportError as missing:
    raise ImportError(
        f'wasmpool.mcp needs {missing.name}: pip install "wasmpool[serve]"', name=missing.name
    ) from missing

from typing import TYPE_CHECKING

import trio

from ._mcp.catalog import Catalog
from ._mcp.endpoint import open_endpoint
from ._mcp.exposure import Exposure
from ._mcp.stdio import run_stdio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._mcp.tool_set import Mode, Scripts
    from ._plugin.loader import Loader

__all__ = ["Exposure", "serve_stdio"]


async def serve_stdio(
    loader: Loader,
    *,
    exposures: Mapping[str, Exposure] | None = None,
    mode: Mode = "plain",
    scripts: Scripts | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve one client over the standard streams of the process."""
    catalog = Catalog(loader, exposures)
    async with open_endpoint(catalog, mode=mode, scripts=scripts) as endpoint:
        await run_stdio(endpoint, task_status=task_status)
