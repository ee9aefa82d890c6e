/* The list of built-in rows, and the schemas of bodies that are no resources. The order is the
 * order of discovery: of two groups with the same kind, kubectl takes the first. */
#include "apiserver/types/types.h"

static const sp_resource *const rows[] = {&sp_row_namespace,
                                          &sp_row_node,
                                          &sp_row_pod,
                                          &sp_row_service,
                                          &sp_row_endpoints,
                                          &sp_row_config_map,
                                          &sp_row_secret,
                                          &sp_row_event,
                                          &sp_row_service_account,
                                          &sp_row_deployment,
                                          &sp_row_replica_set,
                                          &sp_row_extensions_deployment,
                                          &sp_row_endpoint_slice,
                                          &sp_row_lease,
                                          &sp_row_horizontal_pod_autoscaler,
                                          &sp_row_ingress,
                                          &sp_row_ingress_class,
                                          &sp_row_custom_resource_definition,
                                          &sp_row_virtual_address,
                                          &sp_row_gateway_class,
                                          &sp_row_gateway,
                                          &sp_row_http_route,
                                          &sp_row_grpc_route,
                                          &sp_row_tls_route,
                                          &sp_row_tcp_route,
                                          &sp_row_reference_grant,
                                          &sp_row_backend_tls_policy,
                                          &sp_row_gateway_class_v1beta1,
                                          &sp_row_gateway_v1beta1,
                                          &sp_row_http_route_v1beta1,
                                          &sp_row_reference_grant_v1beta1,
                                          &sp_row_tls_route_v1alpha3,
                                          &sp_row_backend_tls_policy_v1alpha3,
                                          &sp_row_tls_route_v1alpha2,
                                          &sp_row_tcp_route_v1alpha2,
                                          &sp_row_oam_config,
                                          &sp_row_oam_config_v1alpha1,
                                          &sp_row_oam_component,
                                          &sp_row_oam_component_v1alpha1,
                                          &sp_row_oam_workload_definition,
                                          &sp_row_oam_workload_definition_v1alpha1,
                                          &sp_row_oam_trait_definition,
                                          &sp_row_oam_trait_definition_v1alpha1,
                                          &sp_row_oam_scope_definition,
                                          &sp_row_oam_scope_definition_v1alpha1,
                                          &sp_row_containerized_workload_v1alpha2,
                                          &sp_row_containerized_workload_v1alpha1,
                                          &sp_row_manual_scaler_v1alpha2,
                                          &sp_row_manual_scaler_v1alpha1,
                                          &sp_row_auto_scaler_v1alpha2,
                                          &sp_row_auto_scaler_v1alpha1,
                                          &sp_row_health_scope_v1alpha2,
                                          &sp_row_health_scope_v1alpha1,
                                          &sp_row_security_policy,
                                          &sp_row_security_policy_alibaba,
                                          &sp_row_security_policy_aliaba,
                                          &sp_row_cron_hpa,
                                          &sp_row_cron_hpa_alibaba,
                                          &sp_row_cron_hpa_aliaba,
                                          &sp_row_cluster_issuer,
                                          &sp_row_issuer,
                                          &sp_row_certificate,
                                          &sp_row_backend_policy,
                                          &sp_row_traffic_policy,
                                          &sp_row_challenge};

const sp_resource *const *sp_builtin_resources(size_t *ret_count) {
    *ret_count = SP_COUNT(rows);
    return rows;
}

/* Bodies of subresources and verbs. */
static const struct {
    const char *api_version, *kind;
    const sp_schema *schema;
} bodies[] = {
    {"v1", "Binding", T(binding)},
    {"v1", "Status", T(status)},
    {"v1", "DeleteOptions", T(delete_options)},
    {"policy/v1", "Eviction", T(eviction)},
    {"policy/v1beta1", "Eviction", T(eviction)},
    {"autoscaling/v1", "Scale", T(scale)},
};

static bool row_is(const sp_resource *r, sp_str api_version, sp_str kind) {
    sp_str group = sp_str_z(r->group), version = api_version;
    if (!sp_str_eqz(kind, r->kind)) return false;
    if (group.n) {
        if (!sp_str_starts(version, group) || version.n <= group.n || version.p[group.n] != '/') {
            return false;
        }
        version = sp_str_from(version, group.n + 1);
    }
    return sp_str_eqz(version, r->version);
}

const sp_schema *sp_builtin_schema(void *ctx, sp_str api_version, sp_str kind) {
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        if (row_is(rows[i], api_version, kind)) return rows[i]->schema;
    }
    for (size_t i = 0; i < SP_COUNT(bodies); i++) {
        bool any_version = !strcmp(bodies[i].kind, "DeleteOptions");
        if (sp_str_eqz(kind, bodies[i].kind) &&
            (any_version || sp_str_eqz(api_version, bodies[i].api_version))) {
            return bodies[i].schema;
        }
    }
    return NULL;
}
