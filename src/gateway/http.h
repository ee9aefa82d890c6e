/* Inside of the HTTP part of the data path: http.c (clients and their requests), http_relay.c
 * (bodies and answers), http_backend.c (upstream connections, kept between requests). */
#pragma once
#include "gateway/datapath.h"
#include "gateway/http_head.h"

typedef struct sp_exchange sp_exchange;
typedef struct sp_http_session sp_http_session;

/* A connection to an endpoint: in use by one session, or kept. */
typedef struct sp_backend {
    sp_sock sock;
    sp_worker *worker;
    sp_upstream *upstream; /* referenced; counted open only while in use */
    sp_http_session *user; /* NULL while kept */
    sp_list link;          /* upstream->idle while kept */
    sp_alarm alarm;        /* while kept */
    int64_t idle_since_ms;
    bool reused;
} sp_backend;

/* Both take upstream over (referenced and counted open) from the dial. */
sp_backend *sp_backend_new(sp_dial *d, sp_http_session *user);
sp_backend *sp_backend_claim(sp_worker *w, sp_upstream *u, bool idempotent); /* NULL: none kept */
void sp_backend_attach(sp_backend *b, sp_http_session *user);
void sp_backend_keep(sp_backend *b); /* or closes it, when it must not be used again */
void sp_backend_close(sp_backend *b);

/* One request and its answer. Reused from a small stack, so that an idle client connection holds
 * nothing but its session. */
struct sp_exchange {
    sp_buf head; /* the request's head; what follows points into it */
    sp_h1_head request;
    sp_http_hop hop;
    sp_gateway_config *config; /* referenced: hop.entry lives in it */
    sp_pool *pool;
    sp_dial dial;
    sp_backend *claimed; /* by the dial, not attached yet */
    sp_backend *backend;
    sp_h1_body request_body, answer_body;
    sp_h1_scan answer_scan;
    sp_http_body_as answer_as;
    sp_endpoint endpoint; /* a copy for the log */
    int64_t started_us;
    int status; /* of the answer; 0 = none yet */
    uint8_t attempts;
    bool idempotent, to_head, keep_client, fresh_only;
    bool body_touched; /* part of the request's body went upstream: no second attempt */
    bool request_done, answer_begun, answer_done, keep_backend;
    char client_ip[SP_ADDR_MAX], path_scratch[4096];
};

typedef enum sp_http_state {
    SP_HTTP_HEAD, /* between requests, or reading a head */
    SP_HTTP_DIAL,
    SP_HTTP_RELAY,
    SP_HTTP_CLOSING, /* sending the rest, then FIN */
    SP_HTTP_LINGER   /* reading until the client is done too, so that our answer survives */
} sp_http_state;

struct sp_http_session {
    sp_session s; /* first: buried by its address */
    sp_listener *listener;
    sp_sock client;
    sp_alarm alarm;
    sp_h1_scan scan;
    sp_exchange *x; /* NULL between requests */
    sp_http_state state;
    bool in_head; /* the first byte of a head is here */
    bool linger;  /* the client may still be sending */
    bool running, dead;
    uint64_t counted_in, counted_out; /* of the socket's bytes, in statistics and log */
};

void sp_proxy_run(sp_http_session *s);
void sp_proxy_end(sp_http_session *s, bool reset);
/* Answers by itself. The connection closes after it unless the request was read to its end. */
void sp_proxy_fail(sp_http_session *s, int status, const char *fmt, ...) SP_PRINTF(3, 4);
/* The answer is complete in the client's buffer. */
void sp_proxy_finish(sp_http_session *s);
void sp_proxy_connect(sp_http_session *s); /* (again) */

/* True when something moved. */
bool sp_proxy_relay_request(sp_http_session *s);
bool sp_proxy_relay_answer(sp_http_session *s);
/* The backend's connection broke, for errno or 0 = it ended. */
void sp_proxy_backend_lost(sp_http_session *s);
