/* Inside of the HTTP part of the data path.
 *
 * An exchange is one request and its answer, whatever wire they are on: it finds the route, dials,
 * tries again, keeps the time, counts and logs. Its two sides are tables of functions:
 *
 *   front   the client: an HTTP/1.1 connection with one exchange at a time (http_front1.c), or one
 *           stream of an HTTP/2 connection
 *   back    the endpoint: an HTTP/1.1 connection, kept between requests (http_back1.c), or one
 *           stream of a pooled HTTP/2 connection
 *
 * Nothing is pushed through: sp_exchange_step asks a side for what it has (pump) only when the
 * other one takes more (blocked), so bytes that nobody wants stay in the kernel, or in the peer's
 * window. A side hands pieces over by sp_exchange_body… and sp_exchange_answer…; each of them may
 * end the exchange, so a pump looks at sp_exchange_is_over between two pieces. */
#pragma once
#include "gateway/datapath.h"
#include "gateway/http_head.h"

typedef struct sp_exchange sp_exchange;

typedef enum sp_over {
    SP_OVER_DONE, /* the answer is complete */
    SP_OVER_CUT,  /* it is not, and must look so */
    SP_OVER_TAKEN /* the front's socket went to a tunnel */
} sp_over;

typedef struct sp_front {
    const char *protocol;         /* "HTTP/2.0"; NULL: as the request says */
    void (*wake)(sp_exchange *x); /* more can be done: call sp_exchange_step, now or soon */
    /* Hands over what has come of the request's body. True: something moved. */
    bool (*pump)(sp_exchange *x);
    bool (*blocked)(sp_exchange *x); /* takes no more of the answer now */
    bool (*gone)(sp_exchange *x);    /* nobody will read the answer */
    /* The answer: interim heads, the head, pieces, the end with trailers ("name: value\r\n"...). */
    void (*head)(sp_exchange *x, const sp_h1_head *h, const sp_http_edit *edit);
    void (*data)(sp_exchange *x, sp_str piece);
    void (*end)(sp_exchange *x, sp_str trailers);
    void (*flush)(sp_exchange *x);
    void (*over)(sp_exchange *x, sp_over how); /* the exchange goes: the client forgets it */
    sp_sock *(*socket)(sp_exchange *x);        /* NULL: shared with other exchanges */
    sp_sock *(*carrier)(sp_exchange *x);       /* the shared one; NULL where x->tunnel cannot be */
    /* Bytes of this exchange on the wire, for the log. */
    void (*count)(sp_exchange *x, uint64_t *ret_in, uint64_t *ret_out);
} sp_front;

typedef struct sp_back {
    void (*send)(sp_exchange *x); /* the request's head */
    void (*data)(sp_exchange *x, sp_str piece);
    void (*end)(sp_exchange *x, sp_str trailers);
    void (*flush)(sp_exchange *x);
    bool (*blocked)(sp_exchange *x); /* takes no more of the request now */
    bool (*pump)(sp_exchange *x);    /* hands over what has come of the answer */
    bool (*reused)(sp_exchange *x);  /* the connection had carried requests before */
    sp_upstream *(*upstream)(sp_exchange *x);
    sp_sock *(*carrier)(sp_exchange *x); /* its connection; NULL where no tunnel can be */
    void (*leave)(sp_exchange *x);       /* keeps or closes it; releases the upstream */
} sp_back;

typedef enum sp_exchange_state {
    SP_EXCHANGE_DIAL,
    SP_EXCHANGE_PAUSE, /* before another attempt, or a mirror's first */
    SP_EXCHANGE_RELAY,
    SP_EXCHANGE_OVER
} sp_exchange_state;

/* Reused from a small stack, so that an idle client connection holds nothing but its session. */
struct sp_exchange {
    sp_buf head; /* the request's head; what follows points into it */
    sp_h1_head request;
    sp_buf request_trailers, trailers;
    sp_buf extra; /* fields for the answer, "name: value\r\n"... */
    sp_buf copy;  /* of the request's body as far as it came, while `copying` */
    const sp_front *front;
    void *client; /* the front's */
    const sp_back *back;
    void *backend; /* the back's; NULL = none */
    sp_worker *worker;
    sp_listener *listener; /* referenced */
    sp_exchange_state state;
    unsigned held; /* functions on the stack that still look at it */
    sp_addr client_addr, local;
    sp_http_hop hop;
    sp_gateway_config *config; /* referenced: hop.entry lives in it */
    const sp_pool_spec *pool_spec;
    sp_pool *pool;
    sp_dial dial;
    const sp_endpoint *avoid;  /* the next attempt goes to another one, if there is one */
    void *claimed;             /* a backend, by the dial, not attached yet */
    const sp_back *claimed_as; /* whose it is */
    sp_alarm alarm;            /* the attempt's: pause, answer, body */
    sp_alarm deadline;         /* the request's */
    sp_http_body_as answer_as;
    sp_endpoint endpoint;                          /* a copy for the log */
    int64_t started_us, connected_us, answered_us; /* 0 = not so far */
    int64_t moved_ms;                              /* of a tunnel: its last byte */
    uint64_t body_bytes;                           /* of the request so far */
    int status;                                    /* of the answer; 0 = none yet */
    uint8_t attempts, repeats, refusals;
    bool idempotent, to_head, keep_client, fresh_only;
    bool body_touched; /* part of the request's body went upstream */
    bool copying;
    bool request_done, answer_seen, answer_begun, answer_done, keep_backend;
    bool tunnel;   /* an upgrade whose front shares its socket: bytes pass both ways after 101 */
    bool retrying; /* counted in the pool's retries */
    bool cors;     /* the route's cors applies: `extra` has the fields */
    char key[25];
    char client_ip[SP_ADDR_MAX], path_scratch[4096];
};

