/* Policies of the gateway (sampan.dev/v1alpha1): BackendPolicy, how the servers of a Service are
 * chosen, checked and protected; TrafficPolicy, what clients may do. Our own kinds, so without
 * protobuf numbers. What a schema cannot say is checked at the end. */
#include "apiserver/types/gateway.h"
#include "data/base64.h"

#include <arpa/inet.h>

#define CHANCE                                                                   \
    SCALAR_(SP_SCHEMA_NUMBER, SP_FORMAT_NONE, .has_minimum = true, .minimum = 0, \
            .has_maximum = true, .maximum = 1)
#define CIDRS GW_LIST(GW_TEXT("^[0-9a-fA-F:.]+(/[0-9]{1,3})?$", 64), 0, 256)
#define FIELD_NAME GW_TEXT("^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$", 256)

FIELDS(policy_target_ref) = {
    {"group", 0, GW_GROUP_DEFAULT(""), "Group of that kind."},
    {"kind", 0, GW_KIND, "Kind of the object.", REQUIRED},
    {"name", 0, GW_NAME, "Name of the object, in the same namespace.", REQUIRED},
    {"sectionName", 0, GW_SECTION_NAME,
     "One part of it: a port of a Service (by name or number), a listener of a Gateway."},
};
TYPE(policy_target_ref, "sampan.PolicyTargetReference", NULL);

FIELDS(sampan_policy_status) = {
    {"conditions", 0, LIST(T(condition)), "Accepted, or why not."},
};
TYPE(sampan_policy_status, "sampan.PolicyStatus", NULL);

/* --- BackendPolicy --- */

FIELDS(balance_hash) = {
    {"by", 0, ENUM_DEFAULT("Source", "Header", "Cookie", "Query", "Path"),
     "Source, Header, Cookie, Query or Path.", REQUIRED},
    {"name", 0, FIELD_NAME, "Which header, cookie or query parameter."},
};
TYPE(balance_hash, "sampan.Hash", NULL);

FIELDS(balance_spec) = {
    {"algorithm", 0, ENUM_DEFAULT("RandomOfTwo", "RoundRobin", "LeastConnections", "Hash", "First"),
     "RandomOfTwo, RoundRobin, LeastConnections, Hash or First."},
    {"hash", 0, T(balance_hash), "What decides, for Hash; the client's address if missing."},
};
TYPE(balance_spec, "sampan.Balance", NULL);

FIELDS(stickiness_spec) = {
    {"cookie", 0, FIELD_NAME, "Name of the cookie that the gateway sets.", REQUIRED},
    {"ttl", 0, GW_DURATION, "How long it lasts; until the browser is closed if missing."},
    {"secure", 0, BOOL, "Sent by browsers through TLS only."},
};
TYPE(stickiness_spec, "sampan.Stickiness", NULL);

FIELDS(check_header) = {
    {"name", 0, FIELD_NAME, NULL, REQUIRED},
    {"value", 0, STRING, NULL, REQUIRED},
};
TYPE(check_header, "sampan.CheckHeader", NULL);

FIELDS(check_status) = {
    {"min", 0, GW_RANGE(100, 599), "Lowest status that passes.", REQUIRED},
    {"max", 0, GW_RANGE(100, 599), "Highest; the same as min if missing."},
};
TYPE(check_status, "sampan.CheckStatus", NULL);

FIELDS(check_http) = {
    {"method", 0, GW_TEXT("^[A-Z]+$", 16), "GET if missing."},
    {"path", 0, GW_TEXT("^/", 1024), "/ if missing."},
    {"host", 0, GW_TEXT(NULL, 256), "Host field; the server's address if missing."},
    {"headers", 0, GW_LIST(T(check_header), 0, 16), "Further fields."},
    {"status", 0, T(check_status), "What passes; 200 to 399 if missing."},
    {"body", 0, GW_TEXT(NULL, 1024), "Regular expression that the body must match."},
};
TYPE(check_http, "sampan.CheckHTTP", NULL);

