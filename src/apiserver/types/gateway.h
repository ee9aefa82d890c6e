/* What the files of the Gateway API kinds share: single values as its CRDs restrict them, and types
 * that several kinds use. Private to src/apiserver/types. */
#pragma once
#include "apiserver/types/types.h"

#define GW_HOST "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
#define GW_TEXT(pattern_, max, ...)                                                   \
    SCALAR_(SP_SCHEMA_STRING, SP_FORMAT_NONE, .pattern = (pattern_), .min_length = 1, \
            .max_length = (max), ##__VA_ARGS__)
#define GW_HOSTNAME GW_TEXT("^(\\*\\.)?" GW_HOST "$", 253)
#define GW_PRECISE_HOSTNAME GW_TEXT("^" GW_HOST "$", 253)
#define GW_NAME GW_TEXT(NULL, 253) /* of an object */
#define GW_SECTION_NAME GW_TEXT("^" GW_HOST "$", 253)
#define GW_NAMESPACE GW_TEXT("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 63)
#define GW_KIND_PATTERN "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"
#define GW_KIND GW_TEXT(GW_KIND_PATTERN, 63)
#define GW_KIND_DEFAULT(v) GW_TEXT(GW_KIND_PATTERN, 63, .default_value = E1_(v))
#define GW_GROUP \
    SCALAR_(SP_SCHEMA_STRING, SP_FORMAT_NONE, .pattern = "^$|^" GW_HOST "$", .max_length = 253)
#define GW_GROUP_DEFAULT(v)                                                                     \
    SCALAR_(SP_SCHEMA_STRING, SP_FORMAT_NONE, .pattern = "^$|^" GW_HOST "$", .max_length = 253, \
            .default_value = E1_(v))
#define GW_HEADER_NAME GW_TEXT("^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$", 256)
#define GW_DURATION \
    SCALAR_(SP_SCHEMA_STRING, SP_FORMAT_NONE, .pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$")
#define GW_RANGE(low, high, ...)                                                       \
    SCALAR_(SP_SCHEMA_INTEGER, SP_FORMAT_INT32, .has_minimum = true, .minimum = (low), \
            .has_maximum = true, .maximum = (high), ##__VA_ARGS__)
#define GW_AT_LEAST(low, ...)                                                          \
    SCALAR_(SP_SCHEMA_INTEGER, SP_FORMAT_INT32, .has_minimum = true, .minimum = (low), \
            ##__VA_ARGS__)
#define GW_PORT GW_RANGE(1, 65535)
#define GW_DEFAULT_INT(digits) .default_value = NODE_(SP_JSON_NUMBER, digits, NULL)
#define GW_LIST(of, min, max) \
    (&(const sp_schema){      \
        .type = SP_SCHEMA_ARRAY, .items = (of), .min_length = (min), .max_length = (max)})
/* Items are unique by this member. */
#define GW_MAP_LIST(of, min, max, key)                          \
    (&(const sp_schema){.type = SP_SCHEMA_ARRAY,                \
                        .items = (of),                          \
                        .min_length = (min),                    \
                        .max_length = (max),                    \
                        .map_keys = (const char *const[]){key}, \
                        .map_key_count = 1})
#define GW_SET(of, max)  \
    (&(const sp_schema){ \
        .type = SP_SCHEMA_ARRAY, .items = (of), .max_length = (max), .is_set = true})

#define GATEWAY_GROUP "gateway.networking.k8s.io"
#define GATEWAY_KIND(version_)                                                         \
    .group = GATEWAY_GROUP, .version = (version_), .categories = NAMES("gateway-api"), \
    .subresources = SP_SUB_STATUS, .status_is_subresource = true, .counts_generation = true
/* The same objects under an older or newer version. */
#define GATEWAY_ALIAS(version_, id) GATEWAY_KIND(version_), .storage = &sp_row_##id

/* gateway.c */
extern const sp_schema sp_schema_gateway_class, sp_schema_gateway, sp_schema_gw_secret_reference,
    sp_schema_gw_object_reference, sp_schema_gw_parent_reference;
/* gateway_filter.c */
extern const sp_schema sp_schema_gw_http_filter, sp_schema_gw_grpc_filter;
/* gateway_route.c */
extern const sp_schema sp_schema_http_route, sp_schema_grpc_route, sp_schema_tls_route,
    sp_schema_tcp_route;
/* gateway_policy.c */
extern const sp_schema sp_schema_reference_grant, sp_schema_backend_tls_policy;
