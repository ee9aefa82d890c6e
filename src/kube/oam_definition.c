/* TraitDefinition and WorkloadDefinition: those the platform ships, and what any of them says. */
#include "kube/oam_model.h"

#include <stdio.h>

/* cron-scaler says appliesTo, as the definition the articles print, which may be applied over it.
 * `extension` is free for the platform (OAM v1alpha2): what `kubectl describe` shows a person who
 * wants to use the trait. */
static const char *const shipped[] = {
    "{\"apiVersion\":\"core.oam.dev/v1alpha2\",\"kind\":\"WorkloadDefinition\",\"metadata\":{"
    "\"name\":\"containerizedworkloads.core.oam.dev\",\"annotations\":{"
    "\"definition.oam.dev/description\":\"A long-running service of one or more containers\"}},"
    "\"spec\":{\"definitionRef\":{\"name\":\"containerizedworkloads.core.oam.dev\","
    "\"version\":\"v1alpha2\"},\"childResourceKinds\":["
    "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\"},"
    "{\"apiVersion\":\"v1\",\"kind\":\"Service\"},"
    "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\"}],"
    "\"podSpecPath\":\"spec.template.spec\",\"extension\":{"
    "\"becomes\":\"a Deployment, a Service if a container has ports, a ConfigMap for each "
    "configuration file\"}}}",

    "{\"apiVersion\":\"core.oam.dev/v1alpha2\",\"kind\":\"WorkloadDefinition\",\"metadata\":{"
    "\"name\":\"deployments.apps\",\"annotations\":{"
    "\"definition.oam.dev/description\":\"A Deployment as Kubernetes knows it\"}},"
    "\"spec\":{\"definitionRef\":{\"name\":\"deployments.apps\",\"version\":\"v1\"},"
    "\"podSpecPath\":\"spec.template.spec\"}}",

    "{\"apiVersion\":\"core.oam.dev/v1alpha2\",\"kind\":\"TraitDefinition\",\"metadata\":{"
    "\"name\":\"autoscaler\",\"annotations\":{\"definition.oam.dev/description\":"
    "\"Keeps the number of replicas between two bounds, by load\"}},"
    "\"spec\":{\"appliesToWorkloads\":[\"containerizedworkloads.core.oam.dev\","
    "\"deployments.apps\"],\"conflictsWith\":[\"manual-scaler\",\"cron-scaler\"],"
    "\"definitionRef\":{\"name\":\"autoscalers.core.oam.dev\",\"version\":\"v1alpha2\"},"
    "\"extension\":{\"becomes\":\"a HorizontalPodAutoscaler (autoscaling/v2)\","
    "\"decides\":\"spec.replicas of the workload\",\"properties\":{"
    "\"minimum\":\"integer, default 1: never fewer replicas than this\","
    "\"maximum\":\"integer, default minimum + 10: never more\","
    "\"cpu\":\"integer, default 80: the average CPU use to aim at, percent of what is requested\","
    "\"memory\":\"integer: the same for memory; none by default\"},"
    "\"example\":{\"trait\":{\"apiVersion\":\"core.oam.dev/v1alpha2\",\"kind\":\"AutoScaler\","
    "\"spec\":{\"minimum\":1,\"maximum\":9}}}}}}",

    "{\"apiVersion\":\"core.oam.dev/v1alpha2\",\"kind\":\"TraitDefinition\",\"metadata\":{"
    "\"name\":\"manual-scaler\",\"annotations\":{\"definition.oam.dev/description\":"
    "\"Runs a fixed number of replicas\"}},"
    "\"spec\":{\"appliesToWorkloads\":[\"containerizedworkloads.core.oam.dev\","
    "\"deployments.apps\"],\"conflictsWith\":[\"autoscaler\",\"cron-scaler\"],"
    "\"definitionRef\":{\"name\":\"manualscalertraits.core.oam.dev\",\"version\":\"v1alpha2\"},"
    "\"extension\":{\"decides\":\"spec.replicas of the workload\",\"properties\":{"
    "\"replicaCount\":\"integer, required: how many replicas run\"},"
    "\"example\":{\"trait\":{\"apiVersion\":\"core.oam.dev/v1alpha2\","
    "\"kind\":\"ManualScalerTrait\",\"spec\":{\"replicaCount\":3}}}}}}",

    "{\"apiVersion\":\"core.oam.dev/v1alpha2\",\"kind\":\"TraitDefinition\",\"metadata\":{"
    "\"name\":\"security-policy\",\"annotations\":{\"definition.oam.dev/description\":"
    "\"Limits what the processes of the workload may do\"}},"
    "\"spec\":{\"appliesToWorkloads\":[\"containerizedworkloads.core.oam.dev\","
    "\"deployments.apps\"],"
    "\"definitionRef\":{\"name\":\"securitypolicies.app.alibaba.com\",\"version\":\"v1\"},"
    "\"extension\":{\"decides\":\"securityContext of every container, before the first one "
    "starts\",\"properties\":{"
    "\"allowPrivilegeEscalation\":\"boolean: may a process gain more privileges than its parent\","
    "\"privileged\":\"boolean: run with all privileges of the machine\","
    "\"readOnlyRootFilesystem\":\"boolean: nothing in the image can be changed\","
    "\"runAsNonRoot\":\"boolean: refuse to start as root\","
    "\"runAsUser\":\"integer: the user to run as\","
    "\"runAsGroup\":\"integer: the group to run as\","
    "\"capabilities\":\"object with add and drop: lists of capabilities\"},"
    "\"example\":{\"trait\":{\"apiVersion\":\"app.alibaba.com/v1\",\"kind\":\"SecurityPolicy\","
    "\"spec\":{\"allowPrivilegeEscalation\":false}}}}}}",

    "{\"apiVersion\":\"core.oam.dev/v1alpha2\",\"kind\":\"TraitDefinition\",\"metadata\":{"
    "\"name\":\"cron-scaler\",\"annotations\":{\"definition.oam.dev/description\":"
    "\"Changes the bounds of an autoscaler by the clock\"}},"
    "\"spec\":{\"appliesTo\":[\"containerizedworkloads.core.oam.dev\","
    "\"deployments.apps\"],\"conflictsWith\":[\"autoscaler\",\"manual-scaler\"],"
    "\"definitionRef\":{\"name\":\"cronhpas.app.alibaba.com\",\"version\":\"v1\"},"
    "\"extension\":{\"becomes\":\"a CronHPA (app.alibaba.com/v1); this version checks and keeps "
    "it and does not yet act on its schedule\","
    "\"decides\":\"spec.replicas of the workload\",\"properties\":{"
    "\"timezone\":\"string, default UTC: where the clock hangs, as America/Los_Angeles\","
    "\"schedule\":\"list of {cron, minReplicas, maxReplicas}, or one cron text; cron has six "
    "fields: second minute hour day-of-month month day-of-week\","
    "\"template\":\"the autoscaler whose bounds change: spec.metrics, spec.scaleTargetRef\","
    "\"cpu\":\"integer: with a cron text, the average CPU use to aim at in percent\"},"
    "\"example\":{\"trait\":{\"apiVersion\":\"app.alibaba.com/v1\",\"kind\":\"CronHPA\","
    "\"spec\":{\"timezone\":\"America/Los_Angeles\",\"schedule\":["
    "{\"cron\":\"0 0 6 * * ?\",\"minReplicas\":20,\"maxReplicas\":25},"
    "{\"cron\":\"0 0 19 * * ?\",\"minReplicas\":1,\"maxReplicas\":9}]}}}}}}",
};

