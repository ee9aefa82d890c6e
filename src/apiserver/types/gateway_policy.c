/* Gateway API: who may refer to objects of another namespace, and TLS towards backends. */
#include "apiserver/types/gateway.h"

FIELDS(reference_grant_from) = {
    {"group", 0, GW_GROUP, "Group of that kind.", REQUIRED},
    {"kind", 0, GW_KIND, "Kind of the object that refers: Gateway, HTTPRoute …", REQUIRED},
    {"namespace", 0, GW_NAMESPACE, "Its namespace.", REQUIRED},
};
TYPE(reference_grant_from, "ReferenceGrantFrom", NULL);

FIELDS(reference_grant_to) = {
    {"group", 0, GW_GROUP, "Group of that kind.", REQUIRED},
    {"kind", 0, GW_KIND, "Kind that may be referred to: Service, Secret …", REQUIRED},
    {"name", 0, GW_NAME, "Only this object; all of the kind if missing."},
};
TYPE(reference_grant_to, "ReferenceGrantTo", NULL);

FIELDS(reference_grant_spec) = {
    {"from", 0, GW_LIST(T(reference_grant_from), 1, 16), "Who may refer.", REQUIRED},
    {"to", 0, GW_LIST(T(reference_grant_to), 1, 16), "To what in this namespace.", REQUIRED},
};
TYPE(reference_grant_spec, "ReferenceGrantSpec", NULL);

FIELDS(reference_grant) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(reference_grant_spec), "What should be."},
};
SHARED_TYPE(reference_grant, "ReferenceGrant",
            "Lets objects of other namespaces refer to objects of this one.");

#define GRANT_ROW(version_)                                                              \
    .group = GATEWAY_GROUP, .version = (version_), .categories = NAMES("gateway-api"),   \
    .plural = "referencegrants", .singular = "referencegrant", .kind = "ReferenceGrant", \
    .short_names = NAMES("refgrant"), .namespaced = true, .counts_generation = true,     \
    .schema = T(reference_grant)
ROW(reference_grant, GRANT_ROW("v1"));
ROW(reference_grant_v1beta1, GRANT_ROW("v1beta1"), .storage = &sp_row_reference_grant);

/* --- BackendTLSPolicy --- */

FIELDS(policy_target) = {
    {"group", 0, GW_GROUP, "Group of that kind.", REQUIRED},
    {"kind", 0, GW_KIND, "Kind of the object: Service.", REQUIRED},
    {"name", 0, GW_NAME, "Name of the object, in the same namespace.", REQUIRED},
    {"sectionName", 0, GW_SECTION_NAME, "Name of one port of the service."},
};
TYPE(policy_target, "LocalPolicyTargetReferenceWithSectionName", NULL);

FIELDS(ca_reference) = {
    {"group", 0, GW_GROUP, NULL, REQUIRED},
    {"kind", 0, GW_KIND, "ConfigMap or Secret with ca.crt.", REQUIRED},
    {"name", 0, GW_NAME, "Name of the object, in the same namespace.", REQUIRED},
};
TYPE(ca_reference, "gateway.CAReference", NULL);

FIELDS(subject_alt_name) = {
    {"type", 0, ENUM("Hostname", "URI"), "Hostname or URI.", REQUIRED},
    {"hostname", 0, GW_HOSTNAME},
    {"uri", 0, GW_TEXT("^(([^:/?#]+):)(//([^/?#]*))([^?#]*)(\\?([^#]*))?(#(.*))?", 253)},
};
TYPE(subject_alt_name, "SubjectAltName", NULL);

FIELDS(backend_tls_validation) = {
    {"caCertificateRefs", 0, GW_LIST(T(ca_reference), 0, 8),
     "Authorities the backend's certificate may come from."},
    {"wellKnownCACertificates", 0, GW_TEXT(NULL, 253), "System: those the machine trusts."},
    {"hostname", 0, GW_PRECISE_HOSTNAME, "Server name sent, and expected in the certificate.",
     REQUIRED},
    {"subjectAltNames", 0, GW_LIST(T(subject_alt_name), 0, 5),
     "Names expected in the certificate instead."},
};
TYPE(backend_tls_validation, "BackendTLSPolicyValidation", NULL);

FIELDS(backend_tls_spec) = {
    {"targetRefs", 0, GW_LIST(T(policy_target), 1, 16), "Services it is for.", REQUIRED},
    {"validation", 0, T(backend_tls_validation), "How their certificates are verified.", REQUIRED},
    {"options", 0, STRING_MAP},
};
TYPE(backend_tls_spec, "BackendTLSPolicySpec", NULL);

FIELDS(policy_ancestor_status) = {
    {"ancestorRef", 0, T(gw_parent_reference), NULL, REQUIRED},
    {"controllerName", 0, STRING},
    {"conditions", 0, LIST(T(condition))},
};
TYPE(policy_ancestor_status, "PolicyAncestorStatus", NULL);

FIELDS(policy_status) = {
    {"ancestors", 0, LIST(T(policy_ancestor_status)), "What is said at each gateway."},
};
TYPE(policy_status, "PolicyStatus", NULL);

FIELDS(backend_tls_policy) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(backend_tls_spec), "What should be.", REQUIRED},
    {"status", 0, T(policy_status), "What was last observed."},
};
SHARED_TYPE(backend_tls_policy, "BackendTLSPolicy",
            "Makes gateways speak TLS to the servers of a service, and verify them.");

#define BACKEND_TLS_ROW                                                                         \
    HOOKED(backend_tls_policy), .plural = "backendtlspolicies", .singular = "backendtlspolicy", \
                                .kind = "BackendTLSPolicy", .short_names = NAMES("btlspolicy"), \
                                .namespaced = true, .schema = T(backend_tls_policy)
ROW(backend_tls_policy, GATEWAY_KIND("v1"), BACKEND_TLS_ROW);
ROW(backend_tls_policy_v1alpha3, GATEWAY_ALIAS("v1alpha3", backend_tls_policy), BACKEND_TLS_ROW);
