/* Computed cells of `kubectl get`, as kubectl's users know them. Each is an sp_column.cell: from
 * one object and the time to the value of one cell, never NULL. Pure functions. */
#pragma once
#include "apiserver/registry.h"

#define CELL(name) sp_json *sp_cell_##name(sp_arena *a, const sp_json *obj, int64_t now_wall_ms)

/* cells_pod.c */
CELL(pod_ready);
CELL(pod_status);
CELL(pod_restarts);
CELL(pod_ip);
CELL(pod_node);
CELL(pod_nominated);
CELL(pod_gates);
/* cells_node.c */
CELL(node_status);
CELL(node_roles);
CELL(node_internal_ip);
CELL(node_external_ip);
CELL(node_os);
CELL(node_kernel);
CELL(node_runtime);
/* cells_service.c */
CELL(service_cluster_ip);
CELL(service_external_ip);
CELL(service_ports);
CELL(service_selector);
CELL(endpoints);
CELL(slice_ports);
CELL(slice_endpoints);
CELL(ingress_class);
CELL(ingress_hosts);
CELL(ingress_address);
CELL(ingress_ports);
CELL(class_parameters);
CELL(gateway_address);
CELL(programmed);
CELL(accepted);
CELL(route_hostnames);
/* cells_workload.c */
CELL(deployment_ready);
CELL(deployment_updated);
CELL(deployment_available);
CELL(rs_desired);
CELL(rs_current);
CELL(rs_ready);
CELL(template_containers);
CELL(template_images);
CELL(label_selector);
CELL(hpa_reference);
CELL(hpa_targets);
CELL(hpa_min);
CELL(hpa_replicas);
/* cells_core.c */
CELL(data_count);
CELL(secrets_count);
CELL(created_at);
CELL(event_last);
CELL(event_first);
CELL(event_object);
CELL(event_source);
CELL(event_message);
CELL(event_count);

/* cells_oam.c */
CELL(oam_applies_to);
CELL(oam_conflicts_with);
CELL(oam_description);

/* Helpers shared by these files. */
sp_json *sp_cell_text(sp_arena *a, sp_str s); /* "<none>" when empty */
/* Adds item to a comma-separated list. */
void sp_cell_join(sp_buf *b, sp_str item);
sp_json *sp_cell_buf(sp_arena *a, sp_buf *b); /* "<none>" when empty; frees the buffer */
