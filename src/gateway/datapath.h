/* Inside of the data path, shared by its files only: worker.c (configuration, listeners), sock.c
 * (buffers and sockets), dial.c (from a pool to a connected socket), tunnel.c (TCP), http.c and
 * http_head.c (HTTP/1.1). */
#pragma once
#include "gateway/affinity.h"
#include "gateway/counts.h"
#include "gateway/poller.h"
#include "gateway/sockets.h"
#include "gateway/worker.h"
#include "net/http1.h"
#include "net/tls_io.h"

struct sp_proxy_facts; /* proxy_header.h */
typedef struct sp_pool sp_pool;
typedef struct sp_listener sp_listener;

enum {
    SP_READ_SIZE = 64 * 1024, /* one read; also where the tunnel turns to splice */
    SP_MAX_TRIES = 8,         /* endpoints tried for one connection or request */
    SP_RUN_BUDGET = 16        /* reads per event before others get their turn */
};

typedef struct sp_pipe {
    int read, write;
} sp_pipe;

/* An endpoint as the data path sees it. */
typedef struct sp_upstream {
    sp_endpoint e; /* first */
    sp_list idle;  /* kept connections, most recently used last */
    size_t idle_count;
    sp_str name;                 /* owned */
    sp_tls_session *tls_session; /* to be resumed; owned */
    sp_endpoint_counts counts;
    sp_shared_count *pool_count; /* referenced while the pool has a limit; NULL else */
    sp_list h2;                  /* connections that carry many requests, in use or not */
    uint32_t cuts; /* grows when its connections are to end: gone, or its check failed */
    bool failing;  /* its check fails, and ends them */
} sp_upstream;
/* --- tally.c --- */
void sp_upstream_name(sp_upstream *u, sp_str name);
/* The head of an answer came so long after the request; status 0: it never came. */
void sp_upstream_answered(sp_upstream *u, int status, int64_t took_ms);
void sp_upstream_failed(sp_upstream *u, const char *why);
void sp_worker_count_route(sp_worker *w, sp_str owner, int status, uint64_t in, uint64_t out,
                           int64_t took_ms);
void sp_worker_free_routes(sp_worker *w);

struct sp_pool {
    sp_str name;    /* owned */
    sp_str service; /* owned */
    uint32_t refs;
    sp_balance balance;
    sp_worker *worker;
    bool served; /* had a ready endpoint before */
    bool listed; /* the configuration has it; else only its connections hold it */
    bool reset_on_removal;
    sp_pool_limits limits;
    uint32_t connect_timeout_ms; /* 0 = the worker's */
    uint32_t typical;            /* of a connect, smoothed; hedge.c */
    struct sp_tls_client *tls;   /* referenced; NULL = plain, or tls_wanted and not usable */
    char *tls_name;              /* of the certificate; NULL = the endpoint's address */
    bool tls_wanted;
    uint8_t send_proxy;      /* then a connection belongs to one client and is not shared */
    sp_shared_count *shared; /* of all loops; referenced */
    sp_list queue;           /* sp_dial.waiting: those that want a place, first come first */
    uint32_t queued;
    sp_list may_have_place; /* in sp_worker.queues, until the end of the turn */
    sp_alarm look_again;    /* places that other loops gave up tell nobody */
    sp_list waiters; /* sp_dial.waiting: those that want an endpoint or are connecting to one */
};
sp_pool *sp_pool_ref(sp_pool *p);
void sp_pool_unref(sp_worker *w, sp_pool *p);
/* A place in the pool's budget for second attempts; *held: we have one that counts. False: all are
 * used up. */
