//! An Extism plugin in Zig, freestanding: no WASI, no allocator, each text in one static buffer.
//!
//! It imports `extism:host/env` as it is, without a PDK. extism_c.c and extism_go have the same
//! exports, so that one test can ask all three. Each takes nothing and returns an i32, 0 for
//! success; its input and output are bytes:
//!
//!     echo           -> the input, through this guest's memory
//!     echo_in_place  -> the input's own block
//!     tail           -> the input without its first byte, as a part of the input's block
//!     count_vowels   -> {"count":N,"total":N,"vowels":"aeiouAEIOU"}; the total is a variable
//!     fail           a code (a signed byte) and an error's text, none if it is empty; returns it
//!     recover        sets the input as the error, and takes it back
//!     trap           traps
//!     get_config     a key -> "+" and its value, or "-"
//!     set_var        a key, a zero byte, a value; an empty value removes the variable
//!     get_var        a key -> "+" and its value, or "-"
//!     delete_var     a key
//!     log            a digit, 0 for trace to 4 for error, and the message
//!     log_level      -> the level in decimal
//!     fetch          a request as JSON, a zero byte, a body -> the status in decimal, a newline, the
//!                    headers as JSON, a newline, the body
//!     transform      -> what the user's function `transform` makes of it, a block for a block
//!     mix            i32, i64, f32, f64 in little endian -> the i64 that the user's `mix` returns
//!     blocks         takes, fills, sums up and frees blocks -> what it saw; see there

const std = @import("std");

pub const panic = std.debug.no_panic;

const env = struct {
    extern "extism:host/env" fn alloc(size: u64) u64;
    extern "extism:host/env" fn free(block: u64) void;
    extern "extism:host/env" fn length(block: u64) u64;
    extern "extism:host/env" fn length_unsafe(block: u64) u64;
    extern "extism:host/env" fn load_u8(at: u64) u32;
    extern "extism:host/env" fn load_u64(at: u64) u64;
    extern "extism:host/env" fn store_u8(at: u64, byte: u32) void;
    extern "extism:host/env" fn store_u64(at: u64, word: u64) void;
    extern "extism:host/env" fn input_offset() u64;
    extern "extism:host/env" fn input_length() u64;
    extern "extism:host/env" fn input_load_u8(at: u64) u32;
    extern "extism:host/env" fn input_load_u64(at: u64) u64;
    extern "extism:host/env" fn output_set(at: u64, size: u64) void;
    extern "extism:host/env" fn error_set(block: u64) void;
    extern "extism:host/env" fn config_get(key: u64) u64;
    extern "extism:host/env" fn var_get(key: u64) u64;
    extern "extism:host/env" fn var_set(key: u64, value: u64) void;
    extern "extism:host/env" fn http_request(request: u64, body: u64) u64;
    extern "extism:host/env" fn http_status_code() i32;
    extern "extism:host/env" fn http_headers() u64;
    extern "extism:host/env" fn log_trace(block: u64) void;
    extern "extism:host/env" fn log_debug(block: u64) void;
    extern "extism:host/env" fn log_info(block: u64) void;
    extern "extism:host/env" fn log_warn(block: u64) void;
    extern "extism:host/env" fn log_error(block: u64) void;
    extern "extism:host/env" fn get_log_level() i32;
};

const user = struct {
    extern "extism:host/user" fn transform(block: u64) u64;
    extern "extism:host/user" fn mix(a: i32, b: i64, c: f32, d: f64) i64;
};

// ---- texts: one after the other in a buffer, which begins anew with each call

var buffer: [512 * 1024]u8 = undefined;
var used: usize = 0;

fn take(size: usize) []u8 {
    if (size > buffer.len - used) @trap();
    defer used += size;
    return buffer[used..][0..size];
}

fn input() []u8 {
    used = 0;
    const bytes = take(@intCast(env.input_length()));
    var at: usize = 0;
    while (at + 8 <= bytes.len) : (at += 8)
        std.mem.writeInt(u64, bytes[at..][0..8], env.input_load_u64(at), .little);
    while (at < bytes.len) : (at += 1) bytes[at] = @truncate(env.input_load_u8(at));
    return bytes;
}

