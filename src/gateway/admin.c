/* See admin.h. A connection handles one request at a time; further lines wait in its buffer. */
#include "gateway/admin.h"

#include "base/list.h"
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_REQUEST = 64 * 1024, MAX_CONNECTIONS = 64, FDS_PER_LINE = 100 };

typedef struct verb {
    const char *name;
    sp_admin_fn *fn;
    void *ctx;
} verb;

struct sp_admin {
    uv_loop_t *loop;
    char *path; /* NULL while nobody can come in */
    int fd;     /* listening; -1 */
    uv_poll_t poll;
    SP_VEC(verb) verbs;
    sp_list connections;
    size_t count, handles;
    bool freed;
};

typedef struct connection {
    sp_list link;
    sp_admin *admin;
    int fd;
    uv_poll_t poll;
    sp_buf in, out;
    struct sp_admin_call *call; /* NULL between requests */
    void (*on_close)(void *ctx);
    void *on_close_ctx;
    bool closed, eof;
} connection;

struct sp_admin_call {
    connection *connection; /* NULL once it is gone */
    sp_arena *arena;
};

static void on_event(uv_poll_t *h, int status, int events);

/* --- the end of a connection --- */

static void release(sp_admin *a) {
    if (!a->freed || a->handles) return;
    sp_vec_free(&a->verbs);
    free(a->path);
    free(a);
}

static void on_connection_closed(uv_handle_t *h) {
    connection *c = h->data;
    sp_admin *a = c->admin;
    close(c->fd);
    sp_buf_free(&c->in);
    sp_buf_free(&c->out);
    free(c);
    a->handles--;
    release(a);
}

static void close_connection(connection *c) {
    if (c->closed) return;
    c->closed = true;
    if (c->call) c->call->connection = NULL;
    sp_list_remove(&c->link);
    c->admin->count--;
    uv_close((uv_handle_t *)&c->poll, on_connection_closed);
    if (c->on_close) c->on_close(c->on_close_ctx);
}

/* --- answering --- */

static void want_events(connection *c) {
    int events = (c->call || c->eof ? 0 : UV_READABLE) | (c->out.n ? UV_WRITABLE : 0);
    uv_poll_start(&c->poll, events ? events : UV_DISCONNECT, on_event);
}

static void flush(connection *c) {
    while (c->out.n && !c->closed) {
        ssize_t n = send(c->fd, c->out.p, c->out.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) {
            close_connection(c);
            return;
        }
        sp_buf_drop(&c->out, (size_t)n);
    }
}

sp_arena *sp_admin_arena(sp_admin_call *c) {
    return c->arena;
}

void sp_admin_on_close(sp_admin_call *c, void (*fn)(void *ctx), void *ctx) {
    if (!c->connection) return;
    c->connection->on_close = fn;
    c->connection->on_close_ctx = ctx;
}

static void next_request(connection *c);

static void end_call(sp_admin_call *call) {
    connection *c = call->connection;
    sp_arena_free(call->arena);
    free(call);
    if (!c) return;
    c->call = NULL;
    flush(c);
    if (!c->closed) next_request(c);
    if (!c->closed) want_events(c);
}

static sp_json *with_ok(sp_admin_call *call, sp_json *answer) {
    if (!answer) answer = sp_json_object(call->arena);
    sp_json_set_first(call->arena, answer, "ok", sp_json_new_bool(call->arena, true));
    return answer;
}

static void add_line(sp_buf *to, const sp_json *doc) {
    sp_json_write(to, doc);
    sp_buf_addc(to, '\n');
}

void sp_admin_answer(sp_admin_call *call, sp_json *answer) {
    if (call->connection) add_line(&call->connection->out, with_ok(call, answer));
    end_call(call);
}

void sp_admin_fail(sp_admin_call *call, const char *fmt, ...) {
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sp_json *answer = sp_json_object(call->arena);
    sp_json_set_bool(call->arena, answer, "ok", false);
    sp_json_set_z(call->arena, answer, "error", text);
    if (call->connection) add_line(&call->connection->out, answer);
    end_call(call);
}

