/* The rules of metadata, the same for every kind but for the form of the name. */
#include "apiserver/types/admit.h"

enum { ANNOTATIONS_MAX_BYTES = 256 * 1024 };

/* Kinds whose name becomes part of a DNS name have stricter ones. */
static const struct name_rule {
    const char *group, *plural;
    const char *(*wrong)(sp_str s);
} name_rules[] = {
    {"", "namespaces", sp_wrong_label},
    {"", "services", sp_wrong_1035},
};

static const char *(*rule_of(const sp_resource *r))(sp_str s) {
    for (size_t i = 0; i < SP_COUNT(name_rules); i++) {
        if (!strcmp(r->group, name_rules[i].group) && !strcmp(r->plural, name_rules[i].plural)) {
            return name_rules[i].wrong;
        }
    }
    return sp_wrong_subdomain;
}

static void check_name(const sp_at *at, const sp_json *meta) {
    const sp_json *name = sp_json_get(meta, "name");
    const sp_json *base = sp_json_get(meta, "generateName");
    if (!sp_json_str(name).n) {
        sp_say_required(at, "name", "name or generateName is required");
        return;
    }
    const char *what = rule_of(at->admit->resource)(sp_json_str(name));
    bool generated = sp_json_str(base).n && sp_str_starts(sp_json_str(name), sp_json_str(base));
    if (what && generated) sp_say_invalid(at, "generateName", base, "%s", what);
    if (what) sp_say_invalid(at, "name", name, "%s", what);
}

static void check_annotations(const sp_at *at, const sp_json *meta) {
    sp_at here = sp_at_key(at, "annotations");
    size_t bytes = 0;
    sp_json_each(sp_json_get(meta, "annotations"), it) {
        /* Keys may be written in capitals, prefix included. */
        sp_auto(sp_buf) lower = {0};
        for (size_t i = 0; i < it->key.n; i++) {
            char c = it->key.p[i];
            sp_buf_addc(&lower, c >= 'A' && c <= 'Z' ? (char)(c + 32) : c);
        }
        const char *what = sp_wrong_qualified(sp_buf_str(&lower));
        sp_json name = {.type = SP_JSON_STRING, .text = it->key};
        if (what) sp_say_invalid(&here, NULL, &name, "%s", what);
        bytes += it->key.n + sp_json_str(it).n;
    }
    if (bytes > ANNOTATIONS_MAX_BYTES) sp_say_too_long(&here, NULL, ANNOTATIONS_MAX_BYTES);
}

static void check_owners(const sp_at *at, const sp_json *meta) {
    static const char *const wanted[] = {"apiVersion", "kind", "name", "uid"};
    sp_at list = sp_at_key(at, "ownerReferences");
    const sp_json *controller = NULL;
    size_t i = 0;
    sp_json_each(sp_json_get(meta, "ownerReferences"), it) {
        sp_at item = sp_at_item(&list, i++);
        for (size_t k = 0; k < SP_COUNT(wanted); k++) {
            const sp_json *v = sp_json_get(it, wanted[k]);
            if (sp_json_is(v, SP_JSON_STRING) && !v->text.n) {
                sp_say_invalid(&item, wanted[k], v, "must not be empty");
            }
        }
        if (!sp_json_bool(sp_json_get(it, "controller"), false)) continue;
        if (controller) {
            sp_say_invalid(&list, NULL, sp_json_get(meta, "ownerReferences"),
                           "Only one reference can have Controller set to true. Found \"true\" in "
                           "references for %s and %s",
                           sp_json_get_z(controller, "name"), sp_json_get_z(it, "name"));
        }
        controller = it;
    }
}

static void check_finalizers(const sp_at *at, const sp_json *meta) {
    sp_at list = sp_at_key(at, "finalizers");
    size_t i = 0;
    sp_json_each(sp_json_get(meta, "finalizers"), it) {
        sp_at item = sp_at_item(&list, i++);
        const char *what = sp_wrong_qualified(sp_json_str(it));
        if (what) sp_say_invalid(&item, NULL, it, "%s", what);
    }
}

bool sp_validate_meta(sp_admit *a, sp_err *err) {
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "metadata");
    const sp_json *meta = sp_member(a->obj, "metadata", SP_JSON_OBJECT);
    if (!meta) {
        sp_say_required(&root, "metadata", NULL);
        return true;
    }
    if (!a->old) check_name(&at, meta);
    sp_check_labels(&at, meta, "labels");
    check_annotations(&at, meta);
    check_owners(&at, meta);
    check_finalizers(&at, meta);
    return true;
}