bool sp_pool_take_retry(sp_pool *p, bool *held);
void sp_pool_give_retry(sp_pool *p, bool *held);
void sp_upstream_ref(sp_upstream *u);
void sp_upstream_unref(sp_upstream *u);
/* Referenced and counted open; release is the other half (also of a dial's OK). */
void sp_upstream_take(sp_upstream *u);
void sp_upstream_release(sp_upstream *u);
bool sp_upstream_try(sp_upstream *u);  /* take, unless a limit is reached */
void sp_upstream_rest(sp_upstream *u); /* no longer open, still referenced */
/* What the traffic told about it. The dial reports connects by itself; whoever carries the bytes
 * reports how it went, once per request or TCP connection. */
void sp_upstream_report(sp_worker *w, sp_upstream *u, sp_outcome o);
void sp_worker_apply_pools(sp_worker *w, const sp_gateway_config *c);
void sp_worker_wake_pools(sp_worker *w); /* the pools' endpoints changed */

/* Every client connection: what sp_worker_stop and the access log need to know. */
typedef struct sp_session {
    sp_list link;
    sp_worker *worker;
    sp_addr client, local;
    const char *server_name; /* of TLS (SNI), lower case, owned; NULL = none */
    sp_shared_count *place;  /* counted there, referenced; NULL = its port has no limit */
    /* Ends it: politely when force is false and something is under way. */
    void (*stop)(struct sp_session *s, bool force);
} sp_session;

/* One listening socket. */
typedef struct sp_door {
    sp_io io;
    struct sp_listener *listener;
} sp_door;

struct sp_listener {
    sp_door *doors; /* this loop's share of the port's sockets; usually one */
    size_t door_count;
    sp_port *port;                /* NULL while it is not bound */
    const sp_listener_spec *spec; /* of the current configuration; NULL when it is gone */
    sp_addr asked, addr;          /* differ where port 0 was asked for */
    bool bound, seen;
    uint32_t refs; /* one for the configuration, one for each connection */
    uint64_t connections;
    sp_shared_count *open; /* of all loops, while the port has a limit; referenced */
    uint32_t which;        /* of those that asked for the same address */
    uint32_t failures;
    int64_t retry_at_ms;
    char error[SP_SOCKETS_ERROR];
    sp_worker *worker;
    struct sp_tls_server **tls; /* as spec->sni; NULL where the entry ends no TLS, or cannot */
    size_t tls_count;
};

struct sp_worker {
    uv_loop_t *loop;
    sp_worker_settings settings;
    sp_poller *poller;
    sp_gateway_config *config;
    sp_sockets *sockets;
    bool own_sockets;
    sp_map pools;              /* name → sp_pool */
    SP_VEC(sp_pool *) pool_at; /* as config->pools */
    SP_VEC(sp_listener *) listeners;
    sp_list sessions;
    sp_map routes;  /* owner → sp_route_counts, owned */
    sp_list queues; /* sp_pool.may_have_place */
    sp_worker_stats stats;
    char *scratch;         /* 3 * SP_READ_SIZE: what was kept, then what is read */
    char *cipher;          /* 2 * SP_READ_SIZE: what TLS reads; NULL until it does */
    int64_t complained_ms; /* when a failed TLS handshake with an endpoint was logged last */
    sp_buf wire;           /* what TLS writes, on its way to the socket */
    SP_VEC(sp_buf) spare;  /* empty buffers with memory */
    SP_VEC(sp_pipe) pipes; /* empty ones */
    uint64_t random;
    sp_h1_head answer;                      /* of the answer being read; valid for one event */
    SP_VEC(struct sp_exchange *) exchanges; /* spare */
    struct sp_h2_pool *h2_pool;             /* memory for streams; NULL until there are some */
    sp_list hellos;                         /* of TLS clients that wait for an answer; accept.c */
    sp_list mirrors;                        /* copies of requests under way */
    size_t mirror_count;
    sp_buf log;
    sp_alarm accept_pause;
    uv_timer_t retry_timer, grace_timer;
    int handles;
    uint32_t last_request_ms; /* while stopping: of sp_worker_stop */
    bool stopping, accept_paused;
    bool cuts; /* some upstream was cut by the configuration that is being applied */
    void (*on_listeners)(void *ctx);
    void *on_listeners_ctx;
    void (*on_stopped)(void *ctx);
    void *on_stopped_ctx;
};

