/* Our end of each stream's socketpair is an sp_conn: what comes from it goes into the stream as the
 * window allows, what comes on the stream goes into it, and the stream's window opens again only
 * as the socket takes bytes. So a stream that nobody reads holds at most one window of bytes and
 * does not hold up the others. */
#include "net/mux.h"

#include <nghttp2/nghttp2.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STREAM_WINDOW = 256 << 10, CONN_WINDOW = 8 << 20, OUT_HIGH = 128 << 10 };

typedef struct stream {
    sp_list link;
    sp_mux *mux;
    int32_t id;
    sp_conn *io;
    sp_outq out;      /* from the socket, not yet in frames */
    size_t unread;    /* given to the socket, window not given back */
    bool held_back;   /* the socket is not read */
    bool local_ended; /* it has said all */
} stream;

struct sp_mux {
    uv_loop_t *loop;
    sp_conn *io;
    nghttp2_session *session;
    sp_mux_events ev;
    void *ctx;
    sp_list streams;
    size_t n_streams;
    sp_timer *ping;
    unsigned unanswered;
    bool opens;
};

/* --- lives --- */

static void free_stream(stream *st) {
    sp_list_remove(&st->link);
    st->mux->n_streams--;
    if (st->io) sp_conn_finish(st->io);
    sp_outq_free(&st->out);
    free(st);
}

void sp_mux_free(sp_mux *m) {
    if (!m) return;
    sp_timer_stop(m->ping);
    sp_conn_free(m->io);
    nghttp2_session_del(m->session);
    sp_list_each(&m->streams, it) free_stream(SP_CONTAINER(it, stream, link));
    free(m);
}

static void end(sp_mux *m, const sp_err *err) {
    sp_mux_events ev = m->ev;
    void *ctx = m->ctx;
    sp_mux_free(m);
    ev.closed(ctx, err);
}

static void end_by(sp_mux *m, const char *why) {
    sp_err err = {0};
    sp_fail(&err, SP_CONNECTION, "%s", why);
    end(m, &err);
}

size_t sp_mux_streams(const sp_mux *m) {
    return m->n_streams;
}

/* --- a stream's socket --- */

static void local_data(void *ctx, char *p, size_t n) {
    stream *st = ctx;
    sp_outq_add(&st->out, (sp_str){p, n});
    nghttp2_session_resume_data(st->mux->session, st->id);
    sp_conn_wake(st->mux->io);
    if (st->out.bytes < OUT_HIGH) return;
    st->held_back = true;
    sp_conn_pause(st->io, true);
}

static void give_window_back(stream *st) {
    if (!st->unread) return;
    nghttp2_session_consume_stream(st->mux->session, st->id, st->unread);
    st->unread = 0;
    sp_conn_wake(st->mux->io);
}

/* Less than SP_CONN_WINDOW waits for the socket. There may be no second call once that is out: so
 * all of the window, now. */
static void local_fill(void *ctx) {
    give_window_back(ctx);
}

static void local_timeout(void *ctx) {
    (void)ctx; /* none is set */
}

static void local_closed(void *ctx, const sp_err *err) {
    stream *st = ctx;
    st->local_ended = true;
    if (err) {
        sp_conn_free(sp_steal(st->io));
        nghttp2_submit_rst_stream(st->mux->session, 0, st->id, NGHTTP2_CONNECT_ERROR);
    } else {
        nghttp2_session_resume_data(st->mux->session, st->id);
    }
    give_window_back(st);
    sp_conn_wake(st->mux->io);
}

static const sp_conn_events local_events = {NULL, local_data, local_fill, local_timeout,
                                            local_closed};

/* The other end of its socket; -1 when there is none to be had. */
static int new_stream(sp_mux *m, stream **ret) {
    int fd[2];
    if (m->n_streams >= SP_MUX_STREAMS) return -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) != 0) return -1;
    stream *st = sp_zalloc(1, sizeof *st);
    st->mux = m;
    sp_list_init(&st->link);
    st->io = sp_conn_open(m->loop, fd[0], &local_events, st);
    if (!st->io) {
        free(st);
        close(fd[1]);
        return -1;
    }
    sp_list_append(&m->streams, &st->link);
    m->n_streams++;
    *ret = st;
    return fd[1];
}

