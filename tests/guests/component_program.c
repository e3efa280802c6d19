// A program for WASI preview 2, without any library: what the first argument says, it does.
// The functions are those of component_program.wit, as the canonical ABI has them.

typedef unsigned char u8;
typedef unsigned u32;
typedef unsigned long long u64;

#define IMPORT(interface, name) __attribute__((import_module(interface), import_name(name)))

typedef struct { u8 *at; u32 size; } list;

IMPORT("wasi:io/poll@0.2.0", "[method]pollable.block") void block(u32 pollable);
IMPORT("wasi:io/poll@0.2.0", "poll") void poll(u32 *pollables, u32 count, list *ready);
IMPORT("wasi:io/poll@0.2.0", "[resource-drop]pollable") void drop_pollable(u32 pollable);

// A result: 0 is ok, and what follows is the value; else it is the error.
typedef struct { u8 is_error; union { list bytes; u8 code; u32 handle; } as; u8 is_end; } result;
typedef struct { u8 is_error; union { u64 size; u8 code; } as; } size_result;

IMPORT("wasi:io/streams@0.2.0", "[method]input-stream.blocking-read")
void read_stream(u32 stream, u64 size, result *found);
IMPORT("wasi:io/streams@0.2.0", "[method]input-stream.subscribe") u32 subscribe(u32 stream);
IMPORT("wasi:io/streams@0.2.0", "[method]output-stream.blocking-write-and-flush")
void write_stream(u32 stream, const u8 *at, u32 size, result *found);

IMPORT("wasi:clocks/monotonic-clock@0.2.0", "now") u64 now(void);
IMPORT("wasi:clocks/monotonic-clock@0.2.0", "subscribe-duration") u32 timer(u64 nanoseconds);
typedef struct { u64 seconds; u32 nanoseconds; } datetime;
IMPORT("wasi:clocks/wall-clock@0.2.0", "now") void wall(datetime *time);
IMPORT("wasi:random/random@0.2.0", "get-random-bytes") void random_bytes(u64 size, list *bytes);

IMPORT("wasi:cli/environment@0.2.0", "get-arguments") void get_arguments(list *texts);
IMPORT("wasi:cli/environment@0.2.0", "get-environment") void get_environment(list *pairs);
IMPORT("wasi:cli/exit@0.2.0", "exit") void exit(u32 is_error);
IMPORT("wasi:cli/stdin@0.2.0", "get-stdin") u32 get_stdin(void);
IMPORT("wasi:cli/stdout@0.2.0", "get-stdout") u32 get_stdout(void);
IMPORT("wasi:cli/stderr@0.2.0", "get-stderr") u32 get_stderr(void);

typedef struct { u32 handle; list path; } preopen;
IMPORT("wasi:filesystem/preopens@0.2.0", "get-directories") void get_directories(list *preopens);
IMPORT("wasi:filesystem/types@0.2.0", "[method]descriptor.open-at")
void open_at(u32 at, u32 path_flags, u8 *path, u32 size, u32 how, u32 flags, result *opened);
IMPORT("wasi:filesystem/types@0.2.0", "[method]descriptor.read")
void read_file(u32 file, u64 size, u64 offset, result *found);
IMPORT("wasi:filesystem/types@0.2.0", "[method]descriptor.write")
void write_file(u32 file, u8 *at, u32 size, u64 offset, size_result *written);

enum { READ = 1, WRITE = 2, CREATE = 1, TRUNCATE = 8, FOLLOW = 1 };

// --- memory: what the host writes into. A large request grows it; nothing is freed but all at once.

static u8 heap[256 * 1024];
static u32 used;

__attribute__((export_name("cabi_realloc")))
void *cabi_realloc(void *old, u32 old_size, u32 align, u32 size) {
  (void)old, (void)old_size;
  used = (used + align - 1) & -align;
  if (size > sizeof heap - used) {
    u32 pages = (size >> 16) + 1;
    u32 before = __builtin_wasm_memory_grow(0, pages);
    if (before == (u32)-1) __builtin_trap();
    return (void *)(before << 16);
  }
  void *at = heap + used;
  used += size;
  return at;
}

// --- text

static u32 length(const char *text) {
  u32 size = 0;
  while (text[size]) size++;
  return size;
}

static int is(list text, const char *word) {
  if (text.size != length(word)) return 0;
  for (u32 k = 0; k < text.size; k++)
    if (text.at[k] != (u8)word[k]) return 0;
  return 1;
}

static u64 number(list text) {
  u64 found = 0;
  for (u32 k = 0; k < text.size; k++) found = found * 10 + text.at[k] - '0';
  return found;
}

static void put(u32 stream, const u8 *at, u32 size) {
  result found;
  while (size) {
    u32 part = size < 4096 ? size : 4096;
    write_stream(stream, at, part, &found);
    if (found.is_error) exit(1);
    at += part, size -= part;
  }
}

