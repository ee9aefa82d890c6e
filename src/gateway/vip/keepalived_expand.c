#include "gateway/vip/keepalived_expand.h"
#include "base/file.h"
#include "base/map.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>

#define MARK "#\1"

typedef struct expander {
    sp_buf *out;
    sp_map values; /* name → heap string */
    sp_err *err;
} expander;

static bool expand_file(expander *x, const char *path, sp_str text, unsigned depth);

static bool is_name(char c, bool first) {
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    return letter || (!first && c >= '0' && c <= '9');
}

static size_t name_length(sp_str s) {
    size_t n = 0;
    while (n < s.n && is_name(s.p[n], n == 0)) n++;
    return n;
}

/* --- $NAME --- */

/* At a '$': what it stands for, and how long it is written; NULL: nothing. */
static const char *value_at(const expander *x, sp_str s, size_t *ret_used) {
    bool braces = s.n > 1 && s.p[1] == '{';
    sp_str name = sp_str_from(s, braces ? 2 : 1);
    name.n = name_length(name);
    *ret_used = name.n + (braces ? 3 : 1);
    if (!name.n || (braces && (*ret_used > s.n || s.p[*ret_used - 1] != '}'))) return NULL;
    return sp_map_get(&x->values, name);
}

static void substitute(const expander *x, sp_str line, sp_buf *ret) {
    for (size_t i = 0, used; i < line.n && ret->n <= SP_KEEPALIVED_MOST; i += used) {
        const char *value = line.p[i] == '$' ? value_at(x, sp_str_from(line, i), &used) : NULL;
        if (!value) used = 1;
        sp_buf_add(ret, value ? sp_str_z(value) : sp_str_sub(line, i, 1));
    }
}

static sp_str without_comment(sp_str s) {
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"') quoted = !quoted;
        if (!quoted && (s.p[i] == '#' || s.p[i] == '!')) s.n = i;
    }
    return sp_str_trim(s);
}

/* True when the line is a definition. */
static bool define(expander *x, sp_str line) {
    sp_str s = sp_str_trim(line);
    if (!s.n || s.p[0] != '$') return false;
    sp_str name = sp_str_from(s, 1);
    name.n = name_length(name);
    if (!name.n || name.n + 1 >= s.n || s.p[name.n + 1] != '=') return false;
    sp_buf value = {0};
    substitute(x, without_comment(sp_str_from(s, name.n + 2)), &value);
    free(sp_map_put(&x->values, name, sp_str_dup(sp_buf_str(&value))));
    sp_buf_free(&value);
    return true;
}

/* --- include --- */

static void mark(expander *x, uint32_t line, const char *path) {
    sp_buf_printf(x->out, MARK "%u %s\n", line, path);
}

static bool include_one(expander *x, const char *path, unsigned depth) {
    sp_buf text = {0};
    bool ok = sp_file_read(path, SP_KEEPALIVED_MOST, &text, x->err);
    if (ok) mark(x, 1, path);
    ok = ok && expand_file(x, path, sp_buf_str(&text), depth + 1);
    sp_buf_free(&text);
    return ok;
}

static bool include(expander *x, const char *from, uint32_t line, sp_str pattern, unsigned depth) {
    char where[PATH_MAX];
    glob_t found;
    const char *slash = from ? strrchr(from, '/') : NULL;
    int dir = slash ? (int)(slash - from) + 1 : 0;
    if (!from) return sp_fail(x->err, SP_INVALID, "line %u: include is not possible here", line);
    if (depth == SP_KEEPALIVED_DEPTH)
        return sp_fail(x->err, SP_INVALID, "%s:%u: files include each other too deep", from, line);
    snprintf(where, sizeof where, "%.*s%.*s", pattern.n && pattern.p[0] == '/' ? 0 : dir, from,
             SP_ARG(pattern));
    int e = glob(where, 0, NULL, &found);
    bool ok = true, several = strpbrk(where, "*?[") != NULL;
    if (e != 0 && !several)
        ok = sp_fail(x->err, SP_INVALID, "%s:%u: include: there is no file %s", from, line, where);
    for (size_t i = 0; ok && e == 0 && i < found.gl_pathc; i++)
        ok = include_one(x, found.gl_pathv[i], depth);
    if (e == 0) globfree(&found);
    mark(x, line + 1, from);
    return ok;
}

static bool is_include(sp_str line, sp_str *ret_pattern) {
    sp_str s = without_comment(line), word = SP_STR("include");
    if (!sp_str_starts(s, word) || s.n == word.n) return false;
    s = sp_str_from(s, word.n);
    if (s.p[0] != ' ' && s.p[0] != '\t') return false;
    s = sp_str_trim(s);
    if (s.n > 1 && s.p[0] == '"' && s.p[s.n - 1] == '"') s = sp_str_sub(s, 1, s.n - 2);
    *ret_pattern = s;
    return s.n > 0;
}

static bool expand_line(expander *x, const char *path, uint32_t number, sp_str line,
                        unsigned depth) {
    sp_auto(sp_buf) text = {0};
    sp_str pattern;
    if (define(x, line)) {
        sp_buf_addz(x->out, "\n");
        return true;
    }
    substitute(x, line, &text);
    if (is_include(sp_buf_str(&text), &pattern)) return include(x, path, number, pattern, depth);
    sp_buf_add(x->out, sp_buf_str(&text));
    sp_buf_addz(x->out, "\n");
    return x->out->n <= SP_KEEPALIVED_MOST ||
           sp_fail(x->err, SP_INVALID, "%s:%u: more than a mebibyte", path ? path : "", number);
}

static bool expand_file(expander *x, const char *path, sp_str text, unsigned depth) {
    uint32_t number = 0;
    if (text.n && text.p[text.n - 1] == '\n') text.n--;
    for (sp_str line; sp_str_cut(&text, '\n', &line);)
        if (!expand_line(x, path, ++number, line, depth)) return false;
    return true;
}

bool sp_keepalived_expand(const char *path, sp_str text, sp_buf *ret, sp_err *err) {
    expander x = {.out = ret, .err = err};
    void *value;
    bool ok = expand_file(&x, path, text, 0);
    for (size_t at = 0; sp_map_next(&x.values, &at, NULL, &value);) free(value);
    sp_map_free(&x.values);
    return ok;
}

uint32_t sp_keepalived_line(sp_str text, uint32_t line, sp_str *ret_file) {
    uint32_t at = 1, number = 1;
    sp_str file = {0};
    for (sp_str one; at < line && sp_str_cut(&text, '\n', &one);) {
        sp_str mark = SP_STR(MARK), digits;
        uint64_t n;
        at++, number++;
        if (!sp_str_starts(one, mark)) continue;
        one = sp_str_from(one, mark.n);
        if (!sp_str_cut(&one, ' ', &digits) || !sp_str_u64(digits, &n)) continue;
        number = (uint32_t)n;
        file = one;
    }
    *ret_file = file;
    return number;
}
