/* Finding the place of the revision: a walk over the document that knows strings and depth, so that
 * an annotation or an embedded object with the same words is not taken for it. */
#include "store/etcd_key.h"

typedef struct walk {
    sp_str s;
    size_t at;
    unsigned depth;
} walk;

/* The string that begins at w->at, without its quotes; at moves behind it. */
static bool take_string(walk *w, sp_str *ret) {
    size_t from = ++w->at;
    while (w->at < w->s.n && w->s.p[w->at] != '"') w->at += w->s.p[w->at] == '\\' ? 2 : 1;
    if (w->at >= w->s.n) return false;
    *ret = sp_str_sub(w->s, from, w->at - from);
    w->at++;
    return true;
}

static bool next_is(const walk *w, char c) {
    return w->at < w->s.n && w->s.p[w->at] == c;
}

/* Moves to just behind the colon of a key at this depth below what was entered; compact documents
 * only, as we write them. */
static bool find_key(walk *w, const char *key) {
    unsigned home = w->depth;
    while (w->at < w->s.n && w->depth >= home) {
        char c = w->s.p[w->at];
        sp_str text;
        if (c != '"') {
            if (c == '{' || c == '[') w->depth++;
            if (c == '}' || c == ']') w->depth--;
            w->at++;
            continue;
        }
        if (!take_string(w, &text)) return false;
        if (w->depth == home && next_is(w, ':') && sp_str_eqz(text, key)) {
            w->at++;
            return true;
        }
    }
    return false;
}

static bool enter(walk *w) {
    if (!next_is(w, '{')) return false;
    w->at++;
    w->depth++;
    return true;
}

bool sp_etcd_find_rev(sp_str value, uint32_t *ret) {
    walk w = {.s = value};
    sp_str text;
    if (!enter(&w) || !find_key(&w, "metadata") || !enter(&w) || !find_key(&w, "resourceVersion"))
        return false;
    size_t at = w.at + 1;
    if (!next_is(&w, '"') || !take_string(&w, &text) || text.n) return false;
    *ret = (uint32_t)at;
    return true;
}

void sp_etcd_prefix_end(sp_str prefix, sp_buf *ret) {
    sp_buf_add(ret, prefix);
    while (ret->n && (unsigned char)ret->p[ret->n - 1] == 0xff) ret->n--;
    if (ret->n) ret->p[ret->n - 1]++;
}