FIELDS(check_grpc) = {
    {"service", 0, GW_TEXT(NULL, 120), "Service asked about; the whole server if missing."},
};
TYPE(check_grpc, "sampan.CheckGRPC", NULL);

#define STEP_TEXT GW_TEXT(NULL, 4096)
#define STEP_BASE64 GW_TEXT(NULL, 5464) /* of 4096 bytes */
FIELDS(check_step) = {
    {"send", 0, STEP_TEXT, "Text to send, with its line ends."},
    {"sendBase64", 0, STEP_BASE64, "Bytes to send that are no text."},
    {"expect", 0, STEP_TEXT, "Text that must come, in whatever pieces."},
    {"expectBase64", 0, STEP_BASE64, "Bytes that must come."},
    {"expectRegex", 0, STEP_TEXT, "Regular expression that must match somewhere in what came."},
    {"not", 0, BOOL,
     "It must not come; decided when the server closes, 16 KiB came, or minBytes came."},
    {"minBytes", 0, GW_RANGE(1, 16384),
     "Decided as soon as so many bytes came; if missing, a mismatch waits for more."},
};
TYPE(check_step, "sampan.CheckStep", "One thing to say, or to wait for.");

FIELDS(check_tcp) = {
    {"steps", 0, GW_LIST(T(check_step), 1, 64),
     "What is said and awaited, in order. Expectations look at all that came since the last send.",
     REQUIRED},
};
TYPE(check_tcp, "sampan.CheckTCP", NULL);

#define CHECK_TIMES                                                                \
    {"interval", 0, GW_DURATION, "From one check to the next (2s)."},              \
        {"timeout", 0, GW_DURATION, "Of one check (the interval, at most 5s)."}, { \
        "port", 0, GW_PORT, "Where it is not the port of the traffic."             \
    }

FIELDS(check_spec) = {
    {"type", 0, ENUM("TCP", "TLS", "HTTP", "GRPC", "Agent", "Script"),
     "TCP, TLS, HTTP, GRPC, Agent or Script.", REQUIRED},
    CHECK_TIMES,
    {"fastInterval", 0, GW_DURATION, "While the state is changing."},
    {"downInterval", 0, GW_DURATION, "While the server is down."},
    {"rise", 0, GW_RANGE(1, 100), "Passes in a row until a server is up (2)."},
    {"fall", 0, GW_RANGE(1, 100), "Failures in a row until it is down (3)."},
    {"tls", 0, BOOL, "HTTP and GRPC through TLS."},
    {"tcp", 0, T(check_tcp), "What is said once connected, for TCP and TLS; nothing if missing."},
    {"http", 0, T(check_http), "What is asked, for HTTP."},
    {"grpc", 0, T(check_grpc), "What is asked, for GRPC."},
    {"script", 0, GW_TEXT(NULL, 4096), "Command line for /bin/sh on the gateway, for Script."},
};
TYPE(check_spec, "sampan.Check", "Asks the servers regularly whether they are well.");

FIELDS(agent_spec) = {
    CHECK_TIMES,
};
TYPE(agent_spec, "sampan.Agent", "Reads haproxy's agent-check words from the servers.");

FIELDS(outlier_spec) = {
    {"consecutiveFailures", 0, GW_RANGE(1, 10000), "In a row, until a server is put out.",
     REQUIRED},
    {"http", 0, BOOL, "Answers of 500 to 599 are failures, too."},
    {"ejectionTime", 0, GW_DURATION, "How long, the first time; doubles (30s)."},
    {"maxEjectionTime", 0, GW_DURATION, "At most (5m)."},
    {"maxPercent", 0, GW_RANGE(1, 100), "Of the servers out at once; all but one if missing."},
};
TYPE(outlier_spec, "sampan.Outlier", "Puts servers out for what the traffic itself tells.");

