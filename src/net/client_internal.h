/* What the files of the client share. client.c: calls, the pool, retries. client_h1.c and
 * client_h2.c: a call on a connection.
 *
 * A call is waiting (in client->waiting) or running (call->conn set) or finished. Callbacks of the
 * user may cancel calls and free the client: calls and connections are therefore only marked
 * (`finished`, `closed`) and freed at the end of the turn; after each callback the marks are
 * looked at. */
#pragma once
#include "base/blob.h"
#include "net/client.h"
#include "net/conn.h"

typedef struct cli_conn cli_conn;

typedef struct cli_proto {
    void (*open)(cli_conn *c);
    void (*start)(cli_conn *c, sp_http_call *call);
    void (*cancel)(cli_conn *c, sp_http_call *call); /* the call is forgotten */
    void (*pause)(cli_conn *c, sp_http_call *call);  /* call->paused has changed */
    bool (*has_room)(const cli_conn *c);
    void (*data)(cli_conn *c, char *p, size_t n);
    void (*fill)(cli_conn *c);
    void (*eof)(cli_conn *c); /* before the calls that still run are given up */
    void (*close)(cli_conn *c);
    void (*probe)(cli_conn *c); /* asks for a sign of life; NULL = cannot */
} cli_proto;

extern const cli_proto cli_h1, cli_h2;

struct cli_conn {
    sp_list link;
    sp_list calls; /* running */
    sp_http_client *client;
    sp_conn *io;
    const cli_proto *proto; /* NULL while connecting */
    void *state;
    sp_task release;
    size_t peer;  /* which of the client's */
    bool heard;   /* the server has said something */
    bool probed;  /* was silent, and asked whether it is there */
    bool no_more; /* takes no further call: closing, GOAWAY */
    bool closed;
};

struct sp_http_call {
    sp_list link; /* waiting or in a connection */
    sp_http_client *client;
    cli_conn *conn;
    sp_http_call_params p; /* strings in the arena */
    sp_arena *arena;
    sp_blob *body;
    size_t body_at; /* HTTP/2: sent */
    sp_timer *timer;
    sp_task task;
    struct fetch *fetch; /* of sp_http_fetch; owned */
    sp_err bad;          /* found at the start: reported at the end of the turn */
    int32_t stream;      /* HTTP/2 */
    int status;          /* HTTP/2 */
    sp_headers headers;  /* HTTP/2, of the answer */
    sp_headers trailers; /* HTTP/2 */
    size_t field_bytes;
    size_t held;              /* HTTP/2: received while paused, the window not given back */
    bool sent;                /* a byte of it may have reached the server */
    bool answered;            /* a byte of the answer is here */
    bool head_seen, complete; /* HTTP/2 */
    unsigned refusals;
    bool paused, retried, finished;
};

typedef struct cli_peer {
    char *host, *server_name, *authority;
    uint16_t port;
} cli_peer;

struct sp_http_client {
    uv_loop_t *loop;
    sp_turn *turn;
    cli_peer *peers;
    size_t peer_count, at;                      /* at: the one in use */
    size_t tried;                               /* could not be reached one after the other */
    int64_t left_ms;                            /* the last sp_http_client_leave */
    const char *host, *server_name, *authority; /* of the one in use */
    uint16_t port;
    sp_tls_ctx *tls;
    uint32_t connect_timeout_ms;
    int (*dial)(void *ctx);
    void *dial_ctx;
    sp_list waiting, conns;
    size_t n_conns, connecting;
    sp_task pump, leave;
    bool knows_h1; /* the last connection spoke HTTP/1.1 */
    bool prior_knowledge;
    bool freed;
    unsigned holds; /* connections and calls not yet freed, and the client's owner */
};

/* client.c */
void cli_call_end(sp_http_call *call, const sp_err *err); /* err NULL: complete */
/* The server has not acted on it (or it may be repeated): once more on another connection. */
bool cli_call_again(sp_http_call *call);
/* The server says that it has not looked at it (REFUSED_STREAM, or beyond the last stream of a
 * GOAWAY): safe for every method, as often as that happens, within reason. */
bool cli_call_refused(sp_http_call *call);
void cli_conn_close(cli_conn *c, const sp_err *why); /* its calls are retried or fail */
/* After a 101: io belongs to the caller, the call ends without `done`, c is gone as if closed. */
void cli_conn_leave(cli_conn *c, sp_http_call *call);
void cli_conn_idle(cli_conn *c); /* a call has ended: the next may come */
