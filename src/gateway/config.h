/* What the gateway is to do, as one immutable value: pools of endpoints, listeners, routing tables.
 * Made from Kubernetes objects by translate.c, carried out by the data path (worker.h). The whole
 * value is replaced at once; requests under way keep the one they started with by its count.
 * The count is atomic, because one loop per core holds it; the rest never changes once it is made.
 *
 * Everywhere: zero means "the usual" (no limit, the gateway's own setting, not used), strings and
 * arrays live in the arena, durations are milliseconds. */
#pragma once
#include "gateway/balance.h"
#include "gateway/route.h"

/* --- pools: who answers --- */

typedef struct sp_endpoint_spec {
    sp_addr addr;
    sp_str name; /* of a pod or server: metrics, sticky cookies, commands; "" = its address */
    bool ready, draining;
    bool no_newcomers;        /* while draining: not even when no other one is left */
    bool sick;                /* its check failed: that is why it is not ready */
    bool held_out;            /* by a command or an agent: a panic does not use it though sick */
    bool backup;              /* only when no other one is left */
    uint8_t priority;         /* 0 first; the next only when none of the former is left */
    uint16_t weight;          /* of 256; 0 = 1. To take a server out: ready = false, draining */
    uint32_t max_connections; /* more wait in the pool's queue */
    uint16_t check_port;      /* where it is not the port of the traffic */
    bool unchecked;           /* the pool's checks leave it out */
} sp_endpoint_spec;

typedef enum sp_hash_by {
    SP_HASH_NOTHING,
    SP_HASH_SOURCE, /* the client's address */
    SP_HASH_HEADER, /* HTTP; `hash_name`: which */
    SP_HASH_COOKIE,
    SP_HASH_QUERY,
    SP_HASH_PATH
} sp_hash_by;

typedef struct sp_sticky_spec {
    sp_str cookie;  /* "" = none. Its value names the endpoint by a keyed hash, never by address */
    int64_t ttl_ms; /* 0 = until the browser is closed */
    bool secure;
    sp_str key; /* of that hash; "" = one that everybody knows */
} sp_sticky_spec;
enum { SP_STICKY_KEY_MIN = 16 }; /* bytes */

typedef enum sp_check_kind {
    SP_CHECK_NONE,
    SP_CHECK_TCP,
    SP_CHECK_TLS,
    SP_CHECK_HTTP,
    SP_CHECK_GRPC,
    SP_CHECK_AGENT, /* haproxy's agent-check: one line of words from the server */
    SP_CHECK_SCRIPT
} sp_check_kind;

/* What a check says to a server, or waits to hear from it (health_talk.h). */
typedef enum sp_check_step_kind {
    SP_CHECK_STEP_SAY,
    SP_CHECK_STEP_TEXT,   /* these bytes come */
    SP_CHECK_STEP_PATTERN /* what comes matches this regular expression somewhere */
} sp_check_step_kind;
typedef struct sp_check_step {
    sp_check_step_kind kind;
    bool negated;       /* they do not come, it does not match */
    uint32_t min_bytes; /* decided as soon as so many came; 0 = a mismatch waits for more */
    sp_str bytes;       /* never empty */
} sp_check_step;

/* Active checks; done on the control side (health.h), never in the data path. */
typedef struct sp_check_spec {
    sp_check_kind kind;
    uint32_t interval_ms, fast_ms, down_ms, timeout_ms; /* fast: while changing; down: while down */
    uint16_t rise, fall, port;
    bool tls;                  /* HTTP, gRPC: through TLS, by the pool's `tls` or unverified */
    sp_str method, path, host; /* HTTP */
    sp_header *headers;
    size_t header_count;
    uint16_t status_min, status_max; /* 0: 200 to 399 */
    sp_str body;                     /* "" = any; else a regular expression the body must match */
    sp_str service;                  /* gRPC */
    sp_str script;                   /* a command line for /bin/sh */
    sp_check_step *steps;            /* TCP, TLS: once connected; none: connecting is enough */
    size_t step_count;
} sp_check_spec;

/* Circuit breaking and queueing. */
typedef struct sp_pool_limits {
    uint32_t max_connections; /* open to the whole pool */
    uint32_t max_requests;    /* under way */
    uint32_t max_pending;     /* waiting for a place; more are refused at once (503) */
    uint32_t max_retries;     /* under way at once */
    uint32_t queue_timeout_ms;
} sp_pool_limits;

typedef enum sp_backend_protocol {
    SP_BACKEND_HTTP1,
    SP_BACKEND_H2C, /* HTTP/2 by prior knowledge (appProtocol kubernetes.io/h2c, gRPC) */
    SP_BACKEND_AUTO /* with TLS: what ALPN agrees on */
} sp_backend_protocol;

/* TLS towards endpoints. */
typedef struct sp_upstream_tls {
    sp_str ca_pem; /* "" = the system's */
    sp_str server_name;
    sp_str cert_pem, key_pem;
    bool insecure; /* the server is not verified */
} sp_upstream_tls;

