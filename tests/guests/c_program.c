/* A WASI program in C, as a shell would start it: it does what its arguments say, and exits.
 *
 *   program args WORD...       prints each argument on a line of its own, the program's name first
 *   program env                prints the environment, a line each
 *   program cat                copies standard input to standard output
 *   program copy FROM TO       copies a file
 *   program append PATH TEXT   appends to a file
 *   program move FROM TO       renames
 *   program list PATH          prints the names in a directory, sorted, a line each
 *   program fill PATH          writes to a file until that fails; prints the errno and the count
 *   program say OUT ERR        prints to both streams, neither ended by a newline
 *   program exit N             exits with that status
 *   program panic TEXT         prints to standard error, then aborts
 *   program divide N           prints 100 / N
 *   program recurse            calls itself for ever
 *   program grow               takes memory until there is no more; prints the errno
 *   program spin               never ends
 *
 * Status 1: an operation failed; its errno is on standard error. Status 2: wrong use.
 */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static int fail(const char *what) {
    fprintf(stderr, "%s: errno %d\n", what, errno);
    return 1;
}

static int copy(FILE *from, FILE *to) {
    char buffer[4096];
    size_t count;
    while ((count = fread(buffer, 1, sizeof buffer, from)) > 0)
        if (fwrite(buffer, 1, count, to) != count)
            return fail("write");
    return ferror(from) ? fail("read") : 0;
}

static int copy_file(const char *from, const char *to) {
    FILE *source = fopen(from, "rb");
    if (!source)
        return fail(from);
    FILE *target = fopen(to, "wb");
    if (!target)
        return fail(to);
    int status = copy(source, target);
    fclose(source);
    return fclose(target) ? fail(to) : status;
}

static int append(const char *path, const char *text) {
    FILE *file = fopen(path, "ab");
    if (!file)
        return fail(path);
    fputs(text, file);
    return fclose(file) ? fail(path) : 0;
}

static int by_name(const void *one, const void *other) {
    return strcmp(*(char *const *)one, *(char *const *)other);
}

static int list(const char *path) {
    DIR *directory = opendir(path);
    if (!directory)
        return fail(path);
    char *names[1000];
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) && count < 1000;)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            names[count++] = strdup(entry->d_name);
    closedir(directory);
    qsort(names, count, sizeof *names, by_name);
    for (size_t number = 0; number < count; number++)
        puts(names[number]);
    return 0;
}

static int fill(const char *path) {
    static char zeros[65536];
    long total = 0;
    FILE *file = fopen(path, "wb");
    if (!file)
        return fail(path);
    setvbuf(file, NULL, _IONBF, 0);
    for (size_t count; (count = fwrite(zeros, 1, sizeof zeros, file)) > 0;) {
        total += count;
        if (count < sizeof zeros)
            break;
    }
    printf("%d %ld\n", errno, total);
    return 0;
}

static int deeper(int level) {
    volatile char room[100];
    room[level % 100] = 1;
    return deeper(level + 1) + room[level % 7];
}

static int grow(void) {
    char *volatile block; /* volatile: memory that nobody uses is never asked for */
    while ((block = calloc(1, 1 << 20)))
        ;
    return fail("calloc");
}

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    if (!strcmp(command, "args")) {
        for (int number = 0; number < argc; number++)
            puts(argv[number]);
        return 0;
    }
    if (!strcmp(command, "env")) {
        for (char **each = environ; *each; each++)
            puts(*each);
        return 0;
    }
    if (!strcmp(command, "cat"))
        return copy(stdin, stdout);
    if (!strcmp(command, "recurse"))
        return deeper(0);
    if (!strcmp(command, "grow"))
        return grow();
    if (!strcmp(command, "spin"))
        for (volatile int turn = 0;; turn++)
            ;
    if (argc > 2 && !strcmp(command, "list"))
        return list(argv[2]);
    if (argc > 2 && !strcmp(command, "fill"))
        return fill(argv[2]);
    if (argc > 2 && !strcmp(command, "divide")) {
        printf("%d\n", 100 / atoi(argv[2]));
        return 0;
    }
    if (argc > 2 && !strcmp(command, "exit"))
        exit(atoi(argv[2]));
    if (argc > 2 && !strcmp(command, "panic")) {
        fprintf(stderr, "panic: %s\n", argv[2]);
        abort();
    }
    if (argc > 3 && !strcmp(command, "copy"))
        return copy_file(argv[2], argv[3]);
    if (argc > 3 && !strcmp(command, "append"))
        return append(argv[2], argv[3]);
    if (argc > 3 && !strcmp(command, "move"))
        return rename(argv[2], argv[3]) ? fail(argv[2]) : 0;
    if (argc > 3 && !strcmp(command, "say")) {
        printf("%s", argv[2]);
        fprintf(stderr, "%s", argv[3]);
        return 0;
    }
    fprintf(stderr, "wrong use\n");
    return 2;
}