FIELDS(limits_spec) = {
    {"maxConnections", 0, GW_AT_LEAST(1), "Under way to all servers together."},
    {"maxRequests", 0, GW_AT_LEAST(1), "Under way to all servers together."},
    {"maxPending", 0, GW_AT_LEAST(1), "Waiting for a place; more are refused at once."},
    {"maxRetries", 0, GW_AT_LEAST(1), "Second attempts under way at once."},
    {"queueTimeout", 0, GW_DURATION, "Waiting for a place (3s)."},
};
TYPE(limits_spec, "sampan.Limits", NULL);

FIELDS(backend_timeouts) = {
    {"connect", 0, GW_DURATION, "One attempt to reach a server."},
    {"response", 0, GW_DURATION, "From the request to the first byte of the answer."},
    {"idle", 0, GW_DURATION, "A TCP connection on which nothing moves."},
};
TYPE(backend_timeouts, "sampan.BackendTimeouts", NULL);

FIELDS(server_spec) = {
    {"name", 0, GW_TEXT(NULL, 253), "Name of a pod (the target of its endpoint)."},
    {"address", 0, GW_TEXT("^[0-9a-fA-F:.]+$", 64), "Its address."},
    {"weight", 0, GW_RANGE(0, 256), "Share of the traffic (1); 0: only who sticks to it."},
    {"backup", 0, BOOL, "Used only when no other server is left."},
    {"priority", 0, GW_RANGE(0, 255), "Used only when none with a lower number is left."},
    {"maxConnections", 0, GW_AT_LEAST(1), "At once; more wait."},
    {"checkPort", 0, GW_PORT, "Where its checks go."},
    {"unchecked", 0, BOOL, "Not checked."},
};
TYPE(server_spec, "sampan.Server", "What is different for one server.");

FIELDS(backend_policy_spec) = {
    {"targetRefs", 0, GW_LIST(T(policy_target_ref), 1, 16), "Services it is for.", REQUIRED},
    {"balance", 0, T(balance_spec), "How a server is chosen."},
    {"stickiness", 0, T(stickiness_spec), "Clients stay at a server by a cookie."},
    {"slowStart", 0, GW_DURATION, "How long a new server's share grows."},
    {"panicPercent", 0, GW_RANGE(0, 100),
     "When fewer of the servers are well, checks and ejections are ignored."},
    {"check", 0, T(check_spec), "Active checks."},
    {"agent", 0, T(agent_spec), "An agent on each server, beside the check."},
    {"outlier", 0, T(outlier_spec), "Passive checks."},
    {"limits", 0, T(limits_spec), "What the servers are spared."},
    {"timeouts", 0, T(backend_timeouts), NULL},
    {"proxyProtocol", 0, ENUM("v1", "v2"), "Tell servers the client's address: v1 or v2."},
    {"onRemoval", 0, ENUM_DEFAULT("Keep", "Reset"),
     "TCP connections of a server that is removed: Keep or Reset."},
    {"onCheckFailure", 0, ENUM_DEFAULT("Keep", "Reset"),
     "TCP connections of a server whose check fails: Keep or Reset."},
    {"goawayChance", 0, CHANCE, "Of a request, to make its HTTP/2 client connect anew."},
    {"servers", 0, GW_LIST(T(server_spec), 0, 1024), "What is different for single servers."},
};
TYPE(backend_policy_spec, "sampan.BackendPolicySpec", NULL);

FIELDS(backend_policy) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(backend_policy_spec), "What should be.", REQUIRED},
    {"status", 0, T(sampan_policy_status), "What was last observed."},
};
SHARED_TYPE(backend_policy, "BackendPolicy",
            "How gateways choose, check and protect the servers of a Service.");

/* --- TrafficPolicy --- */

FIELDS(rate_limit) = {
    {"name", 0, GW_TEXT(NULL, 63), "For messages; its buckets survive changes of the policy."},
    {"bucket", 0, GW_TEXT(NULL, 253),
     "Limits of the namespace with the same one count together; each by itself if missing."},
    {"by", 0, ENUM_DEFAULT("Source", "Header", "Token", "All"),
     "A bucket for each Source, value of a Header, Authorization Token, or one for All."},
    {"header", 0, FIELD_NAME, "Which, for Header."},
    {"requests", 0, GW_AT_LEAST(1), "Per period.", REQUIRED},
    {"period", 0, GW_DURATION, "1s if missing."},
    {"burst", 0, GW_AT_LEAST(1), "At once; as many as requests if missing."},
    {"ipv6Prefix", 0, GW_RANGE(1, 128), "Bits of an IPv6 source that count; 64 if missing."},
};
TYPE(rate_limit, "sampan.RateLimit", NULL);

