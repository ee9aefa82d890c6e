/* Cells of nodes. */
#include "apiserver/types/cells.h"

CELL(node_status) {
    const sp_json *ready = sp_condition_get(obj, "Ready");
    sp_str value = sp_json_str(sp_json_get(ready, "status"));
    sp_buf b = {0};
    if (!ready)
        sp_buf_addz(&b, "Unknown");
    else
        sp_buf_addz(&b, sp_str_eqz(value, "True") ? "Ready" : "NotReady");
    if (sp_json_bool(sp_json_dig(obj, "spec", "unschedulable", NULL), false)) {
        sp_cell_join(&b, SP_STR("SchedulingDisabled"));
    }
    return sp_cell_buf(a, &b);
}

CELL(node_roles) {
    const sp_str prefix = SP_STR("node-role.kubernetes.io/");
    sp_buf b = {0};
    sp_json_each(sp_json_dig(obj, "metadata", "labels", NULL), it) {
        if (sp_str_starts(it->key, prefix) && it->key.n > prefix.n) {
            sp_cell_join(&b, sp_str_from(it->key, prefix.n));
        } else if (sp_str_eqz(it->key, "kubernetes.io/role") && it->text.n) {
            sp_cell_join(&b, it->text);
        }
    }
    return sp_cell_buf(a, &b);
}

static sp_json *address(sp_arena *a, const sp_json *node, const char *type) {
    sp_json_each(sp_json_dig(node, "status", "addresses", NULL), it) {
        if (!strcmp(sp_json_get_z(it, "type"), type)) {
            return sp_cell_text(a, sp_json_str(sp_json_get(it, "address")));
        }
    }
    return sp_json_new_z(a, "<none>");
}

CELL(node_internal_ip) {
    return address(a, obj, "InternalIP");
}
CELL(node_external_ip) {
    return address(a, obj, "ExternalIP");
}

static sp_json *info(sp_arena *a, const sp_json *node, const char *key) {
    sp_str s = sp_json_str(sp_json_dig(node, "status", "nodeInfo", key, NULL));
    return s.n ? sp_json_new_str(a, s) : sp_json_new_z(a, "<unknown>");
}

CELL(node_os) {
    return info(a, obj, "osImage");
}
CELL(node_kernel) {
    return info(a, obj, "kernelVersion");
}
CELL(node_runtime) {
    return info(a, obj, "containerRuntimeVersion");
}