void sp_listener_unref(sp_listener *l);
void sp_session_open(sp_session *s, sp_worker *w, const sp_addr *client, const sp_addr *local);
void sp_session_close(sp_session *s); /* the last thing a session does */

/* --- sock.c: a socket with what waits to be written on it, and TLS below it where asked for.
 * Whoever reads and writes need not know: in, out, received and sent are always plain bytes. --- */
typedef struct sp_sock {
    sp_io io;
    sp_buf out;              /* accepted, not yet sent; no memory while empty */
    sp_buf in;               /* received, not yet understood; no memory while empty */
    struct sp_sock_tls *tls; /* NULL = plain; tls_sock.c */
    bool eof, failed;        /* nothing more can be read: properly, or not */
    bool broken;             /* nothing more can be written; what would be is dropped */
    bool shut;               /* our FIN (and close_notify) is out */
    bool unread;             /* in has bytes nobody has looked at */
    bool more;               /* TLS: received, not yet decrypted */
    bool held;               /* TLS: encrypted, not yet sent */
    bool cut;                /* TLS, with failed: a FIN without close_notify */
    bool ending;             /* what is written now is the last: its FIN follows at once */
    uint64_t received, sent;
} sp_sock;

bool sp_sock_open(sp_worker *w, sp_sock *c, int fd, void (*on_event)(sp_io *));
/* Moves what is open, with all that waits in it; from is closed as far as its owner can see. */
void sp_sock_take(sp_sock *c, sp_sock *from, void (*on_event)(sp_io *));
void sp_sock_close(sp_worker *w, sp_sock *c, bool reset); /* reset: RST instead of FIN */
/* Reads once into the worker's scratch. Bytes are lent until the next read of anybody; {0} when
 * there is nothing now (see eof, failed). What was kept comes first. */
sp_str sp_sock_read(sp_worker *w, sp_sock *c);
/* Given again by the next read: keep, when more must come first; unread, when nobody looked yet. */
void sp_sock_keep(sp_worker *w, sp_sock *c, sp_str rest);
void sp_sock_unread(sp_worker *w, sp_sock *c, sp_str rest);
static inline bool sp_sock_has_input(const sp_sock *c) {
    return c->io.readable || c->unread || c->more;
}
/* Adds without sending. */
void sp_sock_add(sp_worker *w, sp_sock *c, sp_str bytes);
sp_buf *sp_sock_out(sp_worker *w, sp_sock *c); /* the same, for who writes piece by piece */
/* Sends what waits and then the bytes; what does not go out now waits. */
void sp_sock_write(sp_worker *w, sp_sock *c, sp_str bytes);
void sp_sock_flush(sp_worker *w, sp_sock *c);
static inline bool sp_sock_blocked(const sp_sock *c) {
    return c->out.n > 0 || c->held || c->io.sending;
}
/* FIN. Does nothing while the socket is blocked: to be called again then. */
void sp_sock_shutdown(sp_worker *w, sp_sock *c);
sp_buf sp_worker_take_buf(sp_worker *w);
void sp_worker_give_buf(sp_worker *w, sp_buf *b);
/* Small writes go out at once. */
void sp_sock_tune(int fd);
/* A peer that vanished is noticed within two minutes. Both are inherited from a listening socket.
 */
void sp_sock_probe(int fd);
/* It has not answered for about half a minute, though it had to. */
bool sp_sock_vanished(const sp_sock *c);
/* For send: the kernel may hold back what its FIN can travel with, a fifth of a second at most. */
static inline int sp_sock_send_flags(const sp_sock *c) {
    return c->ending ? MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE : MSG_NOSIGNAL | MSG_DONTWAIT;
}
/* Before connect: the last packet of the TCP handshake waits for the first bytes to travel with. */
void sp_sock_speak_first(int fd);
/* Of the poller: the worker's. */
void sp_sock_on_unsent(void *worker, sp_io *io, sp_str rest, int error);
void sp_worker_put_before(sp_worker *w, sp_buf *b, sp_str bytes);
/* recv with the flags kept right; counts nothing. For sock.c and tls_sock.c. */
ssize_t sp_sock_recv(sp_sock *c, char *to, size_t size);