fn read(block: u64) []u8 {
    const bytes = take(@intCast(env.length(block)));
    var at: usize = 0;
    while (at + 8 <= bytes.len) : (at += 8)
        std.mem.writeInt(u64, bytes[at..][0..8], env.load_u64(block + at), .little);
    while (at < bytes.len) : (at += 1) bytes[at] = @truncate(env.load_u8(block + at));
    return bytes;
}

fn write(bytes: []const u8) u64 {
    const block = env.alloc(bytes.len);
    var at: usize = 0;
    while (at + 8 <= bytes.len) : (at += 8)
        env.store_u64(block + at, std.mem.readInt(u64, bytes[at..][0..8], .little));
    while (at < bytes.len) : (at += 1) env.store_u8(block + at, bytes[at]);
    return block;
}

fn reply(bytes: []const u8) i32 {
    env.output_set(write(bytes), bytes.len);
    return 0;
}

/// Output that is put together from pieces.
fn add(bytes: []const u8) void {
    @memcpy(take(bytes.len), bytes);
}

fn addNumber(number: i64) void {
    var digits: [24]u8 = undefined;
    add(std.fmt.bufPrint(&digits, "{d}", .{number}) catch @trap());
}

/// Parts a text at its first zero byte.
fn parted(bytes: []u8) [2][]u8 {
    const at = std.mem.findScalar(u8, bytes, 0) orelse return .{ bytes, bytes[bytes.len..] };
    return .{ bytes[0..at], bytes[at + 1 ..] };
}

fn replyOptional(block: u64) i32 {
    if (block == 0) return reply("-");
    const start = used;
    add("+");
    _ = read(block);
    env.free(block);
    return reply(buffer[start..used]);
}

// ---- input and output

export fn echo() i32 {
    return reply(input());
}

export fn echo_in_place() i32 {
    env.output_set(env.input_offset(), env.input_length());
    return 0;
}

export fn tail() i32 {
    const size = env.input_length();
    if (size > 1) env.output_set(env.input_offset() + 1, size - 1);
    return 0;
}

export fn count_vowels() i32 {
    var count: i64 = 0;
    for (input()) |byte| {
        if (std.mem.findScalar(u8, "aeiouAEIOU", byte) != null) count += 1;
    }
    const before = env.var_get(write("total"));
    const total = count + if (before == 0) 0 else @as(i64, @bitCast(env.load_u64(before)));
    if (before != 0) env.free(before);
    const kept = env.alloc(8);
    env.store_u64(kept, @bitCast(total));
    env.var_set(write("total"), kept);
    const start = used;
    add("{\"count\":");
    addNumber(count);
    add(",\"total\":");
    addNumber(total);
    add(",\"vowels\":\"aeiouAEIOU\"}");
    return reply(buffer[start..used]);
}

// ---- errors

export fn fail() i32 {
    const bytes = input();
    if (bytes.len == 0) return 1;
    if (bytes.len > 1) env.error_set(write(bytes[1..]));
    return @as(i8, @bitCast(bytes[0]));
}

export fn recover() i32 {
    env.error_set(write(input()));
    env.error_set(0);
    return reply("recovered");
}

export fn trap() i32 {
    @trap();
}

// ---- configuration and variables

export fn get_config() i32 {
    return replyOptional(env.config_get(write(input())));
}

export fn set_var() i32 {
    const key, const value = parted(input());
    env.var_set(write(key), write(value));
    return 0;
}

export fn get_var() i32 {
    return replyOptional(env.var_get(write(input())));
}

export fn delete_var() i32 {
    env.var_set(write(input()), 0);
    return 0;
}

// ---- log lines

