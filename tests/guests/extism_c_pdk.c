/* An Extism plugin in C with Extism's own PDK. It is not committed as a module:
 * tests/extism/test_official_pdks.py builds it. What each export does is in extism_zig.zig.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXTISM_USE_LIBC
#define EXTISM_IMPLEMENTATION
#include "extism-pdk.h"

EXTISM_IMPORT_USER("transform") extern ExtismHandle user_transform(ExtismHandle);

static uint8_t *input(size_t *size) {
    *size = extism_input_length();
    uint8_t *bytes = malloc(*size + 1);
    extism_load_input(0, bytes, *size);
    bytes[*size] = 0;
    return bytes;
}

static int32_t optional(ExtismHandle found) {
    if (found == 0) {
        extism_output_buf_from_sz("-");
        return 0;
    }
    size_t size = extism_length(found);
    char *answer = malloc(size + 1);
    answer[0] = '+';
    extism_load_from_handle(found, 0, answer + 1, size);
    extism_free(found);
    extism_output_buf(answer, size + 1);
    free(answer);
    return 0;
}

int32_t EXTISM_EXPORTED_FUNCTION(echo) {
    size_t size;
    uint8_t *bytes = input(&size);
    extism_output_buf(bytes, size);
    free(bytes);
    return 0;
}

int32_t EXTISM_EXPORTED_FUNCTION(fail) {
    size_t size;
    uint8_t *bytes = input(&size);
    if (size == 0) return 1;
    if (size > 1) extism_error_set_buf((char *)bytes + 1, size - 1);
    int32_t code = (int8_t)bytes[0];
    free(bytes);
    return code;
}

int32_t EXTISM_EXPORTED_FUNCTION(get_config) {
    size_t size;
    uint8_t *bytes = input(&size);
    ExtismHandle found = extism_config_get_buf((char *)bytes, size);
    free(bytes);
    return optional(found);
}

int32_t EXTISM_EXPORTED_FUNCTION(set_var) {
    size_t size, name;
    uint8_t *bytes = input(&size);
    name = strlen((char *)bytes);
    ExtismHandle value = extism_alloc_buf(bytes + name + 1, size - name - 1);
    extism_var_set_buf((char *)bytes, name, value);
    free(bytes);
    return 0;
}

int32_t EXTISM_EXPORTED_FUNCTION(get_var) {
    size_t size;
    uint8_t *bytes = input(&size);
    ExtismHandle found = extism_var_get_buf((char *)bytes, size);
    free(bytes);
    return optional(found);
}

int32_t EXTISM_EXPORTED_FUNCTION(delete_var) {
    size_t size;
    uint8_t *bytes = input(&size);
    extism_var_set_buf((char *)bytes, size, 0);
    free(bytes);
    return 0;
}

int32_t EXTISM_EXPORT_AS("log") log_line(void) {
    size_t size;
    uint8_t *bytes = input(&size);
    int level = bytes[0] - '0';
    if (level < 0 || level > 4) return 1;
    extism_log((char *)bytes + 1, size - 1, (ExtismLog)level);
    free(bytes);
    return 0;
}

int32_t EXTISM_EXPORTED_FUNCTION(log_level) {
    char digits[16];
    snprintf(digits, sizeof digits, "%d", (int)extism_get_log_level());
    extism_output_buf_from_sz(digits);
    return 0;
}

int32_t EXTISM_EXPORTED_FUNCTION(transform) {
    size_t size;
    uint8_t *bytes = input(&size);
    extism_output_handle(user_transform(extism_alloc_buf(bytes, size)));
    free(bytes);
    return 0;
}

int32_t EXTISM_EXPORTED_FUNCTION(fetch) {
    size_t size, name;
    uint8_t *bytes = input(&size);
    name = strlen((char *)bytes);
    ExtismHandle request = extism_alloc_buf(bytes, name);
    ExtismHandle body = extism_alloc_buf(bytes + name + 1, size - name - 1);
    ExtismHandle response = extism_http_request(request, body);
    ExtismHandle headers = extism_http_headers();
    size_t of_head = extism_length(headers), of_body = extism_length(response);
    char *answer = malloc(16 + of_head + of_body);
    size_t at = snprintf(answer, 16, "%d\n", (int)extism_http_status_code());
    extism_load_from_handle(headers, 0, answer + at, of_head);
    at += of_head;
    answer[at++] = '\n';
    extism_load_from_handle(response, 0, answer + at, of_body);
    extism_output_buf(answer, at + of_body);
    free(answer);
    free(bytes);
    return 0;
}
