#include "kube/discovery.h"

const char sp_discovery_accept[] = "application/json;g=apidiscovery.k8s.io;v=v2;as="
                                   "APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v="
                                   "v2beta1;as=APIGroupDiscoveryList";

static bool has_verb(const sp_json *verbs, const char *verb) {
    sp_json_each(verbs, v) if (sp_str_eqz(sp_json_str(v), verb)) return true;
    return false;
}

static bool is_listed(const sp_served_kinds *k, sp_str group, sp_str plural) {
    sp_vec_each(k, x) {
        if (sp_str_eqz(group, x->gvr.group) && sp_str_eqz(plural, x->gvr.plural)) return true;
    }
    return false;
}

static void add_resource(sp_arena *a, sp_str group, sp_str version, const sp_json *r,
                         sp_served_kinds *ret) {
    sp_str plural = sp_json_str(sp_json_get(r, "resource"));
    if (!plural.n || is_listed(ret, group, plural)) return;
    const sp_json *verbs = sp_json_get(r, "verbs");
    sp_str scope = sp_json_str(sp_json_get(r, "scope"));
    sp_str kind = sp_json_str(sp_json_dig(r, "responseKind", "kind", NULL));
    sp_served_kind k = {.gvr = {.group = sp_arena_strz(a, group),
                                .version = sp_arena_strz(a, version),
                                .plural = sp_arena_strz(a, plural),
                                .kind = sp_arena_strz(a, kind),
                                .cluster = sp_str_eqz(scope, "Cluster")},
                        .can_list = has_verb(verbs, "list"),
                        .can_watch = has_verb(verbs, "watch"),
                        .can_delete = has_verb(verbs, "delete"),
                        .can_delete_collection = has_verb(verbs, "deletecollection")};
    sp_vec_push(ret, k);
}

void sp_discovery_add(sp_arena *a, const sp_json *doc, sp_served_kinds *ret) {
    const sp_json *groups = sp_json_get(doc, "items");
    sp_json_each(groups, g) {
        sp_str group = sp_obj_name(g);
        const sp_json *versions = sp_json_get(g, "versions");
        sp_json_each(versions, v) {
            sp_str version = sp_json_str(sp_json_get(v, "version"));
            const sp_json *resources = sp_json_get(v, "resources");
            sp_json_each(resources, r) add_resource(a, group, version, r, ret);
        }
    }
}

const sp_served_kind *sp_discovery_find(const sp_served_kinds *k, sp_str api_version, sp_str kind) {
    sp_str group, version;
    sp_key_split(api_version, &group, &version);
    sp_vec_each(k, x) {
        if (sp_str_eqz(group, x->gvr.group) && sp_str_eqz(kind, x->gvr.kind)) return x;
    }
    return NULL;
}
