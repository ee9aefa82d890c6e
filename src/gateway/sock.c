/* A socket with its two buffers. Memory is held only while bytes wait: buffers come from a small
 * stack of spare ones and go back as soon as they are empty, so an idle connection costs its
 * struct. Where tls is set, tls_sock.c stands between the buffers and the descriptor. */
#include "gateway/datapath.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SPARE_BUFS = 32, SPARE_MAX_BYTES = 128 * 1024 };

sp_buf sp_worker_take_buf(sp_worker *w) {
    if (!w->spare.n) return (sp_buf){0};
    return w->spare.p[--w->spare.n];
}

void sp_worker_give_buf(sp_worker *w, sp_buf *b) {
    if (!b->p) return;
    if (w->spare.n >= SPARE_BUFS || b->cap > SPARE_MAX_BYTES) {
        sp_buf_free(b);
        return;
    }
    sp_buf_clear(b);
    sp_vec_push(&w->spare, *b);
    *b = (sp_buf){0};
}

void sp_sock_tune(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

void sp_sock_probe(int fd) {
    static const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 60},
        {IPPROTO_TCP, TCP_KEEPINTVL, 15},
        {IPPROTO_TCP, TCP_KEEPCNT, 4},
    };
    for (size_t i = 0; i < SP_COUNT(options); i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

void sp_sock_speak_first(int fd) {
    int zero = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &zero, sizeof zero);
}

/* TCP_USER_TIMEOUT would do it in the kernel, but it also ends a connection whose reader has only
 * stopped to read. The counts below start anew with every acknowledgement, also of a probe of a
 * closed window. Seven doublings from 200 ms are 25 s. */
