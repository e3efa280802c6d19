"""The plan of the packages: imports point one way, those for annotations, too.

Each import is read from the source, wherever it stands: at the top of a file, under
``TYPE_CHECKING``, or inside a function.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

import wasmpool
import wasmpool_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

LAYERS: Final = (
    {"wasmpool.__main__"},
    {"wasmpool._cli"},
    {"wasmpool.batch"},
    {"wasmpool._batch"},
    {"wasmpool._serve"},
    {"wasmpool.mcp"},
    {"wasmpool._mcp", "wasmpool._scripts"},
    {"wasmpool.telemetry"},
    {"wasmpool._telemetry"},
    {"wasmpool"},
    {"wasmpool.telemetry"},
    {"wasmpool._telemetry"},
    {"wasmpool._extism"},
    {"wasmpool._plugin"},
    {"wasmpool._pool", "wasmpool._http"},
    {"wasmpool.example"},  # and the files beside the folders of `wasmpool`: errors, JSON
    {"wasmpool_host"},
    {"wasmpool_host.lowlevel"},
    {"wasmpool_host._statistics", "wasmpool_host._extism"},
    {"wasmpool_host._module", "wasmpool_host._component"},
    {"wasmpool_host._given"},
    {"wasmpool_host._linking", "wasmpool_host._snapshot"},
    {"wasmpool_host._wasi_p2"},
    {"wasmpool_host._wasi"},
    {"wasmpool_host._instance"},
    {"wasmpool_host._free_slots"},
    {"wasmpool_host._open_instances"},
    {"wasmpool_host._engine"},
    {"wasmpool_host._scheduling", "wasmpool_host._compile"},
)  # and last the files beside the folders of `wasmpool_host`: errors, limits, the C API
"""From the top to the bottom. Folders of one layer do not import each other."""

FACES: Final = {"wasmpool", "wasmpool_host"}
"""The packages themselves: what an application imports."""

BESIDE: Final = LAYERS.index({"wasmpool.example"})

POOL: Final = (
    {"instruments"},
    {"pool"},
    {"lease", "reload"},
    {"acquire"},
    {"maintenance", "deadlines", "invariants"},
    {"core"},
)
"""Inside `wasmpool._pool`; below are the records: slot, generation, waiter, options and so on."""

TOGETHER: Final = {
    frozenset({"wasmpool_host._instance.fiber", "wasmpool_host._instance.host_call"}),
}
"""The circles that are allowed: a fiber and its host calls are two halves of one mechanism."""


class Import(NamedTuple):
    """One import: from which module, of which, and where it stands."""

    importer: str
    imported: str
    place: str

    def __str__(self) -> str:
        return f"{self.place}: {self.importer} imports {self.imported}"


def _sources() -> dict[str, Path]:
    """The files of both packages by the names of their modules."""
    found: dict[str, Path] = {}
    for package in (wasmpool, wasmpool_host):
        assert package.__file__ is not None
        top = Path(package.__file__).parent
        for path in sorted(top.rglob("*.py")):
            parts = path.relative_to(top.parent).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def _imports_of(name: str, path: Path, modules: AbstractSet[str]) -> Iterator[Import]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            inner = [f"{base}.{alias.name}" for alias in node.names]
            targets = [each if each in modules else base for each in inner]
        else:
            continue
        for target in dict.fromkeys(targets):
            if target in modules and target != name:
                yield Import(name, target, f"{path.parent.name}/{path.name}:{node.lineno}")


@pytest.fixture(scope="module")
def imports() -> Sequence[Import]:
    sources = _sources()
    assert len(sources) > 100
    return [
        each for name, path in sources.items() for each in _imports_of(name, path, sources.keys())
    ]


def _layer(module: str) -> int:
    """The number of a module's layer, from the top."""
    for number, layer in enumerate(LAYERS):
        if module in layer or any(module.startswith(f"{each}.") for each in layer - FACES):
            return number
    return BESIDE if module.startswith("wasmpool.") else len(LAYERS)


