//! A region of memory as it crosses the border: pointer in the high 32 bits, size in the low 32.

pub fn pack(bytes: []const u8) i64 {
    return @bitCast(@as(u64, @intFromPtr(bytes.ptr)) << 32 | bytes.len);
}

pub fn unpack(value: i64) []const u8 {
    const bits: u64 = @bitCast(value);
    const size: u32 = @truncate(bits);
    if (size == 0) return "";
    const ptr: [*]const u8 = @ptrFromInt(@as(u32, @intCast(bits >> 32)));
    return ptr[0..size];
}
