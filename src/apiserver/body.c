/* Request bodies and the options that come with them. */
#include "apiserver/server.h"

#include "apiserver/protobuf.h"
#include "data/yaml.h"

#include <stdio.h>

/* The media type without parameters, lower case enough for our comparisons; "" = none sent. */
static sp_str media_type(sp_call *c) {
    sp_str v = sp_headers_get(c->http->headers, c->http->header_count, "content-type");
    ptrdiff_t semi = sp_str_chr(v, ';');
    return sp_str_trim(semi < 0 ? v : sp_str_sub(v, 0, (size_t)semi));
}

static bool is_json(sp_str type) {
    /* Kubernetes takes a missing Content-Type for JSON; curl -d sends a form type, and means JSON
     * as well when it talks to us. */
    return !type.n || sp_str_ieq(type, SP_STR("application/json")) ||
           sp_str_ieq(type, SP_STR("application/x-www-form-urlencoded"));
}

static bool is_yaml(sp_str type) {
    return sp_str_ieq(type, SP_STR("application/yaml")) ||
           sp_str_ieq(type, SP_STR("application/x-yaml")) || sp_str_ieq(type, SP_STR("text/yaml"));
}

bool sp_body_parse(sp_call *c, sp_json **ret, sp_err *err) {
    sp_str type = media_type(c), body = c->http->body;
    sp_arena *a = c->op.arena;
    if (!body.n)
        return sp_fail(err, SP_BAD_REQUEST, "the request has no body; an object is expected");
    if (is_json(type)) return sp_json_parse(a, body, ret, err);
    if (is_yaml(type)) return sp_yaml_parse(a, body, ret, err);
    if (sp_str_ieq(type, SP_STR(SP_PROTOBUF_MEDIA_TYPE)))
        return sp_protobuf_decode(a, body, sp_builtin_schema, NULL, ret, err);
    return sp_fail(err, SP_UNSUPPORTED_MEDIA,
                   "the body of the request was in an unknown format - accepted media types "
                   "include: application/json, application/yaml, " SP_PROTOBUF_MEDIA_TYPE
                   " (got %.*s)",
                   SP_ARG(type));
}

static bool set_dry_run(sp_call *c, sp_str v, sp_err *err) {
    if (!sp_str_eqz(v, "All"))
        return sp_fail(err, SP_BAD_REQUEST, "dryRun: \"%.*s\" is not known; only \"All\" is",
                       SP_ARG(v));
    c->op.dry_run = true;
    return true;
}

bool sp_body_write_options(sp_call *c, sp_err *err) {
    sp_str v;
    if (sp_call_query(c, "dryRun", &v) && v.n && !set_dry_run(c, v, err)) return false;
    if (!sp_call_query(c, "fieldValidation", &v) || !v.n || sp_str_eqz(v, "Warn")) return true;
    if (sp_str_eqz(v, "Strict"))
        c->op.validation = SP_FIELDS_STRICT;
    else if (sp_str_eqz(v, "Ignore"))
        c->op.validation = SP_FIELDS_IGNORE;
    else
        return sp_fail(err, SP_BAD_REQUEST,
                       "fieldValidation: \"%.*s\" is not known; Ignore, Warn and Strict are",
                       SP_ARG(v));
    return true;
}

static bool set_propagation(sp_str v, sp_propagation *ret, sp_err *err) {
    static const struct {
        const char *name;
        sp_propagation value;
    } rows[] = {{"Background", SP_PROPAGATE_BACKGROUND},
                {"Foreground", SP_PROPAGATE_FOREGROUND},
                {"Orphan", SP_PROPAGATE_ORPHAN}};
    for (size_t i = 0; i < SP_COUNT(rows); i++)
        if (sp_str_eqz(v, rows[i].name)) {
            *ret = rows[i].value;
            return true;
        }
    return sp_fail_field(err, SP_BAD_REQUEST, "propagationPolicy",
                         "propagationPolicy \"%.*s\" is not known; Background, Foreground and "
                         "Orphan are",
                         SP_ARG(v));
}

