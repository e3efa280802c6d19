//! What the plugin does with the world outside: the credentials that it was given, and HTTP.

const std = @import("std");
const memory = @import("memory.zig");
const packing = @import("packing.zig");
const request = @import("request.zig");
const Call = request.Call;
const Failure = request.Failure;
const gpa = memory.allocator;
const quoted = request.quoted;

extern "env" fn host_http_request(request: i64) i64;
extern "env" fn host_log(ptr: i32, size: i32) void;

const Credentials = struct { base_url: []const u8, api_key: []const u8 };
var credentials: ?Credentials = null;

pub fn configure(call: *Call, json: []const u8) Failure!void {
    call.readFields(json) catch |why|
        return call.refuse("broken credentials: {s}", .{request.reason(why)});
    for (call.fields) |field| {
        if (isKnown(field.name)) continue;
        const unknown = quoted(field.name);
        return call.refuse("unknown key {f}: there are base_url and api_key", .{unknown});
    }
    const base_url = try call.text("base_url");
    if (base_url.len == 0) return call.refuse("base_url is empty: fetch needs an address", .{});
    const api_key = if (call.find("api_key") == null) "" else try call.text("api_key");

    const line = try std.fmt.allocPrint(call.arena, "configured for {s}", .{base_url});
    const own_url = try gpa.dupe(u8, base_url);
    errdefer gpa.free(own_url);
    const own_key = try gpa.dupe(u8, api_key);
    if (credentials) |old| {
        gpa.free(old.base_url);
        gpa.free(old.api_key);
    }
    credentials = .{ .base_url = own_url, .api_key = own_key };
    host_log(@bitCast(@intFromPtr(line.ptr)), @intCast(line.len));
}

fn isKnown(key: []const u8) bool {
    return std.mem.eql(u8, key, "base_url") or std.mem.eql(u8, key, "api_key");
}

pub fn run(call: *Call) Failure!void {
    const path = try call.text("path");
    const known = credentials orelse
        return call.refuse("not configured: it needs credentials with a base_url", .{});
    const url = try std.mem.concat(call.arena, u8, &.{ known.base_url, path });
    try call.print("{{\"method\":\"GET\",\"url\":{f},\"headers\":{{", .{quoted(url)});
    if (known.api_key.len > 0) {
        const bearer = try std.mem.concat(call.arena, u8, &.{ "Bearer ", known.api_key });
        try call.print("\"Authorization\":{f}", .{quoted(bearer)});
    }
    try call.print("}}}}", .{});

    const response = packing.unpack(host_http_request(packing.pack(call.out.written())));
    defer if (response.len > 0) memory.give(response.ptr);
    call.out.clearRetainingCapacity();
    call.readFields(response) catch |why|
        return call.refuse("broken reply from the host: {s}", .{request.reason(why)});
    const body = if (call.find("body")) |field| field.json else "\"\"";
    try call.print("{{\"status\":{s},\"body\":{s}}}", .{ try call.value("status"), body });
}
