"""The plugin that a job asks for, and its tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from wasmpool import (
    AbiError,
    CompileError,
    ConfigureError,
    GuestExit,
    GuestMemoryError,
    GuestTrap,
    HttpPolicy,
    Limits,
    LinkError,
    PoolUnavailable,
    open_plugin,
)

from .shown import name_list, shown
from .standard import reason_of
from .wrong_use import WrongUse

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from wasmpool import Plugin
    from wasmpool._plugin.options import PluginOptions

    from .job import Job

__all__ = ["choose_tool", "open_job_plugin", "plugin_options"]

EXAMPLE_TOOL: Final = "word_count"

NO_PLUGIN = (AbiError, CompileError, GuestExit, GuestMemoryError, GuestTrap, LinkError)
"""What a file that does not serve as a plugin ends in."""


async def open_job_plugin(stack: AsyncExitStack, job: Job) -> Plugin:
    """The plugin, in service.

    Raises:
        WrongUse: it cannot be read, does not serve, or an option does not fit it.
    """
    name = job.plugin_name
    options = plugin_options(job)
    try:
        opening = open_plugin(job.path, credentials=job.credentials, **options)
        return await stack.enter_async_context(opening)
    except OSError as error:
        raise WrongUse(f"the plugin {name} cannot be read: {reason_of(error)}") from error
    except ConfigureError as error:
        raise WrongUse(str(error)) from error
    except PoolUnavailable as error:  # the pool's own words say nothing to a user of the command
        cause = error.__cause__ or error
        why = str(cause) or type(cause).__name__
        raise WrongUse(f"{name} cannot be used as a plugin: {why}") from error
    except NO_PLUGIN as error:
        raise WrongUse(f"{name} cannot be used as a plugin: {error}") from error


def plugin_options(job: Job) -> PluginOptions:
    """How the plugin is run. Without a host that is allowed, it reaches none.

    Raises:
        WrongUse: a limit is out of its range.
    """
    options: PluginOptions = {"size": job.size, "max_uses": job.max_uses, "limits": _limits(job)}
    if job.allow_hosts:
        options["http"] = HttpPolicy(allow_hosts=job.allow_hosts)
    return options


def _limits(job: Job) -> Limits:
    try:
        limits = Limits(call_seconds=job.timeout)
    except ValueError as error:
        raise WrongUse(f"--timeout: {error}") from error
    if job.memory is None:
        return limits
    try:
        return attrs.evolve(limits, memory=job.memory)
    except ValueError as error:
        raise WrongUse(f"--memory: {error}") from error


def choose_tool(plugin: Plugin, job: Job) -> str:
    """The name of the tool to call.

    Raises:
        WrongUse: there is none of that name, or several to choose from.
    """
    names = [tool.name for tool in plugin.tools]
    owner = f"plugin '{shown(plugin.name)}'"
    wanted = EXAMPLE_TOOL if job.tool is None and job.plugin is None else job.tool
    if not names:
        raise WrongUse(f"{owner} has no tools")
    if wanted is None and len(names) > 1:
        raise WrongUse(f"{owner} has {len(names)} tools, choose one by --tool: {name_list(names)}")
    if wanted is not None and wanted not in names:
        raise WrongUse(f"{owner} has no tool '{shown(wanted)}'; it has: {name_list(names)}")
    return names[0] if wanted is None else wanted
