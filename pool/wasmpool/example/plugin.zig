//! The example plugin: the exports of the plugin contract, ABI version 1.
//!
//! Every region that an export returns comes from `malloc` and belongs to the host, which gives it
//! back with `free`. All else that a call allocates ends with the call, most of it in an arena, so
//! nothing stays behind but what `configure`, `remember` and `grow` keep.
//!
//! Broken JSON or UTF-8 is an answer, not a trap. A guest too short of memory to answer at all does
//! trap: its host should not let it serve again.

const std = @import("std");
const fetch = @import("fetch.zig");
const memory = @import("memory.zig");
const packing = @import("packing.zig");
const request = @import("request.zig");
const toolbox = @import("tools.zig");
const Call = request.Call;
const Writer = std.Io.Writer;
const encodeJsonString = std.json.Stringify.encodeJsonString;
const gpa = memory.allocator;

pub const panic = std.debug.no_panic; // a bug traps; std's panics would double the size

// ---- the host's side of memory

export fn malloc(size: i32) i32 {
    const bytes = memory.take(std.math.cast(usize, size) orelse return 0) orelse return 0;
    return @bitCast(@intFromPtr(bytes));
}

export fn free(ptr: i32) void {
    if (ptr != 0) memory.give(@ptrFromInt(@as(u32, @bitCast(ptr))));
}

fn hostBytes(size: usize) []u8 {
    return (memory.take(size) orelse @trap())[0..size];
}

fn answer(text: []const u8) i64 {
    const bytes = hostBytes(text.len);
    @memcpy(bytes, text);
    return packing.pack(bytes);
}

// ---- what the plugin says of itself

export fn _initialize() void {
    memory.init();
}

export fn name() i64 {
    return answer("example");
}

export fn metadata() i64 {
    return answer(
        \\{"name":"example","version":"1.0.0","abi_version":1,
        \\"description":"Counts words, and shows a pool guests that wait, compute, grow and fail.",
        \\"author":"the wasmpool developers","homepage":"","license":"MIT",
        \\"capabilities":["http","log"],"credential_keys":["base_url","api_key"],
        \\"plain_text_keys":["base_url"],"optional_keys":["api_key"],
        \\"placeholders":{"base_url":"https://api.example.com","api_key":"a bearer token"}}
    );
}

export fn compact_specs() i64 {
    return answer(
        \\{"word_count":["lines","words","characters"],"fetch":["status","body"]}
    );
}

export fn healthy() i32 {
    return 1;
}

export fn tools() i64 {
    return answer(toolbox.json);
}

export fn configure(payload: i64) i64 {
    var arena: std.heap.ArenaAllocator = .init(gpa);
    defer arena.deinit();
    var call: Call = .init(arena.allocator());
    defer call.out.deinit();
    fetch.configure(&call, packing.unpack(payload)) catch |why|
        return answer(call.complaint(why));
    return 0;
}

// ---- execute

export fn execute(payload: i64) i64 {
    var arena: std.heap.ArenaAllocator = .init(gpa);
    defer arena.deinit();
    var call: Call = .init(arena.allocator());
    defer call.out.deinit();
    dispatch(&call, packing.unpack(payload)) catch |why|
        return reply(call.complaint(why), ",\"is_error\":true}");
    return reply(call.out.written(), "}");
}

fn dispatch(call: *Call, json: []const u8) request.Failure!void {
    const wanted = call.readRequest(json) catch |why|
        return call.refuse("broken request: {s}", .{request.reason(why)});
    inline for (toolbox.table) |tool| {
        if (std.mem.eql(u8, wanted, tool.name)) {
            call.tool = tool.name;
            return tool.run(call);
        }
    }
    return call.refuse("unknown tool {f}: there are " ++ toolbox.names, .{request.quoted(wanted)});
}

/// `{"data": text` and the tail, in a block of exactly that size for the host.
fn reply(text: []const u8, tail: []const u8) i64 {
    const head = "{\"data\":";
    const bytes = hostBytes(head.len + encodedSize(text) + tail.len);
    var out: Writer = .fixed(bytes);
    out.writeAll(head) catch unreachable;
    encodeJsonString(text, .{}, &out) catch unreachable;
    out.writeAll(tail) catch unreachable;
    return packing.pack(bytes);
}

/// What `encodeJsonString` will write, so that no large answer is built twice.
fn encodedSize(text: []const u8) usize {
    var size: usize = text.len + 2;
    for (text) |byte| size += switch (byte) {
        '"', '\\', '\n', '\r', '\t', 0x08, 0x0C => 1,
        0...0x07, 0x0B, 0x0E...0x1F => 5,
        else => 0,
    };
    return size;
}
