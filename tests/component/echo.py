"""A component for any WIT type, in the text format: ``echo`` gives a value to its host and back.

Its core function passes on what the canonical ABI makes of the value, so each value is lowered and
lifted twice: to the guest as an argument, to the host as an argument, to the guest as a result, and
to the host as a result.
"""

from __future__ import annotations

from typing import Final

from wasmpool_host import _wit as wit

__all__ = ["LIBRARY", "echo_component", "flat"]

_MOST_FLAT: Final = 16

LIBRARY: Final = """
  (core module $library
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32)
      (result i32) (local $at i32)
      (local.set $at (i32.and
        (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
      (global.set $next (i32.add (local.get $at) (local.get $new)))
      (block $fits
        (br_if $fits (i32.le_u (global.get $next)
          (i32.mul (memory.size) (i32.const 65536))))
        (br_if $fits (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1)
          (i32.shr_u (local.get $new) (i32.const 16))))))
        unreachable)
      local.get $at)
    (func (export "reset") (param i32) (global.set $next (i32.const 4096))))
  (core instance $library (instantiate $library))
"""
"""A memory, and an allocator that only counts up; ``reset`` starts it over."""


def flat(type_: wit.WitType | None) -> list[str]:  # noqa: PLR0911 - a table
    """The core types that a value is passed by."""
    match type_:
        case None:
            return []
        case wit.Primitive(name):
            if name == "string":
                return ["i32", "i32"]
            return [{"s64": "i64", "u64": "i64", "f32": "f32", "f64": "f64"}.get(name, "i32")]
        case wit.List():
            return ["i32", "i32"]
        case wit.Record(fields):
            return [each for _, inner in fields for each in flat(inner)]
        case wit.Tuple(elements):
            return [each for inner in elements for each in flat(inner)]
        case wit.Variant(cases):
            return ["i32", *_joined([inner for _, inner in cases])]
        case wit.Option(payload):
            return ["i32", *_joined([payload])]
        case wit.Result(ok, err):
            return ["i32", *_joined([ok, err])]
        case _:
            return ["i32"]


def _joined(cases: list[wit.WitType | None]) -> list[str]:
    joined: list[str] = []
    for case in cases:
        for k, core in enumerate(flat(case)):
            if k == len(joined):
                joined.append(core)
            elif joined[k] != core:
                joined[k] = "i32" if {joined[k], core} == {"i32", "f32"} else "i64"
    return joined


class _Types:
    """Defines types that have to have names, by imports, or by exports of an imported instance."""

    def __init__(self, word: str = "import") -> None:
        self.text: list[str] = []
        self._word = word

    def name(self, type_: wit.WitType) -> str:  # noqa: PLR0911 - a table
        """The text of a type, where it is used."""
        match type_:
            case wit.Primitive(name):
                return name
            case wit.List(element):
                return f"(list {self.name(element)})"
            case wit.Tuple(elements):
                return f"(tuple {' '.join(map(self.name, elements))})"
            case wit.Option(payload):
                return f"(option {self.name(payload)})"
            case wit.Result(ok, err):
                text = "" if ok is None else f" {self.name(ok)}"
                return f"(result{text}{'' if err is None else f' (error {self.name(err)})'})"
            case wit.Record(fields):
                inside = " ".join(f'(field "{n}" {self.name(t)})' for n, t in fields)
                return self._named(f"(record {inside})")
            case wit.Variant(cases):
                inside = " ".join(
                    f'(case "{n}"{"" if t is None else f" {self.name(t)}"})' for n, t in cases
                )
                return self._named(f"(variant {inside})")
            case wit.Enum(names):
                return self._named(f"(enum {_quoted(names)})")
            case wit.Flags(names):
                return self._named(f"(flags {_quoted(names)})")
            case _:
                raise TypeError(type_)

    def _named(self, text: str) -> str:
        name = f"t{len(self.text)}"
        self.text.append(
            f"  (type ${name}-own {text})\n"
            f'  ({self._word} "{name}" (type ${name} (eq ${name}-own)))'
        )
        return f"${name}"


def _quoted(names: tuple[str, ...]) -> str:
    return " ".join(f'"{name}"' for name in names)


def echo_component(type_: wit.WitType, interface: str = "") -> str:
    """The text of a component that imports ``host`` and exports ``echo``, both of T to T.

    ``host`` is in an interface, or at the root.
    """
    types = _Types("export" if interface else "import")
    text = types.name(type_)
    core = flat(type_)
    params = core if len(core) <= _MOST_FLAT else ["i32"]
    direct = len(core) == 1
    given = "".join(f" (param {each})" for each in params)
    passed = "".join(f" (local.get {k})" for k in range(len(params)))
    if direct:
        imported = f"(func $host{given} (result {core[0]}))"
        body = f"(result {core[0]}) (call $host{passed})"
    else:
        imported = f"(func $host{given} (param i32))"
        body = f"(result i32) (call $host{passed} (i32.const 16)) (i32.const 16)"
    declared = "\n".join(types.text)
    host = f'(param "x" {text}) (result {text})'
    if interface:
        named = "\n".join(
            f'  (alias export $host-of "t{k}" (type $t{k}))' for k in range(len(types.text))
        )
        given_host = f"""  (import "{interface}" (instance $host-of
{declared}
    (export "host" (func {host}))))
{named}
  (alias export $host-of "host" (func $host))"""
    else:
        given_host = f"""{declared}
  (import "host" (func $host {host}))"""
    return f"""(component
{given_host}
{LIBRARY}
  (alias core export $library "memory" (core memory $memory))
  (alias core export $library "realloc" (core func $realloc))
  (alias core export $library "reset" (core func $reset))
  (core func $host (canon lower (func $host) (memory $memory) (realloc $realloc)))
  (core module $main
    (import "" "host" {imported})
    (func (export "echo"){given} {body}))
  (core instance $main (instantiate $main (with "" (instance (export "host" (func $host))))))
  (func (export "echo") (param "x" {text}) (result {text})
    (canon lift (core func $main "echo") (memory $memory) (realloc $realloc)
      {"" if direct else "(post-return $reset)"})))
"""
