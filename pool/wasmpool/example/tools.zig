//! The tools: what they are called, what they say of themselves, and what the small ones do.

const std = @import("std");
const memory = @import("memory.zig");
const request = @import("request.zig");
const wasi = std.os.wasi;
const Call = request.Call;
const Failure = request.Failure;
const gpa = memory.allocator;

const Parameter = struct {
    name: []const u8,
    description: []const u8,
    type: Type = .string,
};
/// Which JSON values a parameter takes: a text, a whole number from 0, or any.
const Type = enum { string, number, any };
const Tool = struct {
    name: []const u8,
    description: []const u8,
    parameter: ?Parameter = null,
    run: fn (*Call) Failure!void,
};

pub const table = [_]Tool{
    .{
        .name = "word_count",
        .description = "Counts lines (an unfinished last one counts; an empty text has none), " ++
            "words (split at ASCII white space), characters (code points) and the ten most " ++
            "frequent words, ties in code point order.",
        .parameter = .{ .name = "text", .description = "the text to count" },
        .run = @import("word_count.zig").run,
    },
    .{
        .name = "echo",
        .description = "Answers with its argument.",
        .parameter = .{ .name = "message", .description = "any JSON value", .type = .any },
        .run = echo,
    },
    .{
        .name = "spin",
        .description = "Computes x = x * 1664525 + 1013904223 modulo 2^32, from 0, " ++
            "and answers with the last x.",
        .parameter = .{ .name = "rounds", .description = "how many rounds", .type = .number },
        .run = spin,
    },
    .{
        .name = "nap",
        .description = "Sleeps by WASI.",
        .parameter = .{ .name = "ms", .description = "how long, in milliseconds", .type = .number },
        .run = nap,
    },
    .{
        .name = "fetch",
        .description = "Gets base_url + path over HTTP, with api_key as the bearer token; " ++
            "status 0 means that the host failed, and body why.",
        .parameter = .{ .name = "path", .description = "what to append to base_url" },
        .run = @import("fetch.zig").run,
    },
    .{
        .name = "remember",
        .description = "Keeps a value in this instance's memory.",
        .parameter = .{ .name = "value", .description = "any JSON value", .type = .any },
        .run = remember,
    },
    .{
        .name = "recall",
        .description = "Answers with the value that this instance remembers, or null.",
        .run = recall,
    },
    .{
        .name = "grow",
        .description = "Takes memory, keeps it, and answers with the bytes asked for until now.",
        .parameter = .{
            .name = "bytes",
            .description = "how many, rounded up to pages of 64 KiB",
            .type = .number,
        },
        .run = grow,
    },
    .{
        .name = "crash",
        .description = "Traps.",
        .run = crash,
    },
    .{
        .name = "quit",
        .description = "Ends the guest by proc_exit.",
        .parameter = .{ .name = "status", .description = "the exit status", .type = .number },
        .run = quit,
    },
};

pub const names = build: {
    var text: []const u8 = table[0].name;
    for (table[1..]) |tool| text = text ++ ", " ++ tool.name;
    break :build text;
};

pub const json = build: {
    var text: []const u8 = "[";
    for (table, 0..) |tool, k| {
        text = text ++ (if (k > 0) ",\n" else "") ++ "{\"name\":\"" ++ tool.name ++
            "\",\"description\":\"" ++ tool.description ++ "\",\"parameters\":{" ++
            if (tool.parameter) |parameter|
                "\"" ++ parameter.name ++ "\":" ++ schema(parameter) ++
                    "},\"required\":[\"" ++ parameter.name ++ "\"]}"
            else
                "}}";
    }
    break :build text ++ "]";
};

/// A string is described by its text alone, any other type by a JSON Schema.
fn schema(parameter: Parameter) []const u8 {
    const text = "\"" ++ parameter.description ++ "\"";
    return switch (parameter.type) {
        .string => text,
        .number => "{\"type\":\"integer\",\"minimum\":0,\"description\":" ++ text ++ "}",
        .any => "{\"description\":" ++ text ++ "}",
    };
}

fn echo(call: *Call) Failure!void {
    const message = try call.value("message");
    try call.out.ensureTotalCapacityPrecise(message.len + 16); // it may be large: not in steps
    try call.out.writer.writeAll("{\"echo\":");
    try call.out.writer.writeAll(message);
    try call.out.writer.writeAll("}");
}

fn spin(call: *Call) Failure!void {
    const rounds = try call.number("rounds");
    var x: u32 = 0;
    var round: u64 = 0;
    while (round < rounds) : (round += 1) {
        x = x *% 1664525 +% 1013904223;
        asm volatile (""
            : [x] "+r" (x),
        ); // each round must wait for the one before: the compiler would fold several into one
    }
    try call.print("{{\"value\":{d}}}", .{x});
}

fn nap(call: *Call) Failure!void {
    const ms = try call.number("ms");
    const clock: wasi.subscription_clock_t = .{
        .id = .MONOTONIC,
        .timeout = ms *| 1_000_000,
        .precision = 0,
        .flags = 0,
    };
    const subscription: wasi.subscription_t = .{
        .userdata = 0,
        .u = .{ .tag = .CLOCK, .u = .{ .clock = clock } },
    };
    var event: wasi.event_t = undefined;
    var happened: usize = undefined;
    const code = wasi.poll_oneoff(@ptrCast(&subscription), @ptrCast(&event), 1, &happened);
    if (code != .SUCCESS) return call.refuse("poll_oneoff failed: {d}", .{@backingInt(code)});
    try call.print("{{\"slept\":{d}}}", .{ms});
}

/// The JSON of what `remember` was given last.
var kept: ?[]const u8 = null;

fn remember(call: *Call) Failure!void {
    const value = try gpa.dupe(u8, try call.value("value"));
    if (kept) |old| gpa.free(old);
    kept = value;
    return recall(call);
}

fn recall(call: *Call) Failure!void {
    try call.print("{{\"value\":{s}}}", .{kept orelse "null"});
}

const page = 64 * 1024;
var grown: u64 = 0;

fn grow(call: *Call) Failure!void {
    const bytes = try call.number("bytes");
    const pages = bytes / page + @intFromBool(bytes % page > 0);
    const first = @wasmMemoryGrow(0, std.math.lossyCast(usize, pages));
    if (first == -1)
        return call.refuse("no memory for {d} bytes more; {d} are kept", .{ bytes, grown });
    var at = @as(usize, @intCast(first)) * page;
    const end = at + bytes;
    while (at < end) : (at += 4096) { // memory that was never touched costs the host nothing
        @as(*volatile u8, @ptrFromInt(at)).* = 1;
    }
    grown += bytes;
    try call.print("{{\"total\":{d}}}", .{grown});
}

fn crash(_: *Call) Failure!void {
    @trap();
}

fn quit(call: *Call) Failure!void {
    const status = try call.number("status");
    wasi.proc_exit(std.math.cast(u32, status) orelse
        return call.refuse("status is {d}, above 32 bits", .{status}));
}
