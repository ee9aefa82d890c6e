/* POST, PUT, PATCH and DELETE: from the request to an sp_op and from its outcome to the answer. */
#include "apiserver/server.h"
#include "data/patch.h"

#include <stdio.h>

static void answer_written(sp_op *op) {
    sp_call *c = op->ctx;
    if (op->err.code) {
        sp_call_fail(c, &op->err, &op->causes);
        return;
    }
    sp_call_reply_blob(c, op->kind == SP_OP_CREATE ? 201 : 200, op->bytes);
}

/* A call may be answered before sp_op_… returns; hold it first, look at it no more after. */
static void run(sp_call *c) {
    c->op.ctx = c;
    c->op.done = answer_written;
    sp_call_hold(c);
}

void sp_verb_create(sp_call *c) {
    sp_json *obj;
    sp_err err;
    if (!sp_body_write_options(c, &err) || !sp_body_parse(c, &obj, &err)) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    run(c);
    sp_op_create(&c->op, obj);
}

/* ---------- PUT ---------- */

static bool replace_with(sp_op *op, const sp_json *old, sp_json **ret, sp_err *err) {
    (void)old, (void)err;
    *ret = sp_json_clone(op->arena, op->change_ctx);
    return true;
}

/* Told apart from what is missing, also when nothing of either name exists. */
static bool check_name(const sp_call *c, const sp_json *obj, sp_err *err) {
    sp_str name = sp_obj_name(obj);
    if (!name.n || sp_str_eq(name, c->op.name)) return true;
    return sp_fail(err, SP_BAD_REQUEST,
                   "the name of the object (%.*s) does not match the name on the URL (%.*s)",
                   SP_ARG(name), SP_ARG(c->op.name));
}

void sp_verb_update(sp_call *c) {
    sp_json *obj;
    sp_err err;
    if (!sp_body_write_options(c, &err) || !sp_body_parse(c, &obj, &err) ||
        !check_name(c, obj, &err)) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    run(c);
    sp_op_update(&c->op, replace_with, obj);
}

/* ---------- PATCH ---------- */

typedef bool patch_fn(sp_op *op, sp_json **doc, const sp_json *patch, sp_err *err);

static bool apply_json(sp_op *op, sp_json **doc, const sp_json *patch, sp_err *err) {
    return sp_patch_json(op->arena, doc, patch, err);
}

static bool apply_merge(sp_op *op, sp_json **doc, const sp_json *patch, sp_err *err) {
    if (!sp_json_is(patch, SP_JSON_OBJECT))
        return sp_fail(err, SP_BAD_REQUEST, "a merge patch must be an object, not %s",
                       sp_json_type_name(patch));
    sp_patch_merge(op->arena, doc, patch);
    return true;
}

static bool apply_strategic(sp_op *op, sp_json **doc, const sp_json *patch, sp_err *err) {
    return sp_patch_strategic(op->arena, op->served->row->schema, doc, patch, err);
}

static const struct patch_type {
    const char *media_type;
    patch_fn *apply;
    bool built_in_only;
} patch_types[] = {
    {"application/json-patch+json", apply_json, false},
    {"application/merge-patch+json", apply_merge, false},
    {"application/strategic-merge-patch+json", apply_strategic, true},
};

typedef struct patch_wish {
    const struct patch_type *type;
    sp_json *patch;
} patch_wish;

static bool apply_patch(sp_op *op, const sp_json *old, sp_json **ret, sp_err *err) {
    const patch_wish *w = op->change_ctx;
    sp_json *doc = sp_json_clone(op->arena, old);
    sp_json_set(op->arena, doc, "apiVersion", sp_json_new_str(op->arena, op->served->api_version));
    sp_json_set_z(op->arena, doc, "kind", op->served->row->kind);
    if (!w->type->apply(op, &doc, w->patch, err)) return false;
    *ret = doc;
    return true;
}

static bool choose_patch(sp_call *c, const struct patch_type **ret, sp_err *err) {
    sp_str v = sp_headers_get(c->http->headers, c->http->header_count, "content-type");
    ptrdiff_t semi = sp_str_chr(v, ';');
    sp_str type = sp_str_trim(semi < 0 ? v : sp_str_sub(v, 0, (size_t)semi));
    bool crd = c->op.served->row->is_crd;
    for (size_t i = 0; i < SP_COUNT(patch_types); i++)
        if (sp_str_ieq(type, sp_str_z(patch_types[i].media_type)) &&
            !(crd && patch_types[i].built_in_only)) {
            *ret = &patch_types[i];
            return true;
        }
    if (sp_str_ieq(type, SP_STR("application/apply-patch+yaml")))
        return sp_fail(
            err, SP_UNSUPPORTED_MEDIA,
            "server-side apply is not supported by this server yet; use client-side apply "
            "(kubectl apply without --server-side) or a merge patch");
    return sp_fail(err, SP_UNSUPPORTED_MEDIA,
                   "the body of the request was in an unknown format - accepted media types "
                   "include: application/json-patch+json, application/merge-patch+json%s",
                   crd ? "" : ", application/strategic-merge-patch+json");
}

