//! First fit over one list of free blocks, kept in order of address, neighbours merged.
//!
//! The classic of Kernighan and Ritchie, for what it does not do: it rounds nothing up to powers
//! of two, so large payloads fit tightly, and it takes no page as long as one block suffices, so a
//! fresh guest is small. The list is short, since a call gives back nearly all that it takes.

const std = @import("std");
const Alignment = std.mem.Alignment;

const page = 64 * 1024;

/// What stands before a block's bytes; `next` is of use in a free block only.
const Block = extern struct {
    size: usize, // with this header; a multiple of `step`
    next: ?*Block,

    fn bytes(block: *Block) [*]u8 {
        return @ptrFromInt(@intFromPtr(block) + @sizeOf(Block));
    }

    fn of(ptr: [*]const u8) *Block {
        return @ptrFromInt(@intFromPtr(ptr) - @sizeOf(Block));
    }

    fn end(block: *Block) usize {
        return @intFromPtr(block) + block.size;
    }
};

const step = @sizeOf(Block);

comptime {
    std.debug.assert(step == 8); // so blocks, and the bytes in them, are aligned to 8
}

var free_blocks: ?*Block = null;

extern const __heap_base: u8;

/// Takes over what the program leaves of the first pages.
pub fn init() void {
    const start = std.mem.alignForward(usize, @intFromPtr(&__heap_base), step);
    add(start, @wasmMemorySize(0) * page - start);
}

/// Memory aligned to 8; null without enough of it.
pub fn take(len: usize) ?[*]u8 {
    if (len > std.math.maxInt(i32)) return null;
    const size = std.mem.alignForward(usize, step + len, step);
    return takeFree(size) orelse {
        if (!grow(size)) return null;
        return takeFree(size);
    };
}

/// Gives back what `take` gave.
pub fn give(ptr: [*]const u8) void {
    insert(Block.of(ptr));
}

fn takeFree(size: usize) ?[*]u8 {
    var link = &free_blocks;
    while (link.*) |block| : (link = &block.next) {
        if (block.size < size) continue;
        if (block.size == size) {
            link.* = block.next;
        } else {
            const rest: *Block = @ptrFromInt(@intFromPtr(block) + size);
            rest.* = .{ .size = block.size - size, .next = block.next };
            link.* = rest;
            block.size = size;
        }
        return block.bytes();
    }
    return null;
}

fn grow(size: usize) bool {
    const pages = (size + page - 1) / page;
    const first = @wasmMemoryGrow(0, pages);
    if (first == -1) return false;
    add(@as(usize, @intCast(first)) * page, pages * page);
    return true;
}

fn add(start: usize, size: usize) void {
    const block: *Block = @ptrFromInt(start);
    block.size = size;
    insert(block);
}

fn insert(block: *Block) void {
    var before: ?*Block = null;
    var link = &free_blocks;
    while (link.*) |other| : (link = &other.next) {
        if (@intFromPtr(other) > @intFromPtr(block)) break;
        before = other;
    }
    block.next = link.*;
    link.* = block;
    merge(block);
    if (before) |other| merge(other);
}

fn merge(block: *Block) void {
    const next = block.next orelse return;
    if (block.end() != @intFromPtr(next)) return;
    block.size += next.size;
    block.next = next.next;
}

/// The same for Zig's containers.
pub const allocator: std.mem.Allocator = .{ .ptr = undefined, .vtable = &.{
    .alloc = alloc,
    .resize = resize,
    .remap = remap,
    .free = free,
} };

fn alloc(_: *anyopaque, len: usize, alignment: Alignment, _: usize) ?[*]u8 {
    if (alignment.toByteUnits() > step) return null;
    return take(len);
}

fn resize(_: *anyopaque, memory: []u8, _: Alignment, len: usize, _: usize) bool {
    return len <= Block.of(memory.ptr).size - step;
}

fn remap(ctx: *anyopaque, memory: []u8, alignment: Alignment, len: usize, at: usize) ?[*]u8 {
    return if (resize(ctx, memory, alignment, len, at)) memory.ptr else null;
}

fn free(_: *anyopaque, memory: []u8, _: Alignment, _: usize) void {
    give(memory.ptr);
}
