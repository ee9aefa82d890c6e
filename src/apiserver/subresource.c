/* What hangs below an object: status, scale, finalize, binding, eviction, log. */
#include "apiserver/admit.h"
#include "apiserver/server.h"
#include "base/clock.h"
#include "data/fieldpath.h"
#include "data/patch.h"
#include "data/time.h"

#include <stdio.h>

/* ---------- scale ---------- */

static sp_json *at_path(const sp_json *obj, const char *path) {
    sp_json *j;
    while (path && *path == '.') path++;
    return path && *path && sp_fieldpath_get(obj, sp_str_z(path), &j, NULL) ? j : NULL;
}

static void add_requirement(sp_buf *b, const sp_json *r) {
    const char *op = sp_json_get_z(r, "operator"), *key = sp_json_get_z(r, "key");
    if (b->n) sp_buf_addc(b, ',');
    if (strcmp(op, "DoesNotExist") == 0) sp_buf_addc(b, '!');
    sp_buf_addz(b, key);
    bool in = strcmp(op, "In") == 0, not_in = strcmp(op, "NotIn") == 0;
    if (!in && !not_in) return;
    sp_buf_addz(b, in ? " in (" : " notin (");
    const sp_json *values = sp_json_get(r, "values");
    sp_json_each(values, v) {
        if (v != values->first) sp_buf_addc(b, ',');
        sp_buf_add(b, sp_json_str(v));
    }
    sp_buf_addc(b, ')');
}

/* A LabelSelector in the text form of the URL. */
static sp_str selector_text(sp_arena *a, const sp_json *selector) {
    sp_auto(sp_buf) b = {0};
    if (sp_json_is(selector, SP_JSON_STRING)) return selector->text;
    const sp_json *labels = sp_json_get(selector, "matchLabels");
    const sp_json *rules = sp_json_get(selector, "matchExpressions");
    if (!labels && !rules) labels = selector;
    sp_json_each(labels, m) {
        if (m->type != SP_JSON_STRING) continue;
        sp_buf_printf(&b, "%s%.*s=%.*s", b.n ? "," : "", SP_ARG(m->key), SP_ARG(m->text));
    }
    sp_json_each(rules, r) add_requirement(&b, r);
    return sp_arena_str(a, sp_buf_str(&b));
}

static sp_json *scale_of(sp_arena *a, const sp_resource *row, const sp_json *obj) {
    static const char *const copied[] = {"name", "namespace", "uid", "resourceVersion",
                                         "creationTimestamp"};
    sp_json *s = sp_json_object(a);
    sp_json_set_z(a, s, "kind", "Scale");
    sp_json_set_z(a, s, "apiVersion", "autoscaling/v1");
    sp_json *meta = sp_json_set(a, s, "metadata", sp_json_object(a));
    for (size_t i = 0; i < SP_COUNT(copied); i++) {
        const sp_json *v = sp_json_dig(obj, "metadata", copied[i], NULL);
        if (v) sp_json_set(a, meta, copied[i], sp_json_clone(a, v));
    }
    sp_json *spec = sp_json_set(a, s, "spec", sp_json_object(a));
    sp_json *status = sp_json_set(a, s, "status", sp_json_object(a));
    sp_json_set_int(a, spec, "replicas", sp_json_int(at_path(obj, row->scale->spec_replicas), 0));
    sp_json_set_int(a, status, "replicas",
                    sp_json_int(at_path(obj, row->scale->status_replicas), 0));
    sp_str selector = selector_text(a, at_path(obj, row->scale->selector));
    if (selector.n) sp_json_set(a, status, "selector", sp_json_new_str(a, selector));
    return s;
}

static void answer_scale(sp_op *op) {
    sp_call *c = op->ctx;
    sp_json *obj;
    if (!op->err.code && sp_json_parse(op->arena, sp_blob_str(op->bytes), &obj, &op->err)) {
        sp_call_reply_json(c, 200, scale_of(op->arena, op->served->row, obj));
        return;
    }
    sp_call_fail(c, &op->err, &op->causes);
}

typedef struct scale_wish {
    bool put;
    sp_str type; /* of the patch */
    sp_json *body;
} scale_wish;

static bool patched_scale(sp_op *op, sp_json *scale, sp_json **ret, sp_err *err) {
    const scale_wish *w = op->change_ctx;
    *ret = w->put ? w->body : scale;
    if (w->put) return true;
    if (sp_str_starts(w->type, SP_STR("application/json-patch+json")))
        return sp_patch_json(op->arena, ret, w->body, err);
    if (!sp_str_starts(w->type, SP_STR("application/merge-patch+json")) &&
        !sp_str_starts(w->type, SP_STR("application/strategic-merge-patch+json")))
        return sp_fail(err, SP_UNSUPPORTED_MEDIA,
                       "a scale is patched by application/merge-patch+json or "
                       "application/json-patch+json");
    sp_patch_merge(op->arena, ret, w->body);
    return true;
}

