/* The inside of the API server: what its files share. Loop thread only. */
#pragma once
#include "apiserver/metrics.h"
#include "apiserver/op.h"
#include "apiserver/openapi.h"
#include "apiserver/outflow.h"
#include "apiserver/reqinfo.h"
#include "apiserver/table.h"
#include "base/list.h"
#include "base/map.h"
#include "iam/authn.h"
#include "net/server.h"

typedef struct sp_apiserver_config {
    sp_tls_ctx *tls;                   /* of the listener; NULL = plain HTTP (tests) */
    sp_tls_ctx *kubelet;               /* client side towards the agents; NULL = none */
    const char *bind;                  /* address to listen on */
    uint16_t port;                     /* 0 = any */
    const char *advertise;             /* address for the endpoints of the service kubernetes */
    sp_str tokens;                     /* text of the token file */
    const char *store_path;            /* NULL = memory only */
    const struct sp_etcd_config *etcd; /* in place of the file; NULL = none. Borrowed */
    const char *etcd_prefix;
    uint32_t compact_every_ms; /* as store.h has it */
    const char
        *join_dir; /* the certificates and keys given to machines that join; NULL = none may */
    double goaway_chance; /* of each HTTP/2 request; 0 = never */
    bool trust_everybody; /* tests: requests without credentials are system:masters */
} sp_apiserver_config;

struct sp_apiserver {
    uv_loop_t *loop;
    sp_apiserver_config config;
    sp_store *store;
    sp_registry *registry;
    sp_authn *authn;
    sp_openapi *openapi;
    sp_api_metrics *metrics;
    sp_http_server *http;
    struct sp_crds *crds;
    struct sp_watch_hub *hub;
    struct sp_node_links *nodes;
    struct sp_tunnels *tunnels;
    sp_list streams; /* exec, attach, port-forward */
    size_t streams_n;
    sp_list cluster_jobs;    /* of cluster.c */
    int64_t refused_said_ms; /* those who may not join; refused_joins: since then */
    size_t refused_joins;
    struct sp_event_expiry *expiry;
    struct sp_presence *presence;
    sp_map inflight; /* keys with a write on its way → how many */
    sp_list claims;  /* sp_op that wait until the claim under way is made */
    bool claiming;
    uint64_t openapi_generation;
    bool ready, stopping;
    void (*on_ready)(void *ctx);
    void *on_ready_ctx;
};

/* Opens the store, loads the CRDs, creates what must exist, then listens; on_ready is called when
 * requests are served. The config's strings are borrowed for the life of the server. */
SP_MUST_USE bool sp_apiserver_start(uv_loop_t *loop, const sp_apiserver_config *c,
                                    void (*on_ready)(void *ctx), void *ctx, sp_apiserver **ret,
                                    sp_err *err);
/* Ends watches, stops listening, commits, then calls done and is gone. */
void sp_apiserver_stop(sp_apiserver *s, void (*done)(void *ctx), void *ctx);
uint16_t sp_apiserver_port(const sp_apiserver *s);
void sp_apiserver_handle(void *ctx, sp_http_req *http, sp_http_res *res); /* an sp_http_handler */

/* One HTTP request on its way through. Lives in its own arena, so that a write may end after the
 * client has gone. */
typedef struct sp_call {
    sp_op op; /* op.ctx is this call; also holds server, served, arena, names, user */
    sp_http_req *http;
    sp_http_res *res; /* NULL once the client is gone */
    sp_reqinfo info;
    sp_user user;
    sp_str query;
    sp_table_form form;
    const char *form_version;
    bool yaml, pretty, retry_after;
    sp_outflow flow;     /* a long list */
    bool held, finished; /* waits for something; was answered (or needs no answer) */
    bool synced;         /* what others had acknowledged before it came has been seen */
    int64_t start_us;
    int http_status; /* as answered, for metrics and the log */
} sp_call;

/* --- answering (answer.c); each ends the call --- */
void sp_call_reply(sp_call *c, int status, const char *content_type, sp_str body);
void sp_call_reply_blob(sp_call *c, int status, sp_blob *body); /* JSON; pretty or YAML if asked */
void sp_call_reply_json(sp_call *c, int status, const sp_json *j);
void sp_call_fail(sp_call *c, const sp_err *err, const sp_causes *causes);
void sp_call_success(sp_call *c, int status, sp_str name, const char *kind, sp_str uid);
/* Response headers every answer carries (Content-Type, warnings …); returns how many. */
enum { SP_CALL_HEADERS_MAX = 24 };
size_t sp_call_headers(sp_call *c, const char *content_type, sp_header *h);
void sp_call_count(sp_call *c, int status); /* metrics and access log; once per call */
/* A long answer in JSON: begins it with this length; c->flow holds what stands between head and
 * tail, both in the call's arena. Ends the call. */
