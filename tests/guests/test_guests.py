"""The guests of the tests are what their sources build."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("name", "compiler"),
    [
        ("c_prober.wasm", "ziglang"),
        ("c_program.wasm", "ziglang"),
        ("c_reactor.wasm", "ziglang"),
        ("extism_c.wasm", "ziglang"),
        ("extism_go.wasm", "go"),
        ("extism_zig.wasm", "ziglang"),
        ("go_plugin.wasm", "go"),
        ("leaky.wasm", "ziglang"),
        ("zig_program.wasm", "ziglang"),
    ],
)
def test_committed_guest_is_what_its_source_builds(name: str, compiler: str) -> None:
    """A fresh build with the pinned compiler gives the committed bytes."""
    pytest.importorskip(compiler, reason=f"{compiler} builds {name}: install the extra dev")
    command = [sys.executable, str(HERE / "build.py"), "--check", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{name}: up to date\n"), done.stderr


def test_check_tells_a_guest_that_its_source_does_not_build(tmp_path: Path) -> None:
    """A committed module that differs in one byte does not pass for current."""
    pytest.importorskip("ziglang", reason="ziglang builds leaky.wasm: install the extra dev")
    for name in ("build.py", "leaky.c", "leaky.wasm"):
        (tmp_path / name).write_bytes((HERE / name).read_bytes())
    altered = bytearray((tmp_path / "leaky.wasm").read_bytes())
    altered[-1] ^= 1
    (tmp_path / "leaky.wasm").write_bytes(altered)
    command = [sys.executable, str(tmp_path / "build.py"), "--check", "leaky.wasm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (
        1,
        "leaky.wasm: NOT what the source builds\n",
    ), done.stderr
