/* A plugin of the contract, ABI version 1, with the two habits of plugins in the field:
 *
 *   - free(ptr) traps. Its allocator wants the size back to check it, the export is told none, and the
 *     check fails. A host that goes on freeing loses an instance each time; one that stops freeing
 *     sees the memory grow.
 *   - Each reply to a host call leaks about twice its size: the region that the host wrote, and the
 *     guest's own copy of it.
 *
 * Freestanding: no libc, no WASI, no _initialize, no compact_specs. Imports env.host_http_request.
 * Strings are passed on as they stand in JSON, never decoded. Tools:
 *
 *   echo   {"message": string} -> {"echo": message}
 *   fetch  {"path": string}    -> the host's reply: GET base_url + path, with api_key as bearer token
 *
 * configure takes {"base_url": string, "api_key": string}, and refuses to go without a base_url.
 * Any argument that is missing or no string is an is_error result that names it.
 */

typedef unsigned char byte;
typedef unsigned int u32;
typedef unsigned long long u64;

#define EXPORT(name) __attribute__((export_name(#name)))

__attribute__((import_module("env"), import_name("host_http_request"))) u64 host_http_request(u64);

/* ---- memory: a bump allocator that hands out, and checks that it gets back what it gave */

extern byte __heap_base;
static u32 top;

EXPORT(malloc) u32 guest_malloc(u32 size) {
    if (size > 0x40000000) return 0;
    if (top == 0) top = (u32)&__heap_base;
    u32 block = (top + 15) & ~7u; /* room for the size before it */
    u32 end = block + size;
    u32 pages = (end + 0xffff) >> 16;
    u32 have = __builtin_wasm_memory_size(0);
    if (pages > have && __builtin_wasm_memory_grow(0, pages - have) == (u32)-1) return 0;
    ((u32 *)block)[-1] = size;
    top = end;
    return block;
}

static void give_back(u32 block, u32 size) {
    if (((u32 *)block)[-1] != size) __builtin_trap(); /* the size is not the one that was given out */
}

EXPORT(free) void guest_free(u32 block) { give_back(block, ~0u); }

/* ---- texts: built up in one static buffer's worth of fresh memory */

typedef struct {
    const byte *at;
    u32 size;
} text;

#define TEXT(literal) ((text){(const byte *)(literal), sizeof(literal) - 1})

static text view(u64 packed) { return (text){(const byte *)(u32)(packed >> 32), (u32)packed}; }

static u64 pack(text t) { return (u64)(u32)t.at << 32 | t.size; }

static byte *room(u32 size) {
    byte *at = (byte *)guest_malloc(size);
    if (!at) __builtin_trap();
    return at;
}

static text join(const text *parts, u32 count) {
    u32 size = 0;
    for (u32 k = 0; k < count; k++) size += parts[k].size;
    byte *at = room(size), *to = at;
    for (u32 k = 0; k < count; to += parts[k++].size) __builtin_memcpy(to, parts[k].at, parts[k].size);
    return (text){at, size};
}

#define JOIN(...) join((text[]){__VA_ARGS__}, sizeof((text[]){__VA_ARGS__}) / sizeof(text))

/* The inside of a JSON string that holds t; white space between t's tokens becomes spaces. */
static text escaped(text t) {
    byte *at = room(2 * t.size), *to = at;
    for (u32 k = 0; k < t.size; k++) {
        byte b = t.at[k];
        if (b == '"' || b == '\\') *to++ = '\\';
        *to++ = b < ' ' ? ' ' : b;
    }
    return (text){at, (u32)(to - at)};
}

static int same(const byte *a, text b) {
    for (u32 k = 0; k < b.size; k++)
        if (a[k] != b.at[k]) return 0;
    return 1;
}

/* The inside of the string that follows "name": in the JSON text; at is 0 if there is none. */
static text string_field(text json, text quoted_name) {
    for (u32 k = 0; k + quoted_name.size <= json.size; k++) {
        if (!same(json.at + k, quoted_name)) continue;
        k += quoted_name.size;
        while (k < json.size && (json.at[k] == ':' || json.at[k] <= ' ')) k++;
        if (k >= json.size || json.at[k] != '"') break;
        u32 start = ++k;
        while (k < json.size && json.at[k] != '"') k += json.at[k] == '\\' ? 2 : 1;
        if (k < json.size) return (text){json.at + start, k - start};
    }
    return (text){0, 0};
}

/* ---- the contract */

EXPORT(name) u64 plugin_name(void) { return pack(JOIN(TEXT("leaky"))); }

EXPORT(metadata) u64 metadata(void) {
    return pack(JOIN(TEXT(
        "{\"name\":\"leaky\",\"version\":\"1.0.0\",\"abi_version\":1,\"description\":\"free traps, replies leak\","
        "\"author\":\"\",\"homepage\":\"\",\"license\":\"MIT\",\"capabilities\":[\"http\"],"
        "\"credential_keys\":[\"base_url\",\"api_key\"],\"plain_text_keys\":[\"base_url\"],"
        "\"optional_keys\":[\"api_key\"],\"placeholders\":{}}")));
}

EXPORT(tools) u64 tools(void) {
    return pack(JOIN(TEXT(
        "[{\"name\":\"echo\",\"description\":\"answers with its argument\","
        "\"parameters\":{\"message\":\"a string\"},\"required\":[\"message\"]},"
        "{\"name\":\"fetch\",\"description\":\"gets base_url + path\","
        "\"parameters\":{\"path\":\"what to append\"},\"required\":[\"path\"]}]")));
}

EXPORT(healthy) int healthy(void) { return 1; }

static text base_url, api_key;

EXPORT(configure) u64 configure(u64 payload) {
    text url = string_field(view(payload), TEXT("\"base_url\""));
    text key = string_field(view(payload), TEXT("\"api_key\""));
    if (!url.size) return pack(JOIN(TEXT("base_url is missing or empty")));
    base_url = JOIN(url);
    api_key = JOIN(key);
    return 0;
}

static u64 data(text t) { return pack(JOIN(TEXT("{\"data\":\""), escaped(t), TEXT("\"}"))); }

static u64 refuse(text why) {
    return pack(JOIN(TEXT("{\"data\":\""), why, TEXT("\",\"is_error\":true}")));
}

static u64 echo(text request) {
    text message = string_field(request, TEXT("\"message\""));
    if (!message.at) return refuse(TEXT("echo: message is missing or no string"));
    return data(JOIN(TEXT("{\"echo\":\""), message, TEXT("\"}")));
}

static u64 fetch(text request) {
    text path = string_field(request, TEXT("\"path\""));
    if (!path.at) return refuse(TEXT("fetch: path is missing or no string"));
    if (!base_url.size) return refuse(TEXT("fetch: not configured"));
    text wanted = JOIN(TEXT("{\"method\":\"GET\",\"url\":\""), base_url, path,
                       TEXT("\",\"headers\":{\"Authorization\":\"Bearer "), api_key, TEXT("\"}}"));
    text own_copy = JOIN(view(host_http_request(pack(wanted)))); /* neither is ever freed */
    return data(own_copy);
}

EXPORT(execute) u64 execute(u64 payload) {
    text request = view(payload);
    text tool = string_field(request, TEXT("\"tool_name\""));
    if (tool.at && tool.size == 4 && same(tool.at, TEXT("echo"))) return echo(request);
    if (tool.at && tool.size == 5 && same(tool.at, TEXT("fetch"))) return fetch(request);
    return refuse(TEXT("unknown tool: there are echo and fetch"));
}