void sp_call_reply_flow(sp_call *c, sp_str head, sp_str tail);
/* The call goes on after the handler returns. Then sp_call_reply… or sp_call_end ends it. */
void sp_call_hold(sp_call *c);
/* Arena and all; for calls whose answer was given by hand. */
void sp_call_end(sp_call *c);

bool sp_call_query(sp_call *c, const char *key, sp_str *ret);
bool sp_call_query_true(sp_call *c, const char *key);

/* --- verbs; each answers now or later --- */
void sp_verb_get(sp_call *c);
void sp_verb_list(sp_call *c);
void sp_verb_watch(sp_call *c);
void sp_verb_create(sp_call *c);
void sp_verb_update(sp_call *c);
void sp_verb_patch(sp_call *c);
void sp_verb_delete(sp_call *c);
void sp_verb_delete_collection(sp_call *c);
void sp_verb_subresource(sp_call *c); /* everything with c->info.sub */
/* "May I?" and "who am I?" of kubectl auth: created, answered, never stored. */
bool sp_is_review(const sp_reqinfo *i);
void sp_verb_review(sp_call *c);
void sp_pod_log(sp_call *c);
void sp_pod_stream(sp_call *c); /* exec, attach, portforward */
void sp_pod_streams_end(sp_apiserver *s);
/* /healthz, /version, /metrics, discovery, openapi … and 404 for the rest. */
void sp_serve_nonresource(sp_call *c);
bool sp_is_public(sp_str path); /* may be asked without credentials */

/* --- request bodies (body.c) --- */
/* JSON, YAML or protobuf by Content-Type, into the call's arena. */
SP_MUST_USE bool sp_body_parse(sp_call *c, sp_json **ret, sp_err *err);
/* DeleteOptions from body and query. */
SP_MUST_USE bool sp_body_delete_options(sp_call *c, sp_delete_options *ret, sp_err *err);
/* dryRun and fieldValidation into c->op. */
SP_MUST_USE bool sp_body_write_options(sp_call *c, sp_err *err);

/* --- what a LIST or WATCH selects (select.c) --- */
typedef struct sp_filter {
    sp_selector *labels; /* NULL = all */
    sp_field_selector *fields;
    bool any;        /* neither: everything matches */
    bool names_only; /* fields asks for metadata.name and .namespace only: nothing is parsed */
} sp_filter;
SP_MUST_USE bool sp_filter_parse(sp_call *c, sp_filter *ret, sp_err *err);
bool sp_filter_matches(const sp_filter *f, sp_store_value *v, const sp_resource *row);

/* --- objects that others may be changing (op.c) --- */
void sp_lookup_each_latest(void *server, sp_arena *a, const char *group, const char *plural,
                           sp_str ns, bool (*fn)(void *fn_ctx, const sp_json *obj), void *fn_ctx);

/* --- parts with a life of their own --- */
struct sp_watch_hub *sp_watch_hub_new(sp_apiserver *s);
void sp_watch_hub_end_all(struct sp_watch_hub *h);
/* A kind is served no longer: its watchers are told by the end of the stream. */
void sp_watch_hub_end_kind(struct sp_watch_hub *h, sp_str prefix);
void sp_watch_hub_free(struct sp_watch_hub *h); /* when the last watcher is gone */
size_t sp_watch_hub_count(const struct sp_watch_hub *h);
SP_MUST_USE bool sp_crds_start(sp_apiserver *s, sp_err *err);
void sp_crds_stop(sp_apiserver *s);
void sp_bootstrap_start(sp_apiserver *s, void (*done)(sp_apiserver *s));
/* Events are forgotten an hour after they last happened. */
void sp_event_expiry_start(sp_apiserver *s);
void sp_event_expiry_stop(sp_apiserver *s);
struct sp_node_links *sp_node_links_new(sp_apiserver *s);
void sp_node_links_free(struct sp_node_links *n);