bool sp_sock_vanished(const sp_sock *c) {
    enum { UNANSWERED = 7 };
    struct tcp_info info;
    socklen_t n = sizeof info;
    if (c->io.fd < 0 || getsockopt(c->io.fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0) return false;
    return info.tcpi_retransmits >= UNANSWERED || info.tcpi_probes >= UNANSWERED;
}

bool sp_sock_open(sp_worker *w, sp_sock *c, int fd, void (*on_event)(sp_io *)) {
    *c = (sp_sock){0};
    return sp_poller_add(w->poller, &c->io, fd, on_event);
}

void sp_sock_take(sp_sock *c, sp_sock *from, void (*on_event)(sp_io *)) {
    *c = *from;
    sp_io_move(&from->io, &c->io, on_event);
    from->tls = NULL;
    from->in = from->out = (sp_buf){0};
    from->unread = from->more = from->held = false;
}

void sp_sock_close(sp_worker *w, sp_sock *c, bool reset) {
    if (reset && c->io.poller && c->io.fd >= 0) {
        struct linger now = {.l_onoff = 1};
        setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    if (c->tls && !reset) sp_sock_tls_goodbye(w, c);
    sp_sock_tls_free(w, c);
    sp_io_close(&c->io);
    sp_worker_give_buf(w, &c->in);
    sp_worker_give_buf(w, &c->out);
}

ssize_t sp_sock_recv(sp_sock *c, char *to, size_t size) {
    ssize_t n = sp_io_recv(&c->io, to, size);
    if (n < 0 && errno != EAGAIN) c->failed = true;
    return n;
}

static size_t read_plain(sp_sock *c, char *to, size_t size) {
    ssize_t n = sp_sock_recv(c, to, size);
    if (n == 0) c->eof = true;
    return (size_t)SP_MAX(n, 0);
}

sp_str sp_sock_read(sp_worker *w, sp_sock *c) {
    size_t kept = c->in.n;
    sp_assert(kept < SP_READ_SIZE * 2);
    if (kept) memcpy(w->scratch, c->in.p, kept);
    sp_worker_give_buf(w, &c->in);
    /* What nobody has looked at is enough for now: pipelined requests would pile up else. */
    bool more = !c->unread && (c->io.readable || c->more) && !c->eof && !c->failed;
    char *to = w->scratch + kept;
    size_t n = 0;
    c->unread = false;
    if (more)
        n = c->tls ? sp_sock_tls_read(w, c, to, SP_READ_SIZE) : read_plain(c, to, SP_READ_SIZE);
    c->received += n;
    return (sp_str){w->scratch, kept + n};
}

void sp_sock_keep(sp_worker *w, sp_sock *c, sp_str rest) {
    if (!rest.n) return;
    if (!c->in.p) c->in = sp_worker_take_buf(w);
    sp_buf_add(&c->in, rest);
}

void sp_sock_unread(sp_worker *w, sp_sock *c, sp_str rest) {
    sp_sock_keep(w, c, rest);
    c->unread = c->in.n > 0;
}

sp_buf *sp_sock_out(sp_worker *w, sp_sock *c) {
    if (!c->out.p) c->out = sp_worker_take_buf(w);
    return &c->out;
}

void sp_sock_add(sp_worker *w, sp_sock *c, sp_str bytes) {
    if (bytes.n) sp_buf_add(sp_sock_out(w, c), bytes);
}

void sp_worker_put_before(sp_worker *w, sp_buf *b, sp_str bytes) {
    sp_buf behind = *b;
    *b = sp_worker_take_buf(w);
    sp_buf_add(b, bytes);
    sp_buf_add(b, sp_buf_str(&behind));
    sp_worker_give_buf(w, &behind);
}

void sp_sock_on_unsent(void *ctx, sp_io *io, sp_str rest, int error) {
    sp_worker *w = ctx;
    sp_sock *c = SP_CONTAINER(io, sp_sock, io);
    if (error) {
        c->broken = true;
    } else if (c->tls) {
        sp_sock_tls_on_unsent(w, c, rest);
    } else {
        c->sent -= rest.n;
        sp_worker_put_before(w, &c->out, rest);
    }
}

/* A vector of one costs the kernel more than a plain send. */
static ssize_t send_both(sp_sock *c, sp_str first, sp_str second) {
    if (sp_io_send(&c->io, first, second, sp_sock_send_flags(c)))
        return (ssize_t)(first.n + second.n);
    struct iovec iov[2] = {{(void *)(uintptr_t)first.p, first.n},
                           {(void *)(uintptr_t)second.p, second.n}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
    sp_str one = first.n ? first : second;
    if (first.n && second.n) return sendmsg(c->io.fd, &m, sp_sock_send_flags(c));
    return send(c->io.fd, one.p, one.n, sp_sock_send_flags(c));
}

static void write_plain(sp_worker *w, sp_sock *c, sp_str bytes) {
    ssize_t n = 0;
    if ((c->out.n || bytes.n) && c->io.writable && !c->broken) {
        do n = send_both(c, sp_buf_str(&c->out), bytes);
        while (n < 0 && errno == EINTR);
        if (n < 0) {
            c->io.writable = false;
            if (errno != EAGAIN) c->broken = true;
            n = 0;
        } else if ((size_t)n < c->out.n + bytes.n) {
            c->io.writable = false;
        }
    }
    c->sent += (size_t)n;
    if (c->broken) {
        sp_worker_give_buf(w, &c->out);
        return;
    }
    size_t from_out = SP_MIN((size_t)n, c->out.n);
    sp_str left = sp_str_from(bytes, (size_t)n - from_out);
    if (from_out == c->out.n)
        sp_worker_give_buf(w, &c->out);
    else
        sp_buf_drop(&c->out, from_out);
    sp_sock_add(w, c, left);
}

void sp_sock_write(sp_worker *w, sp_sock *c, sp_str bytes) {
    if (c->tls)
        sp_sock_tls_write(w, c, bytes);
    else
        write_plain(w, c, bytes);
}

void sp_sock_flush(sp_worker *w, sp_sock *c) {
    if (sp_sock_blocked(c)) sp_sock_write(w, c, (sp_str){0});
}

void sp_sock_shutdown(sp_worker *w, sp_sock *c) {
    if (c->shut || sp_sock_blocked(c) || c->io.fd < 0) return;
    if (c->tls) sp_sock_tls_goodbye(w, c);
    if (sp_sock_blocked(c)) return;
    c->shut = true;
    shutdown(c->io.fd, SHUT_WR);
}
