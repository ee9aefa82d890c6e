/* Reading the parts that every Kubernetes object has: names, metadata, owners. Each reader takes
 * NULL and half-written documents and answers "nothing there", so that callers chain them. */
#include "kube/object.h"

sp_str sp_gvr_api_version(sp_arena *a, const sp_gvr *g) {
    if (!g->group[0]) return sp_str_z(g->version);
    return sp_arena_printf(a, "%s/%s", g->group, g->version);
}

sp_str sp_gvr_path(sp_arena *a, const sp_gvr *g, sp_str ns, sp_str name, const char *sub) {
    sp_auto(sp_buf) b = {0};
    if (g->group[0])
        sp_buf_printf(&b, "/apis/%s/%s", g->group, g->version);
    else
        sp_buf_printf(&b, "/api/%s", g->version);
    if (ns.n && !g->cluster) sp_buf_printf(&b, "/namespaces/%.*s", SP_ARG(ns));
    sp_buf_printf(&b, "/%s", g->plural);
    if (name.n) sp_buf_printf(&b, "/%.*s", SP_ARG(name));
    if (sub && *sub) sp_buf_printf(&b, "/%s", sub);
    return sp_arena_str(a, sp_buf_str(&b));
}

static sp_str meta_str(const sp_json *o, const char *field) {
    return sp_json_str(sp_json_dig(o, "metadata", field, NULL));
}

sp_str sp_obj_name(const sp_json *o) {
    return meta_str(o, "name");
}
sp_str sp_obj_namespace(const sp_json *o) {
    return meta_str(o, "namespace");
}
sp_str sp_obj_uid(const sp_json *o) {
    return meta_str(o, "uid");
}
sp_str sp_obj_kind(const sp_json *o) {
    return sp_json_str(sp_json_get(o, "kind"));
}

uint64_t sp_obj_rv(const sp_json *o) {
    uint64_t v;
    return sp_str_u64(meta_str(o, "resourceVersion"), &v) ? v : 0;
}

int64_t sp_obj_generation(const sp_json *o) {
    return sp_json_int(sp_json_dig(o, "metadata", "generation", NULL), 0);
}

bool sp_obj_deleting(const sp_json *o) {
    return meta_str(o, "deletionTimestamp").n > 0;
}

sp_str sp_obj_label(const sp_json *o, const char *key) {
    return sp_json_str(sp_json_dig(o, "metadata", "labels", key, NULL));
}

sp_str sp_obj_annotation(const sp_json *o, const char *key) {
    return sp_json_str(sp_json_dig(o, "metadata", "annotations", key, NULL));
}

sp_str sp_obj_key(sp_arena *a, const sp_json *o) {
    sp_str ns = sp_obj_namespace(o), name = sp_obj_name(o);
    if (!ns.n) return sp_arena_str(a, name);
    return sp_arena_printf(a, "%.*s/%.*s", SP_ARG(ns), SP_ARG(name));
}

void sp_key_split(sp_str key, sp_str *ret_ns, sp_str *ret_name) {
    ptrdiff_t slash = sp_str_chr(key, '/');
    *ret_ns = slash < 0 ? (sp_str){0} : sp_str_sub(key, 0, (size_t)slash);
    *ret_name = slash < 0 ? key : sp_str_from(key, (size_t)slash + 1);
}

/* ---------- owners ---------- */

const sp_json *sp_obj_controller(const sp_json *o) {
    const sp_json *refs = sp_json_dig(o, "metadata", "ownerReferences", NULL);
    sp_json_each(refs, r) if (sp_json_bool(sp_json_get(r, "controller"), false)) return r;
    return NULL;
}

bool sp_obj_controlled_by(const sp_json *o, const sp_json *owner) {
    sp_str uid = sp_obj_uid(owner);
    return uid.n && sp_str_eq(sp_json_str(sp_json_get(sp_obj_controller(o), "uid")), uid);
}

sp_json *sp_owner_ref(sp_arena *a, const sp_json *owner) {
    sp_json *r = sp_json_object(a);
    sp_json_set(a, r, "apiVersion", sp_json_new_z(a, sp_json_get_z(owner, "apiVersion")));
    sp_json_set(a, r, "kind", sp_json_new_str(a, sp_obj_kind(owner)));
    sp_json_set(a, r, "name", sp_json_new_str(a, sp_obj_name(owner)));
    sp_json_set(a, r, "uid", sp_json_new_str(a, sp_obj_uid(owner)));
    sp_json_set_bool(a, r, "controller", true);
    sp_json_set_bool(a, r, "blockOwnerDeletion", true);
    return r;
}

bool sp_obj_has_finalizer(const sp_json *o, const char *finalizer) {
    const sp_json *list = sp_json_dig(o, "metadata", "finalizers", NULL);
    sp_json_each(list, f) if (sp_str_eqz(sp_json_str(f), finalizer)) return true;
    return false;
}

/* ---------- names (RFC 1123, as Kubernetes narrows it) ---------- */

static bool is_lower_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool label_shape(sp_str s) {
    if (!s.n || !is_lower_alnum(s.p[0]) || !is_lower_alnum(s.p[s.n - 1])) return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_lower_alnum(s.p[i]) && s.p[i] != '-') return false;
    return true;
}

bool sp_name_is_label(sp_str s) {
    return s.n <= 63 && label_shape(s);
}

bool sp_name_is_subdomain(sp_str s) {
    if (!s.n || s.n > 253) return false;
    for (sp_str part, rest = s; sp_str_cut(&rest, '.', &part);)
        if (!label_shape(part)) return false;
    return true;
}

/* The part after the slash of a label key, and label values. */
static bool qualified_shape(sp_str s) {
    if (!s.n || s.n > 63) return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
        bool edge = i == 0 || i == s.n - 1;
        if (!alnum && (edge || (c != '-' && c != '_' && c != '.'))) return false;
    }
    return true;
}

bool sp_label_is_key(sp_str s) {
    ptrdiff_t slash = sp_str_chr(s, '/');
    if (slash < 0) return qualified_shape(s);
    return sp_name_is_subdomain(sp_str_sub(s, 0, (size_t)slash)) &&
           qualified_shape(sp_str_from(s, (size_t)slash + 1));
}

bool sp_label_is_value(sp_str s) {
    return !s.n || qualified_shape(s);
}
