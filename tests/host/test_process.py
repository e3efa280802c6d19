"""What could end the process, each in a process of its own."""

from __future__ import annotations

import dis
import re
import textwrap
from typing import TYPE_CHECKING

import pytest
from tests.processes import run_script

if TYPE_CHECKING:
    from collections.abc import Sequence

PRELUDE = """
import faulthandler, gc, os, random, signal, sys, threading, time
import trio, trio.testing
from wasmpool_host import *

ASK = '''(module $m (import "env" "ask" (func $ask (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "go") (param i32) (result i32) (call $ask (local.get 0)))
  (func (export "add") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func (export "load") (result i32) (i32.load (i32.const -1)))
  (func (export "spin") (loop $l (br $l))))'''
"""


def run(
    code: str, *options: str, args: Sequence[str] = (), timeout: float = 120, quiet: bool = True
) -> str:
    """Run a script of its own; what it printed, or a failure with what it said.

    Nothing may be on stderr; with ``quiet`` off, nothing of a callback.
    """
    done = run_script(PRELUDE + textwrap.dedent(code), *options, args=args, timeout=timeout)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert not done.stderr or (not quiet and "ctypes" not in done.stderr), done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("interrupts", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_keyboard_interrupts_leave_the_process_whole(interrupts: int) -> None:
    """In calls with host functions, inline and in threads, each is raised, and no fiber is left."""
    code = """
    import wasmpool_host._instance.host_call as notes

    WANTED = int(sys.argv[1])

    @host_function("env", "ask", params=("i32",), results=("i32",))
    async def ask(caller, value):
        for _ in range(20):
            value = await caller.call("add", value)
        await trio.lowlevel.checkpoint()
        return value

    async def use(module):
        with trio.CancelScope(shield=True):
            instance = await module.instantiate()
        try:
            while True:
                await instance.call("go", 1)
                if random.random() < 0.01:
                    await instance.call("spin")
        finally:
            await instance.aclose()

    def interrupt():
        while interrupts < WANTED:
            before = interrupts
            time.sleep(0.0005 + random.random() * 0.004)
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(50):  # until it was raised; one that lands in a finalizer is not
                if interrupts > before:
                    break
                time.sleep(0.001)

    def run_until_interrupted():
        try:
            trio.run(use, module)
        except BaseExceptionGroup as group:
            assert group.split(KeyboardInterrupt)[1] is None, group

    interrupts = 0
    module = trio.run(lambda: Module.compile(ASK, imports=[ask]))
    sender = threading.Thread(target=interrupt)
    sender.start()
    while sender.is_alive():
        try:  # and once more around it, for an interrupt that comes while one is caught
            try:
                run_until_interrupted() if interrupts < WANTED else sender.join()
            except KeyboardInterrupt:
                pass
        except KeyboardInterrupt:
            pass
        interrupts += 1
    assert not notes.fibers and not notes.host_calls, (notes.fibers, notes.host_calls)
    print("whole")
    """
    # Trio and the interpreter report interrupts that land in finalizers of theirs.
    assert run(code, args=[str(interrupts)], quiet=False) == "whole"


def test_recursion_is_an_error_in_the_task() -> None:
    """A call is refused where the Python stack is nearly used up, and the process lives."""
    code = """
    @host_function("env", "ask", params=("i32",), results=("i32",))
    def ask(caller, value):
        return value

    async def deep(instance, frames):
        if frames:
            return await deep(instance, frames - 1)
        return await instance.call("go", 7)

    async def main():
        module = await Module.compile(ASK, imports=[ask])
        outcomes = set()
        for frames in range(sys.getrecursionlimit() - 150, sys.getrecursionlimit()):
            instance = await module.instantiate()
            try:
                outcomes.add(await deep(instance, frames))
            except RecursionError:
                outcomes.add("RecursionError")
            await instance.aclose()
        print(sorted(outcomes, key=str))

    trio.run(main)
    """
    assert run(code) == "[7, 'RecursionError']"


def test_recursion_on_the_way_to_a_pending_call_costs_no_instance() -> None:
    """A pool still serves after calls near the end of the Python stack, from any depth."""
    code = """
    from wasmpool import open_pool
    TEXT = '''(module (memory (export "memory") 1)
      (func (export "malloc") (param i32) (result i32) (i32.const 1024))
      (func (export "same") (param i64) (result i64) (local.get 0)))'''

    async def deep(pool, frames):
        if frames:
            return await deep(pool, frames - 1)
        return await pool.exchange("same", b"abc")

    async def main():
        module = await Module.compile(TEXT)
        outcomes = set()
        for frames in range(sys.getrecursionlimit() - 120, sys.getrecursionlimit()):
            async with open_pool(module, size=1) as pool:  # its first exchange is pending
                try:
                    outcomes.add(await deep(pool, frames))
                except RecursionError:
                    outcomes.add("RecursionError")
                with trio.fail_after(10):
                    assert await pool.exchange("same", b"abc") == b"abc"
        print(sorted(outcomes, key=str))

    trio.run(main)
    """
    assert run(code, quiet=False) == "['RecursionError', b'abc']"


def test_guest_and_host_without_end() -> None:
    """Also driven by a guest's malloc, which a reply calls: a trap, at 64 levels."""
    code = """
    TEXT = '''(module (import "env" "ask" (func $ask (param i32)))
      (memory (export "memory") 1)
      (func $malloc (export "malloc") (param i32) (result i32)
        (call $ask (local.get 0)) (i32.const 64))
      (func (export "go") (call $ask (i32.const 1))))'''

    @host_function("env", "ask", params=("i32",))
    async def ask(caller, value):
        await caller.reply(b"x")

    async def main():
        module = await Module.compile(TEXT, imports=[ask])
        instance = await module.instantiate()
        try:
            await instance.call("go")
        except GuestTrap as trap:
            print(trap.code, instance.poisoned)
        await instance.aclose()

    trio.run(main)
    """
    assert run(code) == "stack-overflow trap"


FORKS = """
def child_is_told(begin):
    # Drive a use in a forked child: it must raise before the loop has its turn.
    child = os.fork()
    if not child:
        try:
            begin().send(None)
        except RuntimeError as error:
            os._exit(0 if "spawn" in str(error) else 2)
        except BaseException as error:
            os._exit(3)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_forked_child_is_told_to_spawn() -> None:
    """Each use raises RuntimeError there, and takes no wake-up from the parent's loop."""
    code = """
    import warnings
    warnings.simplefilter("ignore")

    @host_function("env", "ask", params=("i32",), results=("i32",))
    def ask(caller, value):
        return value

    async def main():
        module = await Module.compile(ASK, imports=[ask])
        instance = await module.instantiate()
        await instance.call("go", 1)
        woken = trio.Event()
        trio.lowlevel.current_trio_token().run_sync_soon(woken.set)
        for begin in (
            lambda: instance.call("go", 1),
            lambda: instance.exchange("go", b""),
            lambda: Module.compile("(module)"),
            module.instantiate,
        ):
            assert child_is_told(begin)
        await woken.wait()
        assert await instance.call("go", 2) == 2
        await instance.aclose()
        return module

    module = trio.run(main)
    assert child_is_told(module.instantiate)
    print("told")
    """
    assert run(FORKS + textwrap.dedent(code)) == "told"


def test_a_pool_in_a_forked_child_says_so() -> None:
    """Asks, leases and calls in a lease raise there at once, and the parent's pool serves on."""
    code = """
    import warnings
    from wasmpool import open_pool
    warnings.simplefilter("ignore")

    async def main():
        module = await Module.compile('(module (func (export "f")))')
        async with open_pool(module) as pool, pool.lease() as lease:
            woken = trio.Event()
            trio.lowlevel.current_trio_token().run_sync_soon(woken.set)
            for begin in (
                lambda: pool.call("f"),
                lambda: pool.exchange("f", b""),
                lambda: pool.lease().__aenter__(),
                lambda: pool.lease_nowait().__aenter__(),
                lambda: lease.call("f"),
                lambda: lease.exchange("f", b""),
                lambda: pool.resize(2),
                lambda: pool.reload(module),
            ):
                assert child_is_told(begin)
            await woken.wait()
            await lease.call("f")
            await pool.call("f")
        print("told")

    trio.run(main)
    """
    assert run(FORKS + textwrap.dedent(code)) == "told"


@pytest.mark.parametrize("options", [(), ("-X", "faulthandler")])
def test_faulthandler_is_not_switched_behind_our_back(options: tuple[str, ...]) -> None:
    """As it was with the first compile it is fine; switched later it is refused."""
    code = """
    @host_function("env", "ask", params=("i32",), results=("i32",))
    def ask(caller, value):
        return value

    async def main():
        module = await Module.compile(ASK, imports=[ask])
        instance = await module.instantiate()
        try:
            await instance.call("load")
        except GuestTrap as trap:
            print(trap.code)
        await instance.aclose()
        faulthandler.disable() if faulthandler.is_enabled() else faulthandler.enable()
        for attempt in (module.instantiate, lambda: Module.compile("(module)")):
            try:
                await attempt()
            except RuntimeError as error:
                print("faulthandler.enable() before" in str(error))

    trio.run(main)
    """
    assert run(code, *options) == "memory-out-of-bounds\nTrue\nTrue"


def test_the_ticker_loses_no_wake_up() -> None:
    """Guests that start just as the timer expires are stopped, too."""
    code = """
    async def main():
        text = '(module (func (export "f")) (func (export "spin") (loop $l (br $l))))'
        module = await Module.compile(text)
        instance = await module.instantiate()
        for k in range(120):
            await instance.call("f")
            until = time.perf_counter() + 0.0008 + 0.00001 * (k % 100)
            while time.perf_counter() < until:
                pass
            with trio.move_on_after(0.002):
                await instance.call("spin")
            await instance.aclose()
            instance = await module.instantiate()
        await instance.aclose()
        print("stopped")

    trio.run(main)
    """
    assert run(code) == "stopped"


@pytest.mark.parametrize("where", ["worker", "trio thread"])
def test_a_tick_that_comes_before_the_guest_goes_on_is_followed_by_another(where: str) -> None:
    """A thread may lose the CPU just before it continues the guest; the cancel still ends it."""
    code = f"""
    from wasmpool_host._engine import advance_epochs
    from wasmpool_host._instance import fiber as fiber_module
    IN_MAIN = {where!r} == "trio thread"
    poll = fiber_module._poll
    polls = 0

    def poll_late(future):
        global polls
        if (threading.current_thread() is threading.main_thread()) == IN_MAIN:
            polls += 1
            if polls == 2:
                time.sleep(0.05)  # all that was armed goes off, and the cancel is due
        return poll(future)

    async def main():
        global polls
        module = await Module.compile('(module (func (export "spin") (loop $l (br $l))))')
        while polls < 2:  # on a busy machine, the cancel may come before
            polls = 0
            instance = await module.instantiate()
            advance_epochs()  # its first slice ends at once
            fiber_module._poll = poll_late
            with trio.move_on_after(0.02):
                await instance.call("spin")
            fiber_module._poll = poll
            await instance.aclose()
        print("stopped")

    trio.run(main)
    """
    assert run(code, timeout=30) == "stopped"


def test_a_ticker_that_cannot_start_leaves_nothing_open() -> None:
    """The call says why, and the next one tries again."""
    code = """
    start = threading.Thread.start

    def fail(thread):
        if thread.name == "wasmpool ticker":
            raise RuntimeError("no thread to be had")
        start(thread)

    async def main():
        module = await Module.compile('(module (func (export "one") (result i32) (i32.const 1)))')
        threading.Thread.start = fail
        before = os.listdir("/proc/self/fd")
        for _ in range(3):
            try:
                await module.instantiate()
            except RuntimeError as error:
                print(error)
        print(len(os.listdir("/proc/self/fd")) - len(before))
        threading.Thread.start = start
        instance = await module.instantiate()
        print(await instance.call("one"))
        await instance.aclose()

    trio.run(main)
    """
    assert run(code).splitlines() == ["no thread to be had"] * 3 + ["0", "1"]


def test_short_calls_of_another_run_do_not_put_a_tick_off() -> None:
    """Each trio run has a timer of its own; a guest that spins in one leaves its first slice."""
    code = """
    spinning = threading.Event()
    stopped = threading.Event()
    tickers = set()

    async def call_shortly():
        instance = await MODULE.instantiate()
        await trio.to_thread.run_sync(spinning.wait)
        await instance.call("f")
        while not stopped.is_set():  # as if calls took no time at all
            instance._ticker.renew(time.perf_counter())
        tickers.add(instance._ticker)
        await instance.aclose()

    async def spin():
        instance = await MODULE.instantiate()
        await instance.call("f")
        with trio.move_on_after(0.2):
            spinning.set()
            await instance.call("spin")
        tickers.add(instance._ticker)
        await instance.aclose()
        stopped.set()

    async def compile():
        text = '(module (func (export "f")) (func (export "spin") (loop $l (br $l))))'
        return await Module.compile(text)

    MODULE = trio.run(compile)
    other = threading.Thread(target=trio.run, args=(call_shortly,))
    other.start()
    trio.run(spin)
    other.join()
    print(len(tickers), [t.name for t in threading.enumerate() if "ticker" in t.name])
    """
    assert run(code, timeout=30) == "2 []"


def test_garbage_is_collected_during_host_calls() -> None:
    """Finalizers may run at any moment; forgotten instances are among what they free."""
    code = """
    import warnings
    warnings.simplefilter("ignore")
    gc.set_threshold(1, 1, 1)

    @host_function("env", "ask", params=("i32",), results=("i32",))
    async def ask(caller, value):
        await trio.lowlevel.checkpoint()
        return await caller.call("add", value)

    async def main():
        module = await Module.compile(ASK, imports=[ask])
        instance = await module.instantiate()
        for k in range(300):
            await module.instantiate()
            assert await instance.call("go", k) == k + 1
        await instance.aclose()
        print("collected")

    trio.run(main)
    """
    assert run(code) == "collected"


@pytest.mark.parametrize("attribute", ["InstancePre", "_ffi.dll.wasmtime_func_call_async"])
def test_an_unsupported_wasmtime_is_named_with_those_that_are(attribute: str) -> None:
    """At import, before anything can go wrong."""
    code = f"""
    import wasmtime
    from wasmtime import _ffi
    for name in [each for each in sys.modules if each.startswith("wasmpool_host")]:
        del sys.modules[name]
    if {attribute!r} == "InstancePre":
        del wasmtime.InstancePre
    else:
        import ctypes
        _ffi.dll = ctypes.CDLL(None)  # has none of Wasmtime's functions
    try:
        import wasmpool_host
    except ImportError as error:
        from importlib.metadata import version
        print("install wasmtime >= 45, < 51" in str(error), version("wasmtime") in str(error))
    """
    assert run(code) == "True True"


def test_the_map_limit_is_counted_before_mapping() -> None:
    """One instance too many is a MemoryError that names the limit, and how to raise it."""
    code = """
    import wasmpool_host._open_instances as counted
    counted._most_maps = lambda: 3 * counted.MAPS_OF_AN_INSTANCE

    async def main():
        module = await Module.compile("(module)")
        instances = [await module.instantiate() for _ in range(3)]
        try:
            await module.instantiate()
        except MemoryError as error:
            print("sysctl -w vm.max_map_count" in str(error), "3 instances" in str(error))
        await instances.pop().aclose()
        instances.append(await module.instantiate())
        for instance in instances:
            await instance.aclose()

    trio.run(main)
    """
    assert run(code) == "True True"


@pytest.mark.parametrize("waits", [False, True], ids=["computes", "waits"])
@pytest.mark.parametrize("end", ["returns", "raises", "is cancelled"])
def test_a_task_in_a_call_by_a_caller_may_outlive_the_host_function(
    end: str, *, waits: bool
) -> None:
    """The host function ends under it: the guest is stopped first, and both tasks are told."""
    code = f"""
    END, WAITS = {end!r}, {waits}

    GUEST = '''(module (import "env" "host" (func $host)) (import "env" "wait" (func $wait))
      (func (export "go") (call $host))
      (func (export "computes") (loop $l (br $l)))
      (func (export "waits") (call $wait) (loop $l (br $l))))'''

    async def main():
        leave = trio.Event()

        @host_function("env", "wait")
        async def wait(caller):
            with trio.CancelScope(shield=True):
                await leave.wait()

        async def stray(caller):
            try:
                await caller.call("waits" if WAITS else "computes")
            except RuntimeError as error:
                print("stray:", "ended while another task" in str(error))

        @host_function("env", "host")
        async def host(caller):
            outer.start_soon(stray, caller)
            await trio.testing.wait_all_tasks_blocked()
            if END == "raises":
                raise ValueError("its own")
            if END == "is cancelled":
                scope.cancel()
                await trio.lowlevel.checkpoint()

        instance = await (await Module.compile(GUEST, imports=[host, wait])).instantiate()
        async with trio.open_nursery() as outer:
            with trio.CancelScope() as scope:
                try:
                    await instance.call("go")
                except RuntimeError as error:
                    print("call:", "ended while another task" in str(error), repr(error.__cause__))
            print("cancelled:", scope.cancelled_caught, instance.poisoned)
            await instance.aclose()
            leave.set()

    trio.run(main)
    """
    told = {
        "returns": ["call: True None", "cancelled: False host-error"],
        "raises": ["call: True ValueError('its own')", "cancelled: False host-error"],
        "is cancelled": ["cancelled: True host-error"],
    }
    assert sorted(run(code).splitlines()) == sorted([*told[end], "stray: True"])


def test_a_keyboard_interrupt_of_a_close_that_waits_leaves_the_process_whole() -> None:
    """It is raised once no thread is in the guest any more, and the instance is closed."""
    code = """
    FILLS = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 26214400))" * 100
    FILL = f'(module (memory 400) (func (export "go") (loop $l {FILLS} (br $l))))'

    async def main():
        instance = await (await Module.compile(FILL)).instantiate()
        task = trio.lowlevel.current_task()

        async def use():
            try:
                await instance.call("go")
            except InstanceClosed:
                print("call ended")

        @trio.lowlevel.enable_ki_protection
        async def interrupt():
            while "wait_dropped" not in [f.f_code.co_name for f, _ in task.iter_await_frames()]:
                await trio.lowlevel.checkpoint()
            os.kill(os.getpid(), signal.SIGINT)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(interrupt)
            try:
                await instance.aclose()
                await trio.sleep(10)
            except KeyboardInterrupt:
                print("interrupted", instance)

    trio.run(main)
    """
    out = run(code, timeout=60)
    assert "interrupted <Instance of module" in out
    assert ": closed>" in out
    assert "call ended" in out


@pytest.mark.parametrize("where", ["under the lock", "on the thread"])
def test_the_collector_may_run_anywhere_in_the_ticker(where: str) -> None:
    """It frees a forgotten instance that it finds there, and no thread waits for itself."""
    code = f"""
    WHERE = {where!r}
    import warnings
    from wasmpool_host import _capi
    from wasmpool_host._open_instances import open_instances
    from wasmpool_host._instance import host_call
    from wasmpool_host._scheduling import epoch_ticker

    class Kept:
        def close(self):
            print("closed")

    class Collecting(threading.Thread):
        def __init__(self, **options):
            gc.collect()
            super().__init__(**options)

    async def forget(module):
        instance = await module.instantiate()
        await instance.call("f")
        instance._guest.keep_state()["kept"] = Kept()
        instance._crossings["cycle"] = instance

    async def main():
        module = await Module.compile('(module (func (export "f")))')
        await forget(module)
        if WHERE == "under the lock":
            epoch_ticker.threading = type(threading)("threading")
            vars(epoch_ticker.threading).update(vars(threading), Thread=Collecting)
            ticker = epoch_ticker.ticker_of_this_run(None)  # as if none had run yet
            ticker._generation += 1
            ticker._timer.arm(0)
            ticker._thread.join()
            ticker._timer.close()
            ticker._timer = ticker._thread = None
            ticker._armed, ticker.renew_at = False, 0.0
            instance = await module.instantiate()
            await instance.call("f")
            await instance.aclose()
        else:
            ticks, increment = [], _capi.increment_epoch

            def collect(pointer):
                increment(pointer)
                if not ticks:
                    ticks.append(gc.collect())

            _capi.increment_epoch = collect
            epoch_ticker.ticker_of_this_run(None).renew(0.0)
            while not ticks:
                await trio.sleep(0.001)
        print(len(host_call.fibers))
        await (await module.instantiate()).aclose()
        print(open_instances.count, [t.name for t in threading.enumerate() if "ticker" in t.name])

    warnings.simplefilter("ignore")
    gc.disable()
    trio.run(main)
    """
    assert run(code, timeout=20).splitlines() == ["closed", "0", "0 []"]


def test_a_forgotten_instance_is_freed_where_warnings_are_errors() -> None:
    """The warning is reported as an exception that cannot be caught, and does nothing else."""
    code = """
    from wasmpool_host._instance import host_call

    async def main():
        module = await Module.compile('(module (func (export "f")))')
        await (await module.instantiate()).call("f")
        gc.collect()
        print(reported, len(host_call.fibers))

    reported = []
    sys.unraisablehook = lambda what: reported.append(what.exc_type.__name__)
    trio.run(main)
    """
    assert run(code, "-W", "error") == "['ResourceWarning'] 0"


def test_nothing_in_the_callbacks_has_the_interpreter_run_other_code() -> None:
    """They make no calls and have no loops, and the look at their start is taken away."""
    from wasmpool_host._component import host_call as of_components  # noqa: PLC0415 - only here
    from wasmpool_host._instance.host_call import continue_call, note_entry  # noqa: PLC0415 - only here

    callbacks = (note_entry, continue_call, of_components.note_entry, of_components.note_drop)
    for callback in callbacks:
        steps = list(dis.get_instructions(callback))
        assert [step.arg for step in steps if step.opname == "RESUME"] == [2]
        looks = re.compile("CALL|JUMP_BACKWARD|FOR_ITER|SEND|YIELD|WITH|IMPORT")
        assert not [step.opname for step in steps if looks.search(step.opname)]


RECURSION = """
import itertools, json
from wasmpool_host._instance import host_call

def nested(depth):
    x = []
    for _ in range(depth):
        x = [x]
    return x

def sort(x):
    sorted([1], key=sort)

def endless():
    endless()

def drop_chain():
    gc.disable()  # it would look at each link
    nested(100_000)
    gc.enable()

DEEP, TWIN = nested(300_000), nested(300_000)
RECURSE = {
    "compare": lambda: DEEP == TWIN,
    "json": lambda: json.dumps(DEEP),
    "sort": lambda: sort(1),
    "python": endless,
    "chain": drop_chain,
}

def in_callback():
    frame, codes = sys._getframe(), set()
    while frame is not None:
        codes.add(frame.f_code)
        frame = frame.f_back
    return bool(codes & {host_call.note_entry.__code__, host_call.continue_call.__code__})
"""


@pytest.mark.parametrize("kind", ["compare", "json", "sort", "python", "chain"])
def test_recursion_in_handlers_and_finalizers_is_kept_off_the_fibers_stack(kind: str) -> None:
    """Through C, too: it ends with RecursionError, wherever trio and the fibers' stacks are."""
    code = """
    import sysconfig
    HANDLED = 20
    recurse = RECURSE[sys.argv[1]]
    seen = {"handler": 0, "finalizer": 0, "error": 0, "in a callback": 0}

    def go_deep(where):
        seen[where] += 1
        # Python 3.11 collects garbage where objects are made, too, and knows the fiber's stack.
        if in_callback() and (where == "handler" or sys.version_info >= (3, 12)):
            seen["in a callback"] += 1
        try:
            recurse()
        except RecursionError:
            seen["error"] += 1

    class Final:
        def __init__(self):
            self.itself = self

        def __del__(self):
            go_deep("finalizer")

    WAT = '''(module (import "env" "ask" (func $ask (param i32) (result i32)))
      (func $compute (param i32) (loop $l
        (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if $l (local.get 0))))
      (func (export "add") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
      (func (export "go") (param i32) (result i32)
        (call $compute (i32.const 100000))
        (call $ask (local.get 0))))'''

    @host_function("env", "ask", params=("i32",), results=("i32",))
    async def ask(caller, value):
        return await caller.call("add", value)

    async def main(enough):
        module = await Module.compile(WAT, imports=[ask])
        instance = await module.instantiate()
        calls = 0
        while not enough() or calls < 100:
            if calls % 10 == 0:
                Final()
            assert await instance.call("go", calls) == calls + 1
            calls += 1
        await instance.aclose()

    def in_thread(hole=None):
        def use():
            if hole is not None:
                hole.close()
            trio.run(main, lambda: True)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()

    gc.freeze()
    gc.set_threshold(1)
    # Without the GIL the collector seldom runs by itself, as the process must have grown; but it
    # runs at the same places as a handler.
    has_gil = not sysconfig.get_config_var("Py_GIL_DISABLED")
    def handle(*_):
        go_deep("handler")
        if not has_gil and seen["finalizer"] < 10:
            gc.collect()
        signal.setitimer(signal.ITIMER_REAL, 0.005)

    signal.signal(signal.SIGALRM, handle)
    handle()
    trio.run(main, lambda: seen["handler"] >= HANDLED)
    signal.setitimer(signal.ITIMER_REAL, 0)
    in_thread()
    import mmap
    in_thread(mmap.mmap(-1, 64 << 20))  # the fibers' stacks are above the thread's
    assert not seen["in a callback"], seen
    assert seen["handler"] >= HANDLED and seen["finalizer"] >= 10, seen
    assert seen["error"] or sys.argv[1] == "chain", seen
    print("whole")
    """
    assert run(RECURSION + textwrap.dedent(code), args=(kind,)) == "whole"


def test_a_finalizer_may_recurse_on_a_fibers_stack() -> None:
    """As deep as Python's default limit allows, also through C: where Python may run one there."""
    code = """
    class Deep:
        def __init__(self):
            self.itself = self

        def __del__(self):
            assert in_callback() == (sys.version_info < (3, 14))
            try:
                sort(1)
            except RecursionError:
                print("deep enough")

    def collecting(base):
        class Collecting(base):
            def __getitem__(self, key):
                gc.collect()
                return super().__getitem__(key)
        return Collecting

    @host_function("env", "ask", params=("i32",), results=("i32",))
    def ask(caller, value):
        gc.collect()
        return value

    async def main():
        instance = await (await Module.compile(ASK, imports=[ask])).instantiate()
        if sys.version_info < (3, 14):  # from there on it must not be made to run one there
            host_call.fibers = collecting(dict)(host_call.fibers)
        Deep()
        await instance.call("go", 1)
        await instance.aclose()

    gc.disable()
    trio.run(main)
    """
    assert run(RECURSION + textwrap.dedent(code)) == "deep enough"
