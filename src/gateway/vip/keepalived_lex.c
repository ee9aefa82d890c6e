#include "gateway/vip/keepalived_lex.h"

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static bool ends_word(char c) {
    return is_blank(c) || c == '\n' || c == '{' || c == '}' || c == '"' || c == '#' || c == '!';
}

static void skip(sp_klexer *l, size_t n) {
    l->rest = sp_str_from(l->rest, n);
}

static void skip_blanks(sp_klexer *l) {
    size_t n = 0;
    while (n < l->rest.n && is_blank(l->rest.p[n])) n++;
    if (n < l->rest.n && (l->rest.p[n] == '#' || l->rest.p[n] == '!'))
        while (n < l->rest.n && l->rest.p[n] != '\n') n++;
    skip(l, n);
}

static sp_kword take(sp_klexer *l, sp_kword_type type, size_t start, size_t n, size_t used) {
    sp_kword w = {type, l->line, sp_str_sub(l->rest, start, n)};
    l->in_line = type != SP_KWORD_LINE;
    skip(l, used);
    return w;
}

static sp_kword quoted(sp_klexer *l) {
    size_t n = 1;
    for (; n < l->rest.n && l->rest.p[n] != '"' && l->rest.p[n] != '\n'; n++)
        if (l->rest.p[n] == '\\' && n + 1 < l->rest.n && l->rest.p[n + 1] != '\n') n++;
    if (n >= l->rest.n || l->rest.p[n] != '"')
        return (sp_kword){SP_KWORD_BAD, l->line, SP_STR("a quote does not end on its line")};
    return take(l, SP_KWORD_QUOTED, 1, n - 1, n + 1);
}

sp_kword sp_klexer_next(sp_klexer *l) {
    for (;;) {
        skip_blanks(l);
        if (l->rest.n == 0) {
            if (l->in_line) return take(l, SP_KWORD_LINE, 0, 0, 0);
            return (sp_kword){SP_KWORD_END, l->line, {0}};
        }
        char c = l->rest.p[0];
        if (c == 0) return (sp_kword){SP_KWORD_BAD, l->line, SP_STR("a NUL byte")};
        if (c == '{') return take(l, SP_KWORD_OPEN, 0, 1, 1);
        if (c == '}') return take(l, SP_KWORD_CLOSE, 0, 1, 1);
        if (c == '"') return quoted(l);
        if (c == '\n') {
            bool told = l->in_line;
            sp_kword w = take(l, SP_KWORD_LINE, 0, 0, 1);
            l->line++;
            if (told) return w;
            continue;
        }
        size_t n = 0;
        while (n < l->rest.n && l->rest.p[n] && !ends_word(l->rest.p[n])) n++;
        return take(l, SP_KWORD_TEXT, 0, n, n);
    }
}
