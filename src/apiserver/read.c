/* GET and LIST. Both answer with the stored bytes: a list is a concatenation of the objects in key
 * order between a head and a tail, and no object is parsed unless a selector or a Table asks. */
#include "apiserver/continue_token.h"
#include "apiserver/server.h"
#include "base/clock.h"

#include <stdio.h>

enum { LONG_LIST = 64 * 1024 };

/* ---------- which revision ---------- */

typedef enum match { MATCH_NONE, MATCH_EXACT, MATCH_NOT_OLDER } match;

typedef struct revision_wish {
    sp_str text; /* "" = newest */
    uint64_t rev;
    match match;
} revision_wish;

static bool too_large(sp_call *c, uint64_t wanted, uint64_t newest, sp_err *err) {
    sp_causes_add(&c->op.causes, "ResourceVersionTooLarge", SP_STR(""),
                  "Too large resource version");
    return sp_fail(err, SP_TIMEOUT, "Too large resource version: %llu, current: %llu",
                   (unsigned long long)wanted, (unsigned long long)newest);
}

static bool parse_wish(sp_call *c, revision_wish *w, sp_err *err) {
    sp_str m = {0};
    if (sp_call_query(c, "resourceVersion", &w->text) && w->text.n && !sp_str_u64(w->text, &w->rev))
        return sp_fail(err, SP_BAD_REQUEST, "resourceVersion: \"%.*s\" is no whole number",
                       SP_ARG(w->text));
    if (!sp_call_query(c, "resourceVersionMatch", &m) || !m.n) return true;
    if (sp_str_eqz(m, "Exact"))
        w->match = MATCH_EXACT;
    else if (sp_str_eqz(m, "NotOlderThan"))
        w->match = MATCH_NOT_OLDER;
    else
        return sp_fail_field(err, SP_INVALID, "resourceVersionMatch",
                             "\"%.*s\" is not known; Exact and NotOlderThan are", SP_ARG(m));
    if (!w->text.n)
        return sp_fail_field(
            err, SP_INVALID, "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided");
    if (w->match == MATCH_EXACT && !w->rev)
        return sp_fail_field(err, SP_INVALID, "resourceVersionMatch",
                             "resourceVersionMatch Exact is forbidden for resourceVersion 0");
    return true;
}

/* ---------- GET ---------- */

static void reply_table(sp_call *c, sp_store_value *v) {
    sp_arena *a = c->op.arena;
    sp_json *obj;
    sp_err err;
    sp_str include = {0};
    if (!sp_json_parse(a, sp_blob_str(v->bytes), &obj, &err)) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    sp_auto(sp_buf) b = {0};
    if (c->form == SP_FORM_PARTIAL) {
        sp_table_partial(&b, c->form_version, obj);
    } else {
        sp_table t = {.resource = c->op.served->row,
                      .version = c->form_version,
                      .with_columns = true,
                      .now_wall_ms = sp_clock_wall_ms(),
                      .remaining = -1,
                      .resource_version =
                          sp_json_str(sp_json_dig(obj, "metadata", "resourceVersion", NULL))};
        (void)sp_call_query(c, "includeObject", &include);
        if (!sp_table_include_parse(include, &t.include, &err)) {
            sp_call_fail(c, &err, NULL);
            return;
        }
        sp_blob *raw = sp_value_blob(v, c->op.served->head);
        sp_table_begin(&b, &t);
        sp_table_row(&b, &t, obj, sp_blob_str(raw), a);
        sp_table_end(&b);
        sp_blob_unref(raw);
    }
    sp_call_reply(c, 200, "application/json", sp_buf_str(&b));
}

void sp_verb_get(sp_call *c) {
    sp_apiserver *s = c->op.s;
    sp_err err;
    revision_wish w = {0};
    if (!parse_wish(c, &w, &err)) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    if (w.rev > sp_store_revision(s->store)) {
        too_large(c, w.rev, sp_store_revision(s->store), &err);
        sp_call_fail(c, &err, &c->op.causes);
        return;
    }
    sp_str key = sp_object_key(c->op.arena, c->op.served, c->op.ns, c->op.name);
    sp_store_value *v = sp_store_get(s->store, key);
    if (!v) {
        const sp_resource *row = c->op.served->row;
        sp_fail(&err, SP_NOT_FOUND, "%s%s%s \"%.*s\" not found", row->plural,
                row->group[0] ? "." : "", row->group, SP_ARG(c->op.name));
        sp_call_fail(c, &err, NULL);
    } else if (c->form == SP_FORM_TABLE || c->form == SP_FORM_PARTIAL) {
        reply_table(c, v);
    } else {
        sp_blob *body = sp_value_blob(v, c->op.served->head);
        sp_call_reply_blob(c, 200, body);
        sp_blob_unref(body);
    }
}