/* --- tls_sock.c --- */
void sp_sock_tls_on_unsent(sp_worker *w, sp_sock *c, sp_str rest); /* of encrypted bytes */
/* From now on the socket speaks TLS by ctx (referenced). server_name: of clients, see tls_io.h.
 * received: what was read from the socket already. Nothing is sent yet. */
void sp_sock_start_tls(sp_worker *w, sp_sock *c, sp_tls_ctx *ctx, bool server,
                       const char *server_name, sp_str received);
/* To be called on each event until it says something else than MORE. Before OK nothing may be read
 * or written. After FAILED an alert is on its way and the socket is to be closed. */
sp_tls_result sp_sock_handshake(sp_worker *w, sp_sock *c, sp_err *err);
/* Bytes on it are encrypted: "https" to the other side. */
static inline bool sp_sock_is_tls(const sp_sock *c) {
    return c->tls != NULL;
}
sp_str sp_sock_alpn(const sp_sock *c); /* "h2"; empty when nothing was agreed on, or plain */
/* Of a client that showed a certificate which was verified: what it says (tls_io.h); else empty,
 * and ret_error why, which is empty when it showed none. Both live as long as the connection. */
sp_str sp_sock_client_cert(const sp_sock *c, sp_str *ret_error);
bool sp_sock_tls_resumed(const sp_sock *c);
sp_str sp_sock_sni(const sp_sock *c); /* empty when the client named nothing, or plain */
/* True when what has arrived on an idle connection was only of TLS itself (session tickets): the
 * connection is as idle as it was. False: bytes or an end. */
bool sp_sock_still_idle(sp_worker *w, sp_sock *c);
sp_tls_io *sp_sock_tls_io(const sp_sock *c); /* borrowed; not NULL where tls is set */
/* What sock.c does when tls is set; the same contracts. */
size_t sp_sock_tls_read(sp_worker *w, sp_sock *c, char *to, size_t max);
void sp_sock_tls_write(sp_worker *w, sp_sock *c, sp_str bytes);
void sp_sock_tls_goodbye(sp_worker *w, sp_sock *c);
void sp_sock_tls_free(sp_worker *w, sp_sock *c);

/* --- dial.c --- */
typedef enum sp_dial_result {
    SP_DIAL_OK,
    SP_DIAL_KEPT,         /* use_kept found a connection */
    SP_DIAL_NO_ENDPOINT,  /* none appeared in time */
    SP_DIAL_REFUSED,      /* all that were tried refused */
    SP_DIAL_TIMEOUT,      /* the last one tried did not answer */
    SP_DIAL_OVERLOADED,   /* the queue is full: turned away at once */
    SP_DIAL_QUEUE_TIMEOUT /* no place became free in time */
} sp_dial_result;