FIELDS(from_networks) = {
    {"from", 0, CIDRS, "Networks of those who are believed.", REQUIRED},
};
TYPE(from_networks, "sampan.FromNetworks", NULL);

FIELDS(client_timeouts) = {
    {"clientIdle", 0, GW_DURATION, "A connection without traffic."},
    {"requestHead", 0, GW_DURATION, "For a request's head."},
    {"keepAlive", 0, GW_DURATION, "A connection between requests."},
    {"upgradedIdle", 0, GW_DURATION, "A WebSocket or other upgraded connection without traffic."},
};
TYPE(client_timeouts, "sampan.ClientTimeouts", NULL);

FIELDS(traffic_policy_spec) = {
    {"targetRefs", 0, GW_LIST(T(policy_target_ref), 1, 16),
     "Gateways, HTTPRoutes, GRPCRoutes, Ingresses, Services it is for.", REQUIRED},
    {"rateLimits", 0, GW_LIST(T(rate_limit), 0, 8), "Requests; more are answered 429."},
    {"allow", 0, CIDRS, "Only clients of these networks."},
    {"deny", 0, CIDRS, "No clients of these networks."},
    {"acceptProxyProtocol", 0, T(from_networks), "Peers that must send a PROXY header."},
    {"trustForwarded", 0, T(from_networks), "Peers whose X-Forwarded-For is believed."},
    {"maxConnections", 0, GW_AT_LEAST(1), "Open at once on a port."},
    {"connectionRate", 0, GW_AT_LEAST(1), "New connections per second and client."},
    {"timeouts", 0, T(client_timeouts), NULL},
    {"maxBodyBytes", 0,
     SCALAR_(SP_SCHEMA_INTEGER, SP_FORMAT_INT64, .has_minimum = true, .minimum = 1),
     "Of a request; more is answered 413."},
};
TYPE(traffic_policy_spec, "sampan.TrafficPolicySpec", NULL);

FIELDS(traffic_policy) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(traffic_policy_spec), "What should be.", REQUIRED},
    {"status", 0, T(sampan_policy_status), "What was last observed."},
};
SHARED_TYPE(traffic_policy, "TrafficPolicy", "What clients of the gateways may do.");

#define POLICY_ROW(id, plural_, kind_, short_)                                                    \
    HOOKED(id),                                                                                   \
        .group = "sampan.dev", .version = "v1alpha1", .subresources = SP_SUB_STATUS,              \
        .status_is_subresource = true, .counts_generation = true, .plural = plural_,              \
        .kind = kind_, .short_names = NAMES(short_), .namespaced = true,                          \
        .categories = NAMES("gateway-api"), .schema = T(id),                                      \
        COLUMNS(SP_COLUMN_NAME,                                                                   \
                PATH_COLUMN("Target", "The first object it is for.", ".spec.targetRefs[0].name"), \
                CELL_COLUMN("Accepted", "Whether it is carried out.", sp_cell_accepted),          \
                SP_COLUMN_AGE)
ROW(backend_policy, POLICY_ROW(backend_policy, "backendpolicies", "BackendPolicy", "bpolicy"),
    .singular = "backendpolicy");
ROW(traffic_policy, POLICY_ROW(traffic_policy, "trafficpolicies", "TrafficPolicy", "tpolicy"),
    .singular = "trafficpolicy");

/* --- what the schemas cannot say --- */

static bool is_z(const sp_json *o, const char *key, const char *value) {
    return sp_str_eqz(sp_json_str(sp_json_get(o, key)), value);
}

