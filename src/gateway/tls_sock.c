/* TLS between a socket's buffers and its descriptor. net/tls_io does the protocol on bytes; this
 * file moves them: what is received goes through one buffer of the worker, and only what OpenSSL
 * has not looked at yet is kept with the connection; what is encrypted goes through another one,
 * and only what the kernel does not take at once is kept. An idle connection holds neither.
 *
 * Nothing is encrypted while encrypted bytes wait: the plain ones stay in the socket's `out`, where
 * back-pressure sees them. */
#include "gateway/datapath.h"

#include <errno.h>
#include <sys/socket.h>

enum { WIRE_KEPT_BYTES = 256 * 1024 };

typedef struct sp_sock_tls {
    sp_tls_io *io;
    sp_buf raw;  /* received, not yet looked at */
    sp_buf wire; /* encrypted, not yet sent */
    char *cert;  /* of the client; NULL = none */
    const char *cert_error;
    bool open; /* the handshake is done */
    bool said_goodbye;
} sp_sock_tls;

/* --- out --- */

static void send_some(sp_sock *c, sp_str *bytes) {
    ssize_t n;
    if (sp_io_send(&c->io, *bytes, (sp_str){0}, sp_sock_send_flags(c))) {
        *bytes = (sp_str){0};
        return;
    }
    do n = send(c->io.fd, bytes->p, bytes->n, sp_sock_send_flags(c));
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) c->broken = true;
    if (n < (ssize_t)bytes->n) c->io.writable = false;
    *bytes = sp_str_from(*bytes, (size_t)SP_MAX(n, 0));
}

void sp_sock_tls_on_unsent(sp_worker *w, sp_sock *c, sp_str rest) {
    sp_worker_put_before(w, &c->tls->wire, rest);
    c->held = true;
}

static void flush_held(sp_worker *w, sp_sock *c) {
    sp_buf *b = &c->tls->wire;
    if (c->held && c->io.writable && !c->broken) {
        sp_str left = sp_buf_str(b);
        send_some(c, &left);
        sp_buf_drop(b, b->n - left.n);
    }
    c->held = b->n > 0 && !c->broken;
    if (!c->held) sp_worker_give_buf(w, b);
}

/* What OpenSSL has left in the worker's buffer belongs to this connection: out with it. */
static void push(sp_worker *w, sp_sock *c) {
    sp_str bytes = sp_buf_str(&w->wire);
    if (!bytes.n) return;
    flush_held(w, c);
    if (!c->held && c->io.writable && !c->broken) send_some(c, &bytes);
    if (bytes.n && !c->broken) {
        if (!c->tls->wire.p) c->tls->wire = sp_worker_take_buf(w);
        sp_buf_add(&c->tls->wire, bytes);
        c->held = true;
    }
    sp_buf_clear(&w->wire);
    if (w->wire.cap > WIRE_KEPT_BYTES) sp_buf_free(&w->wire);
}

static void encrypt(sp_sock *c, sp_str bytes) {
    if (bytes.n && !c->broken && !sp_tls_io_write(c->tls->io, bytes, NULL)) c->broken = true;
    if (!c->broken) c->sent += bytes.n;
}

void sp_sock_tls_write(sp_worker *w, sp_sock *c, sp_str bytes) {
    enum { RECORD = 16 * 1024 };
    flush_held(w, c);
    if (c->broken) {
        sp_worker_give_buf(w, &c->out);
        return;
    }
    if (c->held || !c->io.writable || !c->tls->open) {
        sp_sock_add(w, c, bytes);
        return;
    }
    if (c->out.n && c->out.n < RECORD) { /* a head and its body share a record */
        sp_str first = sp_str_sub(bytes, 0, RECORD - c->out.n);
        sp_sock_add(w, c, first);
        bytes = sp_str_from(bytes, first.n);
    }
    encrypt(c, sp_buf_str(&c->out));
    sp_worker_give_buf(w, &c->out);
    encrypt(c, bytes);
    push(w, c);
}

/* --- in --- */

static size_t decrypt(sp_sock *c, char *to, size_t max) {
    size_t at = 0;
    while (at < max) {
        size_t n = 0;
        sp_tls_result r = sp_tls_io_read(c->tls->io, to + at, max - at, &n, NULL);
        if (r == SP_TLS_OK) {
            at += n;
            continue;
        }
        c->eof = r == SP_TLS_CLOSED;
        c->failed |= r == SP_TLS_FAILED;
        break;
    }
    return at;
}

/* What was not looked at yet is kept, and so is a record that is not complete. */
static void keep_raw(sp_worker *w, sp_sock *c, bool from_raw) {
    sp_sock_tls *t = c->tls;
    sp_str left = sp_tls_io_unread(t->io);
    bool over = c->eof || c->failed;
    c->more = !over && sp_tls_io_ready(t->io);
    sp_tls_io_feed(t->io, (sp_str){0});
    if (from_raw) {
        if (t->raw.n) sp_buf_drop(&t->raw, over ? t->raw.n : t->raw.n - left.n);
    } else if (left.n && !over) {
        t->raw = sp_worker_take_buf(w);
        sp_buf_add(&t->raw, left);
    }
    if (!t->raw.n) sp_worker_give_buf(w, &t->raw);
}

