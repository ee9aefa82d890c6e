/* Calls wait in a queue; a pump at the end of the turn gives them to connections that have room and
 * opens connections where that is not enough. Until the protocol is known (and always with HTTP/2)
 * one connection is opened at a time; with HTTP/1.1 as many as calls wait. */
#include "net/client.h"

#include "base/clock.h"
#include "net/client_internal.h"
#include "net/http1.h"

#include <stdio.h>

enum {
    CONNECT_MS = 5000,
    MAX_CONNS = 256,
    IDLE_KEPT = 8,
    IDLE_MS = 60000,
    MAX_REPLY = 64 << 20,
    MAX_REFUSALS = 16,
    SILENT_MS = 10000, /* then a sign of life is asked for */
    PROBE_MS = 5000,
    LEAVE_EVERY_MS = 1000,
};

struct fetch {
    sp_http_call *call;
    sp_http_fetch_done *done;
    void *ctx;
    size_t max;
    sp_http_reply_msg reply;
    sp_buf body;
};

static void pump(sp_task *task);
static void close_left(sp_task *task);

/* --- lives --- */

static void client_unhold(sp_http_client *c) {
    if (--c->holds > 0) return;
    sp_task_cancel(&c->pump);
    sp_task_cancel(&c->leave);
    sp_tls_ctx_unref(c->tls);
    sp_turn_unref(c->turn);
    for (size_t i = 0; i < c->peer_count; i++) {
        free(c->peers[i].host);
        free(c->peers[i].server_name);
        free(c->peers[i].authority);
    }
    free(c->peers);
    free(c);
}

static void call_free(sp_task *task) {
    sp_http_call *call = SP_CONTAINER(task, sp_http_call, task);
    sp_http_client *client = call->client;
    if (call->fetch) sp_buf_free(&call->fetch->body);
    free(call->fetch);
    sp_vec_free(&call->headers);
    sp_vec_free(&call->trailers);
    sp_blob_unref(call->body);
    sp_arena_free(call->arena);
    free(call);
    client_unhold(client);
}

static void conn_free(sp_task *task) {
    cli_conn *c = SP_CONTAINER(task, cli_conn, release);
    sp_http_client *client = c->client;
    if (c->proto) c->proto->close(c);
    free(c);
    client_unhold(client);
}

/* --- ends of calls --- */

static void finish(sp_http_call *call) {
    call->finished = true;
    call->conn = NULL;
    call->timer = sp_timer_stop(call->timer);
    sp_list_remove(&call->link);
    sp_task_cancel(&call->task);
    sp_task_init(&call->task, call_free);
    sp_task_defer(call->client->turn, &call->task);
}

void cli_call_end(sp_http_call *call, const sp_err *err) {
    if (call->finished) return;
    finish(call);
    call->p.done(call->p.ctx, err);
}

static void leave_conn(sp_http_call *call) {
    cli_conn *c = call->conn;
    if (!c) return;
    call->conn = NULL;
    sp_list_remove(&call->link);
    if (c->proto) c->proto->cancel(c, call);
}

static void abort_call(sp_http_call *call, const sp_err *err) {
    if (call->finished) return;
    leave_conn(call);
    cli_call_end(call, err);
}

void sp_http_call_cancel(sp_http_call *call) {
    if (call->finished) return;
    leave_conn(call);
    finish(call);
}

bool sp_http_call_sent(const sp_http_call *call) {
    return call->sent;
}

void sp_http_call_pause(sp_http_call *call, bool paused) {
    if (call->finished || call->paused == paused) return;
    call->paused = paused;
    if (call->conn) call->conn->proto->pause(call->conn, call);
}

static void too_late(void *ctx) {
    sp_http_call *call = ctx;
    call->timer = NULL;
    sp_err err = {0};
    sp_fail(&err, SP_TIMEOUT, "%s %.*s on %s: no complete answer within %u ms", call->p.method,
            SP_ARG(call->p.target), call->client->authority, call->p.timeout_ms);
    sp_http_client_leave(call->client); /* perhaps it hangs */
    abort_call(call, &err);
}

