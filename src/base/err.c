#include "base/err.h"

#undef sp_fail
#undef sp_fail_errno
#undef sp_fail_field
#undef sp_err_wrap

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *reason;
    int http;
} codes[SP_CODE_MAX] = {[SP_OK] = {"", 200},
#define X(code, reason, http) [SP_##code] = {reason, http},
                        SP_CODES(X)
#undef X
};

static void fill(sp_err *err, sp_code code, int errnum, const char *field, const char *fmt,
                 va_list ap) {
    char text[sizeof err->text]; /* the arguments may point into *err */
    vsnprintf(text, sizeof text, fmt, ap);
    char path[sizeof err->field];
    snprintf(path, sizeof path, "%s", field);
    *err = (sp_err){.code = code, .errnum = errnum};
    memcpy(err->field, path, sizeof path);
    memcpy(err->text, text, sizeof text);
}

void sp_err_set(sp_err *err, sp_code code, const char *fmt, ...) {
    if (!err) return;
    va_list ap;
    va_start(ap, fmt);
    fill(err, code, 0, "", fmt, ap);
    va_end(ap);
}

void sp_err_set_field(sp_err *err, sp_code code, const char *field, const char *fmt, ...) {
    if (!err) return;
    va_list ap;
    va_start(ap, fmt);
    fill(err, code, 0, field, fmt, ap);
    va_end(ap);
}

void sp_err_set_errno(sp_err *err, int errnum, const char *fmt, ...) {
    if (!err) return;
    va_list ap;
    va_start(ap, fmt);
    fill(err, SP_SYSTEM, errnum, "", fmt, ap);
    va_end(ap);
    size_t n = strlen(err->text);
    char why[128];
    snprintf(err->text + n, sizeof err->text - n, ": %s", strerror_r(errnum, why, sizeof why));
}

void sp_err_add_context(sp_err *err, const char *fmt, ...) {
    if (!err) return;
    char text[sizeof err->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t n = strlen(text);
    strncpy(text + n, ": ", sizeof text - 1 - n);
    n = strlen(text);
    memccpy(text + n, err->text, 0, sizeof text - n);
    text[sizeof text - 1] = 0;
    memcpy(err->text, text, sizeof text);
}

const char *sp_code_reason(sp_code code) {
    return code < SP_CODE_MAX ? codes[code].reason : "Unknown";
}

int sp_code_http(sp_code code) {
    return code < SP_CODE_MAX ? codes[code].http : 500;
}

sp_code sp_code_from(const char *reason, int http) {
    for (sp_code c = SP_OK + 1; reason && *reason && c < SP_CODE_MAX; c++)
        if (strcmp(codes[c].reason, reason) == 0) return c;
    for (sp_code c = SP_OK + 1; c < SP_CODE_MAX; c++)
        if (codes[c].http == http) return c;
    return SP_INTERNAL;
}
