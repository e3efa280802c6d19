/* WASI preview 1 as a C program sees it, through wasi-libc: a reactor with one export a behaviour.
 *
 * Two kinds of exports.
 *
 * Numbers: called with `instance.call(name, ...)`; a failure is minus the errno of WASI (44 is ENOENT).
 *   argc() -> i32                 how many arguments there are
 *   clock(id: i32) -> i64         the clock's time in nanoseconds; 0 is real time, 1 monotonic
 *   resolution(id: i32) -> i64    its resolution in nanoseconds
 *   nap(ms: i32) -> i64           nanosleep; the nanoseconds it took by the monotonic clock
 *   wait_input(ms: i32) -> i32    poll(stdin, readable) with a timeout: 1 ready, 0 timed out
 *   yield() -> i32                sched_yield
 *   random64() -> i64             eight bytes from getentropy
 *   leave(status: i32)            exit(status), with what stdout still held back written before it
 *   quit(status: i32)             _Exit(status), without that
 *   give_up()                     abort(): a trap
 *
 * Texts: called with `instance.exchange(name, payload)`. The payload is text, two values are parted by
 * a newline. The reply is a decimal number, a newline, and data: the number is minus the errno, or 0,
 * or, where it says so, a count.
 *   arguments()                   count; each argument and a newline
 *   environment()                 count; each NAME=value and a newline
 *   env(name)                     its value; -44 if there is none
 *   say(text)                     fwrite to stdout, flushed; the count of bytes written
 *   hold_back(text)               the same without the flush: it leaves with a newline or at `leave`
 *   complain(text)                fwrite to stderr, which is not buffered; the count
 *   read_line()                   fgets from stdin, the newline included; "" at the end
 *   read_stdin()                  the count; all that is left of stdin
 *   preopens()                    count; the name of each preopened directory and a newline
 *   read_file(path)               the count; its content
 *   read_at(path, offset)         the count; its content from there on, after a seek
 *   write_file(path, content)     the count; the file is made or cut first ("w")
 *   append_file(path, content)    the count ("a")
 *   create_file(path, content)    the count; -20 if there is such a file ("wx")
 *   cut_file(path, size)          truncate
 *   sync_file(path)               fsync
 *   list_dir(path)                count; each entry (without . and ..) and a newline, sorted; "/" after
 *                                 a directory, "@" after a link
 *   make_dir(path), remove_dir(path), remove_file(path)
 *   rename_path(from, to), link_path(from, to)
 *   symlink_path(target, path), read_link(path)
 *   stat_path(path)               "file", "directory", "link" or "other", its size, and the time of its
 *                                 last change in seconds, parted by spaces; links are not followed
 *   touch(path, seconds)          sets the time of its last change
 *   write_std(fd, text)           write(fd) without buffers: also to descriptors that are not for it
 *
 * And malloc, free and _initialize of wasi-libc.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

#define EXPORT(name) __attribute__((export_name(#name)))

typedef uint64_t packed;

/* ---- numbers */

static int64_t nanoseconds(struct timespec t) { return t.tv_sec * 1000000000ll + t.tv_nsec; }

static clockid_t clock_of(int32_t id) { return id == 1 ? CLOCK_MONOTONIC : CLOCK_REALTIME; }

EXPORT(argc) int32_t argc(void) {
    size_t count, size;
    int error = __wasi_args_sizes_get(&count, &size);
    return error ? -error : (int32_t)count;
}

EXPORT(clock) int64_t read_clock(int32_t id) {
    struct timespec now;
    return clock_gettime(clock_of(id), &now) ? -errno : nanoseconds(now);
}

EXPORT(resolution) int64_t resolution(int32_t id) {
    struct timespec step;
    return clock_getres(clock_of(id), &step) ? -errno : nanoseconds(step);
}

EXPORT(nap) int64_t nap(int32_t ms) {
    struct timespec length = {ms / 1000, ms % 1000 * 1000000l}, before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    if (nanosleep(&length, NULL)) return -errno;
    clock_gettime(CLOCK_MONOTONIC, &after);
    return nanoseconds(after) - nanoseconds(before);
}

EXPORT(wait_input) int32_t wait_input(int32_t ms) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    int ready = poll(&input, 1, ms);
    return ready < 0 ? -errno : ready;
}

EXPORT(yield) int32_t yield(void) { return sched_yield() ? -errno : 0; }

EXPORT(random64) int64_t random64(void) {
    int64_t value = 0;
    return getentropy(&value, sizeof value) ? -errno : value;
}

EXPORT(leave) void leave(int32_t status) { exit(status); }

