/* An Extism plugin in C with wasi-libc: a reactor, whose constructor runs in _initialize.
 *
 * It imports extism:host/env as it is, without a PDK, and moves each byte by a call of its own. Its
 * exports are those of extism_zig.zig, which says what each of them does.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(#name)))
#define ENV(name) __attribute__((import_module("extism:host/env"), import_name(#name)))
#define USER(name) __attribute__((import_module("extism:host/user"), import_name(#name)))

ENV(alloc) uint64_t env_alloc(uint64_t size);
ENV(free) void env_free(uint64_t block);
ENV(length) uint64_t env_length(uint64_t block);
ENV(length_unsafe) uint64_t env_length_unsafe(uint64_t block);
ENV(load_u8) uint32_t env_load_u8(uint64_t at);
ENV(store_u8) void env_store_u8(uint64_t at, uint32_t byte);
ENV(load_u64) uint64_t env_load_u64(uint64_t at);
ENV(store_u64) void env_store_u64(uint64_t at, uint64_t word);
ENV(input_offset) uint64_t env_input_offset(void);
ENV(input_length) uint64_t env_input_length(void);
ENV(input_load_u8) uint32_t env_input_load_u8(uint64_t at);
ENV(output_set) void env_output_set(uint64_t at, uint64_t size);
ENV(error_set) void env_error_set(uint64_t block);
ENV(config_get) uint64_t env_config_get(uint64_t key);
ENV(var_get) uint64_t env_var_get(uint64_t key);
ENV(var_set) void env_var_set(uint64_t key, uint64_t value);
ENV(http_request) uint64_t env_http_request(uint64_t request, uint64_t body);
ENV(http_status_code) int32_t env_http_status_code(void);
ENV(http_headers) uint64_t env_http_headers(void);
ENV(log_trace) void env_log_trace(uint64_t block);
ENV(log_debug) void env_log_debug(uint64_t block);
ENV(log_info) void env_log_info(uint64_t block);
ENV(log_warn) void env_log_warn(uint64_t block);
ENV(log_error) void env_log_error(uint64_t block);
ENV(get_log_level) int32_t env_get_log_level(void);

USER(transform) uint64_t user_transform(uint64_t block);
USER(mix) int64_t user_mix(int32_t a, int64_t b, float c, double d);

/* ---- texts */

typedef struct {
    size_t size;
    uint8_t *at;
} text;

static text new_text(size_t size) {
    text made = {size, malloc(size + 1)};
    if (made.at == NULL) abort();
    return made;
}

static text input(void) {
    text given = new_text(env_input_length());
    for (size_t k = 0; k < given.size; k++) given.at[k] = env_input_load_u8(k);
    return given;
}

static text take(uint64_t block) {
    text found = new_text(env_length(block));
    for (size_t k = 0; k < found.size; k++) found.at[k] = env_load_u8(block + k);
    env_free(block);
    return found;
}

static uint64_t give(text given) {
    uint64_t block = env_alloc(given.size);
    for (size_t k = 0; k < given.size; k++) env_store_u8(block + k, given.at[k]);
    free(given.at);
    return block;
}

static text slice(text from, size_t start, size_t end) {
    text part = new_text(end - start);
    memcpy(part.at, from.at + start, part.size);
    return part;
}

static text literal(const char *words) {
    return slice((text){0, (uint8_t *)words}, 0, strlen(words));
}

static int32_t reply(text given) {
    size_t size = given.size;
    env_output_set(give(given), size);
    return 0;
}

static size_t first_zero(text given) {
    uint8_t *at = memchr(given.at, 0, given.size);
    return at ? (size_t)(at - given.at) : given.size;
}

static void part(text given, text *before, text *after) {
    size_t at = first_zero(given);
    *before = slice(given, 0, at);
    *after = at < given.size ? slice(given, at + 1, given.size) : new_text(0);
    free(given.at);
}

static int32_t reply_optional(uint64_t block) {
    if (block == 0) return reply(literal("-"));
    text value = take(block), whole = new_text(value.size + 1);
    whole.at[0] = '+';
    memcpy(whole.at + 1, value.at, value.size);
    free(value.at);
    return reply(whole);
}

/* ---- input and output */

EXPORT(echo) int32_t echo(void) { return reply(input()); }

EXPORT(echo_in_place) int32_t echo_in_place(void) {
    env_output_set(env_input_offset(), env_input_length());
    return 0;
}

EXPORT(tail) int32_t tail(void) {
    uint64_t size = env_input_length();
    if (size > 1) env_output_set(env_input_offset() + 1, size - 1);
    return 0;
}

static uint8_t is_vowel[256];

__attribute__((constructor)) static void note_vowels(void) {
    for (const char *each = "aeiouAEIOU"; *each; each++) is_vowel[(uint8_t)*each] = 1;
}

EXPORT(count_vowels) int32_t count_vowels(void) {
    text given = input();
    int64_t count = 0;
    for (size_t k = 0; k < given.size; k++) count += is_vowel[given.at[k]];
    free(given.at);
    int64_t total = count;
    uint64_t before = env_var_get(give(literal("total")));
    if (before) total += env_load_u64(before);
    env_free(before);
    uint64_t kept = env_alloc(8);
    env_store_u64(kept, total);
    env_var_set(give(literal("total")), kept);
    char answer[100];
    snprintf(answer, sizeof answer, "{\"count\":%lld,\"total\":%lld,\"vowels\":\"aeiouAEIOU\"}",
             (long long)count, (long long)total);
    return reply(literal(answer));
}

