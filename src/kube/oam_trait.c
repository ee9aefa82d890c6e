/* What each trait may say and what it does. */
#include "kube/gvrs.h"
#include "kube/oam_model.h"

enum { DEFAULT_CPU_PERCENT = 80, DEFAULT_SPREAD = 10, CRON_FIELDS = 6 };

/* --- checking: each trait's properties, by table --- */

typedef struct property {
    const char *name;
    const char *type; /* "string|array": either */
    bool required;
    bool counts; /* an integer of 0 or more */
} property;

static const property auto_scaler[] = {
    {"minimum", "integer", false, true},
    {"maximum", "integer", false, true},
    {"cpu", "integer", false, true},
    {"memory", "integer", false, true},
    {NULL},
};
static const property manual_scaler[] = {{"replicaCount", "integer", true, true}, {NULL}};
static const property security_policy[] = {
    {"allowPrivilegeEscalation", "boolean"},
    {"privileged", "boolean"},
    {"readOnlyRootFilesystem", "boolean"},
    {"runAsNonRoot", "boolean"},
    {"runAsUser", "integer", false, true},
    {"runAsGroup", "integer", false, true},
    {"capabilities", "object"},
    {"seccompProfile", "object"},
    {NULL},
};
static const property cron_hpa[] = {
    {"timezone", "string"},
    {"schedule", "string|array", true},
    {"template", "object"},
    {"cpu", "integer", false, true},
    {NULL},
};
static const property cron_entry[] = {
    {"cron", "string", true},
    {"minReplicas", "integer", true, true},
    {"maxReplicas", "integer", true, true},
    {NULL},
};

static sp_str below(sp_causes *c, sp_str path, const char *field) {
    return sp_arena_printf(c->arena, "%.*s.%s", SP_ARG(path), field);
}

static const property *find_property(const property *table, sp_str name) {
    for (; table->name; table++)
        if (sp_str_eqz(name, table->name)) return table;
    return NULL;
}

static bool one_of(sp_str types, const char *type) {
    for (sp_str t; sp_str_cut(&types, '|', &t);)
        if (sp_str_eqz(t, type)) return true;
    return false;
}

static void check_property(const property *table, const sp_json *value, sp_str path,
                           sp_causes *causes) {
    sp_str at = sp_arena_printf(causes->arena, "%.*s.%.*s", SP_ARG(path), SP_ARG(value->key));
    const property *p = find_property(table, value->key);
    sp_auto(sp_buf) shown = {0};
    sp_json_write(&shown, value);
    if (!p)
        sp_causes_add(causes, "FieldValueInvalid", at, "Invalid value: unknown field \"%.*s\"",
                      SP_ARG(value->key));
    else if (!one_of(sp_str_z(p->type), sp_json_type_name(value)))
        sp_causes_add(causes, "FieldValueTypeInvalid", at,
                      "Invalid value: %.*s: must be %s %s, is %s", (int)SP_MIN(shown.n, (size_t)60),
                      shown.p, p->type[0] == 'i' ? "an" : "a", p->type, sp_json_type_name(value));
    else if (p->counts && sp_json_int(value, -1) < 0)
        sp_causes_add(causes, "FieldValueInvalid", at, "Invalid value: %s: must be 0 or more",
                      shown.p);
}

static void check_table(const property *table, const sp_json *props, sp_str path,
                        sp_causes *causes) {
    if (props && props->type != SP_JSON_OBJECT) {
        sp_causes_add(causes, "FieldValueTypeInvalid", path,
                      "Invalid value: must be an object, is %s", sp_json_type_name(props));
        return;
    }
    sp_json_each(props, it) check_property(table, it, path, causes);
    for (const property *p = table; p->name; p++)
        if (p->required && !sp_json_get(props, p->name))
            sp_causes_add(causes, "FieldValueRequired", below(causes, path, p->name),
                          "Required value");
}

static int64_t minimum_of(const sp_json *props) {
    return sp_json_int(sp_json_get(props, "minimum"), 1);
}
static int64_t maximum_of(const sp_json *props) {
    return sp_json_int(sp_json_get(props, "maximum"), minimum_of(props) + DEFAULT_SPREAD);
}