enum {
    SP_BODY_COPY_MAX = 64 * 1024, /* larger bodies are not sent twice, nor mirrored */
    SP_MAX_MIRRORS = 256          /* of one loop at once; further ones are left out */
};

/* --- http_exchange.c --- */
sp_exchange *sp_exchange_new(const sp_front *front, void *client, const sp_session *s,
                             sp_listener *l);
/* Whatever can be done now; true when something moved. x may be gone when it returns. */
bool sp_exchange_step(sp_exchange *x);
/* Around calls from outside of a step: x lives until it is let go. */
void sp_exchange_hold(sp_exchange *x);
void sp_exchange_let_go(sp_exchange *x);
static inline bool sp_exchange_is_over(const sp_exchange *x) {
    return x->state == SP_EXCHANGE_OVER;
}
/* Answers by itself, or cuts an answer that has begun. */
void sp_exchange_fail(sp_exchange *x, int status, const char *fmt, ...) SP_PRINTF(3, 4);
void sp_exchange_client_gone(sp_exchange *x);
/* Answers by itself with this status; text (may be empty) as it is. */
void sp_exchange_answer_own(sp_exchange *x, int status, sp_str type, sp_str text);
/* Finds a backend and sends the request there. */
void sp_exchange_dial(sp_exchange *x);
/* From the front, while it is pumped. */
void sp_exchange_body(sp_exchange *x, sp_str piece);
void sp_exchange_body_end(sp_exchange *x, sp_str trailers);
/* From the back, while it is pumped. A head: interim (1xx but 101) or final; false: these bytes are
 * not to be read on (the exchange is over or asks elsewhere). */
bool sp_exchange_answer(sp_exchange *x, const sp_h1_head *h);
void sp_exchange_answer_data(sp_exchange *x, sp_str piece);
void sp_exchange_answer_end(sp_exchange *x, sp_str trailers);
/* Both sockets went to a tunnel. */
void sp_exchange_taken(sp_exchange *x);
/* The answer is not HTTP. */
void sp_exchange_bad_answer(sp_exchange *x, const char *why);
/* No (more) answer will come: asks elsewhere where that is safe. */
void sp_exchange_backend_lost(sp_exchange *x);
/* What went to the endpoint can be sent once more, if nothing of its answer counts. */
bool sp_exchange_can_resend(const sp_exchange *x);
/* The endpoint said that it did nothing with the request: safe to ask elsewhere, whatever it is. */
void sp_exchange_refused(sp_exchange *x);

/* --- http_begin.c --- */
/* x->request is parsed, its slices in x->head; server_name: of the connection's TLS, NULL = plain
 * or none. The exchange may be over when it returns. */
void sp_exchange_begin(sp_exchange *x, const char *server_name);

/* --- http_mirror.c --- */
/* Copies of a request whose body, if any, is in x->copy. */
void sp_mirror_start(sp_exchange *x);

/* --- http_back1.c: a connection to an endpoint, in use by one exchange, or kept --- */
typedef struct sp_backend {
    sp_sock sock;
    sp_worker *worker;
    sp_upstream *upstream; /* referenced; counted open only while in use */
    sp_exchange *user;     /* NULL while kept */
    sp_list link;          /* upstream->idle while kept */
    sp_alarm alarm;        /* while kept */
    sp_addr client;        /* it was made for; counts where the pool sends PROXY headers */
    int64_t idle_since_ms;
    sp_h1_scan scan; /* of the answer's head */
    sp_h1_body body;
    bool reused;
} sp_backend;

/* From a dial that ended with OK, upstream included. */
void sp_back1_open(sp_exchange *x);
/* For use_kept: claims a connection to the dial's upstream. */
bool sp_back1_claim(sp_exchange *x);
/* ... and takes it, when the dial has ended with KEPT. */
void sp_back1_attach(sp_exchange *x);
extern const sp_back sp_back1;

/* Gathers small pieces, sends large ones; a body of tiny chunks costs no calls. */
void sp_h1_write_piece(sp_worker *w, sp_sock *to, sp_str piece, bool chunked);