void sp_oam_builtin(sp_arena *a, sp_oam_objects *ret) {
    for (size_t i = 0; i < SP_COUNT(shipped); i++) {
        sp_json *j = NULL;
        sp_err err;
        sp_assert(sp_json_parse(a, sp_str_z(shipped[i]), &j, &err));
        sp_vec_push(ret, j);
    }
}

static sp_str referred(const sp_json *definition) {
    return sp_json_str(sp_json_dig(definition, "spec", "definitionRef", "name", NULL));
}

/* --- which definition a trait has --- */

typedef struct search {
    const sp_oam_trait *trait;
    const sp_json *found;
    int rank;
} search;

/* Several may refer to one kind: the one with the trait's own name wins, then the shipped name. */
static int rank_of(const sp_json *d, const sp_oam_trait *t) {
    if (!t->object) return sp_str_eq(sp_obj_name(d), t->name) ? 3 : 0;
    if (sp_oam_names_kind(sp_obj_name(d), t->group, t->name)) return 3;
    if (!sp_oam_names_kind(referred(d), t->group, t->name)) return 0;
    return t->type && sp_str_eqz(sp_obj_name(d), t->type->definition) ? 2 : 1;
}

static bool consider(void *ctx, const sp_json *definition) {
    search *s = ctx;
    int rank = rank_of(definition, s->trait);
    if (rank > s->rank) {
        s->rank = rank;
        s->found = definition;
    }
    return true;
}

const sp_json *sp_oam_find_definition(sp_arena *a, const sp_oam_lookup *lookup,
                                      const sp_oam_trait *t) {
    search s = {.trait = t};
    lookup->each(lookup->ctx, a, "core.oam.dev", "traitdefinitions", (sp_str){0}, consider, &s);
    return s.found;
}

/* --- appliesToWorkloads --- */

