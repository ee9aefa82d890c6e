#include "gateway/vip/keepalived_tree.h"
#include "gateway/vip/keepalived_lex.h"

typedef struct reader {
    sp_arena *arena;
    sp_klexer lexer;
    sp_vip_problem *problem;
} reader;

static bool fail(reader *r, uint32_t line, const char *text) {
    *r->problem = (sp_vip_problem){line, sp_str_z(text), true};
    return false;
}

static sp_kstatement *add(reader *r, sp_kstatement *parent, const sp_kword *w) {
    sp_kstatement *s = SP_NEW(r->arena, sp_kstatement);
    s->line = w->line;
    s->keyword = sp_arena_str(r->arena, w->text);
    if (parent->last)
        parent->last->next = s;
    else
        parent->first = s;
    return parent->last = s;
}

/* The words of one statement; *ret_end is what ended it. */
static bool read_words(reader *r, sp_kstatement *s, sp_kword *ret_end) {
    sp_str words[SP_KWORDS_MAX];
    for (;;) {
        sp_kword w = sp_klexer_next(&r->lexer);
        if (w.type == SP_KWORD_BAD) return fail(r, w.line, w.text.p);
        *ret_end = w;
        if (w.type != SP_KWORD_TEXT && w.type != SP_KWORD_QUOTED) break;
        if (s->count == SP_KWORDS_MAX) return fail(r, w.line, "too many words");
        if (s->count == 0) s->quoted = w.type == SP_KWORD_QUOTED;
        words[s->count++] = sp_arena_str(r->arena, w.text);
    }
    s->words = sp_arena_alloc(r->arena, (s->count + 1) * sizeof *s->words);
    memcpy(s->words, words, s->count * sizeof *words);
    return true;
}

static bool read_block(reader *r, sp_kstatement *parent, unsigned depth);

static bool read_braces(reader *r, sp_kstatement *s, uint32_t line, unsigned depth) {
    if (!s) return fail(r, line, "braces without a keyword before them");
    if (s->has_block) return fail(r, line, "a second pair of braces");
    if (depth == SP_KDEPTH_MAX) return fail(r, line, "braces nested too deep");
    s->has_block = true;
    return read_block(r, s, depth + 1);
}

static bool read_block(reader *r, sp_kstatement *parent, unsigned depth) {
    uint32_t opened = r->lexer.line;
    for (;;) {
        sp_kword w = sp_klexer_next(&r->lexer);
        switch (w.type) {
        case SP_KWORD_BAD: return fail(r, w.line, w.text.p);
        case SP_KWORD_LINE: continue;
        case SP_KWORD_END: return depth == 0 || fail(r, opened, "braces that are not closed");
        case SP_KWORD_CLOSE: return depth > 0 || fail(r, w.line, "} without {");
        case SP_KWORD_OPEN: /* on a line of its own */
            if (!read_braces(r, parent->last, w.line, depth)) return false;
            continue;
        case SP_KWORD_TEXT:
        case SP_KWORD_QUOTED: break;
        }
        sp_kstatement *s = add(r, parent, &w);
        if (!read_words(r, s, &w)) return false;
        if (w.type == SP_KWORD_OPEN && !read_braces(r, s, w.line, depth)) return false;
        if (w.type == SP_KWORD_CLOSE) return depth > 0 || fail(r, w.line, "} without {");
        if (w.type == SP_KWORD_END) return depth == 0 || fail(r, opened, "braces not closed");
    }
}

sp_kstatement *sp_kstatement_parse(sp_arena *a, sp_str text, sp_vip_problem *ret_problem) {
    reader r = {a, {text, 1, false}, ret_problem};
    sp_kstatement *root = SP_NEW(a, sp_kstatement);
    return read_block(&r, root, 0) ? root : NULL;
}