static bool change_scale(sp_op *op, const sp_json *old, sp_json **ret, sp_err *err) {
    const sp_resource *row = op->served->row;
    sp_json *wanted;
    if (!patched_scale(op, scale_of(op->arena, row, old), &wanted, err)) return false;
    const sp_json *replicas = sp_json_dig(wanted, "spec", "replicas", NULL);
    if (sp_json_int(replicas, replicas ? -1 : 0) < 0 || sp_json_int(replicas, 0) > INT32_MAX) {
        sp_causes_add(&op->causes, "FieldValueInvalid", SP_STR("spec.replicas"),
                      "Invalid value: must be a whole number from 0 to %d", INT32_MAX);
        return sp_fail(err, SP_INVALID, "spec.replicas must be a whole number from 0");
    }
    sp_json *obj = sp_json_clone(op->arena, old);
    sp_json_set(op->arena, obj, "apiVersion", sp_json_new_str(op->arena, op->served->api_version));
    sp_json_set_z(op->arena, obj, "kind", row->kind);
    const sp_json *rv = sp_json_dig(wanted, "metadata", "resourceVersion", NULL);
    if (sp_json_str(rv).n)
        sp_json_set(op->arena, sp_json_get(obj, "metadata"), "resourceVersion",
                    sp_json_clone(op->arena, rv));
    const char *path = row->scale->spec_replicas;
    while (*path == '.') path++;
    *ret = obj;
    return sp_fieldpath_set(op->arena, obj, sp_str_z(path),
                            sp_json_new_int(op->arena, sp_json_int(replicas, 0)), err);
}

static void get_scale(sp_call *c) {
    sp_store_value *v = sp_store_get(
        c->op.s->store, sp_object_key(c->op.arena, c->op.served, c->op.ns, c->op.name));
    sp_err err;
    sp_json *obj;
    if (!v)
        sp_fail(&err, SP_NOT_FOUND, "%s \"%.*s\" not found", c->op.served->row->plural,
                SP_ARG(c->op.name));
    else if (sp_json_parse(c->op.arena, sp_blob_str(v->bytes), &obj, &err)) {
        sp_call_reply_json(c, 200, scale_of(c->op.arena, c->op.served->row, obj));
        return;
    }
    sp_call_fail(c, &err, NULL);
}

static void verb_scale(sp_call *c) {
    sp_err err;
    if (c->info.verb == SP_REQ_GET) {
        get_scale(c);
        return;
    }
    sp_arena *a = c->op.arena;
    scale_wish *w = SP_NEW(a, scale_wish);
    w->put = c->info.verb == SP_REQ_UPDATE;
    w->type =
        sp_arena_str(a, sp_headers_get(c->http->headers, c->http->header_count, "content-type"));
    if (!sp_body_write_options(c, &err) ||
        !(w->put ? sp_body_parse(c, &w->body, &err)
                 : sp_json_parse(a, c->http->body, &w->body, &err))) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    c->op.sub = SP_STR(""); /* what changes is the object's spec */
    c->op.ctx = c;
    c->op.done = answer_scale;
    sp_call_hold(c);
    sp_op_update(&c->op, change_scale, w);
}

/* ---------- binding ---------- */

static bool bind_pod(sp_op *op, const sp_json *old, sp_json **ret, sp_err *err) {
    sp_arena *a = op->arena;
    sp_str node = sp_json_str(sp_json_dig(op->change_ctx, "target", "name", NULL));
    sp_str there = sp_json_str(sp_json_dig(old, "spec", "nodeName", NULL));
    if (sp_obj_deleting(old))
        return sp_fail(err, SP_CONFLICT, "pod %.*s is being deleted, cannot be assigned to a host",
                       SP_ARG(op->name));
    if (there.n && !sp_str_eq(there, node))
        return sp_fail(err, SP_CONFLICT, "pod %.*s is already assigned to node \"%.*s\"",
                       SP_ARG(op->name), SP_ARG(there));
    sp_json *obj = sp_json_clone(a, old);
    sp_json_set(a, sp_json_ensure_object(a, obj, "spec"), "nodeName", sp_json_new_str(a, node));
    *ret = obj;
    return true;
}

static void answer_created_status(sp_op *op) {
    sp_call *c = op->ctx;
    if (op->err.code)
        sp_call_fail(c, &op->err, &op->causes);
    else
        sp_call_success(c, 201, SP_STR(""), "", SP_STR(""));
}

