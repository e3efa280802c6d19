/* An interpreter for scripts, in the place of CPython: it asks at the tool door for its script, and
 * does what the lines of it say.
 *
 *   say TEXT        prints the text
 *   warn TEXT       prints the text to standard error
 *   ask REQUEST     sends the request, and prints the answer
 *   repeat N REQ    sends the request N times
 *   long N          sends a request of N bytes, and prints the answer
 *   outside         sends a request that lies outside of the memory
 *   beyond          wants the answer written outside of the memory
 *   full            has no memory for answers from now on
 *   remember        prints how often this instance has done this before, and whether its file was there
 *   args            prints its arguments but the first, a line each
 *   hoard           takes memory until there is no more, and prints whether it got less than 1 GiB
 *   spin, flood     never ends; prints for ever
 *   dig             calls itself for ever
 *   panic           traps
 *   exit N          exits with that status
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((import_module("host"), import_name("call"))) int32_t host_call(
    const char *request, uint32_t size, char **answer, uint32_t *answer_size);

static int is_full;

__attribute__((export_name("host_alloc"))) void *host_alloc(uint32_t size) {
    return is_full ? NULL : malloc(size);
}

/* Returns the answer, with a NUL behind it; NULL and the code of the failure if there is none. */
static char *ask(const char *request, uint32_t size, int *code) {
    char *answer;
    uint32_t answer_size;
    *code = host_call(request, size, &answer, &answer_size);
    if (*code) return NULL;
    char *text = malloc(answer_size + 1);
    memcpy(text, answer, answer_size);
    text[answer_size] = 0;
    free(answer);
    return text;
}

static void ask_and_print(const char *request, uint32_t size) {
    int code;
    char *answer = ask(request, size, &code);
    if (answer)
        puts(answer);
    else
        printf("code %d\n", code);
    free(answer);
}

/* Finds the script in the answer, and takes the escapes out of it. */
static char *script_of(char *answer) {
    static const char key[] = "\"source\":\"";
    char *from = strstr(answer, key) + sizeof key - 1, *to = from, *script = from;
    for (; *from != '"'; from++) {
        if (*from == '\\') *to++ = *++from == 'n' ? '\n' : *from;
        else *to++ = *from;
    }
    *to = 0;
    return script;
}

static int dig(int depth);
static int (*volatile deeper)(int) = dig; /* so that no compiler makes a loop of it */

static int dig(int depth) {
    return deeper(depth + 1) ^ depth;
}

static void hoard(void) {
    size_t had = 0;
    void *volatile last = NULL; /* so that no compiler leaves the memory out */
    while (had < (1u << 30) && (last = malloc(1 << 20))) had += 1 << 20;
    puts(had < (1u << 30) ? "less" : "all");
}

static void remember(void) {
    static int times;
    FILE *file = fopen("/left", "r");
    printf("%d %s\n", times++, file ? "a file" : "no file");
    if (file) fclose(file);
    file = fopen("/left", "w");
    if (file) fclose(file);
}

static void do_line(char *line, int argc, char **argv) {
    char *rest = strchr(line, ' ');
    if (rest) *rest++ = 0;
    else rest = line + strlen(line);
    if (!strcmp(line, "say")) puts(rest);
    else if (!strcmp(line, "warn")) fprintf(stderr, "%s\n", rest);
    else if (!strcmp(line, "ask")) ask_and_print(rest, (uint32_t)strlen(rest));
    else if (!strcmp(line, "repeat")) {
        char *request;
        int code;
        for (long left = strtol(rest, &request, 10); left; left--)
            free(ask(request + 1, (uint32_t)strlen(request + 1), &code));
    } else if (!strcmp(line, "long")) {
        uint32_t size = (uint32_t)strtoul(rest, NULL, 10);
        ask_and_print(memset(malloc(size), 'x', size), size);
    } else if (!strcmp(line, "outside")) ask_and_print((char *)0xfffffff0, 8);
    else if (!strcmp(line, "beyond")) {
        static const char request[] = "{\"op\":\"begin\"}";
        host_call(request, sizeof request - 1, (char **)0xfffffff0, (uint32_t *)0xfffffff0);
    } else if (!strcmp(line, "full")) is_full = 1;
    else if (!strcmp(line, "remember")) remember();
    else if (!strcmp(line, "args")) while (--argc > 0) puts(*++argv);
    else if (!strcmp(line, "hoard")) hoard();
    else if (!strcmp(line, "spin")) for (volatile int n = 0;; n++) {}
    else if (!strcmp(line, "flood")) for (;;) puts("and on");
    else if (!strcmp(line, "dig")) printf("%d\n", dig(0));
    else if (!strcmp(line, "panic")) __builtin_trap();
    else if (!strcmp(line, "exit")) exit(atoi(rest));
    fflush(stdout);
}

int main(int argc, char **argv) {
    static const char begin[] = "{\"op\":\"begin\"}";
    int code;
    char *answer = ask(begin, sizeof begin - 1, &code);
    if (!answer) return code;
    for (char *line = script_of(answer), *end; line; line = end) {
        end = strchr(line, '\n');
        if (end) *end++ = 0;
        do_line(line, argc, argv);
    }
    return 0;
}
