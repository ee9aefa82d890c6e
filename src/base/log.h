/* Logging for the top of a request, a reconcile, a role: one line, a message and typed fields.
 *   sp_info("pod started", SP_KV("pod", name), SP_KV("took_ms", took));
 * Human lines on a terminal, JSON otherwise (SAMPAN_LOG=human|json decides by hand). Libraries
 * return errors and stay silent. Writes one whole line with one write(2); any thread. */
#pragma once
#include "base/str.h"

typedef enum sp_log_level { SP_LOG_DEBUG, SP_LOG_INFO, SP_LOG_WARN, SP_LOG_ERROR } sp_log_level;

typedef struct sp_kv {
    const char *key; /* NULL ends the list */
    enum { SP_KV_STR, SP_KV_INT, SP_KV_UINT, SP_KV_FLOAT, SP_KV_BOOL } type;
    sp_str str;
    int64_t i;
    uint64_t u;
    double f;
} sp_kv;

static inline sp_kv sp_kv_str(const char *k, sp_str v) {
    return (sp_kv){k, SP_KV_STR, .str = v};
}
static inline sp_kv sp_kv_z(const char *k, const char *v) {
    return sp_kv_str(k, sp_str_z(v));
}
static inline sp_kv sp_kv_int(const char *k, int64_t v) {
    return (sp_kv){k, SP_KV_INT, .i = v};
}
static inline sp_kv sp_kv_uint(const char *k, uint64_t v) {
    return (sp_kv){k, SP_KV_UINT, .u = v};
}
static inline sp_kv sp_kv_float(const char *k, double v) {
    return (sp_kv){k, SP_KV_FLOAT, .f = v};
}
static inline sp_kv sp_kv_bool(const char *k, bool v) {
    return (sp_kv){k, SP_KV_BOOL, .i = v};
}

/* A secret has no row here on purpose: it does not compile into a log line. */
#define SP_KV(key, value) \
    _Generic((value),                                                                              \
        sp_str: sp_kv_str, char *: sp_kv_z, const char *: sp_kv_z, bool: sp_kv_bool,               \
        int: sp_kv_int, long: sp_kv_int, long long: sp_kv_int, unsigned: sp_kv_uint,               \
        unsigned long: sp_kv_uint, unsigned long long: sp_kv_uint,                                 \
        unsigned short: sp_kv_uint, double: sp_kv_float)((key), (value))

void sp_log_write(sp_log_level level, const char *msg, const sp_kv *fields);
void sp_log_set_level(sp_log_level level);
bool sp_log_enabled(sp_log_level level); /* would a line be written? */
void sp_log_set_role(const char *role);  /* borrowed for ever; shown on each line */
bool sp_log_level_parse(sp_str s, sp_log_level *ret);
const char *sp_log_level_name(sp_log_level level);

#define SP_LOG_FIELDS(...) ((const sp_kv[]){__VA_ARGS__ __VA_OPT__(, ){0}})
#define sp_debug(msg, ...) sp_log_write(SP_LOG_DEBUG, (msg), SP_LOG_FIELDS(__VA_ARGS__))
#define sp_info(msg, ...) sp_log_write(SP_LOG_INFO, (msg), SP_LOG_FIELDS(__VA_ARGS__))
#define sp_warn(msg, ...) sp_log_write(SP_LOG_WARN, (msg), SP_LOG_FIELDS(__VA_ARGS__))
#define sp_error(msg, ...) sp_log_write(SP_LOG_ERROR, (msg), SP_LOG_FIELDS(__VA_ARGS__))
