/* `sampan shim exec` runs crun exec in the container's mount namespace; its standard streams are
 * pipes of ours, or, with a terminal, crun makes the terminal inside the container and sends us its
 * master over a socket (SCM_RIGHTS).
 *
 * The session ends when the process has ended and its output has come to an end. Output that a
 * process left behind could still write is waited for only a moment. A client that goes away closes
 * the pipes or the terminal (SIGHUP); the process is not killed, as with every kubelet. */
#include "agent/exec.h"

#include "agent/remote.h"
#include "base/log.h"
#include "data/json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

enum { PENDING_HIGH = 256 << 10, STDIN_HIGH = 256 << 10, AFTER_EXIT_MS = 300, READ_SIZE = 32768 };

typedef struct session session;

/* One of our ends: bytes from the process, or to it. */
typedef struct end {
    uv_pipe_t pipe;
    session *s;
    sp_remote_stream stream;
    bool open, reading, ending; /* ending: close when what is queued is out */
    size_t queued;
} end;

struct session {
    sp_agent *agent;
    sp_remote *remote; /* NULL once gone */
    sp_remote_wish wish;
    sp_strs command; /* in the arena */
    sp_arena *arena;
    char *dir;
    uv_process_t process;
    bool running, spawned, exited, in_paused, finishing;
    int64_t code;
    int term_signal;
    end in, out, err; /* with a terminal: out is its master, and where input goes */
    int console;      /* listening socket until the master came, -1 */
    uv_poll_t console_poll;
    bool console_polled;
    char console_path[108];
    struct winsize size; /* told before the terminal was there */
    sp_timer *linger;
    unsigned handles;
};

static void maybe_finish(session *s);

/* --- lives --- */

static void free_if_over(session *s) {
    if (s->remote || s->handles) return;
    sp_timer_stop(s->linger);
    sp_vec_free(&s->command);
    sp_arena_free(s->arena);
    free(s->dir);
    free(s);
}

static void handle_closed(uv_handle_t *h) {
    session *s = h->data;
    s->handles--;
    free_if_over(s);
}

static void end_closed(uv_handle_t *h) {
    end *e = h->data;
    e->s->handles--;
    free_if_over(e->s);
}

static void close_end(end *e) {
    if (!e->open) return;
    e->open = false;
    uv_close((uv_handle_t *)&e->pipe, end_closed);
}

static void close_console(session *s) {
    if (s->console >= 0) {
        unlink(s->console_path);
        if (s->console_polled) uv_poll_stop(&s->console_poll);
        close(s->console);
        s->console = -1;
    }
    if (s->console_polled) {
        s->console_polled = false;
        uv_close((uv_handle_t *)&s->console_poll, handle_closed);
    }
}

static void close_all(session *s) {
    close_end(&s->in);
    close_end(&s->out);
    close_end(&s->err);
    close_console(s);
}

/* --- the process's output --- */

static void alloc_read(uv_handle_t *h, size_t suggested, uv_buf_t *buf) {
    static __thread char bytes[READ_SIZE];
    (void)h, (void)suggested;
    *buf = uv_buf_init(bytes, sizeof bytes);
}

static void got(uv_stream_t *h, ssize_t n, const uv_buf_t *buf) {
    end *e = h->data;
    session *s = e->s;
    if (n == 0) return;
    if (n < 0) { /* a terminal ends with EIO */
        close_end(e);
        maybe_finish(s);
        return;
    }
    if (!s->remote) return;
    sp_remote_send(s->remote, e->stream, (sp_str){buf->base, (size_t)n});
    if (sp_remote_pending(s->remote) < PENDING_HIGH) return;
    e->reading = false;
    uv_read_stop(h);
}

static void read_on(end *e) {
    if (!e->open || e->reading) return;
    e->reading = true;
    uv_read_start((uv_stream_t *)&e->pipe, alloc_read, got);
}

static bool open_end(session *s, end *e, int fd, sp_remote_stream stream) {
    e->s = s;
    e->stream = stream;
    uv_pipe_init(s->agent->loop, &e->pipe, 0);
    e->pipe.data = e;
    s->handles++;
    e->open = true;
    if (uv_pipe_open(&e->pipe, fd) == 0) return true;
    close(fd);
    close_end(e);
    return false;
}

static void on_drain(void *ctx) {
    session *s = ctx;
    if (sp_remote_pending(s->remote) >= PENDING_HIGH / 2) return;
    read_on(&s->out);
    read_on(&s->err);
}