static size_t receive(sp_worker *w, sp_sock *c) {
    sp_sock_tls *t = c->tls;
    size_t kept = t->raw.n;
    if (!w->cipher) w->cipher = sp_malloc(2 * SP_READ_SIZE);
    sp_assert(kept <= SP_READ_SIZE);
    ssize_t n = sp_sock_recv(c, w->cipher + kept, SP_READ_SIZE);
    if (n == 0) c->failed = c->cut = true;
    if (n <= 0) return 0;
    if (kept) memcpy(w->cipher, t->raw.p, kept);
    sp_worker_give_buf(w, &t->raw);
    sp_tls_io_feed(t->io, (sp_str){w->cipher, kept + (size_t)n});
    return (size_t)n;
}

size_t sp_sock_tls_read(sp_worker *w, sp_sock *c, char *to, size_t max) {
    size_t n = 0;
    if (!c->tls->open) return 0;
    if (c->more) {
        sp_tls_io_feed(c->tls->io, sp_buf_str(&c->tls->raw));
        n = decrypt(c, to, max);
        keep_raw(w, c, true);
    }
    if (!n && !c->eof && !c->failed && c->io.readable && receive(w, c)) {
        n = decrypt(c, to, max);
        keep_raw(w, c, false);
    }
    push(w, c); /* an alert, an answer to a KeyUpdate */
    return n;
}

bool sp_sock_still_idle(sp_worker *w, sp_sock *c) {
    if (c->eof || c->failed || !c->tls) return false;
    sp_str bytes = sp_sock_read(w, c);
    sp_sock_unread(w, c, bytes);
    return !bytes.n && !c->eof && !c->failed && !c->io.hup && !c->io.error;
}

/* --- the handshake --- */

void sp_sock_start_tls(sp_worker *w, sp_sock *c, sp_tls_ctx *ctx, bool server,
                       const char *server_name, sp_str received) {
    sp_sock_tls *t = c->tls = sp_zalloc(1, sizeof *t);
    t->io = sp_tls_io_new(ctx, server, server_name, &w->wire);
    sp_buf_add(&t->raw, received);
    c->more = received.n > 0;
}

static void note_cert(sp_sock_tls *t) {
    sp_auto(sp_buf) b = {0};
    if (sp_tls_io_client_cert(t->io, &b, &t->cert_error)) t->cert = sp_str_dup(sp_buf_str(&b));
}

sp_str sp_sock_client_cert(const sp_sock *c, sp_str *ret_error) {
    *ret_error = sp_str_z(c->tls ? c->tls->cert_error : NULL);
    return sp_str_z(c->tls ? c->tls->cert : NULL);
}

sp_tls_result sp_sock_handshake(sp_worker *w, sp_sock *c, sp_err *err) {
    sp_sock_tls *t = c->tls;
    sp_tls_io_feed(t->io, sp_buf_str(&t->raw));
    for (bool from_raw = true;; from_raw = false) {
        sp_tls_result r = sp_tls_io_handshake(t->io, err);
        keep_raw(w, c, from_raw);
        push(w, c);
        if (r == SP_TLS_OK) {
            t->open = true;
            note_cert(t);
            sp_tls_io_lighten(t->io);
        }
        if (r == SP_TLS_FAILED || r == SP_TLS_CLOSED) c->failed = true;
        if (r != SP_TLS_MORE) return r;
        if (!c->io.readable) return r;
        if (!receive(w, c)) {
            if (!c->failed) return r;
            sp_fail(err, SP_CONNECTION, "the other side ended the connection in the handshake");
            return SP_TLS_FAILED;
        }
    }
}

/* --- the end --- */

void sp_sock_tls_goodbye(sp_worker *w, sp_sock *c) {
    sp_sock_tls *t = c->tls;
    if (t->said_goodbye || !t->open || c->broken) return;
    t->said_goodbye = true;
    sp_tls_io_goodbye(t->io);
    push(w, c);
}

void sp_sock_tls_free(sp_worker *w, sp_sock *c) {
    sp_sock_tls *t = c->tls;
    if (!t) return;
    sp_worker_give_buf(w, &t->raw);
    sp_worker_give_buf(w, &t->wire);
    sp_tls_io_free(t->io);
    free(t->cert);
    free(t);
    c->tls = NULL;
    c->more = c->held = false;
}

sp_str sp_sock_alpn(const sp_sock *c) {
    return c->tls ? sp_tls_io_alpn(c->tls->io) : (sp_str){0};
}

sp_tls_io *sp_sock_tls_io(const sp_sock *c) {
    return c->tls->io;
}

bool sp_sock_tls_resumed(const sp_sock *c) {
    return c->tls && sp_tls_io_resumed(c->tls->io);
}

sp_str sp_sock_sni(const sp_sock *c) {
    return c->tls ? sp_tls_io_sni(c->tls->io) : (sp_str){0};
}
