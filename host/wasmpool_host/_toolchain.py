"""What a module was built for, told by the imports that only one kind of host provides."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["built_for"]


def built_for(imports: Iterable[tuple[str, str]]) -> str | None:
    """Return what a module looks to be built for, by imports as (module, name); None if unknown."""
    for module, name in imports:
        found = _built_for(module, name)
        if found is not None:
            return found
    return None


def _built_for(module: str, name: str) -> str | None:  # noqa: PLR0911 - a table
    match module:
        case "extism:host/env" | "extism:host/user":
            return "as an Extism plugin, which `wasmpool.open_extism` runs"
        case "gojs" | "go":
            return "for JavaScript, by Go with GOOS=js: GOOS=wasip1 builds it for WASI"
        case "wasi_unstable":
            return "for an older WASI than preview 1"
        case "wbg" | "__wbindgen_placeholder__" | "__wbindgen_externref_xform__":
            return "for JavaScript, by wasm-bindgen"
        case "env" if name.startswith(("emscripten_", "invoke_", "__syscall_", "_emscripten_")):
            return "for Emscripten's JavaScript: `-sSTANDALONE_WASM` builds it for WASI"
        case _ if module.startswith("wasi:"):
            return "as a component, for WASI preview 2"
        case _ if name.startswith("__wbindgen_") or module.endswith("_bg.js"):
            return "for JavaScript, by wasm-bindgen"
        case _:
            return None
