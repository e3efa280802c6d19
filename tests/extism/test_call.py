"""A call of an Extism plugin: input, output, and the guest's error."""

from __future__ import annotations

import pytest
from tests.extism.script_guest import Result, guest, results, script, step

from wasmpool import ExtismError, GuestTrap, Limits, open_extism


async def test_input_and_output() -> None:
    """The output is what the guest sets: here its input, as bytes or in UTF-8; by default empty."""
    async with open_extism(guest()) as plugin:
        assert await plugin.call("echo", b"\0\xff bytes") == b"\0\xff bytes"
        assert await plugin.call("echo", "tëxt") == "tëxt".encode()
        assert await plugin.call("echo") == b""
        assert list(plugin.exports) == ["run", "echo", "fail", "spin"]
        assert repr(plugin).endswith("open gen=1: 4 exports>")
        assert plugin.statistics().granted == 3
    assert plugin.exports == ()


async def test_the_error_of_the_guest() -> None:
    """An error that the guest sets comes out, escaped in its text; the instance serves on."""
    async with open_extism(guest(), name="p", size=1) as plugin:
        with pytest.raises(ExtismError) as raised:
            await plugin.call("fail", "no \x1b[31m\nsuch thing")
        assert raised.value.text == "no \x1b[31m\nsuch thing"
        assert raised.value.status == 1
        assert str(raised.value).endswith(r".fail: no \x1b[31m\nsuch thing")
        assert await plugin.call("echo", b"on") == b"on"
        assert plugin.statistics().started == 1


async def test_an_error_counts_whatever_is_returned() -> None:
    """As in Extism an error with the result 0 is one, and so is a result without an error."""
    error = script(step("input_offset"), step("error_set", Result(0)), step("return", 0))
    async with open_extism(guest()) as plugin:
        with pytest.raises(ExtismError) as raised:
            await plugin.call("run", error)
        assert raised.value.status == 0
        with pytest.raises(ExtismError, match=r"run returned 7, and set no error"):
            await plugin.call("run", script(step("return", 7)))


async def test_a_long_error_is_cut() -> None:
    """Of an error's text there are 4 KiB at most."""
    async with open_extism(guest()) as plugin:
        with pytest.raises(ExtismError) as raised:
            await plugin.call("fail", b"x" * 1_000_000)
        assert raised.value.text == "x" * 4096


async def test_a_trap_has_the_error_in_a_note() -> None:
    """A trap is a GuestTrap, also after an error was set; its instance is replaced."""
    steps = script(step("input_offset"), step("error_set", Result(0)), step("trap"))
    async with open_extism(guest(), size=1) as plugin:
        with pytest.raises(GuestTrap) as raised:
            await plugin.call("run", steps)
        assert raised.value.__notes__[0].startswith("the guest has set the error: ")
        assert await plugin.call("echo", b"on") == b"on"
        assert plugin.statistics().retired["trap"] == 1


async def test_nothing_is_left_of_a_call() -> None:
    """A call finds no byte, no block, no output and no error of the one before."""
    look = script(
        step("alloc", 4096),
        *[step("load_u64", 64 + at) for at in range(1024, 4096, 8)],
        step("output_length"),
        step("error_get"),
    )
    async with open_extism(guest(), size=1) as plugin:
        await plugin.call("echo", b"secret" * 10_000)
        found = results(await plugin.call("run", look))
        assert not any(found[-2:])
        assert b"secret" not in b"".join(x.to_bytes(8, "little") for x in found)


async def test_refused_uses() -> None:
    """A wrong export, type or size of an input is refused, and the instance serves on."""
    async with open_extism(guest(), size=1, limits=Limits(payload=100)) as plugin:
        with pytest.raises(ValueError, match=r"no export 'ecko'; did you mean 'echo'"):
            await plugin.call("ecko")
        with pytest.raises(TypeError, match=r"has the type \(i32\) -> \(\): an Extism plugin"):
            await plugin.call("takes")
        with pytest.raises(TypeError, match="the input must be bytes, not int"):
            await plugin.call("echo", 7)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="an input of 101 bytes is above limits.payload=100"):
            await plugin.call("echo", b"x" * 101)
        assert await plugin.call("echo", b"x" * 100) == b"x" * 100
        assert plugin.statistics().started == 1
