/* ConfigMaps, Secrets and Namespaces. */
#include "apiserver/types/admit.h"
#include "data/base64.h"

#include <stdio.h>

enum { DATA_MAX_BYTES = 1024 * 1024 };

/* --- ConfigMap --- */

static size_t check_keys(const sp_at *at, const sp_json *obj, const char *key) {
    sp_at here = sp_at_key(at, key);
    size_t bytes = 0;
    sp_json_each(sp_json_get(obj, key), it) {
        const char *what = sp_wrong_config_key(it->key);
        if (what) sp_say_invalid_entry(&here, it->key, what);
        bytes += sp_json_str(it).n;
    }
    return bytes;
}

static void check_frozen(sp_admit *a, const sp_at *at, const char *const *keys, size_t n) {
    if (!sp_json_bool(sp_json_get(a->old, "immutable"), false)) return;
    if (!sp_json_bool(sp_json_get(a->obj, "immutable"), false)) {
        sp_say_forbidden(at, "immutable", "field is immutable when `immutable` is set");
    }
    for (size_t i = 0; i < n; i++) {
        const sp_json *was = sp_json_get(a->old, keys[i]), *is = sp_json_get(a->obj, keys[i]);
        bool same = was && is ? sp_json_equal(was, is) : was == is;
        if (!same) sp_say_forbidden(at, keys[i], "field is immutable when `immutable` is set");
    }
}

bool sp_prepare_config_map(sp_admit *a, sp_err *err) {
    return true;
}

bool sp_validate_config_map(sp_admit *a, sp_err *err) {
    static const char *const frozen[] = {"data", "binaryData"};
    sp_at at = sp_at_root(a), binary = sp_at_key(&at, "binaryData");
    const sp_json *data = sp_json_get(a->obj, "data");
    size_t bytes = check_keys(&at, a->obj, "data");
    bytes += check_keys(&at, a->obj, "binaryData") / 4 * 3;
    sp_json_each(sp_json_get(a->obj, "binaryData"), it) {
        if (sp_json_get_str(data, it->key)) {
            sp_say_invalid_entry(&binary, it->key, "duplicate of key present in data");
        }
    }
    if (bytes > DATA_MAX_BYTES) sp_say_too_long(&at, "data", DATA_MAX_BYTES);
    check_frozen(a, &at, frozen, SP_COUNT(frozen));
    return true;
}

/* --- Secret --- */

/* stringData is only for writing: its entries go into data, encoded. */
bool sp_prepare_secret(sp_admit *a, sp_err *err) {
    const sp_json *plain = sp_member(a->obj, "stringData", SP_JSON_OBJECT);
    if (!plain) return true;
    sp_json *data = sp_open_object(a->arena, a->obj, "data");
    if (!data) return true;
    sp_json_each(plain, it) {
        if (it->type != SP_JSON_STRING) return true; /* the schema will say so */
    }
    sp_json_each(plain, it) {
        sp_auto(sp_buf) b = {0};
        sp_base64_encode(&b, it->text);
        sp_json_set_str(a->arena, data, it->key, sp_json_new_str(a->arena, sp_buf_str(&b)));
    }
    sp_json_remove(a->obj, "stringData");
    return true;
}

/* Types that mean something need their keys. */
static const struct {
    const char *type, *keys[2];
    bool any; /* one of them is enough */
} secret_types[] = {
    {"kubernetes.io/tls", {"tls.crt", "tls.key"}, false},
    {"kubernetes.io/dockerconfigjson", {".dockerconfigjson", NULL}, false},
    {"kubernetes.io/dockercfg", {".dockercfg", NULL}, false},
    {"kubernetes.io/ssh-auth", {"ssh-privatekey", NULL}, false},
    {"kubernetes.io/basic-auth", {"username", "password"}, true},
};

static void check_secret_type(const sp_at *at, const sp_json *secret) {
    const char *type = sp_json_get_z(secret, "type");
    const sp_json *data = sp_json_get(secret, "data");
    for (size_t i = 0; i < SP_COUNT(secret_types); i++) {
        const char *const *keys = secret_types[i].keys;
        bool first = sp_json_get(data, keys[0]) != NULL;
        bool second = keys[1] && sp_json_get(data, keys[1]);
        char path[64];
        if (strcmp(type, secret_types[i].type) != 0 || (secret_types[i].any && (first || second))) {
            continue;
        }
        for (size_t k = 0; k < 2 && keys[k]; k++) {
            if (sp_json_get(data, keys[k])) continue;
            snprintf(path, sizeof path, "data[%s]", keys[k]);
            sp_say_required(at, path, NULL);
        }
    }
}

bool sp_validate_secret(sp_admit *a, sp_err *err) {
    static const char *const frozen[] = {"data"};
    sp_at at = sp_at_root(a);
    if (check_keys(&at, a->obj, "data") / 4 * 3 > DATA_MAX_BYTES) {
        sp_say_too_long(&at, "data", DATA_MAX_BYTES);
    }
    check_secret_type(&at, a->obj);
    if (a->old) sp_check_immutable(&at, a->old, a->obj, "type");
    check_frozen(a, &at, frozen, SP_COUNT(frozen));
    return true;
}

/* --- Namespace --- */

/* It carries its name as a label, for selectors, and stays until its content is gone. */
bool sp_prepare_namespace(sp_admit *a, sp_err *err) {
    sp_json *meta = sp_member(a->obj, "metadata", SP_JSON_OBJECT);
    if (a->subresource.n || !meta) return true;
    sp_json *labels = sp_open_object(a->arena, meta, "labels");
    sp_str name = sp_obj_name(a->obj);
    if (labels && name.n) {
        sp_json_set(a->arena, labels, "kubernetes.io/metadata.name",
                    sp_json_new_str(a->arena, name));
    }
    if (a->old) return true;
    sp_json *spec = sp_open_object(a->arena, a->obj, "spec");
    if (spec && !sp_json_get(spec, "finalizers")) {
        sp_json *list = sp_json_set(a->arena, spec, "finalizers", sp_json_array(a->arena));
        sp_json_push(list, sp_json_new_z(a->arena, "kubernetes"));
    }
    sp_json *status = sp_open_object(a->arena, a->obj, "status");
    if (status) sp_default_z(a->arena, status, "phase", "Active");
    return true;
}

bool sp_validate_namespace(sp_admit *a, sp_err *err) {
    return true;
}
