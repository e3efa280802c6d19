//! The main job: the lines, words and characters of a text, and its most frequent words.

const std = @import("std");
const request = @import("request.zig");

pub fn run(call: *request.Call) request.Failure!void {
    const text = try call.text("text");
    var counts: std.StringHashMapUnmanaged(usize) = .empty;
    var words: usize = 0;
    var split = std.mem.tokenizeAny(u8, text, " \t\n\r\x0b\x0c");
    while (split.next()) |word| : (words += 1) {
        const entry = try counts.getOrPutValue(call.arena, word, 0);
        entry.value_ptr.* += 1;
    }
    try call.print("{{\"lines\":{d},\"words\":{d},", .{ lines(text), words });
    try call.print("\"characters\":{d},\"top\":[", .{characters(text)});
    var best: Best = .{};
    var entries = counts.iterator();
    while (entries.next()) |entry| {
        best.offer(.{ .word = entry.key_ptr.*, .count = entry.value_ptr.* });
    }
    for (best.list[0..best.len], 0..) |counted, k| {
        const comma = if (k > 0) "," else "";
        try call.print("{s}[{f},{d}]", .{ comma, request.quoted(counted.word), counted.count });
    }
    try call.print("]}}", .{});
}

fn lines(text: []const u8) usize {
    const unfinished = text.len > 0 and text[text.len - 1] != '\n';
    return std.mem.countScalar(u8, text, '\n') + @intFromBool(unfinished);
}

fn characters(text: []const u8) usize {
    var count: usize = 0;
    for (text) |byte| count += @intFromBool(byte & 0xC0 != 0x80);
    return count;
}

const Counted = struct {
    word: []const u8,
    count: usize,

    fn before(a: Counted, b: Counted) bool {
        if (a.count != b.count) return a.count > b.count;
        return std.mem.lessThan(u8, a.word, b.word); // the order of UTF-8 is that of code points
    }
};

/// The first ten of all that were offered, in order.
const Best = struct {
    list: [10]Counted = undefined,
    len: usize = 0,

    fn offer(best: *Best, counted: Counted) void {
        if (best.len < best.list.len) {
            best.len += 1;
        } else if (!counted.before(best.list[best.len - 1])) return;
        var k = best.len - 1;
        while (k > 0 and counted.before(best.list[k - 1])) : (k -= 1) {
            best.list[k] = best.list[k - 1];
        }
        best.list[k] = counted;
    }
};