static bool send_with_fds(int to, sp_str line, const int *fds, size_t n) {
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(FDS_PER_LINE * sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)line.p, line.n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n) {
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(n * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    return sendmsg(to, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)line.n;
}

/* The peer has nothing of ours in its queue, because it waits for this answer: short lines fit. */
void sp_admin_answer_fds(sp_admin_call *call, sp_json *answer, const int *fds, size_t n) {
    connection *c = call->connection;
    bool sent = c && !c->out.n;
    answer = with_ok(call, answer);
    while (sent) {
        size_t now = SP_MIN(n, (size_t)FDS_PER_LINE);
        sp_auto(sp_buf) line = {0};
        sp_json_set_bool(call->arena, answer, "more", n > now);
        add_line(&line, answer);
        sent = send_with_fds(c->fd, sp_buf_str(&line), fds, now);
        fds += now;
        n -= now;
        if (!n) break;
    }
    if (c && !sent) close_connection(c);
    end_call(call);
}

/* --- requests --- */

static void dispatch(connection *c, sp_str line) {
    sp_admin_call *call = c->call = sp_zalloc(1, sizeof *call);
    sp_json *request = NULL;
    sp_err err = {0};
    call->connection = c;
    call->arena = sp_arena_new();
    if (!sp_json_parse(call->arena, line, &request, &err)) {
        sp_admin_fail(call, "not a JSON document: %s", err.text);
        return;
    }
    const char *name = sp_json_get_z(request, "do");
    sp_vec_each(&c->admin->verbs, v) {
        if (strcmp(v->name, name) != 0) continue;
        v->fn(v->ctx, call, request);
        return;
    }
    sp_admin_fail(call, "unknown command \"%s\"", name);
}

static void next_request(connection *c) {
    while (!c->closed && !c->call) {
        ptrdiff_t end = sp_str_chr(sp_buf_str(&c->in), '\n');
        if (end < 0) break;
        sp_auto(sp_buf) line = {0};
        sp_buf_add(&line, sp_str_sub(sp_buf_str(&c->in), 0, (size_t)end));
        sp_buf_drop(&c->in, (size_t)end + 1);
        dispatch(c, sp_buf_str(&line));
    }
    if (!c->closed && !c->call && c->eof && !c->out.n) close_connection(c);
}

static void receive(connection *c) {
    char piece[4096];
    ssize_t n = recv(c->fd, piece, sizeof piece, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0 || c->in.n + (size_t)SP_MAX(n, 0) > MAX_REQUEST) {
        close_connection(c);
        return;
    }
    if (n == 0) c->eof = true;
    sp_buf_add(&c->in, (sp_str){piece, (size_t)n});
    next_request(c);
}

static void on_event(uv_poll_t *h, int status, int events) {
    connection *c = h->data;
    if (status < 0 || (events & UV_DISCONNECT)) {
        close_connection(c);
        return;
    }
    if (events & UV_WRITABLE) flush(c);
    if (!c->closed && (events & UV_READABLE)) receive(c);
    if (!c->closed) want_events(c);
}

/* --- who comes in --- */

static bool may_come(int fd) {
    struct ucred peer;
    socklen_t len = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

void sp_admin_serve(sp_admin *a, int fd) {
    if (!may_come(fd) || a->count >= MAX_CONNECTIONS) {
        close(fd);
        return;
    }
    connection *c = sp_zalloc(1, sizeof *c);
    c->admin = a;
    c->fd = fd;
    sp_list_init(&c->link);
    sp_list_append(&a->connections, &c->link);
    a->count++;
    a->handles++;
    sp_assert(uv_poll_init(a->loop, &c->poll, fd) == 0);
    c->poll.data = c;
    want_events(c);
}

static void on_knock(uv_poll_t *h, int status, int events) {
    (void)status, (void)events;
    sp_admin *a = h->data;
    for (;;) {
        int fd = accept4(a->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        sp_admin_serve(a, fd);
    }
}

void sp_admin_on(sp_admin *a, const char *name, sp_admin_fn *fn, void *ctx) {
    sp_vec_push(&a->verbs, (verb){name, fn, ctx});
}

sp_admin *sp_admin_new(uv_loop_t *loop) {
    sp_admin *a = sp_zalloc(1, sizeof *a);
    a->loop = loop;
    a->fd = -1;
    sp_list_init(&a->connections);
    return a;
}

static bool fill_address(const char *path, struct sockaddr_un *ret, sp_err *err) {
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof ret->sun_path)
        return sp_fail(err, SP_BAD_REQUEST, "%s: longer than the %zu bytes of a socket's path",
                       path, sizeof ret->sun_path - 1);
    memcpy(ret->sun_path, path, strlen(path));
    return true;
}

static bool refuse_second(const char *path, sp_err *err) {
    int fd;
    sp_err none = {0};
    struct stat st;
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return sp_fail(err, SP_CONFLICT, "%s is there and is not a socket", path);
    if (!sp_admin_connect(path, &fd, &none)) return true;
    close(fd);
    return sp_fail(err, SP_CONFLICT, "%s: another gateway serves there; --take-over replaces it",
                   path);
}

/* Bound under another name and moved to its place: nobody finds it half made, and a predecessor's
 * file is replaced without a moment in between. */
static bool bind_at(int fd, const char *path, sp_err *err) {
    struct sockaddr_un at;
    sp_auto(sp_buf) temporary = {0};
    sp_buf_printf(&temporary, "%s.%d", path, (int)getpid());
    if (!fill_address(temporary.p, &at, err)) return false;
    unlink(temporary.p);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && chmod(temporary.p, 0600) == 0 &&
        listen(fd, 16) == 0 && rename(temporary.p, path) == 0)
        return true;
    return sp_fail_errno(err, errno, "%s", path);
}

bool sp_admin_listen(sp_admin *a, const char *path, bool replace, sp_err *err) {
    if (!replace && !refuse_second(path, err)) return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return sp_fail_errno(err, errno, "socket");
    if (!bind_at(fd, path, err)) {
        close(fd);
        return false;
    }
    a->fd = fd;
    a->path = sp_strdup(path);
    a->handles++;
    sp_assert(uv_poll_init(a->loop, &a->poll, fd) == 0);
    a->poll.data = a;
    uv_poll_start(&a->poll, UV_READABLE, on_knock);
    return true;
}

static void on_listener_closed(uv_handle_t *h) {
    sp_admin *a = h->data;
    a->handles--;
    release(a);
}

/* The descriptor at once, so that connecting fails from now on. */
void sp_admin_close_door(sp_admin *a) {
    if (a->fd < 0) return;
    uv_close((uv_handle_t *)&a->poll, on_listener_closed);
    close(a->fd);
    a->fd = -1;
}

sp_admin *sp_admin_free(sp_admin *a, bool keep_file) {
    if (!a) return NULL;
    a->freed = true;
    if (a->fd >= 0 && !keep_file) unlink(a->path);
    sp_admin_close_door(a);
    while (!sp_list_empty(&a->connections)) {
        connection *c = SP_CONTAINER(a->connections.next, connection, link);
        c->on_close = NULL;
        close_connection(c);
    }
    release(a);
    return NULL;
}