static bool idempotent(const char *method) {
    static const char *const list[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"};
    for (size_t i = 0; i < SP_COUNT(list); i++)
        if (strcmp(method, list[i]) == 0) return true;
    return false;
}

static void queue_again(sp_http_call *call) {
    sp_http_client *client = call->client;
    call->sent = false;
    call->conn = NULL;
    call->body_at = 0;
    sp_list_remove(&call->link);
    sp_list_append(client->waiting.next, &call->link); /* in front */
    sp_task_defer(client->turn, &client->pump);
}

bool cli_call_again(sp_http_call *call) {
    bool repeatable = idempotent(call->p.method) && !call->p.once;
    bool safe = !call->answered && (!call->sent || repeatable);
    if (!safe || call->retried || call->finished || call->client->freed) return false;
    call->retried = true;
    queue_again(call);
    return true;
}

bool cli_call_refused(sp_http_call *call) {
    if (call->answered || call->finished || call->client->freed) return false;
    if (++call->refusals > MAX_REFUSALS) return false;
    queue_again(call);
    return true;
}

/* --- connections --- */

static void fail_waiting(sp_http_client *client, const sp_err *err) {
    sp_list failed; /* a done may start new calls: those are not failed */
    sp_list_init(&failed);
    sp_list_each(&client->waiting, it) {
        sp_list_remove(it);
        sp_list_append(&failed, it);
    }
    while (!sp_list_empty(&failed))
        cli_call_end(SP_CONTAINER(failed.next, sp_http_call, link), err);
}

void cli_conn_close(cli_conn *c, const sp_err *why) {
    if (c->closed) return;
    sp_http_client *client = c->client;
    c->closed = c->no_more = true;
    sp_list_remove(&c->link);
    client->n_conns--;
    if (!c->proto) client->connecting--;
    if (c->io) sp_conn_free(c->io);
    sp_task_defer(client->turn, &c->release);
    while (!sp_list_empty(&c->calls)) {
        sp_http_call *call = SP_CONTAINER(c->calls.next, sp_http_call, link);
        if (!cli_call_again(call)) cli_call_end(call, why);
    }
    if (!client->freed) sp_task_defer(client->turn, &client->pump);
}

void cli_conn_leave(cli_conn *c, sp_http_call *call) {
    finish(call);
    c->closed = c->no_more = true;
    sp_list_remove(&c->link);
    c->client->n_conns--;
    sp_task_defer(c->client->turn, &c->release);
    if (!c->client->freed) sp_task_defer(c->client->turn, &c->client->pump);
}

static size_t count_idle(const sp_http_client *client) {
    size_t n = 0;
    sp_list_each(&client->conns, it) {
        const cli_conn *c = SP_CONTAINER(it, cli_conn, link);
        if (c->proto && sp_list_empty(&c->calls)) n++;
    }
    return n;
}

void cli_conn_idle(cli_conn *c) {
    if (c->closed) return;
    if (sp_list_empty(&c->calls)) {
        if (c->no_more || count_idle(c->client) > IDLE_KEPT) {
            cli_conn_close(c, NULL);
            return;
        }
        sp_conn_deadline(c->io, IDLE_MS);
    }
    if (!sp_list_empty(&c->client->waiting)) sp_task_defer(c->client->turn, &c->client->pump);
}

static void on_ready(void *ctx) {
    cli_conn *c = ctx;
    bool h2 = c->client->prior_knowledge || sp_str_eqz(sp_conn_alpn(c->io), "h2");
    c->client->connecting--;
    c->client->tried = 0;
    c->client->knows_h1 = !h2;
    c->proto = h2 ? &cli_h2 : &cli_h1;
    c->proto->open(c);
    sp_conn_deadline(c->io, IDLE_MS);
    sp_task_defer(c->client->turn, &c->client->pump);
}

/* How long nothing may come while calls run. */
static uint64_t patience(const cli_conn *c) {
    return c->client->peer_count > 1 && c->proto->probe ? SILENT_MS : 0;
}

/* The first frame of an HTTP/2 server is SETTINGS (RFC 9113 3.4). What is something else is told
 * by how it begins: mostly the words of another protocol. */
static bool is_http2(const char *p, size_t n) {
    enum { TYPE_AT = 3, SETTINGS = 4 };
    return n <= TYPE_AT || p[TYPE_AT] == SETTINGS;
}

static void refuse_protocol(cli_conn *c, const char *p, size_t n) {
    sp_err err = {0};
    char words[41];
    size_t m = SP_MIN(n, sizeof words - 1);
    for (size_t i = 0; i < m; i++) words[i] = p[i] < ' ' || p[i] > '~' ? '?' : p[i];
    words[m] = 0;
    sp_fail(&err, SP_CONNECTION, "%s does not speak HTTP/2: its answer begins \"%s\"",
            c->client->peers[c->peer].authority, words);
    cli_conn_close(c, &err);
}

static void on_data(void *ctx, char *p, size_t n) {
    cli_conn *c = ctx;
    bool first = !c->heard;
    c->heard = true;
    if (first && c->proto == &cli_h2 && !is_http2(p, n)) {
        refuse_protocol(c, p, n);
        return;
    }
    c->probed = false;
    if (patience(c) && !sp_list_empty(&c->calls)) sp_conn_deadline(c->io, SILENT_MS);
    c->proto->data(c, p, n);
}

static void on_fill(void *ctx) {
    cli_conn *c = ctx;
    if (c->proto) c->proto->fill(c);
}

static void use_peer(sp_http_client *client, size_t i) {
    const cli_peer *p = &client->peers[i];
    client->at = i;
    client->host = p->host;
    client->server_name = p->server_name;
    client->authority = p->authority;
    client->port = p->port;
}

/* Away from the one that c led to, unless that has been done. */
static void next_peer(sp_http_client *client, const cli_conn *c) {
    if (client->peer_count > 1 && c->peer == client->at)
        use_peer(client, (client->at + 1) % client->peer_count);
}

/* False when all have been tried in vain. */
static bool try_next(sp_http_client *client, const cli_conn *c) {
    if (client->peer_count < 2 || client->freed) return false;
    if (c->peer == client->at) client->tried++;
    next_peer(client, c);
    if (client->tried < client->peer_count) return true;
    client->tried = 0;
    return false;
}

static void connect_failed(cli_conn *c, const sp_err *why) {
    sp_http_client *client = c->client;
    sp_err err = *why;
    sp_err_wrap(&err, "connect to %s", client->peers[c->peer].authority);
    if (try_next(client, c)) {
        cli_conn_close(c, &err);
        return;
    }
    client->holds++;
    cli_conn_close(c, &err);
    fail_waiting(client, &err);
    client_unhold(client);
}

static void on_closed(void *ctx, const sp_err *err) {
    cli_conn *c = ctx;
    sp_err why = {0};
    const char *silently = c->heard ? "" : " without a word";
    if (err)
        why = *err;
    else
        sp_fail(&why, SP_CONNECTION, "the server hung up%s", silently);
    if (err && c->proto && !c->heard && err->errnum)
        sp_err_wrap(&why, "the server hung up%s", silently);
    if (!c->proto) {
        connect_failed(c, &why);
        return;
    }
    if (!err) c->proto->eof(c);
    sp_err_wrap(&why, "%s: the answer is not complete", c->client->authority);
    cli_conn_close(c, &why);
}

static void silent(cli_conn *c) {
    sp_err err = {0};
    if (!patience(c)) return;
    if (!c->probed) {
        c->probed = true;
        c->proto->probe(c);
        sp_conn_deadline(c->io, PROBE_MS);
        return;
    }
    sp_fail(&err, SP_CONNECTION, "%s gives no sign of life", c->client->peers[c->peer].authority);
    next_peer(c->client, c);
    cli_conn_close(c, &err);
}

static void on_timeout(void *ctx) {
    cli_conn *c = ctx;
    sp_err err = {0};
    if (c->proto && sp_list_empty(&c->calls)) { /* nobody used it for a while */
        cli_conn_close(c, NULL);
        return;
    }
    if (c->proto) {
        silent(c);
        return;
    }
    sp_fail(&err, SP_CONNECTION, "no answer within %u ms", c->client->connect_timeout_ms);
    connect_failed(c, &err);
}

static const sp_conn_events events = {on_ready, on_data, on_fill, on_timeout, on_closed};

static void dialled(sp_task *task) {
    cli_conn *c = SP_CONTAINER(task, cli_conn, release);
    sp_err err = {0};
    sp_task_init(&c->release, conn_free);
    if (c->closed) {
        conn_free(&c->release);
    } else if (c->io) {
        on_ready(c);
    } else {
        sp_fail(&err, SP_CONNECTION, "there is no way there just now");
        connect_failed(c, &err);
    }
}

/* A way that somebody else has made; like any connection it is ready later, not at once. */
static void open_dialled(cli_conn *c) {
    sp_http_client *client = c->client;
    int fd = client->dial(client->dial_ctx);
    c->io = fd < 0 ? NULL : sp_conn_open(client->loop, fd, &events, c);
    sp_task_init(&c->release, dialled);
    sp_task_defer(client->turn, &c->release);
}

static void open_conn(sp_http_client *client) {
    cli_conn *c = sp_zalloc(1, sizeof *c);
    c->client = client;
    c->peer = client->at;
    client->holds++;
    client->n_conns++;
    client->connecting++;
    sp_list_init(&c->calls);
    sp_list_init(&c->link);
    sp_task_init(&c->release, conn_free);
    sp_list_append(&client->conns, &c->link);
    if (client->dial) {
        open_dialled(c);
        return;
    }
    c->io = sp_conn_connect(client->loop, client->host, client->port, client->tls,
                            client->server_name, &events, c);
    sp_conn_deadline(c->io, client->connect_timeout_ms);
}

/* --- the pump --- */

static cli_conn *with_room(const sp_http_client *client) {
    sp_list_each(&client->conns, it) {
        cli_conn *c = SP_CONTAINER(it, cli_conn, link);
        if (c->proto && !c->no_more && c->proto->has_room(c)) return c;
    }
    return NULL;
}

static void pump(sp_task *task) {
    sp_http_client *client = SP_CONTAINER(task, sp_http_client, pump);
    size_t left = 0;
    sp_list_each(&client->waiting, it) {
        sp_http_call *call = SP_CONTAINER(it, sp_http_call, link);
        cli_conn *c = with_room(client);
        if (!c) {
            left++;
            continue;
        }
        sp_list_remove(&call->link);
        sp_list_append(&c->calls, &call->link);
        call->conn = c;
        sp_conn_deadline(c->io, patience(c));
        c->proto->start(c, call);
        if (call->paused && call->conn) c->proto->pause(c, call);
    }
    size_t want = client->tls && !client->knows_h1 ? SP_MIN(left, 1) : left;
    while (client->connecting < want && client->n_conns < MAX_CONNS) open_conn(client);
}

/* --- client.h --- */

static void add_peer(sp_http_client *c, const char *host, uint16_t port, const char *server_name) {
    sp_auto(sp_buf) authority = {0};
    bool v6 = strchr(host, ':') != NULL;
    sp_buf_printf(&authority, v6 ? "[%s]:%u" : "%s:%u", host, port);
    c->peers[c->peer_count++] =
        (cli_peer){.host = sp_strdup(host),
                   .authority = sp_strdup(authority.p),
                   .server_name = sp_strdup(server_name ? server_name : host),
                   .port = port};
}

sp_http_client *sp_http_client_new(uv_loop_t *loop, const sp_http_client_config *config) {
    sp_http_client *c = sp_zalloc(1, sizeof *c);
    c->loop = loop;
    c->turn = sp_turn_ref(loop);
    c->peers = sp_zalloc(1 + config->other_count, sizeof *c->peers);
    add_peer(c, config->host, config->port, config->server_name);
    for (size_t i = 0; i < config->other_count; i++)
        add_peer(c, config->others[i].host, config->others[i].port, config->server_name);
    use_peer(c, 0);
    c->tls = sp_tls_ctx_ref(config->tls);
    c->prior_knowledge = config->prior_knowledge;
    c->connect_timeout_ms = config->connect_timeout_ms ? config->connect_timeout_ms : CONNECT_MS;
    c->dial = config->dial;
    c->dial_ctx = config->dial_ctx;
    c->holds = 1;
    sp_list_init(&c->waiting);
    sp_list_init(&c->conns);
    sp_task_init(&c->pump, pump);
    sp_task_init(&c->leave, close_left);
    return c;
}

sp_http_client *sp_http_client_free(sp_http_client *c) {
    if (!c) return NULL;
    sp_assert(!c->freed);
    c->freed = true;
    sp_err err = {0};
    sp_fail(&err, SP_CANCELLED, "the client of %s was closed", c->authority);
    while (!sp_list_empty(&c->conns))
        cli_conn_close(SP_CONTAINER(c->conns.next, cli_conn, link), &err);
    fail_waiting(c, &err);
    sp_task_cancel(&c->pump);
    sp_task_cancel(&c->leave);
    client_unhold(c);
    return NULL;
}

static cli_conn *find_left(const sp_http_client *c) {
    sp_list_each(&c->conns, it) {
        cli_conn *conn = SP_CONTAINER(it, cli_conn, link);
        if (conn->peer != c->at) return conn;
    }
    return NULL;
}

/* At the end of the turn: the calls that fail may free what the caller of _leave still uses, the
 * client too. */
static void close_left(sp_task *task) {
    sp_http_client *c = SP_CONTAINER(task, sp_http_client, leave);
    cli_conn *conn;
    c->holds++;
    while (!c->freed && (conn = find_left(c))) {
        sp_err err = {0};
        sp_fail(&err, SP_CONNECTION, "%s was left for another server",
                c->peers[conn->peer].authority);
        cli_conn_close(conn, &err);
    }
    client_unhold(c);
}

bool sp_http_client_leave(sp_http_client *c) {
    int64_t now = sp_clock_mono_ms();
    bool just_now = c->left_ms && now - c->left_ms < LEAVE_EVERY_MS;
    if (c->peer_count < 2 || c->freed || just_now) return false;
    c->left_ms = now;
    use_peer(c, (c->at + 1) % c->peer_count);
    sp_list_each(&c->conns, it) {
        cli_conn *conn = SP_CONTAINER(it, cli_conn, link);
        conn->no_more = true;
    }
    sp_task_defer(c->turn, &c->leave);
    return true;
}

static bool check_call(sp_http_call *call, sp_err *err) {
    sp_str t = call->p.target;
    for (size_t i = 0; i < t.n; i++)
        if (t.p[i] <= ' ' || t.p[i] > '~' || t.p[i] == '#')
            return sp_fail(err, SP_BAD_REQUEST, "the request path \"%.*s\" is not URL-encoded",
                           SP_ARG(t));
    if (!t.n || t.p[0] != '/')
        return sp_fail(err, SP_BAD_REQUEST, "the request path \"%.*s\" must start with /",
                       SP_ARG(t));
    if (!sp_http_is_token(sp_str_z(call->p.method)))
        return sp_fail(err, SP_BAD_REQUEST, "broken method \"%s\"", call->p.method);
    return !call->client->freed || sp_fail(err, SP_CANCELLED, "the client was closed");
}

static void end_bad_call(sp_task *task) {
    sp_http_call *call = SP_CONTAINER(task, sp_http_call, task);
    cli_call_end(call, &call->bad);
}

static void copy_params(sp_http_call *call, const sp_http_call_params *p) {
    sp_arena *a = call->arena;
    call->p = *p;
    call->p.method = sp_arena_strz(a, sp_str_z(p->method));
    call->p.target = sp_arena_str(a, p->target);
    sp_header *h = sp_arena_alloc(a, p->header_count * sizeof *h);
    for (size_t i = 0; i < p->header_count; i++)
        h[i] = (sp_header){sp_http_lower(a, sp_arena_str(a, p->headers[i].name)),
                           sp_arena_str(a, p->headers[i].value)};
    call->p.headers = h;
    call->p.body = (sp_str){0};
    if (p->body.n) call->body = sp_blob_new(p->body);
}

sp_http_call *sp_http_call_start(sp_http_client *client, const sp_http_call_params *p) {
    sp_http_call *call = sp_zalloc(1, sizeof *call);
    call->client = client;
    call->arena = sp_arena_new();
    client->holds++;
    copy_params(call, p);
    sp_list_init(&call->link);
    if (!check_call(call, &call->bad)) {
        sp_task_init(&call->task, end_bad_call);
        sp_task_defer(client->turn, &call->task);
        return call;
    }
    sp_task_init(&call->task, call_free);
    if (p->timeout_ms) call->timer = sp_timer_start(client->loop, p->timeout_ms, too_late, call);
    sp_list_append(&client->waiting, &call->link);
    sp_task_defer(client->turn, &client->pump);
    return call;
}

/* --- the whole answer at once --- */

static void fetch_head(void *ctx, int status, const sp_header *h, size_t n) {
    struct fetch *f = ctx;
    sp_arena *a = f->call->arena;
    sp_header *copy = sp_arena_alloc(a, n * sizeof *copy);
    for (size_t i = 0; i < n; i++)
        copy[i] = (sp_header){sp_arena_str(a, h[i].name), sp_arena_str(a, h[i].value)};
    f->reply = (sp_http_reply_msg){status, copy, n, {0}};
}

static void fetch_data(void *ctx, sp_str bytes) {
    struct fetch *f = ctx;
    if (f->body.n + bytes.n <= f->max) {
        sp_buf_add(&f->body, bytes);
        return;
    }
    sp_err err = {0};
    sp_fail(&err, SP_TOO_LARGE, "the answer to %s %.*s is larger than %zu bytes", f->call->p.method,
            SP_ARG(f->call->p.target), f->max);
    abort_call(f->call, &err);
}

static void fetch_done(void *ctx, const sp_err *err) {
    struct fetch *f = ctx;
    f->reply.body = sp_buf_str(&f->body);
    f->done(f->ctx, err ? NULL : &f->reply, err);
}

sp_http_call *sp_http_fetch(sp_http_client *c, const sp_http_call_params *p, size_t max_bytes,
                            sp_http_fetch_done *done, void *ctx) {
    struct fetch *f = sp_zalloc(1, sizeof *f);
    sp_http_call_params mine = *p;
    mine.head = fetch_head;
    mine.data = fetch_data;
    mine.done = fetch_done;
    mine.ctx = f;
    f->done = done;
    f->ctx = ctx;
    f->max = max_bytes ? max_bytes : MAX_REPLY;
    f->call = sp_http_call_start(c, &mine);
    f->call->fetch = f;
    return f->call;
}
