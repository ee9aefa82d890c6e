/* kubectl auth: SelfSubjectAccessReview ("may I?") and SelfSubjectReview ("who am I?"). They are
 * created and answered, never stored. Today every authenticated user may do everything. */
#include "apiserver/protobuf.h"
#include "apiserver/server.h"

static const sp_schema string = {.type = SP_SCHEMA_STRING};

static const sp_field resource_fields[] = {
    {"namespace", 1, &string}, {"verb", 2, &string},     {"group", 3, &string},
    {"version", 4, &string},   {"resource", 5, &string}, {"subresource", 6, &string},
    {"name", 7, &string},
};
static const sp_schema resource = {
    .type = SP_SCHEMA_OBJECT, .fields = resource_fields, .field_count = SP_COUNT(resource_fields)};
static const sp_field path_fields[] = {{"path", 1, &string}, {"verb", 2, &string}};
static const sp_schema path = {
    .type = SP_SCHEMA_OBJECT, .fields = path_fields, .field_count = SP_COUNT(path_fields)};
static const sp_field spec_fields[] = {{"resourceAttributes", 1, &resource},
                                       {"nonResourceAttributes", 2, &path}};
static const sp_schema spec = {
    .type = SP_SCHEMA_OBJECT, .fields = spec_fields, .field_count = SP_COUNT(spec_fields)};
static const sp_field review_fields[] = {{"spec", 2, &spec}};
static const sp_schema access_review = {
    .type = SP_SCHEMA_OBJECT, .fields = review_fields, .field_count = SP_COUNT(review_fields)};
static const sp_schema self_review = {.type = SP_SCHEMA_OBJECT};

static void answer_access(sp_call *c, sp_json *obj) {
    sp_arena *a = c->op.arena;
    sp_json *status = sp_json_set(a, obj, "status", sp_json_object(a));
    sp_json_set_bool(a, status, "allowed", true);
    sp_json_set_z(a, status, "reason", "every authenticated user may do everything");
}

static void answer_self(sp_call *c, sp_json *obj) {
    sp_arena *a = c->op.arena;
    sp_json *user = sp_json_ensure_object(a, sp_json_ensure_object(a, obj, "status"), "userInfo");
    sp_json_set(a, user, "username", sp_json_new_str(a, c->user.name));
    if (c->user.uid.n) sp_json_set(a, user, "uid", sp_json_new_str(a, c->user.uid));
    sp_json *groups = sp_json_ensure_array(a, user, "groups");
    for (size_t i = 0; i < c->user.group_count; i++)
        sp_json_push(groups, sp_json_new_str(a, c->user.groups[i]));
    sp_json_push(groups, sp_json_new_z(a, "system:authenticated"));
}

static const struct review {
    const char *group, *version, *plural, *kind;
    const sp_schema *schema;
    void (*answer)(sp_call *c, sp_json *obj);
} reviews[] = {
    {"authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview",
     &access_review, answer_access},
    {"authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", &self_review,
     answer_self},
};

static const struct review *find(const sp_reqinfo *i) {
    for (size_t k = 0; k < SP_COUNT(reviews); k++)
        if (sp_str_eqz(i->plural, reviews[k].plural) && sp_str_eqz(i->group, reviews[k].group) &&
            sp_str_eqz(i->version, reviews[k].version) && !i->name.n)
            return &reviews[k];
    return NULL;
}

bool sp_is_review(const sp_reqinfo *i) {
    return find(i) != NULL;
}

static const sp_schema *review_schema(void *ctx, sp_str api_version, sp_str kind) {
    const struct review *r = ctx;
    (void)api_version;
    return sp_str_eqz(kind, r->kind) ? r->schema : NULL;
}

static bool parse(sp_call *c, const struct review *r, sp_json **ret, sp_err *err) {
    sp_str type = sp_headers_get(c->http->headers, c->http->header_count, "content-type");
    if (!sp_str_starts(type, SP_STR(SP_PROTOBUF_MEDIA_TYPE))) return sp_body_parse(c, ret, err);
    return sp_protobuf_decode(c->op.arena, c->http->body, review_schema, (void *)(uintptr_t)r, ret,
                              err);
}

void sp_verb_review(sp_call *c) {
    const struct review *r = find(&c->info);
    sp_arena *a = c->op.arena;
    sp_json *obj;
    sp_err err;
    bool ok = c->info.verb == SP_REQ_CREATE ||
              sp_fail(&err, SP_METHOD_NOT_ALLOWED,
                      "the server does not allow this method on the requested resource");
    ok = ok && parse(c, r, &obj, &err);
    if (ok && !sp_json_is(obj, SP_JSON_OBJECT))
        ok = sp_fail(&err, SP_BAD_REQUEST, "the body must be a %s object", r->kind);
    if (!ok) {
        sp_call_fail(c, &err, NULL);
        return;
    }
    sp_json_set(a, obj, "apiVersion", sp_json_printf(a, "%s/%s", r->group, r->version));
    sp_json_set_z(a, obj, "kind", r->kind);
    sp_json_ensure_object(a, obj, "metadata");
    r->answer(c, obj);
    sp_call_reply_json(c, 201, obj);
}