/* --- its input --- */

typedef struct input {
    uv_write_t write;
    size_t n;
    char bytes[];
} input;

static void input_written(uv_write_t *w, int status) {
    input *i = SP_CONTAINER(w, input, write);
    end *e = w->handle->data;
    session *s = e->s;
    e->queued -= i->n;
    free(i);
    if (!e->open) return;
    if (status < 0 && !s->wish.tty) {
        close_end(e); /* it reads no more: what still comes is dropped */
    } else if (e->queued == 0 && e->ending) {
        close_end(e);
    }
    if (s->in_paused && e->queued < STDIN_HIGH / 2) {
        s->in_paused = false;
        if (s->remote) sp_remote_pause(s->remote, false);
    }
}

static void to_process(session *s, sp_str bytes) {
    end *e = s->wish.tty ? &s->out : &s->in;
    if (!e->open || e->ending) return;
    input *i = sp_malloc(sizeof *i + bytes.n);
    i->n = bytes.n;
    memcpy(i->bytes, bytes.p, bytes.n);
    uv_buf_t b = uv_buf_init(i->bytes, (unsigned)bytes.n);
    e->queued += bytes.n;
    if (uv_write(&i->write, (uv_stream_t *)&e->pipe, &b, 1, input_written) != 0) {
        e->queued -= bytes.n;
        free(i);
        return;
    }
    if (e->queued < STDIN_HIGH || s->in_paused) return;
    s->in_paused = true;
    sp_remote_pause(s->remote, true);
}

static void end_input(session *s) {
    char eot = 4; /* VEOF: how the end of input is said to a terminal */
    if (s->wish.tty) {
        to_process(s, (sp_str){&eot, 1});
        return;
    }
    s->in.ending = true;
    if (s->in.queued == 0) close_end(&s->in);
}

/* --- terminal --- */

static void set_size(session *s) {
    uv_os_fd_t fd;
    if (!s->size.ws_col || !s->out.open) return;
    if (uv_fileno((uv_handle_t *)&s->out.pipe, &fd) == 0) ioctl(fd, TIOCSWINSZ, &s->size);
}

/* {"Width":80,"Height":24}; some clients send several in one piece, or blanks between. */
static void resize(session *s, sp_str text) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *j;
    if (!sp_json_parse(a, sp_str_trim(text), &j, NULL)) return;
    int64_t w = sp_json_int(sp_json_get(j, "Width"), 0),
            h = sp_json_int(sp_json_get(j, "Height"), 0);
    if (w < 1 || w > USHRT_MAX || h < 1 || h > USHRT_MAX) return;
    s->size.ws_col = (unsigned short)w;
    s->size.ws_row = (unsigned short)h;
    set_size(s);
}

/* The descriptor that crun sends, or -1. */
static int receive_master(int listener) {
    char byte[256];
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec v = {byte, sizeof byte};
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int fd = -1, peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (peer < 0) return -1;
    /* crun sends right after connecting; a moment of blocking is at most a second. */
    struct timeval second = {.tv_sec = 1};
    setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    ssize_t n = recvmsg(peer, &m, MSG_CMSG_CLOEXEC);
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    close(peer);
    return fd;
}

static void console_ready(uv_poll_t *h, int status, int events) {
    session *s = h->data;
    (void)status, (void)events;
    int master = receive_master(s->console);
    close_console(s);
    if (master < 0 || !open_end(s, &s->out, master, SP_REMOTE_STDOUT)) return;
    set_size(s);
    if (s->remote) read_on(&s->out);
    if (!s->remote) close_end(&s->out);
}

static bool listen_console(session *s, sp_err *err) {
    static unsigned number;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n =
        snprintf(a.sun_path, sizeof a.sun_path, "/run/sampan-console-%d-%u", getpid(), ++number);
    if (n <= 0 || (size_t)n >= sizeof a.sun_path) return sp_fail(err, SP_INTERNAL, "path too long");
    s->console = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(a.sun_path);
    memcpy(s->console_path, a.sun_path, sizeof a.sun_path);
    if (s->console < 0 || bind(s->console, (struct sockaddr *)&a, sizeof a) != 0 ||
        chmod(a.sun_path, 0600) != 0 || listen(s->console, 1) != 0)
        return sp_fail_errno(err, errno, "the socket for the terminal");
    uv_poll_init(s->agent->loop, &s->console_poll, s->console);
    s->console_poll.data = s;
    s->console_polled = true;
    s->handles++;
    uv_poll_start(&s->console_poll, UV_READABLE, console_ready);
    return true;
}