static void check_bounds(const sp_json *props, sp_str path, sp_causes *causes) {
    if (minimum_of(props) < 1)
        sp_causes_add(causes, "FieldValueInvalid", below(causes, path, "minimum"),
                      "Invalid value: %lld: must be 1 or more", (long long)minimum_of(props));
    if (maximum_of(props) < SP_MAX(minimum_of(props), 1))
        sp_causes_add(causes, "FieldValueInvalid", below(causes, path, "maximum"),
                      "Invalid value: %lld: must not be less than minimum (%lld)",
                      (long long)maximum_of(props), (long long)minimum_of(props));
}

/* --- CronHPA --- */

/* Quotes that a word processor put around a value and YAML therefore kept. */
static sp_str trim_typographic(sp_str s) {
    static const char *const quotes[] = {"\xe2\x80\x98", "\xe2\x80\x99", "\xe2\x80\x9c",
                                         "\xe2\x80\x9d"};
    for (size_t i = 0; i < SP_COUNT(quotes); i++) {
        if (sp_str_starts(s, sp_str_z(quotes[i]))) s = sp_str_from(s, 3);
        if (sp_str_ends(s, sp_str_z(quotes[i]))) s = sp_str_sub(s, 0, s.n - 3);
    }
    return s;
}

static void check_cron_text(const sp_json *cron, sp_str at, sp_causes *causes, sp_strs *warnings) {
    sp_str given = sp_json_str(cron), text = trim_typographic(given), field;
    if (text.n != given.n && warnings)
        sp_vec_push(warnings, sp_arena_printf(causes->arena,
                                              "%.*s: the typographic quotes around the value are "
                                              "ignored",
                                              SP_ARG(at)));
    size_t fields = 0;
    for (sp_str rest = text; sp_str_cut(&rest, ' ', &field);) fields += field.n != 0;
    if (fields != CRON_FIELDS)
        sp_causes_add(causes, "FieldValueInvalid", at,
                      "Invalid value: \"%.*s\": %zu fields; six are needed: second minute hour "
                      "day-of-month month day-of-week",
                      SP_ARG(given), fields);
}

void sp_oam_check_cron(const sp_json *spec, sp_str path, sp_causes *causes, sp_strs *warnings) {
    check_table(cron_hpa, spec, path, causes);
    const sp_json *schedule = sp_json_get(spec, "schedule");
    sp_str at = below(causes, path, "schedule");
    if (sp_json_is(schedule, SP_JSON_STRING)) check_cron_text(schedule, at, causes, warnings);
    if (!sp_json_is(schedule, SP_JSON_ARRAY)) return;
    size_t i = 0;
    sp_json_each(schedule, it) {
        sp_str entry = sp_arena_printf(causes->arena, "%.*s[%zu]", SP_ARG(at), i++);
        check_table(cron_entry, it, entry, causes);
        const sp_json *cron = sp_json_get(it, "cron");
        if (sp_json_is(cron, SP_JSON_STRING))
            check_cron_text(cron, below(causes, entry, "cron"), causes, warnings);
    }
}

void sp_oam_check_trait(const sp_oam_trait *t, sp_causes *causes, sp_strs *warnings) {
    if (!t->type) return;
    if (warnings && sp_oam_is_misspelt_group(sp_oam_group_of(t->api_version)))
        sp_vec_push(warnings,
                    sp_arena_printf(causes->arena,
                                    "%.*s.apiVersion: %.*s is taken for app.alibaba.com/v1",
                                    SP_ARG(t->path), SP_ARG(t->api_version)));
    switch (t->type->effect) {
    case SP_OAM_AUTO_SCALER:
        check_table(auto_scaler, t->props, t->props_path, causes);
        check_bounds(t->props, t->props_path, causes);
        break;
    case SP_OAM_MANUAL_SCALER: check_table(manual_scaler, t->props, t->props_path, causes); break;
    case SP_OAM_SECURITY_POLICY:
        check_table(security_policy, t->props, t->props_path, causes);
        break;
    case SP_OAM_CRON_HPA: sp_oam_check_cron(t->props, t->props_path, causes, warnings); break;
    case SP_OAM_UNKNOWN_TRAIT: break;
    }
}

/* --- effects --- */

static sp_json *target_ref(sp_arena *a, sp_str name) {
    sp_json *ref = sp_json_object(a);
    sp_json_set_z(a, ref, "apiVersion", "apps/v1");
    sp_json_set_z(a, ref, "kind", "Deployment");
    sp_json_set(a, ref, "name", sp_json_new_str(a, name));
    return ref;
}