static void say(const char *text) { put(get_stdout(), (const u8 *)text, length(text)); }

static void say_number(u64 value) {
  u8 digits[20];
  u32 at = sizeof digits;
  do digits[--at] = '0' + value % 10; while (value /= 10);
  put(get_stdout(), digits + at, sizeof digits - at);
  say("\n");
}

// --- what it can do

static void cat(void) {
  u32 in = get_stdin(), out = get_stdout();
  result found;
  for (;;) {
    used = 0;
    read_stream(in, 1 << 16, &found);
    if (found.is_error) return;
    put(out, found.as.bytes.at, found.as.bytes.size);
  }
}

static u32 root(void) {
  list found;
  get_directories(&found);
  return found.size ? ((preopen *)found.at)->handle : 0;
}

static int fail(u8 code) {
  say("error ");
  say_number(code);
  return 1;
}

static int read_path(list path) {
  result found;
  open_at(root(), FOLLOW, path.at, path.size, 0, READ, &found);
  if (found.is_error) return fail(found.as.code);
  u32 file = found.as.handle;
  for (u64 offset = 0;; offset += found.as.bytes.size) {
    used = 0;
    read_file(file, 1 << 16, offset, &found);
    if (found.is_error) return fail(found.as.code);
    if (found.is_end) return 0;
    put(get_stdout(), found.as.bytes.at, found.as.bytes.size);
  }
}

static int write_path(list path, list text) {
  result opened;
  size_result written;
  open_at(root(), FOLLOW, path.at, path.size, CREATE | TRUNCATE, WRITE, &opened);
  if (opened.is_error) return fail(opened.as.code);
  write_file(opened.as.handle, text.at, text.size, 0, &written);
  return written.is_error ? fail(written.as.code) : 0;
}

static void environment(void) {
  list found;
  get_environment(&found);
  list *texts = (list *)found.at;
  for (u32 k = 0; k < 2 * found.size; k++) {
    put(get_stdout(), texts[k].at, texts[k].size);
    say(k % 2 ? "\n" : "=");
  }
}

static void nap(u64 nanoseconds) {
  u64 began = now();
  u32 pollable = timer(nanoseconds);
  block(pollable);
  drop_pollable(pollable);
  say(now() - began >= nanoseconds ? "slept\n" : "woke too early\n");
}

// Which is ready first: standard input, or a timer.
static void race(u64 nanoseconds) {
  u32 both[2] = {subscribe(get_stdin()), timer(nanoseconds)};
  list ready;
  poll(both, 2, &ready);
  for (u32 k = 0; k < ready.size; k++) say(((u32 *)ready.at)[k] ? "timer\n" : "input\n");
}

static void tell_time(void) {
  datetime time;
  wall(&time);
  say_number(time.seconds);
  u64 before = now();
  say(now() >= before ? "forward\n" : "backward\n");
}

static void count_random(u64 size) {
  list bytes;
  random_bytes(size, &bytes);
  say_number(bytes.size);
}

// --- what no program should do

static void write_too_much(void) {
  result found;
  write_stream(get_stdout(), heap, 4097, &found);
}

static void wait_for_nothing(void) {
  list ready;
  poll(0, 0, &ready);
}

static void keep_every_timer(void) {
  for (;;) timer(1000);
}

__attribute__((export_name("wasi:cli/run@0.2.0#run")))
int run(void) {
  list found;
  get_arguments(&found);
  list *args = (list *)found.at;
  list verb = found.size > 1 ? args[1] : (list){0, 0};
  list object = found.size > 2 ? args[2] : (list){0, 0};
  // The arguments are kept: what is read later is written behind them.
  if (is(verb, "args"))
    for (u32 k = 0; k < found.size; k++) put(get_stdout(), args[k].at, args[k].size), say("\n");
  else if (is(verb, "env")) environment();
  else if (is(verb, "cat")) cat();
  else if (is(verb, "read")) return read_path(object);
  else if (is(verb, "write")) return write_path(object, args[3]);
  else if (is(verb, "nap")) nap(number(object));
  else if (is(verb, "race")) race(number(object));
  else if (is(verb, "time")) tell_time();
  else if (is(verb, "random")) count_random(number(object));
  else if (is(verb, "warn")) put(get_stderr(), object.at, object.size);
  else if (is(verb, "exit")) exit(number(object));
  else if (is(verb, "fail")) return 1;
  else if (is(verb, "spin")) for (;;) say("");
  else if (is(verb, "trap")) __builtin_trap();
  else if (is(verb, "write-too-much")) write_too_much();
  else if (is(verb, "wait-for-nothing")) wait_for_nothing();
  else if (is(verb, "keep-every-timer")) keep_every_timer();
  else say("hello\n");
  return 0;
}