static void verb_binding(sp_call *c) {
    sp_err err;
    sp_json *body;
    bool ok = sp_body_write_options(c, &err) && sp_body_parse(c, &body, &err);
    if (ok && !sp_json_str(sp_json_dig(body, "target", "name", NULL)).n)
        ok = sp_fail_field(&err, SP_BAD_REQUEST, "target.name",
                           "target.name must say which node the pod is bound to");
    if (!ok) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    c->op.ctx = c;
    c->op.done = answer_created_status;
    sp_call_hold(c);
    sp_op_update(&c->op, bind_pod, body);
}

/* ---------- eviction ---------- */

static void verb_eviction(sp_call *c) {
    sp_err err;
    sp_delete_options o = {.grace_seconds = -1};
    sp_json *body;
    if (!sp_body_write_options(c, &err) || !sp_body_parse(c, &body, &err)) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    const sp_json *options = sp_json_get(body, "deleteOptions");
    o.grace_seconds = sp_json_int(sp_json_get(options, "gracePeriodSeconds"), -1);
    o.uid = sp_json_str(sp_json_dig(options, "preconditions", "uid", NULL));
    o.resource_version =
        sp_json_str(sp_json_dig(options, "preconditions", "resourceVersion", NULL));
    c->op.sub = SP_STR("");
    c->op.ctx = c;
    c->op.done = answer_created_status;
    sp_call_hold(c);
    sp_op_delete(&c->op, &o);
}

/* ---------- which ---------- */

static void plain_verbs(sp_call *c) {
    switch (c->info.verb) {
    case SP_REQ_GET: sp_verb_get(c); return;
    case SP_REQ_UPDATE: sp_verb_update(c); return;
    case SP_REQ_PATCH: sp_verb_patch(c); return;
    case SP_REQ_CREATE:
    case SP_REQ_NONE:
    case SP_REQ_LIST:
    case SP_REQ_WATCH:
    case SP_REQ_DELETE:
    case SP_REQ_DELETE_COLLECTION:
    case SP_REQ_VERB_MAX: break;
    }
    sp_err err;
    sp_fail(&err, SP_METHOD_NOT_ALLOWED,
            "the server does not allow this method on the requested resource");
    sp_call_fail(c, &err, NULL);
}

/* A namespace is released by PUT finalize; our controllers may POST it. */
static void verb_finalize(sp_call *c) {
    c->op.sub = SP_STR("");
    if (c->info.verb == SP_REQ_CREATE)
        sp_verb_update(c);
    else
        plain_verbs(c);
}

enum {
    V_GET = 1 << SP_REQ_GET,
    V_PUT = 1 << SP_REQ_UPDATE,
    V_PATCH = 1 << SP_REQ_PATCH,
    V_POST = 1 << SP_REQ_CREATE
};

static bool has_sub(const sp_resource *row, unsigned flag) {
    bool is_namespace = !row->group[0] && strcmp(row->plural, "namespaces") == 0;
    return (row->subresources & flag) || (flag == SP_SUB_FINALIZE && is_namespace);
}

static const struct sub {
    const char *name;
    unsigned flag, verbs;
    void (*run)(sp_call *c);
} subs[] = {
    {"status", SP_SUB_STATUS, V_GET | V_PUT | V_PATCH, plain_verbs},
    {"scale", SP_SUB_SCALE, V_GET | V_PUT | V_PATCH, verb_scale},
    {"log", SP_SUB_LOG, V_GET, sp_pod_log},
    {"exec", SP_SUB_LOG, V_GET | V_POST, sp_pod_stream},
    {"attach", SP_SUB_LOG, V_GET | V_POST, sp_pod_stream},
    {"portforward", SP_SUB_LOG, V_GET | V_POST, sp_pod_stream},
    {"binding", SP_SUB_BINDING, V_POST, verb_binding},
    {"eviction", SP_SUB_EVICTION, V_POST, verb_eviction},
    {"finalize", SP_SUB_FINALIZE, V_PUT | V_POST, verb_finalize},
};

void sp_verb_subresource(sp_call *c) {
    sp_err err;
    for (size_t i = 0; i < SP_COUNT(subs); i++) {
        if (!sp_str_eqz(c->info.sub, subs[i].name) || !has_sub(c->op.served->row, subs[i].flag))
            continue;
        if (subs[i].verbs & 1u << c->info.verb) {
            c->op.sub = c->info.sub;
            subs[i].run(c);
            return;
        }
        sp_fail(&err, SP_METHOD_NOT_ALLOWED,
                "the server does not allow this method on the requested resource");
        sp_call_fail(c, &err, NULL);
        return;
    }
    sp_fail(&err, SP_NOT_FOUND, "the server could not find the requested resource");
    sp_call_fail(c, &err, NULL);
}