static void add_metric(sp_arena *a, sp_json *metrics, const char *resource, int64_t percent) {
    sp_json *metric = sp_json_push(metrics, sp_json_object(a));
    sp_json_set_z(a, metric, "type", "Resource");
    sp_json *r = sp_json_ensure_object(a, metric, "resource");
    sp_json_set_z(a, r, "name", resource);
    sp_json *target = sp_json_ensure_object(a, r, "target");
    sp_json_set_z(a, target, "type", "Utilization");
    sp_json_set_int(a, target, "averageUtilization", percent);
}

static sp_json *new_object(sp_arena *a, const sp_gvr *g) {
    sp_json *o = sp_json_object(a);
    sp_json_set(a, o, "apiVersion", sp_json_new_str(a, sp_gvr_api_version(a, g)));
    sp_json_set_z(a, o, "kind", g->kind);
    sp_json_ensure_object(a, o, "metadata");
    return o;
}

static sp_json *autoscaler_object(sp_arena *a, const sp_json *props, sp_str target) {
    sp_json *o = new_object(a, &sp_gvr_horizontalpodautoscalers);
    sp_json *spec = sp_json_ensure_object(a, o, "spec");
    sp_json_set(a, spec, "scaleTargetRef", target_ref(a, target));
    sp_json_set_int(a, spec, "minReplicas", minimum_of(props));
    sp_json_set_int(a, spec, "maxReplicas", maximum_of(props));
    sp_json *metrics = sp_json_ensure_array(a, spec, "metrics");
    const sp_json *cpu = sp_json_get(props, "cpu"), *memory = sp_json_get(props, "memory");
    if (cpu || !memory) add_metric(a, metrics, "cpu", sp_json_int(cpu, DEFAULT_CPU_PERCENT));
    if (memory) add_metric(a, metrics, "memory", sp_json_int(memory, DEFAULT_CPU_PERCENT));
    return o;
}

static sp_json *cron_object(sp_arena *a, const sp_json *props, sp_str target) {
    sp_json *o = new_object(a, &sp_oam_cronhpas);
    sp_json *spec = sp_json_set(a, o, "spec", sp_json_clone(a, props));
    sp_json *of = sp_json_ensure_object(a, sp_json_ensure_object(a, spec, "template"), "spec");
    sp_json_set(a, of, "scaleTargetRef", target_ref(a, target));
    return o;
}

sp_json *sp_oam_trait_object(sp_arena *a, const sp_oam_trait *t, sp_str target,
                             const sp_gvr **ret) {
    sp_json *o;
    if (t->type->effect == SP_OAM_AUTO_SCALER) {
        o = autoscaler_object(a, t->props, target);
        *ret = &sp_gvr_horizontalpodautoscalers;
    } else if (t->type->effect == SP_OAM_CRON_HPA) {
        o = cron_object(a, t->props, target);
        *ret = &sp_oam_cronhpas;
    } else {
        return NULL;
    }
    sp_str own = sp_obj_name(t->object);
    sp_json_set(a, sp_json_get(o, "metadata"), "name", sp_json_new_str(a, own.n ? own : target));
    return o;
}

static void secure(sp_arena *a, sp_json *containers, const sp_json *props) {
    sp_json_each(containers, container) {
        sp_json *context = sp_json_ensure_object(a, container, "securityContext");
        sp_json_each(props, it) sp_json_set_str(a, context, it->key, sp_json_clone(a, it));
    }
}

void sp_oam_trait_apply(sp_arena *a, const sp_oam_trait *t, sp_json *deployment) {
    sp_json *spec = sp_json_get(deployment, "spec");
    sp_json *pod = sp_json_dig(spec, "template", "spec", NULL);
    switch (t->type->effect) {
    case SP_OAM_SECURITY_POLICY:
        secure(a, sp_json_get(pod, "initContainers"), t->props);
        secure(a, sp_json_get(pod, "containers"), t->props);
        break;
    case SP_OAM_MANUAL_SCALER:
        sp_json_set_int(a, spec, "replicas", sp_json_int(sp_json_get(t->props, "replicaCount"), 1));
        break;
    case SP_OAM_AUTO_SCALER: sp_json_set_int(a, spec, "replicas", minimum_of(t->props)); break;
    case SP_OAM_CRON_HPA: sp_json_remove(spec, "replicas"); break;
    case SP_OAM_UNKNOWN_TRAIT: break;
    }
}