EXPORT(quit) void quit(int32_t status) { _Exit(status); }

EXPORT(give_up) void give_up(void) { abort(); }

/* ---- texts: a reply is built in memory that the host frees */

static packed reply(long long code, const void *data, size_t size) {
    char head[24];
    size_t length = snprintf(head, sizeof head, "%lld\n", code);
    char *text = malloc(length + size);
    if (!text) abort();
    memcpy(text, head, length);
    if (size) memcpy(text + length, data, size);
    return (packed)(uintptr_t)text << 32 | (length + size);
}

static packed outcome(int failed) { return reply(failed ? -errno : 0, "", 0); }

/* The payload as one string, or as two parted at the first newline; the host keeps its own memory. */
typedef struct {
    char *first, *second;
    size_t first_size, second_size;
} texts;

static texts take(packed payload) {
    static char *kept;
    size_t size = (uint32_t)payload;
    free(kept);
    kept = malloc(size + 1);
    if (!kept) abort();
    memcpy(kept, (void *)(uintptr_t)(payload >> 32), size);
    kept[size] = 0;
    char *end = memchr(kept, '\n', size);
    if (!end) return (texts){kept, kept + size, size, 0};
    *end = 0;
    return (texts){kept, end + 1, end - kept, kept + size - end - 1};
}

static char *whole(packed payload, size_t *size) { /* newlines and all */
    texts t = take(payload);
    if (t.second != t.first + t.first_size) t.first[t.first_size] = '\n';
    *size = (uint32_t)payload;
    return t.first;
}

static packed rest_of(FILE *file) {
    char *text = NULL;
    size_t size = 0, room = 0, got;
    do {
        if (room - size < 4096) text = realloc(text, room = room * 2 + 4096);
        if (!text) abort();
        size += got = fread(text + size, 1, room - size, file);
    } while (got);
    packed answer = ferror(file) ? outcome(1) : reply(size, text, size);
    free(text);
    return answer;
}

EXPORT(arguments) packed arguments(void) {
    size_t count, size;
    if ((errno = __wasi_args_sizes_get(&count, &size))) return outcome(1);
    uint8_t *pointers[count + 1], *text = malloc(size + 1);
    if ((errno = __wasi_args_get(pointers, text))) return outcome(1);
    for (size_t k = 0; k < size; k++)
        if (!text[k]) text[k] = '\n';
    packed answer = reply(count, text, size);
    free(text);
    return answer;
}

extern char **environ;

EXPORT(environment) packed environment(void) {
    char *text = calloc(1, 1);
    size_t size = 0, count = 0;
    getenv(""); /* wasi-libc reads the environment when it is first asked for */
    for (; environ && environ[count]; count++) {
        size_t length = strlen(environ[count]);
        text = realloc(text, size + length + 1);
        memcpy(text + size, environ[count], length);
        text[size + length] = '\n';
        size += length + 1;
    }
    packed answer = reply(count, text, size);
    free(text);
    return answer;
}

EXPORT(env) packed env(packed name) {
    char *value = getenv(take(name).first);
    return value ? reply(0, value, strlen(value)) : reply(-ENOENT, "", 0);
}

static packed put(packed payload, FILE *stream, int flush) {
    size_t size;
    char *text = whole(payload, &size);
    size_t count = fwrite(text, 1, size, stream);
    if (count < size || (flush && fflush(stream))) return outcome(1);
    return reply(count, "", 0);
}

EXPORT(say) packed say(packed text) { return put(text, stdout, 1); }

EXPORT(hold_back) packed hold_back(packed text) { return put(text, stdout, 0); }

EXPORT(complain) packed complain(packed text) { return put(text, stderr, 0); }

EXPORT(write_std) packed write_std(packed payload) {
    texts t = take(payload);
    ssize_t count = write(atoi(t.first), t.second, t.second_size);
    return count < 0 ? outcome(1) : reply(count, "", 0);
}

EXPORT(read_line) packed read_line(void) {
    char line[4096];
    if (!fgets(line, sizeof line, stdin)) return outcome(ferror(stdin));
    return reply(0, line, strlen(line));
}

EXPORT(read_stdin) packed read_stdin(void) { return rest_of(stdin); }

/* ---- files */