/* --- how it ended --- */

static void write_status(const session *s, sp_buf *b) {
    if (s->code == 0 && !s->term_signal) {
        sp_buf_addz(b, "{\"metadata\":{},\"status\":\"Success\"}");
        return;
    }
    long long code = s->term_signal ? 128 + s->term_signal : (long long)s->code;
    sp_buf_printf(b,
                  "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"command terminated with "
                  "non-zero exit code: exit status %lld\",\"reason\":\"NonZeroExitCode\","
                  "\"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"%lld\"}]}}",
                  code, code);
}

static void finish(session *s, sp_str status) {
    if (s->finishing) return;
    s->finishing = true;
    s->linger = sp_timer_stop(s->linger);
    close_all(s);
    if (s->remote) sp_remote_finish(sp_steal(s->remote), status);
    free_if_over(s);
}

static void finish_exited(session *s) {
    sp_auto(sp_buf) b = {0};
    write_status(s, &b);
    finish(s, sp_buf_str(&b));
}

static void linger_over(void *ctx) {
    session *s = ctx;
    s->linger = NULL;
    /* A reader that is behind is waited for as long as it reads. */
    if (s->remote && sp_remote_pending(s->remote) > 0)
        s->linger = sp_timer_start(s->agent->loop, AFTER_EXIT_MS, linger_over, s);
    else
        finish_exited(s);
}

static void maybe_finish(session *s) {
    if (!s->exited || s->finishing) return;
    if (!s->out.open && !s->err.open)
        finish_exited(s);
    else if (!s->linger)
        s->linger = sp_timer_start(s->agent->loop, AFTER_EXIT_MS, linger_over, s);
}

static void exited(uv_process_t *p, int64_t code, int signal) {
    session *s = p->data;
    s->exited = true;
    s->code = code;
    s->term_signal = signal;
    uv_close((uv_handle_t *)p, handle_closed);
    maybe_finish(s);
}

/* --- starting it --- */

static void fail(session *s, const char *text) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) b = {0};
    sp_json *j = sp_json_object(a);
    sp_json_set(a, j, "metadata", sp_json_object(a));
    sp_json_set_z(a, j, "status", "Failure");
    sp_json_set_z(a, j, "message", text);
    sp_json_set_z(a, j, "reason", "InternalError");
    sp_json_set_int(a, j, "code", 500);
    sp_json_write(&b, j);
    finish(s, sp_buf_str(&b));
}

/* A pipe whose `ours` end (0 reads, 1 writes) stays here. */
static bool make_pipe(session *s, end *e, int ours, sp_remote_stream stream, int *ret_theirs) {
    int fd[2];
    if (pipe2(fd, O_CLOEXEC) != 0) return false;
    *ret_theirs = fd[!ours];
    if (open_end(s, e, fd[ours], stream)) return true;
    close(fd[!ours]);
    return false;
}

typedef SP_VEC(char *) words;

static void make_line(session *s, words *line) {
    char *head[] = {s->agent->self, "shim", "exec", "--tty", s->console_path, s->dir, "--"};
    for (size_t i = 0; i < SP_COUNT(head); i++)
        if (s->wish.tty || (i != 3 && i != 4)) sp_vec_push(line, head[i]);
    sp_vec_each(&s->command, word) sp_vec_push(line, sp_arena_strz(s->arena, *word));
    sp_vec_push(line, NULL);
}

static bool spawn(session *s, int in, int out, int errors, sp_err *err) {
    words line = {0};
    make_line(s, &line);
    uv_stdio_container_t stdio[3] = {{0}};
    int fds[3] = {in, out, errors};
    for (int i = 0; i < 3; i++) {
        stdio[i].flags = fds[i] < 0 ? UV_IGNORE : UV_INHERIT_FD;
        stdio[i].data.fd = fds[i];
    }
    uv_process_options_t o = {
        .file = line.p[0], .args = line.p, .stdio = stdio, .stdio_count = 3, .exit_cb = exited};
    s->process.data = s;
    s->handles++;
    int rc = uv_spawn(s->agent->loop, &s->process, &o);
    sp_vec_free(&line);
    if (rc == 0) return true;
    uv_close((uv_handle_t *)&s->process, handle_closed);
    return sp_fail_errno(err, -rc, "start %s", s->agent->self);
}

