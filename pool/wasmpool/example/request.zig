//! One request while it is answered: its JSON, scanned, and the text of the answer.
//!
//! JSON is scanned, never built: a field is kept as the slice of the request that holds it, and
//! only a tool that needs the value decodes it.

const std = @import("std");
const memory = @import("memory.zig");
const Allocator = std.mem.Allocator;
const Scanner = std.json.Scanner;
const Writer = std.Io.Writer;
const eql = std.mem.eql;

pub const Failure = error{ Refused, OutOfMemory, WriteFailed };

/// One field of a JSON object; `json` is its value as it stands in the request.
pub const Field = struct { name: []const u8, json: []const u8 };

pub const Call = struct {
    arena: Allocator,
    out: Writer.Allocating,
    fields: []const Field = &.{},
    tool: []const u8 = "",

    pub fn init(arena: Allocator) Call {
        // The answer may be large, and an arena would round it up.
        return .{ .arena = arena, .out = .init(memory.allocator) };
    }

    pub fn print(call: *Call, comptime format: []const u8, values: anytype) Failure!void {
        return call.out.writer.print(format, values);
    }

    pub fn refuse(call: *Call, comptime format: []const u8, values: anytype) Failure {
        call.out.clearRetainingCapacity();
        if (call.tool.len > 0) call.print("{s}: ", .{call.tool}) catch |why| return why;
        call.print(format, values) catch |why| return why;
        return error.Refused;
    }

    pub fn complaint(call: *Call, why: Failure) []const u8 {
        return if (why == error.Refused) call.out.written() else "out of memory";
    }

    pub fn readFields(call: *Call, json: []const u8) !void {
        var scanner: Scanner = .initCompleteInput(call.arena, json);
        call.fields = try readObject(&scanner, call.arena);
        try close(&scanner);
    }

    /// Keeps the fields of `args`, and returns the tool's name.
    pub fn readRequest(call: *Call, json: []const u8) ![]const u8 {
        var scanner: Scanner = .initCompleteInput(call.arena, json);
        var tool: ?[]const u8 = null;
        try open(&scanner);
        while (try nextName(&scanner, call.arena)) |field| {
            if (eql(u8, field, "tool_name")) {
                tool = try stringToken(&scanner, call.arena);
            } else if (eql(u8, field, "args")) {
                call.fields = try readObject(&scanner, call.arena);
            } else try scanner.skipValue();
        }
        try close(&scanner);
        return tool orelse error.NoToolName;
    }

    /// The last of a name counts, as in most JSON readers.
    pub fn find(call: *Call, wanted: []const u8) ?Field {
        var found: ?Field = null;
        for (call.fields) |field| {
            if (eql(u8, field.name, wanted)) found = field;
        }
        return found;
    }

    pub fn value(call: *Call, wanted: []const u8) Failure![]const u8 {
        const field = call.find(wanted) orelse return call.refuse("{s} is missing", .{wanted});
        return field.json;
    }

    pub fn text(call: *Call, wanted: []const u8) Failure![]const u8 {
        const json = try call.value(wanted);
        if (json[0] != '"')
            return call.refuse("{s} is {s}, not a string", .{ wanted, brief(json) });
        return decoded(call.arena, json);
    }

    /// A whole number, 0 or more; one beyond 64 bits counts as the largest.
    pub fn number(call: *Call, wanted: []const u8) Failure!u64 {
        const json = try call.value(wanted);
        var total: u64 = 0;
        for (json) |byte| switch (byte) {
            '0'...'9' => total = total *| 10 +| (byte - '0'),
            else => {
                const given = brief(json);
                return call.refuse("{s} is {s}, not a whole number from 0", .{ wanted, given });
            },
        };
        return total;
    }
};

/// The fields of the JSON object that comes next.
fn readObject(scanner: *Scanner, arena: Allocator) ![]const Field {
    var fields: std.ArrayList(Field) = .empty;
    try open(scanner);
    while (try nextName(scanner, arena)) |field| {
        const start = scanner.cursor;
        try scanner.skipValue();
        try fields.append(arena, .{ .name = field, .json = scanner.input[start..scanner.cursor] });
    }
    return fields.items;
}

fn open(scanner: *Scanner) !void {
    if (try scanner.peekNextTokenType() != .object_begin) return error.NotAnObject;
    _ = try scanner.next();
}

/// The name of an object's next field, the scanner before its value; null at the end of the object.
fn nextName(scanner: *Scanner, arena: Allocator) !?[]const u8 {
    if (try scanner.peekNextTokenType() == .object_end) {
        _ = try scanner.next();
        return null;
    }
    const field = try stringToken(scanner, arena);
    _ = try scanner.peekNextTokenType();
    return field;
}

fn close(scanner: *Scanner) !void {
    if (try scanner.next() != .end_of_document) return error.SyntaxError;
}

fn stringToken(scanner: *Scanner, arena: Allocator) ![]const u8 {
    if (try scanner.peekNextTokenType() != .string) return error.NotAString;
    return switch (try scanner.nextAllocMax(arena, .alloc_if_needed, std.math.maxInt(usize))) {
        .string => |slice| slice,
        .allocated_string => |slice| slice,
        else => unreachable,
    };
}

/// The text of a JSON string that was found to be valid.
fn decoded(arena: Allocator, json: []const u8) Failure![]const u8 {
    var scanner: Scanner = .initCompleteInput(arena, json);
    return stringToken(&scanner, arena) catch error.OutOfMemory;
}

pub fn reason(why: anyerror) []const u8 {
    return switch (why) {
        error.NotAnObject => "it needs a JSON object where another value stands",
        error.NotAString => "tool_name is not a string",
        error.NoToolName => "tool_name is missing",
        error.UnexpectedEndOfInput => "it ends too early",
        error.OutOfMemory => "out of memory",
        else => "it is malformed",
    };
}

/// A long value would drown the message that mentions it.
fn brief(json: []const u8) []const u8 {
    return switch (json[0]) {
        '"' => "a string",
        '{' => "an object",
        '[' => "a list",
        else => json[0..@min(json.len, 40)],
    };
}

pub fn quoted(text: []const u8) std.fmt.Alt([]const u8, writeQuoted) {
    return .{ .data = text };
}

fn writeQuoted(text: []const u8, writer: *Writer) Writer.Error!void {
    return std.json.Stringify.encodeJsonString(text, .{}, writer);
}