EXPORT(preopens) packed preopens(void) {
    char text[4096];
    size_t size = 0, count = 0;
    for (__wasi_fd_t fd = 3;; fd++, count++) {
        __wasi_prestat_t stat;
        if (__wasi_fd_prestat_get(fd, &stat)) return reply(count, text, size);
        size_t length = stat.u.dir.pr_name_len;
        if (size + length + 1 > sizeof text) return reply(-ENOBUFS, "", 0);
        if ((errno = __wasi_fd_prestat_dir_name(fd, (uint8_t *)text + size, length))) return outcome(1);
        text[size + length] = '\n';
        size += length + 1;
    }
}

EXPORT(read_at) packed read_at(packed payload) {
    texts t = take(payload);
    FILE *file = fopen(t.first, "r");
    if (!file) return outcome(1);
    packed answer = fseek(file, atol(t.second), SEEK_SET) ? outcome(1) : rest_of(file);
    fclose(file);
    return answer;
}

EXPORT(read_file) packed read_file(packed path) { return read_at(path); }

static packed write_as(packed payload, const char *mode) {
    texts t = take(payload);
    FILE *file = fopen(t.first, mode);
    if (!file) return outcome(1);
    size_t count = fwrite(t.second, 1, t.second_size, file);
    int failed = ferror(file);
    failed |= fclose(file);
    return failed ? outcome(1) : reply(count, "", 0);
}

EXPORT(write_file) packed write_file(packed payload) { return write_as(payload, "w"); }

EXPORT(append_file) packed append_file(packed payload) { return write_as(payload, "a"); }

EXPORT(create_file) packed create_file(packed payload) { return write_as(payload, "wx"); }

EXPORT(cut_file) packed cut_file(packed payload) {
    texts t = take(payload);
    return outcome(truncate(t.first, atol(t.second)));
}

EXPORT(sync_file) packed sync_file(packed path) {
    int fd = open(take(path).first, O_RDWR);
    if (fd < 0) return outcome(1);
    packed answer = outcome(fsync(fd));
    close(fd);
    return answer;
}

static const char *mark_of(const struct dirent *entry) {
    return entry->d_type == DT_DIR ? "/" : entry->d_type == DT_LNK ? "@" : "";
}

static int by_text(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

EXPORT(list_dir) packed list_dir(packed path) {
    DIR *dir = opendir(take(path).first);
    if (!dir) return outcome(1);
    char **names = NULL;
    size_t count = 0, size = 0;
    struct dirent *entry;
    while ((errno = 0, entry = readdir(dir))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        names = realloc(names, (count + 1) * sizeof *names);
        names[count] = malloc(strlen(entry->d_name) + 3);
        size += sprintf(names[count++], "%s%s\n", entry->d_name, mark_of(entry));
    }
    int failed = errno;
    closedir(dir);
    qsort(names, count, sizeof *names, by_text);
    char *text = malloc(size + 1), *to = text;
    for (size_t k = 0; k < count; free(names[k++])) to = stpcpy(to, names[k]);
    packed answer = failed ? reply(-failed, "", 0) : reply(count, text, size);
    free(names);
    free(text);
    return answer;
}

EXPORT(make_dir) packed make_dir(packed path) { return outcome(mkdir(take(path).first, 0777)); }

EXPORT(remove_dir) packed remove_dir(packed path) { return outcome(rmdir(take(path).first)); }

EXPORT(remove_file) packed remove_file(packed path) { return outcome(unlink(take(path).first)); }

EXPORT(rename_path) packed rename_path(packed payload) {
    texts t = take(payload);
    return outcome(rename(t.first, t.second));
}

EXPORT(link_path) packed link_path(packed payload) {
    texts t = take(payload);
    return outcome(link(t.first, t.second));
}

EXPORT(symlink_path) packed symlink_path(packed payload) {
    texts t = take(payload);
    return outcome(symlink(t.first, t.second));
}

EXPORT(read_link) packed read_link(packed path) {
    char target[4096];
    ssize_t size = readlink(take(path).first, target, sizeof target);
    return size < 0 ? outcome(1) : reply(0, target, size);
}

EXPORT(stat_path) packed stat_path(packed path) {
    struct stat s;
    char text[80];
    if (lstat(take(path).first, &s)) return outcome(1);
    const char *kind = S_ISREG(s.st_mode)   ? "file"
                       : S_ISDIR(s.st_mode) ? "directory"
                       : S_ISLNK(s.st_mode) ? "link"
                                            : "other";
    int size = snprintf(text, sizeof text, "%s %lld %lld", kind, (long long)s.st_size,
                        (long long)s.st_mtim.tv_sec);
    return reply(0, text, size);
}

EXPORT(touch) packed touch(packed payload) {
    texts t = take(payload);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = atoll(t.second)}};
    return outcome(utimensat(AT_FDCWD, t.first, times, 0));
}
