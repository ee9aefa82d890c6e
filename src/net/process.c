/* A child in a session of its own, pipes, a deadline. The result is given when the child has
 * ended and its pipes are read to the end; a grandchild that keeps a pipe open is waited for only
 * briefly. Output beyond the cap is read and dropped, so a talkative child never blocks. */
#include "net/process.h"

#include "net/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

enum { DEFAULT_OUTPUT = 64 * 1024, PIPE_GRACE_MS = 250, CHUNK = 16 * 1024 };

typedef struct process {
    sp_process_params p; /* argv, env, cwd only until spawn */
    uv_process_t child;
    uv_pipe_t in, out, err;
    uv_write_t write;
    sp_buf input, got_out, got_err;
    sp_timer *deadline, *grace;
    sp_process_result result;
    unsigned open;    /* handles libuv still knows */
    unsigned reading; /* pipes not yet at their end */
    bool exited, done;
} process;

static void closed(uv_handle_t *h) {
    process *p = h->data;
    if (--p->open > 0) return;
    sp_buf_free(&p->input);
    sp_buf_free(&p->got_out);
    sp_buf_free(&p->got_err);
    free(p);
}

static void shut(void *handle) {
    if (!uv_is_closing(handle)) uv_close(handle, closed);
}

static void shut_all(process *p) {
    p->deadline = sp_timer_stop(p->deadline);
    p->grace = sp_timer_stop(p->grace);
    shut(&p->in);
    shut(&p->out);
    shut(&p->err);
    shut(&p->child);
}

static void finish(process *p) {
    if (p->done) return;
    p->done = true;
    p->result.out = sp_buf_str(&p->got_out);
    p->result.err = sp_buf_str(&p->got_err);
    p->p.done(p->p.ctx, &p->result, NULL);
    shut_all(p);
}

static void grace_over(void *ctx) {
    process *p = ctx;
    p->grace = NULL;
    finish(p);
}

static void settle(process *p) {
    if (!p->exited) return;
    if (p->reading == 0)
        finish(p);
    else if (!p->grace)
        p->grace = sp_timer_start(p->child.loop, PIPE_GRACE_MS, grace_over, p);
}

static void child_ended(uv_process_t *child, int64_t status, int term_signal) {
    process *p = child->data;
    p->exited = true;
    p->result.exit_code = term_signal ? -1 : (int)status;
    p->result.signal = term_signal;
    p->deadline = sp_timer_stop(p->deadline);
    settle(p);
}

static void alloc_chunk(uv_handle_t *h, size_t suggested, uv_buf_t *buf) {
    (void)h, (void)suggested;
    static __thread char chunk[CHUNK];
    *buf = uv_buf_init(chunk, sizeof chunk);
}

static void on_output(uv_stream_t *s, ssize_t n, const uv_buf_t *buf) {
    process *p = s->data;
    sp_buf *to = s == (uv_stream_t *)&p->out ? &p->got_out : &p->got_err;
    if (n > 0) {
        size_t room = p->p.max_output - SP_MIN(to->n, p->p.max_output);
        sp_buf_add(to, (sp_str){buf->base, SP_MIN((size_t)n, room)});
    } else if (n < 0) {
        uv_read_stop(s);
        p->reading--;
        settle(p);
    }
}

static void input_written(uv_write_t *w, int status) {
    (void)status; /* a child that does not read its input says so by its exit code */
    process *p = w->data;
    shut(&p->in);
}

static void give_input(process *p) {
    if (p->input.n == 0) {
        shut(&p->in);
        return;
    }
    uv_buf_t b = uv_buf_init(p->input.p, (unsigned)p->input.n);
    p->write.data = p;
    if (uv_write(&p->write, (uv_stream_t *)&p->in, &b, 1, input_written) != 0) shut(&p->in);
}

static void kill_session(process *p, int signum) {
    if (p->exited || p->child.pid <= 0) return;
    kill(-p->child.pid, signum); /* the session of the child: what it started goes too */
    uv_process_kill(&p->child, signum);
}

static void too_late(void *ctx) {
    process *p = ctx;
    p->deadline = NULL;
    p->result.timed_out = true;
    kill_session(p, SIGKILL);
}

static void init_pipes(uv_loop_t *loop, process *p) {
    uv_pipe_init(loop, &p->in, 0);
    uv_pipe_init(loop, &p->out, 0);
    uv_pipe_init(loop, &p->err, 0);
    p->in.data = p->out.data = p->err.data = p->child.data = p;
    p->open = 4;
}

/* A pipe whose end `ours` (0 reads, 1 writes) stays here. libuv's own are sockets, and those are no
 * pipes to a shell: /dev/stderr cannot be opened on one, and a bash whose input is one takes itself
 * for rshd's and runs ~/.bashrc first. */
static int make_pipe(uv_pipe_t *here, int ours, int *ret_theirs) {
    int fd[2];
    if (pipe2(fd, O_CLOEXEC) != 0) return -errno;
    *ret_theirs = fd[!ours];
    int rc = uv_pipe_open(here, fd[ours]);
    if (rc != 0) close(fd[ours]);
    return rc;
}

static int start(uv_loop_t *loop, process *p, const int theirs[3]) {
    uv_stdio_container_t io[3];
    for (int i = 0; i < 3; i++) {
        io[i].flags = theirs[i] < 0 ? UV_IGNORE : UV_INHERIT_FD;
        io[i].data.fd = theirs[i];
    }
    uv_process_options_t o = {
        .exit_cb = child_ended,
        .file = p->p.argv[0],
        .args = (char **)p->p.argv,
        .env = (char **)p->p.env,
        .cwd = p->p.cwd,
        .flags = UV_PROCESS_DETACHED | (p->p.as_user ? UV_PROCESS_SETUID | UV_PROCESS_SETGID : 0u),
        .uid = p->p.uid,
        .gid = p->p.gid,
        .stdio_count = 3,
        .stdio = io,
    };
    return uv_spawn(loop, &p->child, &o);
}

static int spawn(uv_loop_t *loop, process *p) {
    int theirs[3] = {-1, -1, -1};
    int rc = p->input.n ? make_pipe(&p->in, 1, &theirs[0]) : 0;
    if (rc == 0) rc = make_pipe(&p->out, 0, &theirs[1]);
    if (rc == 0) rc = make_pipe(&p->err, 0, &theirs[2]);
    if (rc == 0) rc = start(loop, p, theirs);
    for (int i = 0; i < 3; i++)
        if (theirs[i] >= 0) close(theirs[i]);
    return rc;
}

void sp_process_run(uv_loop_t *loop, const sp_process_params *params) {
    process *p = sp_zalloc(1, sizeof *p);
    p->p = *params;
    if (!p->p.max_output) p->p.max_output = DEFAULT_OUTPUT;
    sp_buf_add(&p->input, params->input);
    init_pipes(loop, p);
    int rc = spawn(loop, p);
    if (rc != 0) {
        sp_err err = {0};
        sp_fail_errno(&err, -rc, "cannot run %s", params->argv[0]);
        params->done(params->ctx, NULL, &err);
        shut_all(p);
        return;
    }
    p->p.argv = p->p.env = NULL;
    p->p.cwd = NULL;
    p->reading = 2;
    uv_read_start((uv_stream_t *)&p->out, alloc_chunk, on_output);
    uv_read_start((uv_stream_t *)&p->err, alloc_chunk, on_output);
    give_input(p);
    if (p->p.timeout_ms) p->deadline = sp_timer_start(loop, p->p.timeout_ms, too_late, p);
}
