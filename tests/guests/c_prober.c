/* A WASI program in C that looks for what other runs have left, and then leaves all that it can.
 *
 *   prober END WORD...
 *
 * It prints what it sees, a line each, in this order:
 *
 *   memory N         bytes that were not 0 behind the static data when it started
 *   stack N          bytes that were not 0 on the unused part of its stack
 *   grown N          bytes that were not 0 in the pages that it grew its memory by
 *   marks N          places with a mark in all of its memory, before it has read anything
 *   descriptor N     one that is open
 *   moved N          a number that it could move a descriptor to, but may not choose
 *   reached PATH     a path outside of its directories that it could open
 *   preopen PATH     a directory that it was given
 *   word WORD, variable NAME=VALUE, input LINE, file PATH CONTENT
 *
 * The mark is `MARK` and a number. Its input should hold one: it writes this to its memory, stack,
 * environment, files, output and standard error, leaves descriptors open, and ends as END says: return,
 * exit (with status 7), trap or spin.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

#define PAGE 65536
#define GROWN 16 /* pages: 1 MiB */
#define NUMBERS 300 /* of descriptors to try: a process has 256 at most, and takes the lowest free number */

extern char **environ;
extern unsigned char __heap_base, __stack_low;

static struct {
    size_t memory, stack, grown, marks;
} found;
static char left[64 * 1024]; /* static memory to leave marks in */
static char mark[256];

static size_t not_zero(const unsigned char *from, const unsigned char *to) {
    size_t count = 0;
    for (; from < to; from++)
        count += *from != 0;
    return count;
}

/* The word itself must not lie in memory: each letter is one more than what is stored. */
static size_t marks(const unsigned char *from, const unsigned char *to) {
    static const unsigned char before[] = {'M' - 1, 'A' - 1, 'R' - 1, 'K' - 1};
    size_t count = 0;
    for (; from + sizeof before <= to; from++) {
        size_t same = 0;
        while (same < sizeof before && from[same] == before[same] + 1)
            same++;
        count += same == sizeof before;
    }
    return count;
}

/* Before the C library has read arguments and environment, or allocated anything. */
__attribute__((constructor(1))) static void look(void) {
    unsigned char here;
    unsigned char *end = (unsigned char *)(__builtin_wasm_memory_size(0) * PAGE);
    found.memory = not_zero(&__heap_base, end);
    found.stack = not_zero(&__stack_low, &here - 256);
    found.marks = marks(&__stack_low, end);
    size_t grown = __builtin_wasm_memory_grow(0, GROWN);
    if (grown != (size_t)-1)
        found.grown = not_zero((unsigned char *)(grown * PAGE), (unsigned char *)((grown + GROWN) * PAGE));
}

static void print_descriptor(int number) {
    __wasi_fdstat_t status;
    if (__wasi_fd_fdstat_get(number, &status) == 0)
        printf("descriptor %d\n", number);
    else if (__wasi_fd_renumber(0, number) == 0)
        printf("moved %d\n", number);
}

static void print_descriptors(void) {
    static const int large[] = {1000, 1024, 65535, 65536, INT32_MAX, INT32_MIN, -1};
    for (int number = 0; number < NUMBERS; number++)
        print_descriptor(number);
    for (size_t at = 0; at < sizeof large / sizeof *large; at++)
        print_descriptor(large[at]);
}

static void print_reached(void) {
    static const char *const outside[] = {
        "..", "../left", "../../etc/passwd", "/etc/passwd", "/proc/self/environ", "/tmp", "/dev/stdin", "link",
    };
    symlink("../../etc/passwd", "/link");
    for (size_t number = 0; number < sizeof outside / sizeof *outside; number++) {
        const char *path = outside[number];
        __wasi_fd_t opened;
        for (int create = 0; create < 2; create++)
            if (__wasi_path_open(3, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, path,
                                 create ? __WASI_OFLAGS_CREAT : 0, __WASI_RIGHTS_FD_READ, 0, 0, &opened) == 0)
                printf("reached %s\n", path);
    }
    unlink("/link");
}

static void print_preopens(void) {
    char path[100];
    __wasi_prestat_t preopen;
    for (int number = 3; __wasi_fd_prestat_get(number, &preopen) == 0; number++) {
        size_t size = preopen.u.dir.pr_name_len;
        if (size < sizeof path && __wasi_fd_prestat_dir_name(number, (uint8_t *)path, size) == 0)
            printf("preopen %.*s\n", (int)size, path);
    }
}

static void print_file(const char *path) {
    char content[256] = "";
    FILE *file = fopen(path, "rb");
    if (file)
        content[fread(content, 1, sizeof content - 1, file)] = 0;
    printf("file %s %s\n", path, content);
    if (file)
        fclose(file);
}

static void print_files(const char *path) {
    DIR *directory = opendir(path);
    if (!directory)
        return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        char inner[256];
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        if (entry->d_type != DT_DIR)
            print_file(inner);
        else if (entry->d_name[0] != '.')
            print_files(inner);
    }
    closedir(directory);
}

static void print_world(int argc, char **argv) {
    for (int number = 2; number < argc; number++)
        printf("word %s\n", argv[number]);
    for (char **each = environ; *each; each++)
        printf("variable %s\n", *each);
    while (fgets(mark, sizeof mark, stdin))
        printf("input %s", mark);
    print_files("");
}

static void leave_on_stack(void) {
    char room[16 * 1024];
    for (size_t at = 0; at + sizeof mark <= sizeof room; at += sizeof mark)
        memcpy(room + at, mark, sizeof mark);
    __asm__ volatile("" : : "r"(room) : "memory"); /* it is used */
}

static void leave(void) {
    char path[300];
    mark[strcspn(mark, "\n")] = 0;
    for (size_t at = 0; at + sizeof mark <= sizeof left; at += sizeof mark)
        memcpy(left + at, mark, sizeof mark);
    for (int blocks = 0; blocks < 16; blocks++) {
        char *block = malloc(PAGE);
        for (size_t at = 0; block && at + sizeof mark <= PAGE; at += sizeof mark)
            memcpy(block + at, mark, sizeof mark);
    }
    leave_on_stack();
    setenv("LEFT", mark, 1);
    for (int number = 0; number < 20; number++) {
        snprintf(path, sizeof path, "/%s.%d", mark, number);
        int file = open(path, O_CREAT | O_RDWR, 0600); /* and it stays open */
        write(file, mark, strlen(mark));
    }
    rename("/in", "/moved");
    printf("%s", mark);
    fflush(stdout);
    printf(" and more"); /* only a return takes this out of the C library's buffer */
    fprintf(stderr, "%s", mark);
}

int main(int argc, char **argv) {
    const char *end = argc > 1 ? argv[1] : "";
    printf("memory %zu\nstack %zu\ngrown %zu\nmarks %zu\n", found.memory, found.stack, found.grown, found.marks);
    print_descriptors();
    print_reached();
    print_preopens();
    print_world(argc, argv);
    leave();
    if (!strcmp(end, "exit"))
        _Exit(7);
    if (!strcmp(end, "trap"))
        __builtin_trap();
    if (!strcmp(end, "spin"))
        for (volatile int turn = 0;; turn++)
            ;
    return 0;
}
