/* What the files of the server share. server.c: listening, connections, stop. server_res.c: the
 * answering half of server.h. server_h1.c, server_h2.c: the two protocols behind one table.
 *
 * Life of an answer: made by the protocol → handler → begun → ended → detached from the connection
 * (all bytes handed over, or the client is gone) → on_close → freed. An answer detached early
 * without an on_close waits for its end, because somebody still holds it. */
#pragma once
#include "net/conn.h"
#include "net/http1.h"
#include "net/server.h"

typedef struct srv_conn srv_conn;

/* Who is on the other side; outlives the connection as long as a request refers to it. */
typedef struct srv_who {
    unsigned refs;
    sp_arena *arena;   /* of the peer */
    sp_tls_peer *peer; /* NULL: not known by certificate */
    char remote[64];
} srv_who;

typedef struct srv_proto {
    void (*open)(srv_conn *c);
    void (*data)(srv_conn *c, char *p, size_t n);
    void (*fill)(srv_conn *c);
    void (*timeout)(srv_conn *c);
    void (*eof)(srv_conn *c);   /* the client sends nothing more; ends in srv_conn_drop/finish */
    void (*drain)(srv_conn *c); /* the server stops: take no more requests */
    void (*close)(srv_conn *c); /* free the state, detach the answers */
    /* length < 0: unknown. Called once per answer, before its bytes. */
    void (*begin)(sp_http_res *r, int status, const sp_header *h, size_t n, int64_t length);
    void (*more)(sp_http_res *r);                         /* r->out has grown or r has ended */
    void (*chunk)(sp_http_res *r, size_t n, bool before); /* around each piece of the body */
    size_t (*pending)(const sp_http_res *r);              /* bytes of r already on the connection */
} srv_proto;

extern const srv_proto srv_h1, srv_h2;

struct srv_conn {
    sp_list link; /* in the server */
    sp_http_server *server;
    sp_conn *io;
    const srv_proto *proto; /* NULL until the first bytes tell */
    void *state;            /* of the protocol */
    srv_who *who;
    sp_buf early;         /* while proto is NULL */
    uint64_t sent_before; /* at the last look of the stall timer */
    bool tls;
};

struct sp_http_server {
    uv_loop_t *loop;
    sp_turn *turn;
    uv_tcp_t listener;
    sp_http_server_config config; /* host: not kept */
    sp_list conns;
    size_t n_conns;
    size_t arriving; /* bytes of bodies whose requests are not yet dispatched */
    sp_timer *grace;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
    bool stopping, listener_closed;
    int64_t date_s;
    char date[30];
};

typedef enum res_phase { RES_FRESH, RES_BEGUN, RES_ENDED } res_phase;

struct sp_http_res {
    sp_http_req req;
    sp_headers headers; /* of the request */
    sp_buf body;        /* of the request */
    srv_conn *conn;     /* NULL once detached */
    srv_who *who;
    sp_turn *turn;
    sp_outq out; /* of the answer, not yet on the connection */
    res_phase phase;
    bool is_head; /* HEAD: the answer has no body */
    bool no_body; /* nor has this one */
    bool chunked; /* HTTP/1.1 */
    void (*on_close)(void *ctx);
    void *close_ctx;
    sp_http_taken *taken; /* an upgrade is under way */
    void *taken_ctx;
    void (*on_drain)(void *ctx);
    void *drain_ctx;
    sp_task release, drained;
    sp_list link;   /* HTTP/2: among the answers of the connection */
    int32_t stream; /* HTTP/2 */
    size_t field_bytes, progress;
    bool refused, submitted;
    bool dispatched; /* or refused: its body is not counted in server->arriving any more */
    bool complete;   /* HTTP/2: nothing more of the request comes */
};

/* server.c */
void srv_conn_drop(srv_conn *c);      /* at once; c is gone */
void srv_conn_finish(srv_conn *c);    /* after what is queued; c is gone */
sp_conn *srv_conn_leave(srv_conn *c); /* without its socket; c is gone */
const char *srv_date(sp_http_server *s);
/* One more piece of the request's body; false when it, or all that arrive, would be too large. */
SP_MUST_USE bool srv_body_add(sp_http_res *r, sp_str bytes, sp_h1_error *err);
void srv_body_arrived(sp_http_res *r); /* all that will be taken; sets `dispatched` */
void srv_dispatch(sp_http_res *r);     /* the request is complete: calls the handler */

/* server_res.c */
void srv_who_unref(srv_who *w);
sp_http_res *srv_res_new(srv_conn *c);
void srv_res_detach(sp_http_res *r);
void srv_res_moved(sp_http_res *r); /* bytes have left r->out */
/* Splits path and query off the target; false when it is neither a path nor an absolute URL. */
bool srv_set_target(sp_http_res *r, sp_str target);
