/* Rules of pod specs as a whole, and what of a pod may change after it was made. */
#include "apiserver/types/admit.h"

#include <stdio.h>

/* --- volumes --- */

/* What some sources cannot do without. */
static const struct {
    const char *source, *needs;
} source_needs[] = {
    {"hostPath", "path"},
    {"configMap", "name"},
    {"secret", "secretName"},
    {"nfs", "server"},
    {"persistentVolumeClaim", "claimName"},
    {"csi", "driver"},
};

static void check_volume(const sp_at *at, const sp_json *volume) {
    size_t sources = 0;
    if (sp_check_present(at, volume, "name")) sp_check_text(at, volume, "name", sp_wrong_label);
    sp_json_each(volume, it) {
        if (sp_str_eqz(it->key, "name") || it->type != SP_JSON_OBJECT) continue;
        char key[64];
        snprintf(key, sizeof key, "%.*s", SP_ARG(it->key));
        if (sources++) sp_say_forbidden(at, key, "may not specify more than 1 volume type");
    }
    if (!sources) sp_say_required(at, NULL, "must specify a volume type");
    for (size_t i = 0; i < SP_COUNT(source_needs); i++) {
        const sp_json *source = sp_json_get(volume, source_needs[i].source);
        sp_at here = sp_at_key(at, source_needs[i].source);
        if (source) sp_check_present(&here, source, source_needs[i].needs);
    }
}

static void check_volumes(const sp_at *at, const sp_json *spec) {
    sp_at list = sp_at_key(at, "volumes");
    const sp_json *volumes = sp_json_get(spec, "volumes");
    size_t i = 0;
    sp_json_each(volumes, it) {
        sp_at item = sp_at_item(&list, i++);
        const sp_json *name = sp_json_get(it, "name");
        check_volume(&item, it);
        sp_json_each(volumes, other) {
            if (other == it) break;
            const sp_json *theirs = sp_json_get(other, "name");
            if (name && theirs && sp_json_equal(name, theirs))
                sp_say_duplicate(&item, "name", name);
        }
    }
}

/* --- where it may run --- */

static void check_tolerations(const sp_at *at, const sp_json *spec) {
    sp_at list = sp_at_key(at, "tolerations");
    size_t i = 0;
    sp_json_each(sp_json_get(spec, "tolerations"), it) {
        sp_at item = sp_at_item(&list, i++);
        const sp_json *key = sp_json_get(it, "key"), *how = sp_json_get(it, "operator");
        const sp_json *value = sp_json_get(it, "value");
        bool exists = sp_str_eqz(sp_json_str(how), "Exists");
        sp_check_text(&item, it, "key", sp_wrong_qualified);
        if (!sp_json_str(key).n && !exists) {
            sp_say_invalid(&item, "operator", how,
                           "operator must be Exists when `key` is empty, which means \"match all "
                           "values and all keys\"");
        }
        if (exists && sp_json_str(value).n) {
            sp_say_invalid(&item, "operator", value,
                           "value must be empty when `operator` is 'Exists'");
        }
    }
}

/* --- the rest --- */

static void check_dns(const sp_at *at, const sp_json *spec) {
    sp_at here = sp_at_key(at, "dnsConfig");
    const sp_json *servers = sp_json_dig(spec, "dnsConfig", "nameservers", NULL);
    bool none = sp_str_eqz(sp_json_str(sp_json_get(spec, "dnsPolicy")), "None");
    if (none && !(servers && servers->count)) {
        sp_say_required(&here, servers || sp_json_get(spec, "dnsConfig") ? "nameservers" : NULL,
                        "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
}

void sp_pod_spec_validate(const sp_at *at, const sp_json *spec) {
    const sp_json *containers = sp_json_get(spec, "containers");
    if (!containers || !containers->count) sp_say_required(at, "containers", NULL);
    check_volumes(at, spec);
    sp_containers_validate(at, spec, "initContainers");
    sp_containers_validate(at, spec, "containers");
    sp_check_min(at, spec, "terminationGracePeriodSeconds", 0);
    sp_check_min(at, spec, "activeDeadlineSeconds", 1);
    sp_check_labels(at, spec, "nodeSelector");
    check_tolerations(at, spec);
    check_dns(at, spec);
    sp_check_text(at, spec, "hostname", sp_wrong_label);
    sp_check_text(at, spec, "subdomain", sp_wrong_label);
    sp_check_text(at, spec, "serviceAccountName", sp_wrong_subdomain);
    sp_check_text(at, spec, "nodeName", sp_wrong_subdomain);
}

/* --- what may change --- */

/* Copies the images of `from` over those of `to`, container by container. */
static void same_images(sp_arena *a, sp_json *to, const sp_json *from, const char *key) {
    const sp_json *source = sp_json_get(from, key);
    size_t i = 0;
    sp_json_each(sp_json_get(to, key), it) {
        const sp_json *image = sp_json_get(sp_json_at(source, i++), "image");
        if (image) sp_json_set(a, it, "image", sp_json_clone(a, image));
    }
}

static void same_member(sp_arena *a, sp_json *to, const sp_json *from, const char *key) {
    const sp_json *v = sp_json_get(from, key);
    if (v)
        sp_json_set(a, to, key, sp_json_clone(a, v));
    else
        sp_json_remove(to, key);
}

static bool only_adds(const sp_json *old_list, const sp_json *new_list) {
    sp_json_each(old_list, before) {
        bool kept = false;
        sp_json_each(new_list, now) kept |= sp_json_equal(before, now);
        if (!kept) return false;
    }
    return true;
}

static void check_change(const sp_at *at, const sp_json *old_spec, const sp_json *spec) {
    static const char *const free_members[] = {"activeDeadlineSeconds", "schedulingGates"};
    sp_arena *a = at->admit->arena;
    sp_json *allowed = sp_json_clone(a, spec);
    same_images(a, allowed, old_spec, "containers");
    same_images(a, allowed, old_spec, "initContainers");
    for (size_t i = 0; i < SP_COUNT(free_members); i++) {
        same_member(a, allowed, old_spec, free_members[i]);
    }
    if (only_adds(sp_json_get(old_spec, "tolerations"), sp_json_get(spec, "tolerations"))) {
        same_member(a, allowed, old_spec, "tolerations");
    }
    if (sp_json_equal(allowed, old_spec)) return;
    sp_say_forbidden(at, NULL,
                     "pod updates may not change fields other than `spec.containers[*].image`,"
                     "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
                     "`spec.tolerations` (only additions to existing tolerations)");
}

bool sp_validate_pod(sp_admit *a, sp_err *err) {
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "spec");
    const sp_json *spec = sp_json_get(a->obj, "spec");
    if (a->subresource.n) return true;
    sp_pod_spec_validate(&at, spec);
    bool bound = sp_str_eqz(a->subresource, "binding"); /* the one way to set nodeName */
    if (a->old && !bound && !a->causes->list.n)
        check_change(&at, sp_json_get(a->old, "spec"), spec);
    return true;
}