/* --- frames out --- */

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t max,
                         uint32_t *flags, nghttp2_data_source *source, void *ctx) {
    (void)session, (void)id, (void)buf, (void)ctx;
    const stream *st = source->ptr;
    size_t n = SP_MIN(max, st->out.bytes);
    bool last = st->local_ended && n == st->out.bytes;
    if (n == 0 && !last) return NGHTTP2_ERR_DEFERRED;
    *flags = NGHTTP2_DATA_FLAG_NO_COPY | (last ? NGHTTP2_DATA_FLAG_EOF : 0u);
    return (ssize_t)n;
}

static ssize_t send_bytes(nghttp2_session *session, const uint8_t *p, size_t n, int flags,
                          void *ctx) {
    (void)session, (void)flags;
    sp_outq *out = sp_conn_out(((sp_mux *)ctx)->io);
    if (out->bytes >= SP_CONN_WINDOW) return NGHTTP2_ERR_WOULDBLOCK;
    sp_outq_add(out, (sp_str){(const char *)p, n});
    return (ssize_t)n;
}

static int send_data(nghttp2_session *session, nghttp2_frame *f, const uint8_t *head, size_t n,
                     nghttp2_data_source *source, void *ctx) {
    (void)session, (void)f;
    stream *st = source->ptr;
    sp_outq *out = sp_conn_out(((sp_mux *)ctx)->io);
    if (out->bytes >= SP_CONN_WINDOW) return NGHTTP2_ERR_WOULDBLOCK;
    sp_outq_add(out, (sp_str){(const char *)head, 9});
    sp_outq_move(out, &st->out, n);
    if (st->held_back && st->io && st->out.bytes < OUT_HIGH / 2) {
        st->held_back = false;
        sp_conn_pause(st->io, false);
    }
    return 0;
}

/* --- frames in --- */

