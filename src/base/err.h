/* The one error convention: a function that can fail returns bool and fills a caller-owned sp_err.
 * There is nothing to free. Context is added where it is known (sp_err_wrap). On failure the
 * function's outputs are untouched. A NULL err is allowed and means "do not tell me".
 *
 * Codes are the reasons of the Kubernetes Status object; one table maps them to HTTP. */
#pragma once
#include "base/util.h"

/* X(code, reason, http) */
#define SP_CODES(X)                                                                               \
    X(BAD_REQUEST, "BadRequest", 400)                                                             \
    X(UNAUTHORIZED, "Unauthorized", 401)                                                          \
    X(FORBIDDEN, "Forbidden", 403)                                                                \
    X(NOT_FOUND, "NotFound", 404)                                                                 \
    X(METHOD_NOT_ALLOWED, "MethodNotAllowed", 405)                                                \
    X(NOT_ACCEPTABLE, "NotAcceptable", 406)                                                       \
    X(ALREADY_EXISTS, "AlreadyExists", 409)                                                       \
    X(CONFLICT, "Conflict", 409)                                                                  \
    X(GONE, "Gone", 410)                                                                          \
    X(EXPIRED, "Expired", 410)                                                                    \
    X(TOO_LARGE, "RequestEntityTooLarge", 413)                                                    \
    X(UNSUPPORTED_MEDIA, "UnsupportedMediaType", 415)                                             \
    X(INVALID, "Invalid", 422)                                                                    \
    X(TOO_MANY, "TooManyRequests", 429)                                                           \
    X(INTERNAL, "InternalError", 500)                                                             \
    X(UNAVAILABLE, "ServiceUnavailable", 503)                                                     \
    X(TIMEOUT, "Timeout", 504)                                                                    \
    X(SYSTEM, "InternalError", 500)          /* errnum says which system error */                 \
    X(CONNECTION, "ServiceUnavailable", 503) /* the other side could not be reached or hung up */ \
    X(CANCELLED, "Timeout", 504)             /* we gave up ourselves */

typedef enum sp_code {
    SP_OK = 0,
#define X(code, reason, http) SP_##code,
    SP_CODES(X)
#undef X
        SP_CODE_MAX
} sp_code;

typedef struct sp_err {
    sp_code code;
    int errnum;      /* errno where a system call failed, else 0 */
    char field[160]; /* JSON path of the offending field, "" if none */
    char text[600];  /* one line for a person; never empty when code != SP_OK */
} sp_err;

/* All are false, so that a caller can write: return sp_fail(err, SP_NOT_FOUND, "…");
 *   sp_fail(err, code, fmt, …)
 *   sp_fail_errno(err, errnum, fmt, …)        adds ": " and the system's words
 *   sp_fail_field(err, code, field, fmt, …)   field: JSON path
 *   sp_err_wrap(err, fmt, …)                  puts "<context>: " before the text
 * Macros, because the compiler must see the constant to know which paths leave outputs unset. */
static inline bool sp_failed(void) {
    return false;
}
#define sp_fail(...) (sp_err_set(__VA_ARGS__), sp_failed())
#define sp_fail_errno(...) (sp_err_set_errno(__VA_ARGS__), sp_failed())
#define sp_fail_field(...) (sp_err_set_field(__VA_ARGS__), sp_failed())
#define sp_err_wrap(...) (sp_err_add_context(__VA_ARGS__), sp_failed())
void sp_err_set(sp_err *err, sp_code code, const char *fmt, ...) SP_PRINTF(3, 4);
void sp_err_set_errno(sp_err *err, int errnum, const char *fmt, ...) SP_PRINTF(3, 4);
void sp_err_set_field(sp_err *err, sp_code code, const char *field, const char *fmt, ...)
    SP_PRINTF(4, 5);
void sp_err_add_context(sp_err *err, const char *fmt, ...) SP_PRINTF(2, 3);

const char *sp_code_reason(sp_code code);
int sp_code_http(sp_code code);
/* The code for a Status reason, else for its HTTP status, else SP_INTERNAL. reason may be NULL. */
sp_code sp_code_from(const char *reason, int http);

#ifdef __clang_analyzer__ /* looks at one file at a time: it would take "true" for possible */
#define sp_fail(...) ((void)sp_fail(__VA_ARGS__), false)
#define sp_fail_errno(...) ((void)sp_fail_errno(__VA_ARGS__), false)
#define sp_fail_field(...) ((void)sp_fail_field(__VA_ARGS__), false)
#define sp_err_wrap(...) ((void)sp_err_wrap(__VA_ARGS__), false)
#endif
