#include "base/log.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const char *const names[] = {"debug", "info", "warn", "error"};
static sp_log_level threshold = SP_LOG_INFO;
static const char *role = "";

void sp_log_set_level(sp_log_level level) {
    threshold = level;
}
bool sp_log_enabled(sp_log_level level) {
    return level >= threshold;
}
void sp_log_set_role(const char *r) {
    role = r;
}

bool sp_log_level_parse(sp_str s, sp_log_level *ret) {
    for (size_t i = 0; i < SP_COUNT(names); i++)
        if (sp_str_eqz(s, names[i])) {
            *ret = (sp_log_level)i;
            return true;
        }
    return false;
}

const char *sp_log_level_name(sp_log_level level) {
    return names[level];
}

static bool human(void) {
    static int decided = -1; /* whoever comes first; all decide alike */
    int is = __atomic_load_n(&decided, __ATOMIC_RELAXED);
    if (is < 0) {
        const char *env = getenv("SAMPAN_LOG");
        is = env ? strcmp(env, "human") == 0 : isatty(STDERR_FILENO);
        __atomic_store_n(&decided, is, __ATOMIC_RELAXED);
    }
    return is;
}

static void add_time(sp_buf *b, const char *fmt) {
    int64_t ms = sp_clock_wall_ms();
    time_t sec = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&sec, &tm);
    char text[40];
    strftime(text, sizeof text, fmt, &tm);
    sp_buf_printf(b, "%s.%03d", text, (int)(ms % 1000));
}

static void add_quoted(sp_buf *b, sp_str s) {
    sp_buf_addc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            sp_buf_printf(b, "\\%c", c);
        else if (c == '\n')
            sp_buf_addz(b, "\\n");
        else if (c < 0x20 || c == 0x7f)
            sp_buf_printf(b, "\\u%04x", c);
        else
            sp_buf_addc(b, (char)c);
    }
    sp_buf_addc(b, '"');
}

static void add_value(sp_buf *b, const sp_kv *f, bool quote) {
    switch (f->type) {
    case SP_KV_INT: sp_buf_printf(b, "%" PRId64, f->i); return;
    case SP_KV_UINT: sp_buf_printf(b, "%" PRIu64, f->u); return;
    case SP_KV_FLOAT: sp_buf_printf(b, "%.6g", f->f); return;
    case SP_KV_BOOL: sp_buf_addz(b, f->i ? "true" : "false"); return;
    case SP_KV_STR: break;
    }
    bool plain = !quote && f->str.n;
    for (size_t i = 0; plain && i < f->str.n; i++)
        plain = f->str.p[i] > ' ' && f->str.p[i] < 0x7f && f->str.p[i] != '"';
    if (plain)
        sp_buf_add(b, f->str);
    else
        add_quoted(b, f->str);
}

static void human_line(sp_buf *b, sp_log_level level, const char *msg, const sp_kv *fields) {
    static const char *const tags[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
    add_time(b, "%H:%M:%S");
    sp_buf_printf(b, " %s %-11s %s", tags[level], role, msg);
    for (; fields->key; fields++) {
        sp_buf_printf(b, " %s=", fields->key);
        add_value(b, fields, false);
    }
}

static void json_line(sp_buf *b, sp_log_level level, const char *msg, const sp_kv *fields) {
    sp_buf_addz(b, "{\"ts\":\"");
    add_time(b, "%Y-%m-%dT%H:%M:%S");
    sp_buf_printf(b, "Z\",\"level\":\"%s\",\"role\":\"%s\",\"msg\":", names[level], role);
    add_quoted(b, sp_str_z(msg));
    for (; fields->key; fields++) {
        sp_buf_printf(b, ",\"%s\":", fields->key);
        add_value(b, fields, true);
    }
    sp_buf_addc(b, '}');
}

void sp_log_write(sp_log_level level, const char *msg, const sp_kv *fields) {
    if (level < threshold) return;
    sp_auto(sp_buf) b = {0};
    (human() ? human_line : json_line)(&b, level, msg, fields);
    sp_buf_addc(&b, '\n');
    if (write(STDERR_FILENO, b.p, b.n) < 0) return; /* nowhere left to complain */
}