typedef struct sp_dial {
    sp_worker *worker;
    sp_pool *pool;
    sp_addr client;
    sp_affinity affinity;  /* set before the start, by sp_affinity_of; {0} = none */
    sp_upstream *upstream; /* while connecting; after OK: referenced, counted open, the caller's */
    uint32_t cuts;         /* of the upstream, when it was chosen */
    sp_sock sock;          /* connected, with TLS where the pool wants it */
    sp_alarm timeout, give_up, pause, impatient;
    struct sp_hedge *hedge; /* a second connect under way; hedge.c */
    int64_t began_ms;       /* the connect */
    sp_list waiting;
    const sp_endpoint *avoid; /* before the start: counts as tried; only compared, may be gone */
    const sp_endpoint *tried[SP_MAX_TRIES];
    size_t tried_count, failed_count;
    bool active, timed_out, waited;
    bool queued;        /* in the pool's queue */
    bool came_by_queue; /* give_up is the queue's */
    bool retrying;      /* counted in the pool's retries */
    bool in_budget;     /* its owner is counted there already */
    bool probed_later;  /* the caller sees to sp_sock_probe: most of its connections end soon */
    bool speaks_first;  /* bytes are there to be sent as soon as it is connected */
    void *ctx;
    /* Exactly once unless cancelled. OK: sock is connected (sp_sock_take it) and upstream yours. */
    void (*done)(struct sp_dial *d, sp_dial_result r);
    /* NULL, or asked before each connect: claims a kept connection to d->upstream. true: the dial
     * ends with KEPT, upstream is yours. */
    bool (*use_kept)(struct sp_dial *d);
    const char *alpn; /* offered where the pool wants TLS: "h2,http/1.1"; NULL = nothing */
    /* NULL, or tells the PROXY header more than the client's address. */
    void (*describe)(struct sp_dial *d, struct sp_proxy_facts *ret);
} sp_dial;

void sp_dial_start(sp_dial *d, sp_worker *w, sp_pool *pool, const sp_addr *client);
void sp_dial_retry(sp_dial *d); /* the pool's endpoints changed; not in the list just now */
void sp_dial_cancel(sp_dial *d);
bool sp_dial_from_queue(sp_dial *d); /* its turn; false when there is still no place for it */

/* --- queue.c: dials that wait for a place --- */
uint32_t sp_pool_limit(const sp_pool *p); /* of what is under way in the whole pool; 0 = none */
void sp_queue_init(sp_pool *p);
void sp_queue_end(sp_pool *p);
bool sp_queue_enter(sp_dial *d, bool in_front); /* false: max_pending wait already */
void sp_queue_leave(sp_dial *d);
void sp_queue_place_free(sp_pool *p);
void sp_worker_run_queues(sp_worker *w); /* at the end of a turn */

/* --- upstream_tls.c --- */
void sp_pool_follow_tls(sp_pool *p, const sp_pool_spec *spec); /* NULL: the pool goes */
/* For describe: what is known of a client by its socket. */
void sp_proxy_facts_of_sock(struct sp_proxy_facts *f, const sp_sock *c);
typedef enum sp_secured { SP_SECURED_OK, SP_SECURED_MORE, SP_SECURED_FAILED } sp_secured;
/* For dial.c: once connected, then on each event until it says something else than MORE. */
sp_secured sp_dial_secure(sp_dial *d, sp_err *err);

/* For hedge.c. */
bool sp_dial_connect(sp_dial *d, const sp_upstream *u, sp_sock *sock, void (*on_event)(sp_io *));
void sp_dial_on_event(sp_io *io);   /* of d->sock */
void sp_dial_connected(sp_dial *d); /* d->sock is, without TLS so far */
bool sp_dial_may_retry(sp_dial *d); /* the pool's budget allows it, and is used */
sp_upstream *sp_dial_pick(sp_dial *d, bool *ret_full); /* taken, or NULL */
void sp_dial_count_failure(sp_dial *d, sp_upstream *u, const char *why);
/* False when nothing is under way any more; else the other connect has become the dial's. */
bool sp_dial_failed(sp_dial *d, bool timed_out, const char *why);
/* --- hedge.c --- */
void sp_hedge_init(sp_pool *p);
void sp_hedge_prepare(sp_dial *d);
void sp_hedge_follow(sp_dial *d); /* the pool's endpoints changed */
void sp_hedge_start(sp_dial *d);  /* a connect has begun: patience runs */
void sp_hedge_end(sp_dial *d, bool connected);
bool sp_hedge_promote(sp_dial *d); /* the dial's own connect is over; false: there is no other */

