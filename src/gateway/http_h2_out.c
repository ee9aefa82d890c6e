/* What both HTTP/2 sides do with the bytes of a stream that wait for frames, and what their
 * sessions have in common. The bytes are not copied into nghttp2's frames: it asks how many may go
 * (read), and then has them put behind the frame's header (send). */
#include "gateway/http_h2.h"

void sp_h2_out_add(sp_worker *w, sp_h2_out *o, sp_str piece) {
    if (!o->bytes.p) o->bytes = sp_worker_take_buf(w);
    sp_buf_add(&o->bytes, piece);
}

void sp_h2_out_resume(sp_h2_out *o, nghttp2_session *h2, int32_t id) {
    if (o->deferred) nghttp2_session_resume_data(h2, id);
    o->deferred = false;
}

static void submit_trailers(const sp_h2_out *o, nghttp2_session *h2, int32_t id, uint32_t *flags) {
    nghttp2_nv nv[SP_H2_MAX_NV];
    if (!o->trailers.n) return;
    size_t n = sp_h2_fields(sp_buf_str(&o->trailers), nv, SP_COUNT(nv));
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    nghttp2_submit_trailer(h2, id, nv, n);
}

ssize_t sp_h2_out_read(sp_h2_out *o, nghttp2_session *h2, int32_t id, size_t cap, uint32_t *flags) {
    size_t left = sp_h2_out_waits(o), n = SP_MIN(left, cap);
    if (!n && !o->end) {
        o->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n < left || !o->end) return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    submit_trailers(o, h2, id, flags);
    return (ssize_t)n;
}

bool sp_h2_out_send(sp_worker *w, sp_h2_out *o, sp_sock *to, const uint8_t *head, size_t n) {
    enum { FRAME_HEAD = 9 };
    sp_sock_add(w, to, (sp_str){(const char *)head, FRAME_HEAD});
    sp_sock_add(w, to, sp_str_sub(sp_buf_str(&o->bytes), o->at, n));
    o->at += n;
    if (o->at < o->bytes.n) return false;
    o->at = 0;
    sp_worker_give_buf(w, &o->bytes);
    return true;
}

void sp_h2_out_free(sp_worker *w, sp_h2_out *o) {
    sp_worker_give_buf(w, &o->bytes);
    sp_buf_free(&o->trailers);
}

/* --- sessions --- */

ssize_t sp_h2_send(sp_worker *w, sp_sock *to, const uint8_t *p, size_t n) {
    if (to->out.n >= SP_H2_WIRE_HIGH) return NGHTTP2_ERR_WOULDBLOCK;
    sp_sock_add(w, to, (sp_str){(const char *)p, n});
    return (ssize_t)n;
}

static int on_invalid_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name,
                             size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                             void *ctx) {
    (void)h2, (void)f, (void)name, (void)name_n, (void)value, (void)value_n, (void)flags, (void)ctx;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

nghttp2_session_callbacks *sp_h2_callbacks(void) {
    nghttp2_session_callbacks *cb;
    sp_assert(nghttp2_session_callbacks_new(&cb) == 0);
    nghttp2_session_callbacks_set_on_invalid_header_callback(cb, on_invalid_header);
    return cb;
}

nghttp2_option *sp_h2_options(void) {
    nghttp2_option *option;
    sp_assert(nghttp2_option_new(&option) == 0);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_max_continuations(option, SP_H2_CONTINUATIONS);
    return option;
}
