/* Inside of the client's side over HTTP/2: the connection (http_front2.c), its streams as fronts of
 * exchanges (http_front2_stream.c), and what a hostile client may cost (http_front2_guard.c). */
#pragma once
#include "gateway/http_h2.h"

typedef struct sp_front2 sp_front2;
typedef struct sp_front2_stream sp_front2_stream;
enum { SP_FRONT2_REMEMBERED = 32 };

/* A stream that is closed, remembered for a while: frames that cross our reset are harmless, those
 * of a client that had ended or reset the stream itself are not (RFC 9113 5.1). */
typedef struct sp_front2_closed {
    int32_t id;
    bool by_client;
} sp_front2_closed;

struct sp_front2 {
    sp_session s; /* first: buried by its address */
    sp_listener *listener;
    sp_sock client;
    nghttp2_session *h2;
    sp_list streams, ready; /* stream.link, stream.ready */
    size_t stream_count;
    sp_h2_block block; /* being received */
    sp_alarm alarm;
    size_t held;          /* bytes of answers that wait for frames */
    uint64_t sent_before; /* stalls: client.sent when the alarm was set */
    int64_t budget_since_ms;
    unsigned resets, control, empty, credit;
    sp_front2_closed closed[SP_FRONT2_REMEMBERED];
    unsigned closed_at;
    int32_t last_id; /* of the client's streams */
    sp_h2_scan scan;
    bool running, dead;
    bool failed;     /* nghttp2 gave up: say why, then close */
    bool leaving;    /* the first GOAWAY is out or about to be */
    bool left;       /* the second one, with the true last stream */
    bool lingering;  /* all is said, our FIN is out: reading until the client has seen it */
    bool in_headers; /* a header block is incomplete */
    uint64_t counted_in, counted_out;
};

struct sp_front2_stream {
    sp_front2 *s;
    sp_exchange *x; /* NULL before it begins, and when it is over */
    int32_t id;
    sp_list link, ready;
    sp_h2_block *trailers_in; /* NULL = none */
    sp_buf in;                /* of the body, not yet passed on */
    sp_h2_out out;            /* of the answer */
    bool answered;            /* the head is in frames, or about to be */
    bool in_end, closed;
    bool cut; /* what is in out goes out, then a reset */
    bool reset_by_client;
    sp_alarm linger; /* the answer is out, the request is still coming in */
    uint64_t received, sent;
};

/* --- http_front2.c --- */
void sp_front2_count(sp_front2 *s); /* the socket's bytes, in the statistics */
/* GOAWAY with a code; what it says goes out before the connection is closed. */
void sp_front2_give_up(sp_front2 *s, uint32_t code);
/* Two steps (RFC 9113 6.8): first "no more, please", then, when what was on its way is here, the
 * true last stream. */
void sp_front2_begin_leaving(sp_front2 *s);
void sp_front2_schedule(sp_front2 *s); /* what the connection waits for now, by its alarm */

/* --- http_front2_stream.c --- */
/* A new stream and its exchange, from the header block in s->block. */
void sp_front2_begin(sp_front2 *s, int32_t id, bool end_stream);
void sp_front2_free_stream(sp_front2_stream *st);
void sp_front2_mark_ready(sp_front2_stream *st); /* its exchange is to be stepped */
/* nghttp2's send_data callback. */
int sp_front2_send_data(nghttp2_session *h2, nghttp2_frame *f, const uint8_t *head, size_t n,
                        nghttp2_data_source *source, void *ctx);

/* --- http_front2_guard.c --- */
void sp_front2_spend(sp_front2 *s, unsigned *counter, unsigned limit);
void sp_front2_spend_on_frame(sp_front2 *s, const nghttp2_frame *f);
/* nghttp2 ignores what comes on closed streams, in silence; so each header of a frame is looked at
 * after all before it was read. */
void sp_front2_on_frame_header(sp_front2 *s, uint8_t type, int32_t id);
void sp_front2_remember(sp_front2 *s, int32_t id, bool by_client); /* that it is closed */