static void check_targets(const sp_at *spec_at, const sp_json *spec, const char *const *kinds) {
    sp_at list = sp_at_key(spec_at, "targetRefs");
    size_t i = 0;
    sp_json_each(sp_json_get(spec, "targetRefs"), it) {
        sp_at item = sp_at_item(&list, i++);
        bool known = false;
        for (size_t k = 0; kinds[k]; k += 2)
            known |= is_z(it, "group", kinds[k]) && is_z(it, "kind", kinds[k + 1]);
        if (!known)
            sp_say_invalid(&item, "kind", sp_json_get(it, "kind"),
                           kinds[2] ? "must be a Gateway, HTTPRoute or GRPCRoute "
                                      "(gateway.networking.k8s.io), an Ingress (networking.k8s.io) "
                                      "or a Service (\"\")"
                                    : "must be a Service, of group \"\"");
    }
}

static void check_hash(const sp_at *spec_at, const sp_json *spec) {
    const sp_json *balance = sp_json_get(spec, "balance"), *hash = sp_json_get(balance, "hash");
    sp_at at = sp_at_key(spec_at, "balance"), here = sp_at_key(&at, "hash");
    bool named = sp_json_str(sp_json_get(hash, "name")).n;
    if (!hash) return;
    if (!is_z(balance, "algorithm", "Hash"))
        sp_say_invalid(&at, "hash", hash, "may only be set when algorithm is 'Hash'");
    if (!named && (is_z(hash, "by", "Header") || is_z(hash, "by", "Cookie")))
        sp_say_required(&here, "name", "must be specified when by is 'Header' or 'Cookie'");
}

static void validate_step(const sp_at *at, const sp_json *step) {
    static const char *const keys[] = {"send", "sendBase64", "expect", "expectBase64",
                                       "expectRegex"};
    enum { FIRST_EXPECT = 2 };
    unsigned given = 0;
    bool says = false;
    for (size_t i = 0; i < SP_COUNT(keys); i++) {
        bool has = sp_json_get(step, keys[i]) != NULL;
        given += has;
        says |= has && i < FIRST_EXPECT;
        sp_auto(sp_buf) bytes = {0};
        if (has && strstr(keys[i], "Base64") &&
            !sp_base64_decode(&bytes, sp_json_str(sp_json_get(step, keys[i]))))
            sp_say_invalid(at, keys[i], sp_json_get(step, keys[i]), "must be base64");
    }
    if (given != 1)
        sp_say_invalid(at, NULL, step,
                       "must have one of send, sendBase64, expect, expectBase64 and expectRegex");
    if (says && sp_json_get(step, "not"))
        sp_say_invalid(at, "not", sp_json_get(step, "not"),
                       "may only be set beside an expectation");
    if (says && sp_json_get(step, "minBytes"))
        sp_say_invalid(at, "minBytes", sp_json_get(step, "minBytes"),
                       "may only be set beside an expectation");
}

static void validate_steps(const sp_at *check_at, const sp_json *c) {
    const sp_json *tcp = sp_json_get(c, "tcp");
    sp_at at = sp_at_key(check_at, "tcp"), list = sp_at_key(&at, "steps");
    size_t i = 0;
    if (tcp && !is_z(c, "type", "TCP") && !is_z(c, "type", "TLS"))
        sp_say_invalid(check_at, "tcp", tcp, "may only be set when type is 'TCP' or 'TLS'");
    sp_json_each(sp_json_get(tcp, "steps"), it) {
        sp_at item = sp_at_item(&list, i++);
        validate_step(&item, it);
    }
}

static void check_check(const sp_at *spec_at, const sp_json *spec) {
    const sp_json *c = sp_json_get(spec, "check"), *status = sp_json_dig(c, "http", "status", NULL);
    sp_at at = sp_at_key(spec_at, "check"), http = sp_at_key(&at, "http");
    bool script = sp_json_str(sp_json_get(c, "script")).n;
    if (!c) return;
    if (is_z(c, "type", "Script") && !script)
        sp_say_required(&at, "script", "must be specified when type is 'Script'");
    if (sp_json_get(status, "max") &&
        sp_json_int(sp_json_get(status, "max"), 0) < sp_json_int(sp_json_get(status, "min"), 0))
        sp_say_invalid(&http, "status", status, "max must not be less than min");
    validate_steps(&at, c);
}