export fn log() i32 {
    const bytes = input();
    if (bytes.len == 0) return 1;
    const message = write(bytes[1..]);
    switch (bytes[0]) {
        '0' => env.log_trace(message),
        '1' => env.log_debug(message),
        '2' => env.log_info(message),
        '3' => env.log_warn(message),
        '4' => env.log_error(message),
        else => return 1,
    }
    return 0;
}

export fn log_level() i32 {
    used = 0;
    addNumber(env.get_log_level());
    return reply(buffer[0..used]);
}

// ---- what the host does for it

export fn fetch() i32 {
    const request, const body = parted(input());
    const response = env.http_request(write(request), write(body));
    const start = used;
    addNumber(env.http_status_code());
    add("\n");
    const headers = env.http_headers();
    _ = read(headers);
    add("\n");
    _ = read(response);
    env.free(headers);
    env.free(response);
    return reply(buffer[start..used]);
}

export fn transform() i32 {
    const given = write(input());
    const made = user.transform(given);
    env.free(given);
    const bytes = read(made);
    env.free(made);
    return reply(bytes);
}

export fn mix() i32 {
    const bytes = input();
    if (bytes.len != 24) return 1;
    const mixed = user.mix(
        std.mem.readInt(i32, bytes[0..4], .little),
        std.mem.readInt(i64, bytes[4..12], .little),
        @bitCast(std.mem.readInt(u32, bytes[12..16], .little)),
        @bitCast(std.mem.readInt(u64, bytes[16..24], .little)),
    );
    const block = env.alloc(8);
    env.store_u64(block, @bitCast(mixed));
    env.output_set(block, 8);
    return 0;
}

// ---- blocks

/// The input is steps of three bytes, a kind and a 16-bit number. By the kind modulo 5:
///
///     0  takes a block of that size, and fills it     -> "a" and its length
///     1  frees a block                                -> "f" and its length then
///     2  asks for a block's length in two ways        -> "l", the one, "/" and the other
///     3  fills a block with the number's low byte     -> "s"
///     4  sums up a block                              -> "=" and the sum
///
/// A block is chosen by the number, modulo how many are held. Without any, and for a block more than
/// 64, the answer is "?".
export fn blocks() i32 {
    const steps = input();
    const start = used;
    var held: Held = .{};
    var at: usize = 0;
    while (at + 3 <= steps.len) : (at += 3) {
        const number = std.mem.readInt(u16, steps[at + 1 ..][0..2], .little);
        held.step(steps[at] % 5, number);
    }
    return reply(buffer[start..used]);
}

const Block = struct { at: u64, size: u64 };

const Held = struct {
    blocks: [64]Block = undefined,
    count: usize = 0,

    fn step(held: *Held, kind: u8, number: u16) void {
        if (kind == 0) return held.takeBlock(number);
        if (held.count == 0) return add("?");
        const block = &held.blocks[number % held.count];
        switch (kind) {
            1 => {
                env.free(block.at);
                add("f");
                addNumber(@intCast(env.length(block.at)));
                held.count -= 1;
                block.* = held.blocks[held.count];
            },
            2 => {
                add("l");
                addNumber(@intCast(env.length(block.at)));
                add("/");
                addNumber(@intCast(env.length_unsafe(block.at)));
            },
            3 => {
                fill(block.*, @truncate(number));
                add("s");
            },
            else => {
                add("=");
                addNumber(@intCast(sum(block.*)));
            },
        }
    }

    fn takeBlock(held: *Held, size: u16) void {
        if (held.count == held.blocks.len) return add("?");
        const block: Block = .{ .at = env.alloc(size), .size = size };
        add("a");
        addNumber(@intCast(env.length(block.at)));
        fill(block, @truncate(size));
        if (size == 0) return;
        held.blocks[held.count] = block;
        held.count += 1;
    }
};

fn fill(block: Block, byte: u8) void {
    for (0..@intCast(block.size)) |at| env.store_u8(block.at + at, byte);
}

fn sum(block: Block) u64 {
    var total: u64 = 0;
    for (0..@intCast(block.size)) |at| total += env.load_u8(block.at + at);
    return total;
}
