/* Gateway API: what routes do to requests and answers on the way. */
#include "apiserver/types/gateway.h"

#define GW_PATH SCALAR_(SP_SCHEMA_STRING, SP_FORMAT_NONE, .max_length = 1024)
#define GW_ORIGIN                                                                    \
    GW_TEXT("(^\\*$)|(^(http(s)?):\\/\\/"                                            \
            "(((\\*\\.)?([a-zA-Z0-9\\-]+\\.)*[a-zA-Z0-9-]+|\\*)(:([0-9]{1,5}))?)$)", \
            253)

FIELDS(gateway_header) = {
    {"name", 0, GW_HEADER_NAME, "Name of the header.", REQUIRED},
    {"value", 0, GW_TEXT(NULL, 4096), "Its value.", REQUIRED},
};
TYPE(gateway_header, "gateway.HTTPHeader", NULL);

FIELDS(http_header_filter) = {
    {"set", 0, GW_MAP_LIST(T(gateway_header), 0, 16, "name"), "Headers to replace."},
    {"add", 0, GW_MAP_LIST(T(gateway_header), 0, 16, "name"), "Headers to add."},
    {"remove", 0, GW_SET(STRING, 16), "Headers to take away."},
};
TYPE(http_header_filter, "HTTPHeaderFilter", NULL);

FIELDS(backend_object_reference) = {
    {"group", 0, GW_GROUP_DEFAULT("")},
    {"kind", 0, GW_KIND_DEFAULT("Service")},
    {"name", 0, GW_NAME, NULL, REQUIRED},
    {"namespace", 0, GW_NAMESPACE},
    {"port", 0, GW_PORT},
};
TYPE(backend_object_reference, "BackendObjectReference", NULL);

FIELDS(fraction) = {
    {"numerator", 0, GW_AT_LEAST(0), "How many …", REQUIRED},
    {"denominator", 0, GW_AT_LEAST(1, GW_DEFAULT_INT("100")), "… of so many."},
};
TYPE(fraction, "Fraction", NULL);

FIELDS(http_request_mirror_filter) = {
    {"backendRef", 0, T(backend_object_reference), NULL, REQUIRED},
    {"percent", 0, GW_RANGE(0, 100), "Share of the requests; all if missing."},
    {"fraction", 0, T(fraction), "The same, finer."},
};
TYPE(http_request_mirror_filter, "HTTPRequestMirrorFilter", NULL);

FIELDS(http_path_modifier) = {
    {"type", 0, ENUM("ReplaceFullPath", "ReplacePrefixMatch"), NULL, REQUIRED},
    {"replaceFullPath", 0, GW_PATH, "The path instead."},
    {"replacePrefixMatch", 0, GW_PATH, "Instead of the prefix that matched."},
};
TYPE(http_path_modifier, "HTTPPathModifier", NULL);

FIELDS(http_request_redirect_filter) = {
    {"scheme", 0, ENUM("http", "https"), "Scheme of the new place."},
    {"hostname", 0, GW_PRECISE_HOSTNAME, "Host of the new place."},
    {"path", 0, T(http_path_modifier), "Path of the new place."},
    {"port", 0, GW_PORT, "Port of the new place."},
    {"statusCode", 0, INT32_DEFAULT("302"), "301, 302, 303, 307 or 308."},
};
TYPE(http_request_redirect_filter, "HTTPRequestRedirectFilter", NULL);

FIELDS(httpurl_rewrite_filter) = {
    {"hostname", 0, GW_PRECISE_HOSTNAME, "Host the backend sees."},
    {"path", 0, T(http_path_modifier), "Path the backend sees."},
};
TYPE(httpurl_rewrite_filter, "HTTPURLRewriteFilter", NULL);

FIELDS(httpcors_filter) = {
    {"allowOrigins", 0, GW_SET(GW_ORIGIN, 64), "Sites whose pages may ask; * for all."},
    {"allowCredentials", 0, BOOL, "Whether they may send cookies."},
    {"allowMethods", 0, GW_SET(STRING, 9), "Methods they may use."},
    {"allowHeaders", 0, GW_SET(GW_HEADER_NAME, 64), "Headers they may send."},
    {"exposeHeaders", 0, GW_SET(GW_HEADER_NAME, 64), "Headers of the answer they may read."},
    {"maxAge", 0, GW_AT_LEAST(1, GW_DEFAULT_INT("5")), "Seconds a browser remembers this."},
};
TYPE(httpcors_filter, "HTTPCORSFilter", NULL);

FIELDS(grpc_auth_config) = {
    {"allowedHeaders", 0, STRINGS},
};
TYPE(grpc_auth_config, "GRPCAuthConfig", NULL);

FIELDS(http_auth_config) = {
    {"path", 0, STRING},
    {"allowedHeaders", 0, STRINGS},
    {"allowedResponseHeaders", 0, STRINGS},
};
TYPE(http_auth_config, "HTTPAuthConfig", NULL);

FIELDS(forward_body_config) = {
    {"maxSize", 0, INT32},
};
TYPE(forward_body_config, "ForwardBodyConfig", NULL);

FIELDS(http_external_auth_filter) = {
    {"protocol", 0, ENUM("HTTP", "GRPC")},      {"backendRef", 0, T(backend_object_reference)},
    {"grpc", 0, T(grpc_auth_config)},           {"http", 0, T(http_auth_config)},
    {"forwardBody", 0, T(forward_body_config)},
};
TYPE(http_external_auth_filter, "HTTPExternalAuthFilter", NULL);

FIELDS(gateway_local_ref) = {
    {"group", 0, GW_GROUP, NULL, REQUIRED},
    {"kind", 0, GW_KIND, NULL, REQUIRED},
    {"name", 0, GW_NAME, "Name of the object, in the same namespace.", REQUIRED},
};
TYPE(gateway_local_ref, "gateway.LocalObjectReference", NULL);

FIELDS(gw_http_filter) = {
    {"type", 0,
     ENUM("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect",
          "URLRewrite", "ExtensionRef", "CORS", "ExternalAuth"),
     "Which of the filters below.", REQUIRED},
    {"requestHeaderModifier", 0, T(http_header_filter), "Change headers of the request."},
    {"responseHeaderModifier", 0, T(http_header_filter), "Change headers of the answer."},
    {"requestMirror", 0, T(http_request_mirror_filter), "Send a copy elsewhere."},
    {"requestRedirect", 0, T(http_request_redirect_filter), "Answer with another place."},
    {"urlRewrite", 0, T(httpurl_rewrite_filter), "Change host or path on the way."},
    {"cors", 0, T(httpcors_filter)},
    {"externalAuth", 0, T(http_external_auth_filter)},
    {"extensionRef", 0, T(gateway_local_ref)},
};
SHARED_TYPE(gw_http_filter, "HTTPRouteFilter", "Something done to a request or its answer.");

FIELDS(gw_grpc_filter) = {
    {"type", 0,
     ENUM("ResponseHeaderModifier", "RequestHeaderModifier", "RequestMirror", "ExtensionRef"),
     "Which of the filters below.", REQUIRED},
    {"requestHeaderModifier", 0, T(http_header_filter), "Change metadata of the call."},
    {"responseHeaderModifier", 0, T(http_header_filter), "Change metadata of the answer."},
    {"requestMirror", 0, T(http_request_mirror_filter), "Send a copy elsewhere."},
    {"extensionRef", 0, T(gateway_local_ref)},
};
SHARED_TYPE(gw_grpc_filter, "GRPCRouteFilter", "Something done to a call or its answer.");