static void check_servers(const sp_at *spec_at, const sp_json *spec) {
    sp_at list = sp_at_key(spec_at, "servers");
    size_t i = 0;
    sp_json_each(sp_json_get(spec, "servers"), it) {
        sp_at item = sp_at_item(&list, i++);
        bool named = sp_json_get(it, "name") != NULL, placed = sp_json_get(it, "address") != NULL;
        if (named == placed) sp_say_invalid(&item, NULL, it, "must have either name or address");
    }
}

static bool is_cidr(sp_str s) {
    unsigned char ip[16];
    char text[INET6_ADDRSTRLEN];
    uint64_t bits = 0;
    ptrdiff_t slash = sp_str_chr(s, '/');
    sp_str host = slash < 0 ? s : sp_str_sub(s, 0, (size_t)slash);
    if (!host.n || host.n >= sizeof text) return false;
    memcpy(text, host.p, host.n);
    text[host.n] = 0;
    bool v4 = inet_pton(AF_INET, text, ip) == 1;
    if (!v4 && inet_pton(AF_INET6, text, ip) != 1) return false;
    return slash < 0 ||
           (sp_str_u64(sp_str_from(s, (size_t)slash + 1), &bits) && bits <= (v4 ? 32u : 128u));
}

static void check_networks(const sp_at *up, const sp_json *holder, const char *key) {
    sp_at list = sp_at_key(up, key);
    size_t i = 0;
    sp_json_each(sp_json_get(holder, key), it) {
        sp_at item = sp_at_item(&list, i++);
        if (!is_cidr(sp_json_str(it)))
            sp_say_invalid(&item, NULL, it, "must be an address or a network like 10.0.0.0/8");
    }
}

static void check_limits(const sp_at *spec_at, const sp_json *spec) {
    sp_at list = sp_at_key(spec_at, "rateLimits");
    size_t i = 0;
    sp_json_each(sp_json_get(spec, "rateLimits"), it) {
        sp_at item = sp_at_item(&list, i++);
        if (is_z(it, "by", "Header") && !sp_json_get(it, "header"))
            sp_say_required(&item, "header", "must be specified when by is 'Header'");
    }
}

bool sp_prepare_backend_policy(sp_admit *a, sp_err *err) {
    return true;
}
bool sp_validate_backend_policy(sp_admit *a, sp_err *err) {
    static const char *const kinds[] = {"", "Service", NULL};
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "spec");
    const sp_json *spec = sp_json_get(a->obj, "spec");
    if (a->subresource.n) return true;
    check_targets(&at, spec, kinds);
    check_hash(&at, spec);
    check_check(&at, spec);
    check_servers(&at, spec);
    return true;
}

bool sp_prepare_traffic_policy(sp_admit *a, sp_err *err) {
    return true;
}
bool sp_validate_traffic_policy(sp_admit *a, sp_err *err) {
    static const char *const kinds[] = {GATEWAY_GROUP,       "Gateway",     GATEWAY_GROUP,
                                        "HTTPRoute",         GATEWAY_GROUP, "GRPCRoute",
                                        "networking.k8s.io", "Ingress",     "",
                                        "Service",           NULL};
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "spec");
    sp_at proxy = sp_at_key(&at, "acceptProxyProtocol"), trust = sp_at_key(&at, "trustForwarded");
    const sp_json *spec = sp_json_get(a->obj, "spec");
    if (a->subresource.n) return true;
    check_targets(&at, spec, kinds);
    check_limits(&at, spec);
    check_networks(&at, spec, "allow");
    check_networks(&at, spec, "deny");
    check_networks(&proxy, sp_json_get(spec, "acceptProxyProtocol"), "from");
    check_networks(&trust, sp_json_get(spec, "trustForwarded"), "from");
    return true;
}