static int begin_headers(nghttp2_session *session, const nghttp2_frame *f, void *ctx) {
    sp_mux *m = ctx;
    stream *st;
    if (m->opens || f->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    int fd = new_stream(m, &st);
    if (fd < 0) {
        nghttp2_submit_rst_stream(session, 0, f->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    st->id = f->hd.stream_id;
    nghttp2_session_set_stream_user_data(session, st->id, st);
    m->ev.stream(m->ctx, fd);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *f, void *ctx) {
    sp_mux *m = ctx;
    if (f->hd.type == NGHTTP2_PING && f->hd.flags & NGHTTP2_FLAG_ACK) m->unanswered = 0;
    stream *st = nghttp2_session_get_stream_user_data(session, f->hd.stream_id);
    if (!st) return 0;
    if (f->hd.type == NGHTTP2_HEADERS && f->headers.cat == NGHTTP2_HCAT_REQUEST) {
        static const nghttp2_nv ok = {(uint8_t *)":status", (uint8_t *)"200", 7, 3, 0};
        nghttp2_data_provider body = {.source.ptr = st, .read_callback = read_body};
        nghttp2_submit_response(session, st->id, &ok, 1, &body);
    }
    if (f->hd.flags & NGHTTP2_FLAG_END_STREAM && st->io) sp_conn_end_output(st->io);
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p,
                         size_t n, void *ctx) {
    (void)flags, (void)ctx;
    stream *st = nghttp2_session_get_stream_user_data(session, id);
    nghttp2_session_consume_connection(session, n);
    if (!st || !st->io) {
        nghttp2_session_consume_stream(session, id, n);
        return 0;
    }
    sp_outq_add(sp_conn_out(st->io), (sp_str){(const char *)p, n});
    sp_conn_wake(st->io);
    st->unread += n;
    if (st->local_ended) give_window_back(st);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx) {
    (void)code, (void)ctx;
    stream *st = nghttp2_session_get_stream_user_data(session, id);
    if (st) free_stream(st);
    return 0;
}

/* --- the connection --- */

static void on_data(void *ctx, char *p, size_t n) {
    sp_mux *m = ctx;
    if (nghttp2_session_mem_recv(m->session, (const uint8_t *)p, n) < 0) {
        end_by(m, "the tunnel's bytes are broken");
        return;
    }
    sp_conn_wake(m->io);
}

static void on_fill(void *ctx) {
    sp_mux *m = ctx;
    bool ok = nghttp2_session_send(m->session) == 0;
    if (!ok || (!nghttp2_session_want_read(m->session) && !nghttp2_session_want_write(m->session)))
        end_by(m, "the tunnel ended");
}

static void on_timeout(void *ctx) {
    (void)ctx; /* pings watch it */
}

static void on_closed(void *ctx, const sp_err *err) {
    if (err)
        end(ctx, err);
    else
        end_by(ctx, "the other side closed the tunnel");
}

static void ping(void *ctx) {
    sp_mux *m = ctx;
    if (m->unanswered >= 2) {
        m->ping = sp_timer_stop(m->ping);
        end_by(m, "the other side of the tunnel does not answer");
        return;
    }
    m->unanswered++;
    nghttp2_submit_ping(m->session, 0, NULL);
    sp_conn_wake(m->io);
}

static nghttp2_session_callbacks *callbacks(void) {
    static __thread nghttp2_session_callbacks *cb;
    if (cb) return cb;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, begin_headers);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_send_callback(cb, send_bytes);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
    return cb;
}

static void open_session(sp_mux *m) {
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, SP_MUX_STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    nghttp2_option *option;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_no_auto_window_update(option, 1);
    int rc = m->opens ? nghttp2_session_client_new2(&m->session, callbacks(), m, option)
                      : nghttp2_session_server_new2(&m->session, callbacks(), m, option);
    nghttp2_option_del(option);
    sp_assert(rc == 0);
    nghttp2_submit_settings(m->session, 0, settings, m->opens ? 3 : 2);
    nghttp2_session_set_local_window_size(m->session, 0, 0, CONN_WINDOW);
}

sp_mux *sp_mux_start(uv_loop_t *loop, sp_conn *io, bool opens, sp_str early,
                     const sp_mux_events *ev, void *ctx) {
    static const sp_conn_events events = {NULL, on_data, on_fill, on_timeout, on_closed};
    sp_mux *m = sp_zalloc(1, sizeof *m);
    m->loop = loop;
    m->io = io;
    m->opens = opens;
    m->ev = *ev;
    m->ctx = ctx;
    sp_list_init(&m->streams);
    open_session(m);
    sp_conn_adopt(io, &events, m);
    m->ping = sp_timer_every(loop, SP_MUX_PING_MS, ping, m);
    /* Broken bytes here show again at the first fill, as the end of the session. */
    if (early.n) (void)!nghttp2_session_mem_recv(m->session, (const uint8_t *)early.p, early.n);
    sp_conn_wake(io);
    return m;
}

int sp_mux_open(sp_mux *m) {
    static const nghttp2_nv fields[] = {{(uint8_t *)":method", (uint8_t *)"CONNECT", 7, 7, 0},
                                        {(uint8_t *)":authority", (uint8_t *)"node", 10, 4, 0}};
    stream *st;
    int fd = new_stream(m, &st);
    if (fd < 0) return -1;
    nghttp2_data_provider body = {.source.ptr = st, .read_callback = read_body};
    st->id = nghttp2_submit_request(m->session, NULL, fields, 2, &body, st);
    if (st->id < 0) { /* its numbers are used up: a new tunnel has new ones */
        free_stream(st);
        close(fd);
        return -1;
    }
    sp_conn_wake(m->io);
    return fd;
}
