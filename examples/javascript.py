"""Evaluate JavaScript whose host function is an ``async def``: QuickJS in a pool.

    pip install wasmpool quickjs-rs
    python examples/javascript.py

Only the guest of that package is used, a QuickJS for WASI. It names values by numbers, handles.
Each script has an instance of its own, so its handles need not be given back.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import trio

from wasmpool import Caller, Instance, Lease, Limits, Module, Pool, host_function, open_pool

LIMITS = Limits(memory=64 << 20)
SECONDS = 5  # for a script, with what it waits for
PRELUDE = """
const AsyncFunction = (async () => {}).constructor
let answer = JSON.stringify({error: "it waits for what never comes"})
async function evaluate(source) {
  try { answer = JSON.stringify({value: await AsyncFunction(source)()}) }
  catch (error) { answer = JSON.stringify({error: String(error)}) }
}
"""


async def price(item: str) -> str:
    """Look a price up. The script that asks is suspended meanwhile; others run."""
    await trio.sleep(0.05)
    return {"tea": "3.20", "cake": "4.50"}.get(item, "unknown")


@host_function("env", "host_call", params=("i32",) * 5, results=["i32"])
async def host_call(js: Caller, _name: int, _size: int, _this: int, count: int, args: int) -> int:
    """Serve a script's call of ``price``, the only function that it is given."""
    item = await text_of(js, number_at(js, args)) if count == 1 else None
    if item is None:
        return -1  # an error in the script
    answer = await put(js, await price(item))
    return await call(js, "new_string", *answer)


def zero(_js: Caller, *_args: int) -> int:
    """Answer that nothing asks the script to stop, and that there is no module of this name."""
    return 0


IMPORTS = [
    host_call,
    host_function("env", "host_interrupt", [], ["i32"])(zero),
    host_function("env", "host_module_normalize", ("i32",) * 5, ["i32"])(zero),
    host_function("env", "host_module_load", ("i32",) * 3, ["i32"])(zero),
]


@asynccontextmanager
async def open_javascript(size: int = 8) -> AsyncGenerator[Pool]:
    """Open a pool of QuickJS in which each script gets a pristine instance."""
    module = await Module.compile(
        Path(str(files("quickjs_rs") / "_guest.wasm")),
        imports=IMPORTS,
        limits=LIMITS,
    )
    async with open_pool(module, size=size, min_size=size, max_uses=1, setup=set_up) as pool:
        yield pool


async def set_up(js: Instance) -> None:
    """Give an instance its function ``price``, and the prelude."""
    name = await put(js, "price")
    function = await call(js, "new_function", *name)
    await call(js, "set_prop", await call(js, "global_object"), *name, function)
    await evaluate(js, PRELUDE)


async def run(pool: Pool, source: str) -> str:
    """Run the body of an async function.

    Returns:
        What it returned or threw, as JSON: ``{"value": ...}`` or ``{"error": "..."}``.

    Raises:
        trio.TooSlowError: it took too long.
        GuestTrap: its recursion was too deep.
    """
    with trio.fail_after(SECONDS):
        async with pool.lease() as js:
            await evaluate(js, f"void evaluate({json.dumps(source)})")
            while await call(js, "execute_pending_jobs"):
                pass  # it runs the continuations after each ``await``, up to 100,000 at once
            return await text_of(js, await evaluate(js, "answer")) or ""


async def evaluate(js: Instance | Lease, source: str) -> int:
    """Evaluate a script at once; return the handle of its value."""
    out = await call(js, "qjs_alloc", 4)
    if status := await call(js, "eval_code", *await put(js, source), out):
        message = f"QuickJS could not evaluate {source[:50]!r}: status {status}"
        raise RuntimeError(message)
    return number_at(js, out)


async def call(js: Caller | Instance | Lease, export: str, *args: int) -> int:
    """Call an export whose result is an i32."""
    result: Any = await js.call(export, *args)
    return int(result)


async def put(js: Caller | Instance | Lease, text: str) -> tuple[int, int]:
    """Copy a text into the guest; return its pointer and size."""
    data = text.encode()
    pointer = await call(js, "qjs_alloc", len(data))
    js.memory.write(pointer, data)
    return pointer, len(data)


async def text_of(js: Caller | Instance | Lease, handle: int) -> str | None:
    """Return the text of a value, or None if it is no string."""
    if await call(js, "get_string", handle):
        return None
    size = await call(js, "qjs_last_len")
    return js.memory.read(await call(js, "qjs_last_ptr"), size).decode()


def number_at(js: Caller | Instance | Lease, pointer: int) -> int:
    """Read an i32, here always a handle."""
    return int.from_bytes(js.memory.read(pointer, 4), "little", signed=True)


SCRIPT = """
const items = ["tea", "cake", "water"]
const bill = items.map(item => `${item}: ${price(item)}`)
return bill.join("; ")
"""


async def main() -> None:
    """Run some scripts at the same time."""
    async with open_javascript() as pool, trio.open_nursery() as nursery:

        async def show(source: str) -> None:
            print(await run(pool, source))

        for source in (SCRIPT, "return await price('tea') * 2", "return price(1)", "nonsense"):
            nursery.start_soon(show, source)


if __name__ == "__main__":
    trio.run(main)
