/* Kinds and groups by all the names they go by. */
#include "kube/oam_model.h"

const sp_gvr sp_oam_cronhpas = {"app.alibabacloud.com", "v1", "cronhpas", "CronHPA", false};

static const sp_oam_trait_type types[] = {
    {SP_OAM_AUTO_SCALER, "autoscaler", "AutoScaler", NULL, "autoscalers", "core.oam.dev",
     "v1alpha2", "spec.replicas"},
    {SP_OAM_MANUAL_SCALER, "manual-scaler", "ManualScalerTrait", "ManualScaler",
     "manualscalertraits", "core.oam.dev", "v1alpha2", "spec.replicas"},
    {SP_OAM_CRON_HPA, "cron-scaler", "CronHPA", NULL, "cronhpas", "app.alibaba.com", "v1",
     "spec.replicas"},
    {SP_OAM_SECURITY_POLICY, "security-policy", "SecurityPolicy", NULL, "securitypolicies",
     "app.alibaba.com", "v1", NULL},
};

static const char misspelt[] = "app.aliaba.com";

sp_str sp_oam_group_of(sp_str api_version) {
    ptrdiff_t slash = sp_str_chr(api_version, '/');
    return slash < 0 ? (sp_str){0} : sp_str_sub(api_version, 0, (size_t)slash);
}

bool sp_oam_is_misspelt_group(sp_str group) {
    return sp_str_eqz(group, misspelt);
}

sp_str sp_oam_real_group(sp_str group) {
    if (sp_oam_is_misspelt_group(group) || sp_str_eqz(group, "app.alibabacloud.com"))
        return SP_STR("app.alibaba.com");
    return sp_str_eqz(group, "extensions") ? SP_STR("apps") : group;
}

const sp_oam_trait_type *sp_oam_trait_type_of(sp_str group, sp_str kind) {
    for (size_t i = 0; i < SP_COUNT(types); i++)
        if (sp_str_eqz(sp_oam_real_group(group), types[i].group) &&
            (sp_str_eqz(kind, types[i].kind) ||
             (types[i].other_kind && sp_str_eqz(kind, types[i].other_kind))))
            return &types[i];
    return NULL;
}

const sp_oam_trait_type *sp_oam_trait_type_named(sp_str definition) {
    for (size_t i = 0; i < SP_COUNT(types); i++)
        if (sp_str_eqz(definition, types[i].definition)) return &types[i];
    return NULL;
}

static bool is_plural_of(sp_str plural, sp_str kind) {
    if (plural.n < kind.n || !kind.n) return false;
    static const char *const endings[] = {"", "s", "es"};
    for (size_t i = 0; i < SP_COUNT(endings); i++)
        if (sp_str_ieq(sp_str_sub(plural, 0, kind.n), kind) &&
            sp_str_eqz(sp_str_from(plural, kind.n), endings[i]))
            return true;
    size_t stem = kind.n - 1; /* policy, policies */
    return (kind.p[stem] == 'y') &&
           sp_str_ieq(sp_str_sub(plural, 0, stem), sp_str_sub(kind, 0, stem)) &&
           sp_str_eqz(sp_str_from(plural, stem), "ies");
}

bool sp_oam_names_kind(sp_str plural_group, sp_str group, sp_str kind) {
    ptrdiff_t dot = sp_str_chr(plural_group, '.');
    if (dot < 0) return false;
    sp_str plural = sp_str_sub(plural_group, 0, (size_t)dot);
    sp_str named = sp_oam_real_group(sp_str_from(plural_group, (size_t)dot + 1));
    if (!sp_str_eq(named, sp_oam_real_group(group))) return false;
    const sp_oam_trait_type *t = sp_oam_trait_type_of(group, kind);
    return is_plural_of(plural, kind) || (t && sp_str_eqz(plural, t->plural));
}

sp_oam_workload_type sp_oam_workload_type_of(const sp_json *workload) {
    sp_str group = sp_oam_group_of(sp_json_str(sp_json_get(workload, "apiVersion")));
    sp_str kind = sp_obj_kind(workload);
    if (sp_str_eqz(group, "core.oam.dev") && sp_str_eqz(kind, "ContainerizedWorkload"))
        return SP_OAM_CONTAINERIZED;
    if (sp_str_eqz(sp_oam_real_group(group), "apps") && sp_str_eqz(kind, "Deployment"))
        return SP_OAM_DEPLOYMENT;
    return SP_OAM_UNKNOWN_WORKLOAD;
}

sp_str sp_oam_component_name(const sp_json *entry) {
    sp_str name = sp_json_str(sp_json_get(entry, "componentName"));
    return name.n ? name : sp_json_str(sp_json_get(entry, "name"));
}