static bool start(session *s, sp_err *err) {
    int in = -1, out = -1, errors = -1;
    bool tty = s->wish.tty;
    bool ok = (!tty || listen_console(s, err)) &&
              (tty || !s->wish.in || make_pipe(s, &s->in, 1, SP_REMOTE_STDIN, &in)) &&
              (tty || !s->wish.out || make_pipe(s, &s->out, 0, SP_REMOTE_STDOUT, &out)) &&
              (!(tty || s->wish.err) ||
               make_pipe(s, &s->err, 0, tty ? SP_REMOTE_STDOUT : SP_REMOTE_STDERR, &errors));
    if (!ok && !err->code) sp_fail_errno(err, errno, "pipe");
    ok = ok && spawn(s, in, out, errors, err);
    int theirs[] = {in, out, errors};
    for (size_t i = 0; i < SP_COUNT(theirs); i++)
        if (theirs[i] >= 0) close(theirs[i]);
    return ok;
}

/* --- the client --- */

static bool on_ready(void *ctx) {
    session *s = ctx;
    sp_err err = {0};
    if (!start(s, &err)) {
        fail(s, err.text);
        return false;
    }
    read_on(&s->out);
    read_on(&s->err);
    return true;
}

static void on_data(void *ctx, sp_remote_stream stream, sp_str bytes) {
    session *s = ctx;
    if (stream == SP_REMOTE_STDIN) to_process(s, bytes);
    if (stream == SP_REMOTE_RESIZE) resize(s, bytes);
}

static void on_end(void *ctx, sp_remote_stream stream) {
    if (stream == SP_REMOTE_STDIN) end_input(ctx);
}

static void on_gone(void *ctx) {
    session *s = ctx;
    s->remote = NULL;
    s->finishing = true;
    s->linger = sp_timer_stop(s->linger);
    close_all(s);
    free_if_over(s);
}

static const sp_remote_events events = {on_ready, on_data, on_end, on_drain, on_gone};

bool sp_query_true(sp_http_req *q, const char *key) {
    static const char *const yes[] = {"", "1", "t", "true"}; /* Python says True */
    sp_str text;
    if (!sp_query_get(q->arena, q->query, key, &text)) return false;
    for (size_t i = 0; i < SP_COUNT(yes); i++)
        if (sp_str_ieq(text, sp_str_z(yes[i]))) return true;
    return false;
}

static bool read_command(session *s, sp_str query, sp_err *err) {
    for (sp_str pair, rest = query; sp_str_cut(&rest, '&', &pair);) {
        sp_str word;
        if (!sp_str_starts(pair, SP_STR("command="))) continue;
        if (!sp_url_decode(s->arena, sp_str_from(pair, 8), true, &word))
            return sp_fail(err, SP_BAD_REQUEST, "the query has a broken escape");
        if (sp_str_chr(word, '\0') >= 0)
            return sp_fail(err, SP_BAD_REQUEST, "a word of the command has a NUL in it");
        sp_vec_push(&s->command, word);
    }
    return s->command.n || sp_fail(err, SP_BAD_REQUEST, "you must specify at least 1 command");
}

static bool read_wish(sp_http_req *q, sp_remote_wish *w, sp_err *err) {
    *w = (sp_remote_wish){sp_query_true(q, "stdin"), sp_query_true(q, "stdout"),
                          sp_query_true(q, "stderr"), sp_query_true(q, "tty")};
    if (w->tty && w->err) return sp_fail(err, SP_BAD_REQUEST, "tty and stderr cannot both be true");
    return w->in || w->out || w->err ||
           sp_fail(err, SP_BAD_REQUEST, "you must specify at least one of stdin, stdout, stderr");
}

void sp_exec_serve(sp_ctr *c, sp_http_req *q, sp_http_res *res) {
    sp_err err = {0};
    session *s = sp_zalloc(1, sizeof *s);
    s->agent = c->pod->agent;
    s->arena = sp_arena_new();
    s->console = -1;
    s->dir = sp_strdup(c->dir ? c->dir : "");
    s->in.s = s->out.s = s->err.s = s;
    bool ok = read_wish(q, &s->wish, &err) && read_command(s, q->query, &err) &&
              sp_remote_accept(s->agent->loop, q, res, &s->wish, &events, s, &s->remote, &err);
    if (ok) return;
    sp_header h = {SP_STR("content-type"), SP_STR("text/plain; charset=utf-8")};
    sp_http_reply(res, sp_code_http(err.code), &h, 1, sp_str_z(err.text));
    free_if_over(s);
}