typedef struct sp_pool_spec {
    sp_str name;    /* "default/web:http": its identity across configurations */
    sp_str service; /* "default/web": whose servers they are; several pools may be one Service's */
    sp_balance_algorithm algorithm;
    sp_hash_by hash_by;
    sp_str hash_name;
    int64_t affinity_ms; /* by the client's address */
    sp_sticky_spec sticky;
    uint32_t slow_start_ms;
    uint8_t panic_percent;      /* fewer than these are well: checks and ejections are ignored */
    sp_check_spec check, agent; /* agent: SP_CHECK_AGENT beside another kind, or none */
    sp_outlier_spec outlier;
    sp_pool_limits limits;
    sp_backend_protocol protocol;
    const sp_upstream_tls *tls; /* NULL = plain */
    uint8_t send_proxy;         /* PROXY protocol: 0, 1 or 2 */
    uint32_t connect_timeout_ms, response_timeout_ms, idle_timeout_ms;
    bool reset_on_removal;       /* TCP and upgraded connections of an endpoint that is gone */
    bool reset_on_check_failure; /* the same ones, when its check fails */
    uint32_t goaway_per_million; /* of requests on HTTP/2 clients: say GOAWAY after this one */
    sp_endpoint_spec *endpoints;
    size_t endpoint_count;
} sp_pool_spec;

/* --- listeners: who may come, and where to --- */

typedef struct sp_tls_cert {
    sp_str cert_pem, key_pem; /* chain, leaf first */
    sp_str ocsp_der;          /* staple; "" = none */
    sp_str source;            /* "Secret default/web-tls": messages */
} sp_tls_cert;

typedef enum sp_client_verify {
    SP_VERIFY_NOBODY,
    SP_VERIFY_OPTIONAL, /* a certificate that does not verify is told to the backend, not refused */
    SP_VERIFY_REQUIRED
} sp_client_verify;

typedef struct sp_tls_spec {
    sp_tls_cert *certs; /* by the name the client asks for; the first one else */
    size_t cert_count;
    sp_str client_ca_pem;
    sp_client_verify client_verify;
    uint16_t min_version; /* 0x0303 = 1.2 (the usual), 0x0304 = 1.3 */
    bool no_http2;        /* not offered by ALPN */
} sp_tls_spec;

/* What a connection carries once TLS, if any, is off. */
typedef struct sp_inner_spec {
    bool http;
    uint32_t table;     /* HTTP: of config->tables */
    sp_targets targets; /* TCP: drawn by weight for each connection */
} sp_inner_spec;

/* One server name of a TLS listener. The most specific host wins: exact, then the longest wildcard,
 * then "". A name nobody has is refused with unrecognized_name. */
typedef struct sp_sni_entry {
    sp_str host;            /* lower case; "" = any, also without SNI */
    const sp_tls_spec *tls; /* NULL = passed through, still encrypted */
    sp_inner_spec inner;
    sp_str owner;
} sp_sni_entry;

typedef struct sp_listener_spec {
    sp_addr addr;
    sp_inner_spec plain; /* used when there are no SNI entries */
    sp_sni_entry *sni;
    size_t sni_count;
    /* loadBalancerSourceRanges and access lists: denied first, then, if any, only the allowed. */
    sp_cidr *sources, *denied;
    size_t source_count, denied_count;
    /* A PROXY header (v1 or v2) is required from these peers; from others it is not read. */
    sp_cidr *proxy_from;
    size_t proxy_from_count;
    /* X-Forwarded-* of these peers is believed and continued; of others it is replaced. */
    sp_cidr *trusted;
    size_t trusted_count;
    uint32_t max_connections;
    uint32_t client_rate; /* new connections per second and source (IPv6: its /64); more: closed */
    uint32_t idle_timeout_ms, head_timeout_ms, keep_alive_timeout_ms;
    uint32_t upgraded_idle_ms; /* a WebSocket and the like without traffic; 0 = no limit */
    sp_str owner; /* "Service default/web": whose it is, in messages, logs and metrics */
} sp_listener_spec;

#define SP_ACME_ALPN "acme-tls/1" /* RFC 8737 4 */
/* What a client that speaks acme-tls/1 and asks for this name is shown, on every TLS port. */
typedef struct sp_acme_answer {
    sp_str name;
    sp_tls_cert cert;
} sp_acme_answer;

typedef struct sp_gateway_config {
    uint32_t refs;   /* atomic */
    sp_arena *arena; /* holds all of it */
    sp_pool_spec *pools;
    sp_listener_spec *listeners;
    sp_route_table **tables;
    sp_acme_answer *acme_answers;
    size_t pool_count, listener_count, table_count, acme_answer_count;
} sp_gateway_config;

sp_gateway_config *sp_gateway_config_new(void);                   /* empty, one reference */
sp_gateway_config *sp_gateway_config_ref(sp_gateway_config *c);   /* any thread */
sp_gateway_config *sp_gateway_config_unref(sp_gateway_config *c); /* takes NULL, returns NULL */
