/* For tests of decision functions: documents written with ' for ", lists of them, and the actions
 * of a reconcile as text. */
#pragma once
#include "base/clock.h"
#include "controllers/controllers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { T0_S = 1795000000 };
static const int64_t T0 = (int64_t)T0_S * 1000; /* 2026-11-18T11:06:40Z */

static inline sp_json *doc(sp_arena *a, const char *fmt, ...) {
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    sp_assert(n >= 0);
    for (char *c = text; *c; c++)
        if (*c == '\'') *c = '"';
    sp_json *j = NULL;
    sp_err err = {0};
    bool ok = sp_json_parse(a, sp_str_z(text), &j, &err);
    if (!ok) fail_msg("%s in %s", err.text, text);
    free(text);
    return j;
}

/* "CREATE pods; MERGE replicasets web-1 {…}; DELETE pods a; " */
static inline const char *actions(const sp_reconcile *r) {
    static const char *const names[] = {
        [SP_VERB_CREATE] = "CREATE", [SP_VERB_UPDATE] = "UPDATE",
        [SP_VERB_MERGE] = "MERGE",   [SP_VERB_MERGE_STATUS] = "STATUS",
        [SP_VERB_DELETE] = "DELETE", [SP_VERB_POST_SUB] = "SUBRESOURCE",
    };
    static sp_buf b;
    sp_buf_clear(&b);
    sp_buf_reserve(&b, 1);
    for (size_t i = 0; i < r->actions.n; i++) {
        const sp_action *a = &r->actions.p[i];
        sp_buf_printf(&b, "%s %s", names[a->verb], a->gvr->plural);
        if (a->name.n) sp_buf_printf(&b, " %.*s", SP_ARG(a->name));
        if (a->sub) sp_buf_printf(&b, "/%s", a->sub);
        sp_buf_addz(&b, "; ");
    }
    return sp_buf_z(&b);
}

/* The body of the only action of this kind; fails when there is none. */
static inline const sp_json *body_of(const sp_reconcile *r, sp_verb verb, const sp_gvr *g) {
    for (size_t i = 0; i < r->actions.n; i++)
        if (r->actions.p[i].verb == verb && r->actions.p[i].gvr == g) return r->actions.p[i].body;
    fail_msg("no such action in: %s", actions(r));
    return NULL;
}

static inline void assert_json(const sp_json *j, const char *text) {
    sp_auto(sp_buf) b = {0};
    if (j) sp_json_write(&b, j);
    for (size_t i = 0; i < b.n; i++)
        if (b.p[i] == '"') b.p[i] = '\'';
    assert_string_equal(sp_buf_z(&b), text);
}

static inline const char *text_at(const sp_json *j, const char *a, const char *b) {
    const sp_json *v = sp_json_dig(j, a, b, NULL);
    return v && v->text.p ? v->text.p : "";
}