static bool from_query(sp_call *c, sp_delete_options *o, sp_err *err) {
    sp_str v;
    if (sp_call_query(c, "dryRun", &v) && v.n && !set_dry_run(c, v, err)) return false;
    if (sp_call_query(c, "gracePeriodSeconds", &v) && v.n) {
        uint64_t seconds;
        if (!sp_str_u64(v, &seconds) || seconds > INT32_MAX)
            return sp_fail(err, SP_BAD_REQUEST, "gracePeriodSeconds: \"%.*s\" is no whole number",
                           SP_ARG(v));
        o->grace_seconds = (int64_t)seconds;
    }
    if (sp_call_query(c, "propagationPolicy", &v) && v.n &&
        !set_propagation(v, &o->propagation, err))
        return false;
    if (sp_call_query_true(c, "orphanDependents")) o->propagation = SP_PROPAGATE_ORPHAN;
    return true;
}

static bool has_type(const sp_json *parent, const char *key, sp_json_type wanted, sp_err *err) {
    const sp_json *v = sp_json_get(parent, key);
    if (!v || v->type == SP_JSON_NULL || v->type == wanted) return true;
    return sp_fail_field(err, SP_BAD_REQUEST, key, "DeleteOptions: %s: %s is wrong there", key,
                         sp_json_type_name(v));
}

/* Whoever sets a condition wrongly must not lose the object. */
static bool check_document(const sp_json *j, sp_err *err) {
    const sp_json *pre = sp_json_get(j, "preconditions");
    const sp_json *grace = sp_json_get(j, "gracePeriodSeconds");
    if (!sp_json_is(j, SP_JSON_OBJECT))
        return sp_fail(err, SP_BAD_REQUEST, "DeleteOptions must be an object, not %s",
                       sp_json_type_name(j));
    if (!has_type(j, "preconditions", SP_JSON_OBJECT, err) ||
        !has_type(pre, "uid", SP_JSON_STRING, err) ||
        !has_type(pre, "resourceVersion", SP_JSON_STRING, err) ||
        !has_type(j, "propagationPolicy", SP_JSON_STRING, err) ||
        !has_type(j, "orphanDependents", SP_JSON_BOOL, err) ||
        !has_type(j, "dryRun", SP_JSON_ARRAY, err))
        return false;
    if (!grace || grace->type == SP_JSON_NULL || sp_json_int(grace, -1) >= 0) return true;
    return sp_fail_field(err, SP_BAD_REQUEST, "gracePeriodSeconds",
                         "DeleteOptions: gracePeriodSeconds must be a whole number from 0");
}

static bool from_document(sp_call *c, const sp_json *j, sp_delete_options *o, sp_err *err) {
    if (!check_document(j, err)) return false;
    const sp_json *grace = sp_json_get(j, "gracePeriodSeconds");
    const sp_json *pre = sp_json_get(j, "preconditions");
    sp_str policy = sp_json_str(sp_json_get(j, "propagationPolicy"));
    if (grace) o->grace_seconds = sp_json_int(grace, -1);
    if (policy.n && !set_propagation(policy, &o->propagation, err)) return false;
    if (sp_json_bool(sp_json_get(j, "orphanDependents"), false))
        o->propagation = SP_PROPAGATE_ORPHAN;
    o->uid = sp_json_str(sp_json_get(pre, "uid"));
    o->resource_version = sp_json_str(sp_json_get(pre, "resourceVersion"));
    sp_json_each(sp_json_get(j, "dryRun"), d) {
        if (!set_dry_run(c, sp_json_str(d), err)) return false;
    }
    return true;
}

bool sp_body_delete_options(sp_call *c, sp_delete_options *ret, sp_err *err) {
    sp_delete_options o = {.grace_seconds = -1};
    sp_json *j = NULL;
    if (!from_query(c, &o, err)) return false;
    if (c->http->body.n) {
        if (!sp_body_parse(c, &j, err) || !from_document(c, j, &o, err)) return false;
    }
    *ret = o;
    return true;
}
