//! A WASI program in Zig with its standard library: it does what its arguments say, and exits.
//!
//!     program args WORD...     prints each argument on a line of its own, the program's name first
//!     program env              prints the environment, a line each
//!     program cat              copies standard input to standard output
//!     program list PATH        prints the names in a directory, a line each
//!     program copy FROM TO     copies a file, and makes the directories on the way to it
//!     program crowd PATH       makes empty files in a directory until that fails; prints how many
//!     program exit N           exits with that status
//!     program fail             returns an error from `main`
//!     program panic TEXT       panics
//!     program index N          reads beyond an array of 4, if N says so
//!     program add N            adds N to 250 in 8 bits
//!     program recurse          calls itself for ever, with memory of its own at each level
//!     program dive             calls itself for ever, without any
//!     program grow             takes memory until there is no more
//!
//! Status 1: an error, which is on standard error. Status 2: wrong use.

const std = @import("std");
const Io = std.Io;

pub fn main(init: std.process.Init) !u8 {
    const words = try init.minimal.args.toSlice(init.arena.allocator());
    var buffer: [4096]u8 = undefined;
    var out = Io.File.stdout().writerStreaming(init.io, &buffer);
    defer out.interface.flush() catch {};
    return obey(init, words, &out.interface);
}

const Command = enum {
    // zig fmt: off
    args, env, cat, list, copy, crowd,
    exit, fail, panic, index, add, recurse, dive, grow,
    // zig fmt: on
};

fn obey(init: std.process.Init, words: []const [:0]const u8, out: *Io.Writer) !u8 {
    const command = if (words.len > 1) std.meta.stringToEnum(Command, words[1]) else null;
    const one = if (words.len > 2) words[2] else "";
    const two = if (words.len > 3) words[3] else "";
    switch (command orelse return wrongUse()) {
        .args => for (words) |word| try out.print("{s}\n", .{word}),
        .env => try env(init.environ_map, out),
        .cat => try cat(init.io, out),
        .list => try list(init.io, one, out),
        .copy => try copy(init.io, one, two),
        .crowd => try crowd(init.io, one, out),
        .exit => std.process.exit(try number(u8, one)),
        .fail => return error.AsItWasAsked,
        .panic => @panic(one),
        .index => try out.print("{d}\n", .{(&[_]u8{ 1, 2, 3, 4 })[try number(usize, one)]}),
        .add => try out.print("{d}\n", .{@as(u8, 250) + try number(u8, one)}),
        .recurse => try out.print("{d}\n", .{deeper(0)}),
        .dive => try out.print("{d}\n", .{dive(0)}),
        .grow => try grow(init.gpa),
    }
    return 0;
}

fn wrongUse() u8 {
    std.debug.print("wrong use\n", .{});
    return 2;
}

fn number(T: type, text: []const u8) !T {
    return std.fmt.parseInt(T, text, 10);
}

fn env(map: *const std.process.Environ.Map, out: *Io.Writer) !void {
    for (map.keys(), map.values()) |name, value| try out.print("{s}={s}\n", .{ name, value });
}

fn cat(io: Io, out: *Io.Writer) !void {
    var buffer: [4096]u8 = undefined;
    var in = Io.File.stdin().readerStreaming(io, &buffer);
    _ = try in.interface.streamRemaining(out);
}

fn list(io: Io, path: []const u8, out: *Io.Writer) !void {
    const directory = try Io.Dir.cwd().openDir(io, path, .{ .iterate = true });
    defer directory.close(io);
    var entries = directory.iterate();
    while (try entries.next(io)) |entry| try out.print("{s}\n", .{entry.name});
}

fn copy(io: Io, from: []const u8, to: []const u8) !void {
    const root = Io.Dir.cwd();
    if (std.fs.path.dirname(to)) |folder| try root.createDirPath(io, folder);
    try root.copyFile(from, root, to, io, .{});
}

fn crowd(io: Io, path: []const u8, out: *Io.Writer) !void {
    const directory = try Io.Dir.cwd().openDir(io, path, .{});
    var name: [16]u8 = undefined;
    for (0..std.math.maxInt(u32)) |made| {
        const text = try std.fmt.bufPrint(&name, "{d:0>8}", .{made});
        const file = directory.createFile(io, text, .{}) catch |failure| {
            return out.print("{d} {t}\n", .{ made, failure });
        };
        file.close(io);
    }
}

/// As deep as the stack allows: what is returned depends on each level.
fn deeper(level: usize) usize {
    var room: [64]usize = @splat(level);
    std.mem.doNotOptimizeAway(&room);
    return deeper(level + 1) + room[level % room.len];
}

fn dive(level: usize) usize {
    const more = @call(.never_tail, dive, .{level + 1});
    std.mem.doNotOptimizeAway(more);
    return more ^ level;
}

fn grow(gpa: std.mem.Allocator) !void {
    while (true) @memset(try gpa.alloc(u8, 1 << 20), 1);
}
