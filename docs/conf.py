"""How Sphinx builds these pages: ``sphinx-build -W --keep-going docs OUT`` (extra ``docs``)."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.pycode import ModuleAnalyzer

import wasmpool
import wasmpool.batch
import wasmpool.mcp
import wasmpool.telemetry
import wasmpool_host

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "wasmpool"
copyright = "wasmpool's authors, MIT licence"  # noqa: A001 - Sphinx's name for it
version = release = version_of("wasmpool")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib_trio", "myst_parser"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"wasmpool {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "monokai"

# --- pages ---

myst_enable_extensions = ["tasklist"]
myst_heading_anchors = 4  # links to `page.md#heading`, by the names that GitHub gives headings
suppress_warnings = [
    "misc.highlighting_failure",  # output and shortened programs are shown as they are
]

# --- docstrings: Google style, with names in single backticks ---

default_role = "py:obj"
nitpicky = True  # a name in backticks that leads nowhere is a mistake
add_module_names = False
toc_object_entries_show_parents = "hide"
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Raises on entering", "params_style")]

nitpick_ignore_regex = [
    # There is no inventory of other projects here: the pages are built without a network.
    ("py:.*", r"(trio|collections|contextlib|os|types|typing|enum)\..*"),
    # Aliases in signatures, which the parameters' texts explain.
    (
        "py:class",
        r"(.*\.)?(Admit|Setup|Check|Keep|Lines|QueueOnClose|PluginSource|PluginOptions|ExtismSource)",
    ),
    (
        "py:class",
        r"(.*\.)?(LeasedMemory|ModuleLike|Results|Sink|StrPath|ExternType|ValueType|PassedType|AddressType)",
    ),
    ("py:class", r"(.*\.)?(Mode|Scripts|Address|BaseRoute|ASGIApp)"),
    ("py:class", r"(.*\.)?(DrivenComponentInstance|WitFunction|Resource)"),
    ("py:class", r"T|Ts"),
    ("py:attr", r".*_Pending\.PENDING"),
    ("py:class", r"(.*\.)?(Collector|MeterProvider|TracerProvider)"),
    (
        "py:class",
        r"AbstractAsyncContextManager|AsyncIterator|AsyncIterable|Iterable|Unpack|Mapping|Sequence|Callable|Collection",
    ),
]

PUBLIC = {
    module.__name__: module
    for module in (
        wasmpool,
        wasmpool.batch,
        wasmpool.mcp,
        wasmpool.telemetry,
        wasmpool_host,
        wasmpool_host.lowlevel,
    )
}

CONSTRUCTED = {"Exposure", "HttpPolicy", "Limits", "Preopen", "ToolResult", "Wasi"}
"""Classes that an application makes objects of; all others are shown without a signature."""


def hide_constructor(  # noqa: PLR0913, PLR0917 - Sphinx's form
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, None] | None:
    """Show a class that only the library constructs without the constructor's parameters."""
    del app, obj, options, returns
    if signature and what in {"class", "exception"} and name.rpartition(".")[2] not in CONSTRUCTED:
        return "", None
    return None


def keep_colons(  # noqa: PLR0913, PLR0917 - Sphinx's form
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Keep napoleon from taking an attribute's docstring up to a colon for its type."""
    del app, name, obj, options
    if what in {"attribute", "data", "property"} and lines:
        lines[:1] = re.split(r"(?<=\w:) ", lines[0], maxsplit=1)  # it ends no line with a type


def find_attribute_docstrings(public: Any) -> None:
    """Let autodoc find the docstrings that stand below attributes and constants.

    It looks for them in the module that a class says it is from, which is a public one, and they
    are in the private module that has the source.
    """
    classes = {
        name
        for name in public.__all__
        if getattr(getattr(public, name), "__module__", "") == public.__name__
    }
    found = ModuleAnalyzer.for_module(public.__name__)
    found.analyze()
    for path in Path(public.__file__).parent.rglob("*.py"):
        private = ModuleAnalyzer.for_string(path.read_text(), str(path))
        private.analyze()
        for (owner, name), text in private.attr_docs.items():
            if owner in classes or (not owner and name in public.__all__):
                found.attr_docs[owner, name] = text
        for name, position in private.tagorder.items():  # members are shown in this order
            if name.partition(".")[0] in classes:
                found.tagorder[name] = position


def resolve_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Any
) -> Any:
    """Find a public name from anywhere: from another module, or as an annotation names it."""
    if node.get("refdomain") != "py":
        return None
    names = [node["reftarget"].removeprefix("wasmpool_host.")]
    if node["reftype"] == "class":
        names.append(names[0].rpartition(".")[2])
    for target in [f"{module}.{name}" for name in names for module in PUBLIC]:
        if target in env.domains.python_domain.objects:
            return env.domains.python_domain.resolve_xref(
                env, node["refdoc"], app.builder, "obj", target, node, content
            )
    return None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", hide_constructor)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)  # before napoleon
    app.connect("missing-reference", resolve_public_name)
    for public in PUBLIC.values():
        find_attribute_docstrings(public)
