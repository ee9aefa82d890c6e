/* The collections that more than one role works with. One row here is one constant sp_gvr_<id>. */
#pragma once
#include "kube/object.h"

/* X(id, group, version, plural, kind, cluster) */
#define SP_GVRS(X)                                                                               \
    X(namespaces, "", "v1", "namespaces", "Namespace", true)                                     \
    X(nodes, "", "v1", "nodes", "Node", true)                                                    \
    X(pods, "", "v1", "pods", "Pod", false)                                                      \
    X(services, "", "v1", "services", "Service", false)                                          \
    X(endpoints, "", "v1", "endpoints", "Endpoints", false)                                      \
    X(configmaps, "", "v1", "configmaps", "ConfigMap", false)                                    \
    X(secrets, "", "v1", "secrets", "Secret", false)                                             \
    X(events, "", "v1", "events", "Event", false)                                                \
    X(serviceaccounts, "", "v1", "serviceaccounts", "ServiceAccount", false)                     \
    X(deployments, "apps", "v1", "deployments", "Deployment", false)                             \
    X(replicasets, "apps", "v1", "replicasets", "ReplicaSet", false)                             \
    X(endpointslices, "discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", false)        \
    X(leases, "coordination.k8s.io", "v1", "leases", "Lease", false)                             \
    X(horizontalpodautoscalers, "autoscaling", "v2", "horizontalpodautoscalers",                 \
      "HorizontalPodAutoscaler", false)                                                          \
    X(ingresses, "networking.k8s.io", "v1", "ingresses", "Ingress", false)                       \
    X(ingressclasses, "networking.k8s.io", "v1", "ingressclasses", "IngressClass", true)         \
    X(gatewayclasses, "gateway.networking.k8s.io", "v1", "gatewayclasses", "GatewayClass", true) \
    X(gateways, "gateway.networking.k8s.io", "v1", "gateways", "Gateway", false)                 \
    X(httproutes, "gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute", false)           \
    X(grpcroutes, "gateway.networking.k8s.io", "v1", "grpcroutes", "GRPCRoute", false)           \
    X(tlsroutes, "gateway.networking.k8s.io", "v1", "tlsroutes", "TLSRoute", false)              \
    X(tcproutes, "gateway.networking.k8s.io", "v1", "tcproutes", "TCPRoute", false)              \
    X(referencegrants, "gateway.networking.k8s.io", "v1beta1", "referencegrants",                \
      "ReferenceGrant", false)                                                                   \
    X(backendtlspolicies, "gateway.networking.k8s.io", "v1", "backendtlspolicies",               \
      "BackendTLSPolicy", false)                                                                 \
    X(backendpolicies, "sampan.dev", "v1alpha1", "backendpolicies", "BackendPolicy", false)      \
    X(trafficpolicies, "sampan.dev", "v1alpha1", "trafficpolicies", "TrafficPolicy", false)      \
    X(clusterissuers, "cert-manager.io", "v1", "clusterissuers", "ClusterIssuer", true)          \
    X(issuers, "cert-manager.io", "v1", "issuers", "Issuer", false)                              \
    X(certificates, "cert-manager.io", "v1", "certificates", "Certificate", false)               \
    X(challenges, "acme.cert-manager.io", "v1", "challenges", "Challenge", false)                \
    X(virtualaddresses, "sampan.dev", "v1alpha1", "virtualaddresses", "VirtualAddress", true)    \
    X(customresourcedefinitions, "apiextensions.k8s.io", "v1", "customresourcedefinitions",      \
      "CustomResourceDefinition", true)                                                          \
    X(applicationconfigurations, "core.oam.dev", "v1alpha2", "applicationconfigurations",        \
      "ApplicationConfiguration", false)                                                         \
    X(components, "core.oam.dev", "v1alpha2", "components", "Component", false)                  \
    X(traitdefinitions, "core.oam.dev", "v1alpha2", "traitdefinitions", "TraitDefinition", true) \
    X(workloaddefinitions, "core.oam.dev", "v1alpha2", "workloaddefinitions",                    \
      "WorkloadDefinition", true)

#define X(id, group, version, plural, kind, cluster) extern const sp_gvr sp_gvr_##id;
SP_GVRS(X)
#undef X