/* ---------- LIST ---------- */

typedef struct lister {
    sp_call *call;
    sp_filter filter;
    const sp_resource *storage;
    sp_str prefix;                  /* the whole collection's or one namespace's */
    uint64_t rev;                   /* all pages show this one */
    uint64_t limit;                 /* 0 = none */
    SP_VEC(sp_store_value *) found; /* lent: nothing here returns to the loop */
    sp_str last_key;                /* of the last one found */
    uint64_t remaining;
    bool more;
    sp_str continue_;
} lister;

static bool collect(void *ctx, sp_str key, sp_store_value *v) {
    lister *l = ctx;
    if (l->limit && l->found.n == l->limit) {
        if (!l->filter.any && !sp_filter_matches(&l->filter, v, l->storage)) return true;
        l->more = true;
        l->remaining++;
        return l->filter.any; /* with a selector the count would not be exact: stop */
    }
    if (!sp_filter_matches(&l->filter, v, l->storage)) return true;
    sp_vec_push(&l->found, v);
    l->last_key = key;
    return true;
}

static bool apply_continue(sp_call *c, const revision_wish *w, uint64_t *ret_rev, sp_str *ret_start,
                           sp_err *err) {
    sp_str token;
    if (!sp_call_query(c, "continue", &token) || !token.n) return true;
    if (w->rev)
        return sp_fail(err, SP_BAD_REQUEST,
                       "specifying resource version is not allowed when using continue");
    return sp_continue_parse(c->op.arena, token, ret_rev, ret_start, err);
}

static bool explain_expired(sp_err *err, bool paged) {
    if (err->code != SP_EXPIRED && err->code != SP_GONE) return false;
    if (!paged)
        return sp_fail(err, SP_EXPIRED, "The resourceVersion for the provided list is too old.");
    return sp_fail(
        err, SP_EXPIRED,
        "The provided continue parameter is too old to display a consistent list result. "
        "You can start a new list without the continue parameter.");
}

static bool gather(lister *l, sp_err *err) {
    sp_call *c = l->call;
    sp_apiserver *s = c->op.s;
    revision_wish w = {0};
    sp_str limit, start = {0};
    uint64_t newest = sp_store_revision(s->store), exact = 0;
    if (!parse_wish(c, &w, err) || !sp_filter_parse(c, &l->filter, err)) return false;
    if (sp_call_query(c, "limit", &limit) && limit.n && !sp_str_u64(limit, &l->limit))
        return sp_fail(err, SP_BAD_REQUEST, "limit: \"%.*s\" is no whole number", SP_ARG(limit));
    if (!apply_continue(c, &w, &exact, &start, err)) return false;
    if (w.rev > newest) return too_large(c, w.rev, newest, err);
    if (w.match == MATCH_EXACT || (w.match == MATCH_NONE && w.rev && l->limit)) exact = w.rev;
    if (exact > newest) return too_large(c, exact, newest, err);
    l->rev = exact ? exact : newest;
    sp_str after = start.n
                       ? sp_arena_printf(c->op.arena, "%.*s%.*s", SP_ARG(l->prefix), SP_ARG(start))
                       : SP_STR("");
    if (!sp_store_range(s->store, l->prefix, after, exact == newest ? 0 : exact, collect, l, err)) {
        explain_expired(err, start.n > 0);
        return false;
    }
    if (l->more)
        l->continue_ = sp_continue_make(c->op.arena, l->rev, sp_str_from(l->last_key, l->prefix.n));
    return true;
}

static sp_str list_head(lister *l, sp_str *ret_tail) {
    sp_call *c = l->call;
    sp_arena *a = c->op.arena;
    const sp_served *v = c->op.served;
    sp_auto(sp_buf) b = {0};
    sp_buf_printf(&b, "{\"kind\":\"%sList\",\"apiVersion\":\"%.*s\",\"metadata\":{", v->row->kind,
                  SP_ARG(v->api_version));
    sp_buf_printf(&b, "\"resourceVersion\":\"%llu\"", (unsigned long long)l->rev);
    if (l->continue_.n) sp_buf_printf(&b, ",\"continue\":\"%.*s\"", SP_ARG(l->continue_));
    if (l->more && l->filter.any)
        sp_buf_printf(&b, ",\"remainingItemCount\":%llu", (unsigned long long)l->remaining);
    sp_buf_addz(&b, "},\"items\":[");
    *ret_tail = SP_STR("]}\n");
    return sp_arena_str(a, sp_buf_str(&b));
}