def _folder(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _circles(graph: Mapping[str, AbstractSet[str]]) -> set[frozenset[str]]:
    """The sets of modules that reach each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            for following in graph.get(ahead.pop(), set()) - seen:
                seen.add(following)
                ahead.append(following)
        return seen

    reach = {module: reached(module) for module in graph}
    return {
        frozenset(other for other in seen if module in reach.get(other, set()))
        for module, seen in reach.items()
        if module in seen
    }


def _graph(imports: Iterable[Import]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for each in imports:
        graph.setdefault(each.importer, set()).add(each.imported)
    return graph


def test_the_way_to_find_circles_finds_them() -> None:
    """Two modules that import each other, and three in a ring, are told from a chain."""
    chain = {"a": {"b"}, "b": {"c"}}
    assert not _circles(chain)
    assert _circles({**chain, "c": {"d"}, "d": {"c"}}) == {frozenset("cd")}
    assert _circles({**chain, "c": {"a"}, "x": {"a"}}) == {frozenset("abc")}


def test_imports_under_type_checking_and_in_functions_are_read(tmp_path: Path) -> None:
    """Wherever an import stands, it counts; a name of a package that is a module is that module."""
    path = tmp_path / "file.py"
    path.write_text(
        "if TYPE_CHECKING:\n    from .a import A\ndef f():\n    from . import b\nimport p.c\n"
    )
    found = _imports_of("p.file", path, {"p", "p.a", "p.b", "p.c", "p.file"})
    assert {each.imported for each in found} == {"p.a", "p.b", "p.c"}


def test_no_modules_import_each_other_in_a_circle(imports: Sequence[Import]) -> None:
    """Any file can be read after those that it imports, but for the one pair."""
    circles = _circles(_graph(imports))
    wrong = [
        str(each)
        for circle in circles - TOGETHER
        for each in imports
        if each.importer in circle and each.imported in circle
    ]
    assert not wrong, "\n".join(wrong)


def test_imports_point_down(imports: Sequence[Import]) -> None:
    """No folder imports one above it, or beside it."""
    wrong = [
        str(each)
        for each in imports
        if _folder(each.importer) != _folder(each.imported)
        and _layer(each.importer) >= _layer(each.imported)
        and not _layer(each.importer) == _layer(each.imported) in (BESIDE, len(LAYERS))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_host_knows_nothing_of_pools(imports: Sequence[Import]) -> None:
    """`wasmpool_host` works without `wasmpool`."""
    wrong = [
        str(each)
        for each in imports
        if each.importer.startswith("wasmpool_host")
        and not each.imported.startswith("wasmpool_host")
    ]
    assert not wrong, "\n".join(wrong)


def test_pools_use_what_the_host_has_published(imports: Sequence[Import]) -> None:
    """`wasmpool` imports `wasmpool_host` and `wasmpool_host.lowlevel`, and none of their files."""
    wrong = [
        str(each)
        for each in imports
        if not each.importer.startswith("wasmpool_host") and "wasmpool_host._" in each.imported
    ]
    assert not wrong, "\n".join(wrong)


def test_the_pool_is_built_upon_its_core(imports: Sequence[Import]) -> None:
    """Each file imports only files of lower rows, and the records import none of them."""
    order = {f"wasmpool._pool.{name}": n for n, names in enumerate(POOL) for name in names}
    assert order.keys() <= _sources().keys()
    wrong = [
        str(each)
        for each in imports
        if each.imported in order
        and each.importer.startswith("wasmpool._pool.")
        and order.get(each.importer, len(POOL)) >= order[each.imported]
    ]
    assert not wrong, "\n".join(wrong)


def test_two_files_call_the_c_api() -> None:
    """Only `_capi`, and `_capi_component` beside it, bind functions of Wasmtime's library."""
    users = {
        name
        for name, path in _sources().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and any("_ffi" in alias.name for alias in node.names)
    }
    assert users == {"wasmpool_host._capi", "wasmpool_host._capi_component"}


def test_the_page_names_what_is_there() -> None:
    """Each file and each name of `Core` and so on that the page of the architecture has exists."""
    page = Path(__file__).parent.parent / "docs" / "architecture.md"
    if not page.exists():
        pytest.skip("needs the pages")
    text = page.read_text()
    files = {f"{path.parent.name}/{path.name}": path for path in _sources().values()}
    named = set(re.findall(r"\b(_\w+/\w+\.py)\b", text))
    assert len(named) > 25
    assert named <= files.keys(), named - files.keys()
    said = re.findall(r"`(_\w+/\w+\.py)`: `(\w+)`(?:, `(\w+)`)?", text)
    assert len(said) > 4
    for file, *names in said:
        for name in filter(None, names):
            assert re.search(rf"\bdef {name}\(", files[file].read_text()), f"{file}: {name}"