void sp_verb_patch(sp_call *c) {
    patch_wish *w = SP_NEW(c->op.arena, patch_wish);
    sp_err err;
    if (!choose_patch(c, &w->type, &err) || !sp_body_write_options(c, &err) ||
        !sp_json_parse(c->op.arena, c->http->body, &w->patch, &err)) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    run(c);
    sp_op_update(&c->op, apply_patch, w);
}

/* ---------- DELETE ---------- */

static void answer_deleted(sp_op *op) {
    sp_call *c = op->ctx;
    if (op->err.code)
        sp_call_fail(c, &op->err, &op->causes);
    else if (op->removed)
        sp_call_success(c, 200, op->name, op->served->row->plural, op->uid);
    else
        sp_call_reply_blob(c, 200, op->bytes);
}

void sp_verb_delete(sp_call *c) {
    sp_delete_options o;
    sp_err err;
    if (!sp_body_delete_options(c, &o, &err)) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    run(c);
    c->op.done = answer_deleted;
    sp_op_delete(&c->op, &o);
}

/* ---------- DELETE of a collection ---------- */

typedef struct bulk {
    sp_call *call;
    sp_filter filter;
    sp_delete_options options;
    sp_str prefix;
    SP_VEC(sp_str) keys; /* relative to the whole collection's prefix; in the call's arena */
    size_t left;
    sp_err err; /* of the first that failed */
} bulk;

static void bulk_end(bulk *b) {
    sp_call *c = b->call;
    if (b->err.code)
        sp_call_fail(c, &b->err, NULL);
    else
        sp_call_success(c, 200, SP_STR(""), c->op.served->row->plural, SP_STR(""));
}

static void bulk_one_done(sp_op *op) {
    bulk *b = op->ctx;
    if (op->err.code && op->err.code != SP_NOT_FOUND && !b->err.code) b->err = op->err;
    sp_op_cleanup(op);
    sp_arena_free(op->arena);
    if (--b->left == 0) bulk_end(b);
}

static void bulk_delete(bulk *b, sp_str key) {
    sp_arena *a = sp_arena_new();
    sp_op *op = SP_NEW(a, sp_op), *from = &b->call->op;
    *op = (sp_op){.s = from->s,
                  .served = sp_served_ref(from->served),
                  .arena = a,
                  .user = from->user,
                  .fence = from->fence,
                  .master = from->master,
                  .dry_run = from->dry_run,
                  .done = bulk_one_done,
                  .ctx = b};
    ptrdiff_t slash = sp_str_chr(key, '/');
    if (slash >= 0) op->ns = sp_str_sub(key, 0, (size_t)slash);
    op->name = sp_str_from(key, (size_t)(slash + 1));
    sp_op_delete(op, &b->options);
}

static bool bulk_collect(void *ctx, sp_str key, sp_store_value *v) {
    bulk *b = ctx;
    sp_call *c = b->call;
    if (sp_filter_matches(&b->filter, v, c->op.served->storage))
        sp_vec_push(&b->keys, sp_arena_str(c->op.arena, sp_str_from(key, c->op.served->prefix.n)));
    return true;
}

static bool bulk_prepare(bulk *b, sp_err *err) {
    sp_call *c = b->call;
    b->prefix = c->op.served->prefix;
    if (c->op.ns.n)
        b->prefix = sp_arena_printf(c->op.arena, "%.*s%.*s/", SP_ARG(b->prefix), SP_ARG(c->op.ns));
    return sp_body_delete_options(c, &b->options, err) && sp_filter_parse(c, &b->filter, err) &&
           sp_store_range(c->op.s->store, b->prefix, SP_STR(""), 0, bulk_collect, b, err);
}

void sp_verb_delete_collection(sp_call *c) {
    bulk *b = SP_NEW(c->op.arena, bulk);
    sp_err err;
    b->call = c;
    if (!bulk_prepare(b, &err)) {
        sp_vec_free(&b->keys);
        sp_call_fail(c, &err, NULL);
        return;
    }
    sp_call_hold(c);
    /* One more than there are, so that the last deletion cannot end the call in the loop. */
    b->left = b->keys.n + 1;
    for (size_t i = 0; i < b->keys.n; i++) bulk_delete(b, b->keys.p[i]);
    sp_vec_free(&b->keys);
    if (--b->left == 0) bulk_end(b);
}