/* Long lists are not put together: the objects go out one by one as the reader takes them. */
static void reply_long_list(lister *l, sp_str head, sp_str tail) {
    sp_call *c = l->call;
    c->flow.head = c->op.served->head;
    c->flow.between = SP_STR(",");
    sp_vec_each(&l->found, v) sp_outflow_add(&c->flow, *v);
    sp_call_reply_flow(c, head, tail);
}

static char *put(char *at, sp_str s) {
    if (s.n) memcpy(at, s.p, s.n);
    return at + s.n;
}

static void reply_list(lister *l) {
    sp_str tail, head = list_head(l, &tail), served = l->call->op.served->head;
    size_t total = head.n + tail.n + l->found.n;
    sp_vec_each(&l->found, v) total += (*v)->bytes->n + served.n;
    if (total > LONG_LIST && !l->call->yaml && !l->call->pretty) {
        reply_long_list(l, head, tail);
        return;
    }
    sp_blob *body = sp_blob_alloc(total);
    char *at = put(body->p, head);
    sp_vec_each(&l->found, v) {
        sp_pieces p = sp_with_head(sp_blob_str((*v)->bytes), served);
        if (v != l->found.p) *at++ = ',';
        at = put(put(at, p.head), p.rest);
    }
    at = put(at, tail);
    body->n = (size_t)(at - body->p);
    body->p[body->n] = 0;
    sp_call_reply_blob(l->call, 200, body);
    sp_blob_unref(body);
}

static bool parse_value(sp_call *c, sp_arena *scratch, sp_store_value *v, sp_json **ret) {
    sp_err err;
    sp_arena_reset(scratch);
    if (sp_json_parse(scratch, sp_blob_str(v->bytes), ret, &err)) return true;
    sp_call_fail(c, &err, NULL);
    return false;
}

static void reply_table_list(lister *l) {
    sp_call *c = l->call;
    sp_auto(sp_buf) b = {0};
    sp_auto_ptr(sp_arena) objects = sp_arena_new();
    sp_auto_ptr(sp_arena) cells = sp_arena_new();
    sp_err err;
    sp_str include = {0};
    sp_table t = {.resource = c->op.served->row,
                  .version = c->form_version,
                  .with_columns = true,
                  .now_wall_ms = sp_clock_wall_ms(),
                  .remaining = l->more && l->filter.any ? (int64_t)l->remaining : -1,
                  .resource_version =
                      sp_arena_printf(c->op.arena, "%llu", (unsigned long long)l->rev),
                  .continue_ = l->continue_};
    (void)sp_call_query(c, "includeObject", &include);
    if (!sp_table_include_parse(include, &t.include, &err)) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    sp_table_begin(&b, &t);
    sp_vec_each(&l->found, v) {
        sp_json *obj;
        if (!parse_value(c, objects, *v, &obj)) return;
        sp_blob *raw = sp_value_blob(*v, c->op.served->head);
        sp_arena_reset(cells);
        sp_table_row(&b, &t, obj, sp_blob_str(raw), cells);
        sp_blob_unref(raw);
    }
    sp_table_end(&b);
    sp_call_reply(c, 200, "application/json", sp_buf_str(&b));
}

static void reply_partial_list(lister *l) {
    sp_call *c = l->call;
    sp_auto(sp_buf) b = {0};
    sp_auto_ptr(sp_arena) objects = sp_arena_new();
    sp_buf_printf(&b, "{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/%s\",",
                  c->form_version);
    sp_buf_printf(&b, "\"metadata\":{\"resourceVersion\":\"%llu\"", (unsigned long long)l->rev);
    if (l->continue_.n) sp_buf_printf(&b, ",\"continue\":\"%.*s\"", SP_ARG(l->continue_));
    sp_buf_addz(&b, "},\"items\":[");
    sp_vec_each(&l->found, v) {
        sp_json *obj;
        if (!parse_value(c, objects, *v, &obj)) return;
        if (v != l->found.p) sp_buf_addc(&b, ',');
        sp_table_partial(&b, c->form_version, obj);
    }
    sp_buf_addz(&b, "]}");
    sp_call_reply(c, 200, "application/json", sp_buf_str(&b));
}

void sp_verb_list(sp_call *c) {
    lister l = {.call = c, .storage = c->op.served->storage};
    sp_err err;
    l.prefix = c->op.served->prefix;
    if (c->op.ns.n)
        l.prefix = sp_arena_printf(c->op.arena, "%.*s%.*s/", SP_ARG(l.prefix), SP_ARG(c->op.ns));
    if (!gather(&l, &err))
        sp_call_fail(c, &err, &c->op.causes);
    else if (c->form == SP_FORM_TABLE)
        reply_table_list(&l);
    else if (c->form == SP_FORM_PARTIAL_LIST)
        reply_partial_list(&l);
    else
        reply_list(&l);
    sp_vec_free(&l.found);
}