/* ---- errors */

EXPORT(fail) int32_t fail(void) {
    text given = input();
    if (given.size == 0) return 1;
    if (given.size > 1) env_error_set(give(slice(given, 1, given.size)));
    int32_t code = (int8_t)given.at[0];
    free(given.at);
    return code;
}

EXPORT(recover) int32_t recover(void) {
    env_error_set(give(input()));
    env_error_set(0);
    return reply(literal("recovered"));
}

EXPORT(trap) int32_t trap(void) { __builtin_trap(); }

/* ---- configuration and variables */

EXPORT(get_config) int32_t get_config(void) { return reply_optional(env_config_get(give(input()))); }

EXPORT(set_var) int32_t set_var(void) {
    text key, value;
    part(input(), &key, &value);
    uint64_t name = give(key);
    env_var_set(name, give(value));
    return 0;
}

EXPORT(get_var) int32_t get_var(void) { return reply_optional(env_var_get(give(input()))); }

EXPORT(delete_var) int32_t delete_var(void) {
    env_var_set(give(input()), 0);
    return 0;
}

/* ---- log lines */

EXPORT(log) int32_t log_line(void) {
    static void (*const by_level[])(uint64_t) = {
        env_log_trace, env_log_debug, env_log_info, env_log_warn, env_log_error,
    };
    text given = input();
    int level = given.size ? given.at[0] - '0' : -1;
    if (level < 0 || level > 4) return 1;
    by_level[level](give(slice(given, 1, given.size)));
    free(given.at);
    return 0;
}

EXPORT(log_level) int32_t log_level(void) {
    char digits[16];
    snprintf(digits, sizeof digits, "%d", (int)env_get_log_level());
    return reply(literal(digits));
}

/* ---- what the host does for it */

EXPORT(fetch) int32_t fetch(void) {
    text request, body;
    part(input(), &request, &body);
    uint64_t asked = give(request);
    uint64_t response = env_http_request(asked, give(body));
    text headers = take(env_http_headers()), content = take(response);
    text whole = new_text(16 + headers.size + content.size);
    size_t at = snprintf((char *)whole.at, 16, "%d\n", (int)env_http_status_code());
    memcpy(whole.at + at, headers.at, headers.size);
    at += headers.size;
    whole.at[at++] = '\n';
    memcpy(whole.at + at, content.at, content.size);
    whole.size = at + content.size;
    free(headers.at);
    free(content.at);
    return reply(whole);
}

EXPORT(transform) int32_t transform(void) {
    uint64_t given = give(input());
    uint64_t made = user_transform(given);
    env_free(given);
    return reply(take(made));
}

EXPORT(mix) int32_t mix(void) {
    text given = input();
    if (given.size != 24) return 1;
    int32_t a;
    int64_t b;
    float c;
    double d;
    memcpy(&a, given.at, 4);
    memcpy(&b, given.at + 4, 8);
    memcpy(&c, given.at + 12, 4);
    memcpy(&d, given.at + 16, 8);
    free(given.at);
    int64_t mixed = user_mix(a, b, c, d);
    text answer = new_text(8);
    memcpy(answer.at, &mixed, 8);
    return reply(answer);
}

/* ---- blocks */

typedef struct {
    uint64_t at, size;
} block;

static struct {
    block blocks[64];
    size_t count;
} held;

static text answer;

static void add(const char *word, uint64_t number) {
    answer.size += snprintf((char *)answer.at + answer.size, 24, "%s%llu", word,
                            (unsigned long long)number);
}

static void add_word(char word) { answer.at[answer.size++] = word; }

static void fill(block each, uint8_t byte) {
    for (uint64_t k = 0; k < each.size; k++) env_store_u8(each.at + k, byte);
}

static uint64_t sum(block each) {
    uint64_t total = 0;
    for (uint64_t k = 0; k < each.size; k++) total += env_load_u8(each.at + k);
    return total;
}

static void take_block(uint16_t size) {
    if (held.count == 64) return add_word('?');
    block taken = {env_alloc(size), size};
    add("a", env_length(taken.at));
    fill(taken, size);
    if (size) held.blocks[held.count++] = taken;
}

static void step(uint8_t kind, uint16_t number) {
    if (kind == 0) return take_block(number);
    if (held.count == 0) return add_word('?');
    block *chosen = &held.blocks[number % held.count];
    switch (kind) {
    case 1:
        env_free(chosen->at);
        add("f", env_length(chosen->at));
        *chosen = held.blocks[--held.count];
        break;
    case 2:
        add("l", env_length(chosen->at));
        add("/", env_length_unsafe(chosen->at));
        break;
    case 3:
        fill(*chosen, number);
        add_word('s');
        break;
    default:
        add("=", sum(*chosen));
    }
}

EXPORT(blocks) int32_t blocks(void) {
    text steps = input();
    answer = new_text(steps.size / 3 * 48);
    answer.size = held.count = 0;
    for (size_t k = 0; k + 3 <= steps.size; k += 3)
        step(steps.at[k] % 5, steps.at[k + 1] | steps.at[k + 2] << 8);
    free(steps.at);
    return reply(answer);
}