/* "core.oam.dev/v1alpha1.ContainerizedWorkload": group and kind count. */
static bool names_gvk(sp_str entry, sp_str group, sp_str kind) {
    ptrdiff_t slash = sp_str_chr(entry, '/'), dot = sp_str_rchr(entry, '.');
    return slash >= 0 && dot > slash &&
           sp_str_eq(sp_oam_real_group(sp_str_sub(entry, 0, (size_t)slash)), group) &&
           sp_str_eq(sp_str_from(entry, (size_t)dot + 1), kind);
}

static bool names_workload(sp_arena *a, sp_str entry, const sp_json *workload,
                           const sp_oam_lookup *lookup) {
    sp_str group =
        sp_oam_real_group(sp_oam_group_of(sp_json_str(sp_json_get(workload, "apiVersion"))));
    sp_str kind = sp_obj_kind(workload);
    if (sp_str_eqz(entry, "*") || names_gvk(entry, group, kind)) return true;
    if (sp_str_starts(entry, SP_STR("*.")))
        return sp_str_eq(sp_oam_real_group(sp_str_from(entry, 2)), group);
    if (sp_oam_names_kind(entry, group, kind)) return true;
    const sp_json *d =
        lookup->get(lookup->ctx, a, "core.oam.dev", "workloaddefinitions", (sp_str){0}, entry);
    return d && sp_oam_names_kind(referred(d), group, kind);
}

static const sp_json *applies_list(const sp_json *definition) {
    const sp_json *spec = sp_json_get(definition, "spec");
    const sp_json *list = sp_json_get(spec, "appliesToWorkloads");
    return list ? list : sp_json_get(spec, "appliesTo");
}

bool sp_oam_applies_to(sp_arena *a, const sp_json *definition, const sp_json *workload,
                       const sp_oam_lookup *lookup) {
    const sp_json *list = applies_list(definition);
    if (!list || !list->first) return true;
    sp_json_each(list, it) if (names_workload(a, sp_json_str(it), workload, lookup)) return true;
    return false;
}

/* --- conflictsWith --- */

static bool matches_labels(sp_arena *a, sp_str expression, const sp_json *definition) {
    sp_selector *s = NULL;
    sp_err err;
    return definition && sp_selector_parse(a, expression, &s, &err) &&
           sp_selector_matches(s, sp_json_dig(definition, "metadata", "labels", NULL));
}

static bool names_trait(sp_arena *a, sp_str entry, const sp_oam_trait *t) {
    static const char selector[] = "labelSelector:";
    if (sp_str_eqz(entry, "*")) return true;
    if (sp_str_starts(entry, sp_str_z(selector)))
        return matches_labels(a, sp_str_from(entry, strlen(selector)), t->definition);
    if (sp_str_starts(entry, SP_STR("*.")))
        return sp_str_eq(sp_oam_real_group(sp_str_from(entry, 2)), t->group);
    if (t->definition && sp_str_eq(entry, sp_obj_name(t->definition))) return true;
    return (t->type && sp_str_eqz(entry, t->type->definition)) ||
           sp_oam_names_kind(entry, t->group, t->name);
}

bool sp_oam_declares_conflict(sp_arena *a, const sp_oam_trait *t, const sp_oam_trait *other) {
    const sp_json *list = sp_json_dig(t->definition, "spec", "conflictsWith", NULL);
    sp_json_each(list, it) if (names_trait(a, sp_json_str(it), other)) return true;
    return false;
}

/* --- admission of definitions --- */

static void check_conflict_entry(sp_str entry, size_t i, sp_causes *causes) {
    static const char prefix[] = "labelSelector:";
    sp_selector *s = NULL;
    sp_err err;
    if (!sp_str_starts(entry, sp_str_z(prefix)) ||
        sp_selector_parse(causes->arena, sp_str_from(entry, strlen(prefix)), &s, &err))
        return;
    sp_causes_add(causes, "FieldValueInvalid",
                  sp_arena_printf(causes->arena, "spec.conflictsWith[%zu]", i),
                  "Invalid value: \"%.*s\": %s", SP_ARG(entry), err.text);
}

void sp_oam_check_definition(const sp_json *obj, sp_causes *causes) {
    const sp_json *spec = sp_json_get(obj, "spec");
    const sp_json *applies = sp_json_get(spec, "appliesTo");
    const sp_json *to_workloads = sp_json_get(spec, "appliesToWorkloads");
    if (!referred(obj).n)
        sp_causes_add(causes, "FieldValueRequired", SP_STR("spec.definitionRef.name"),
                      "Required value: the kind it is about, as \"<plural>.<group>\"");
    if (applies && to_workloads && !sp_json_equal(applies, to_workloads))
        sp_causes_add(
            causes, "FieldValueInvalid", SP_STR("spec.appliesTo"),
            "Invalid value: differs from spec.appliesToWorkloads, whose older name it is: "
            "keep one of them");
    size_t i = 0;
    sp_json_each(sp_json_get(spec, "conflictsWith"), it)
        check_conflict_entry(sp_json_str(it), i++, causes);
}
