/* The container's output is read from its log, as it grows: so any number of clients may attach, a
 * slow one holds up nobody, and the agent may be restarted in between. It ends when the container
 * does. There is no input: a container's standard input is empty. */
#include "agent/attach.h"

#include "agent/exec.h"
#include "agent/log_read.h"
#include "agent/remote.h"
#include "net/loop.h"

#include <limits.h>
#include <stdio.h>

enum { LOOK_MS = 50, PENDING_HIGH = 256 << 10 };

typedef struct session {
    sp_agent *agent;
    sp_remote *remote;
    sp_log_reader *readers[2]; /* stdout, stderr; NULL: not wanted */
    sp_timer *timer;
    char uid[64];
    size_t index;
    unsigned attempt;
} session;

static void free_session(session *s) {
    sp_timer_stop(s->timer);
    for (int i = 0; i < 2; i++) sp_log_reader_free(s->readers[i]);
    free(s);
}

static bool still_runs(const session *s) {
    sp_pod *p = sp_pod_get(s->agent, s->uid);
    sp_ctr *c = p && s->index < p->containers.n ? p->containers.p[s->index] : NULL;
    return c && c->attempt == s->attempt && sp_ctr_state(c)->phase != SP_CTR_EXITED;
}

static void look(void *ctx) {
    session *s = ctx;
    bool runs = still_runs(s), more = false; /* asked before reading: nothing is written after it */
    if (sp_remote_pending(s->remote) > PENDING_HIGH) return;
    for (int i = 0; i < 2; i++) {
        sp_auto(sp_buf) out = {0};
        if (!s->readers[i]) continue;
        more |= sp_log_reader_next(s->readers[i], &out);
        if (out.n)
            sp_remote_send(s->remote, i ? SP_REMOTE_STDERR : SP_REMOTE_STDOUT, sp_buf_str(&out));
    }
    if (runs || more) return;
    sp_remote_finish(s->remote, SP_STR("{\"metadata\":{},\"status\":\"Success\"}"));
    free_session(s);
}

static bool on_ready(void *ctx) {
    session *s = ctx;
    s->timer = sp_timer_every(s->agent->loop, LOOK_MS, look, s);
    return true;
}

static void on_data(void *ctx, sp_remote_stream stream, sp_str bytes) {
    (void)ctx, (void)stream, (void)bytes; /* there is nowhere to put it */
}

static void on_end(void *ctx, sp_remote_stream stream) {
    (void)ctx, (void)stream;
}

static void on_drain(void *ctx) {
    (void)ctx; /* the next look */
}

static void on_gone(void *ctx) {
    free_session(ctx);
}

static bool open_readers(session *s, const sp_ctr *c, const sp_remote_wish *w, sp_err *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s/%u.log", c->pod->log_dir, c->name, c->attempt);
    sp_log_options o = {.tail_lines = 0, .limit_bytes = -1};
    const bool wanted[] = {w->out, w->err};
    static const char *const names[] = {"stdout", "stderr"};
    for (int i = 0; i < 2; i++) {
        o.stream = w->tty ? NULL : names[i];
        if (wanted[i] && !sp_log_reader_open(path, &o, &s->readers[i], err)) return false;
    }
    return true;
}

void sp_attach_serve(sp_ctr *c, sp_http_req *q, sp_http_res *res) {
    static const sp_remote_events events = {on_ready, on_data, on_end, on_drain, on_gone};
    sp_err err = {0};
    session *s = sp_zalloc(1, sizeof *s);
    s->agent = c->pod->agent;
    s->index = c->index;
    s->attempt = c->attempt;
    memcpy(s->uid, c->pod->uid, sizeof s->uid);
    sp_remote_wish w = {sp_query_true(q, "stdin"), sp_query_true(q, "stdout"),
                        sp_query_true(q, "stderr"), sp_query_true(q, "tty")};
    bool ok = w.out || w.err ||
              sp_fail(&err, SP_BAD_REQUEST, "attach gives output only: ask for stdout or stderr");
    ok = ok && open_readers(s, c, &w, &err) &&
         sp_remote_accept(s->agent->loop, q, res, &w, &events, s, &s->remote, &err);
    if (ok) return;
    sp_header h = {SP_STR("content-type"), SP_STR("text/plain; charset=utf-8")};
    sp_http_reply(res, sp_code_http(err.code), &h, 1, sp_str_z(err.text));
    free_session(s);
}
