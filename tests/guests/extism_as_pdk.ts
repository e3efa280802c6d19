// An Extism plugin in AssemblyScript with Extism's own PDK. It is not committed as a module:
// tests/extism/test_official_pdks.py builds it. What each export does is in extism_zig.zig.

import { Config, Host, LogLevel, Memory, Var } from "@extism/as-pdk";
import { error_set } from "@extism/as-pdk/lib/env";

function stop(message: string | null, file: string | null, line: u32, column: u32): void {
  unreachable();
}

function text(bytes: Uint8Array): string {
  return String.UTF8.decode(bytes.buffer);
}

function optional(value: Uint8Array | null): i32 {
  if (value === null) {
    Host.outputString("-");
    return 0;
  }
  const answer = new Uint8Array(1 + value.length);
  answer[0] = 43; // +
  for (let k = 0; k < value.length; k++) answer[k + 1] = value[k];
  Host.output(answer);
  return 0;
}

export function echo(): i32 {
  Host.output(Host.input());
  return 0;
}

export function fail(): i32 {
  const input = Host.input();
  if (input.length == 0) return 1;
  if (input.length > 1) error_set(Memory.allocateBytes(input.slice(1)).offset);
  return <i8>input[0];
}

export function get_config(): i32 {
  const found = Config.getMemory(Host.inputString());
  return optional(found === null ? null : found.toUint8Array());
}

export function set_var(): i32 {
  const input = Host.input();
  const at = input.indexOf(0);
  Var.set(text(input.slice(0, at)), input.slice(at + 1));
  return 0;
}

export function get_var(): i32 {
  return optional(Var.get(Host.inputString()));
}

export function delete_var(): i32 {
  Var.remove(Host.inputString());
  return 0;
}

export function log(): i32 {
  const input = Host.input();
  const digit = input.length == 0 ? 0 : input[0];
  const message = input.length == 0 ? "" : text(input.slice(1));
  if (digit == 49) Host.log(LogLevel.Debug, message);
  else if (digit == 50) Host.log(LogLevel.Info, message);
  else if (digit == 51) Host.log(LogLevel.Warn, message);
  else if (digit == 52) Host.log(LogLevel.Error, message);
  else return 1;
  return 0;
}