/* --- tunnel.c --- */
void sp_tunnel_accept(sp_listener *l, int fd, const sp_addr *client, const sp_addr *local);
/* The same with a socket from an arrival; server_name: taken, may be NULL. */
void sp_tunnel_take(sp_listener *l, sp_sock *sock, const sp_addr *client, const sp_addr *local,
                    char *server_name, const sp_targets *targets);
/* Whether two connections that somebody's bytes pass through are still worth having: both peers are
 * there, and something has moved within the limit (0 = none). A stream that is a WebSocket is
 * watched by it, too. LIVES: to be asked again then. */
typedef enum sp_tunnel_sight { SP_TUNNEL_LIVES, SP_TUNNEL_IDLE, SP_TUNNEL_GONE } sp_tunnel_sight;
enum { SP_TUNNEL_FIRST_LOOK_MS = 5000 };
sp_tunnel_sight sp_tunnel_look(const sp_sock *client, const sp_sock *server, int64_t quiet_ms,
                               uint32_t limit_ms, uint32_t *ret_again_ms);
/* Ends those whose upstream was cut since they chose it. */
void sp_tunnel_end_cut(sp_worker *w);
/* Joins two connections; both are taken over with what they have received and not yet sent, and so
 * is upstream (referenced and counted open; its cuts when it was chosen). */
void sp_tunnel_join(sp_listener *l, sp_sock *client, sp_sock *server, sp_upstream *upstream,
                    uint32_t cuts, const sp_addr *client_addr, const sp_addr *local);
void sp_worker_close_pipes(sp_worker *w);

/* --- http.c --- */
void sp_proxy_accept(sp_listener *l, int fd, const sp_addr *client, const sp_addr *local);
/* The socket comes from an arrival (accept.c), perhaps with TLS on it (sp_sock_alpn says which
 * HTTP). server_name: taken, may be NULL. */
void sp_proxy_take(sp_listener *l, sp_sock *sock, const sp_addr *client, const sp_addr *local,
                   char *server_name);
#define SP_HTTP_ALPN "h2,http/1.1" /* what HTTP clients are offered, best first */
/* As sp_tunnel_end_cut: WebSockets that are streams. */
void sp_front2_end_cut(sp_worker *w);
void sp_upstream_close_idle(sp_upstream *u);
void sp_upstream_close_streams(sp_upstream *u); /* HTTP/2: those that carry nothing; no new ones */
void sp_worker_cancel_mirrors(sp_worker *w);
void sp_h2_pool_free(sp_worker *w);
void sp_worker_free_exchanges(sp_worker *w);

/* --- listener.c --- */
/* --- accept.c --- */
/* A connection that was just accepted; client is its peer. */
void sp_listener_take(sp_listener *l, int fd, const sp_addr *client, const sp_addr *local);
/* By address, rate and number; counts who is turned away. */
bool sp_listener_admits(sp_listener *l, const sp_addr *client);
void sp_session_count(sp_session *s, sp_listener *l); /* after sp_session_open */
/* After each change of l->spec. */
void sp_listener_follow_tls(sp_listener *l);
/* What a connection to it carries, by the configuration of now; server_name: of TLS, NULL = plain
 * or none. NULL: nothing any more (the listener or the name is gone). */
const sp_inner_spec *sp_listener_inner(const sp_listener *l, const char *server_name);
void sp_worker_init_accept(sp_worker *w);
void sp_worker_resume_accept(sp_worker *w);
void sp_worker_apply_listeners(sp_worker *w, const sp_gateway_config *c);
void sp_worker_close_listeners(sp_worker *w); /* their connections still know what they are for */
void sp_worker_free_listeners(sp_worker *w);

/* --- worker.c --- */
void sp_worker_log_access(sp_worker *w, const sp_access *a);
void sp_worker_log(sp_worker *w, sp_str line); /* the access log; no newline in it */
uint64_t sp_worker_random(sp_worker *w);
