/* `sampan exec`: a command in a container, over the WebSocket protocol v5.channel.k8s.io (see
 * agent/channel.h for what the messages are). Standard input is read by a worker thread, because it
 * may be a file, a pipe or a terminal, and only as fast as the other side takes it. */
#include "base/commands.h"
#include "base/rng.h"
#include "cli/client.h"
#include "data/base64.h"
#include "net/websocket.h"

#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { IN, OUT, ERR, STATUS, RESIZE, CHANNELS, CLOSE = 255, PENDING_HIGH = 256 << 10 };

typedef struct exec {
    sp_cli cli;
    const char *container;
    bool in, tty, done, raw, in_over, reading;
    sp_http_client *http;
    sp_ws *ws;
    sp_signal *winch;
    struct termios before;
    int channel; /* of the message under way, -1: its first byte has not come */
    sp_buf status, refusal;
    int http_status, exit_code;
    uv_fs_t read;
    char bytes[32768];
    sp_err err;
} exec;

/* ---------- terminal ---------- */

static void raw_terminal(exec *e) {
    struct termios t;
    if (!e->tty || tcgetattr(0, &e->before) != 0) return;
    t = e->before;
    cfmakeraw(&t);
    e->raw = tcsetattr(0, TCSANOW, &t) == 0;
}

static void send_size(void *ctx, int signum) {
    exec *e = ctx;
    struct winsize w;
    char channel = RESIZE, text[80];
    (void)signum;
    if (!e->ws || ioctl(0, TIOCGWINSZ, &w) != 0) return;
    int n = snprintf(text, sizeof text, "{\"Width\":%u,\"Height\":%u}", w.ws_col, w.ws_row);
    sp_ws_send(e->ws, (sp_str){&channel, 1}, (sp_str){text, (size_t)n});
}

/* ---------- input ---------- */

static void read_more(exec *e);

static void on_read(uv_fs_t *r) {
    exec *e = r->data;
    ssize_t n = r->result;
    uv_fs_req_cleanup(r);
    e->reading = false;
    if (!e->ws) return;
    char end[2] = {(char)CLOSE, IN}, channel = IN;
    if (n > 0) {
        sp_ws_send(e->ws, (sp_str){&channel, 1}, (sp_str){e->bytes, (size_t)n});
        read_more(e);
    } else {
        e->in_over = true;
        sp_ws_send(e->ws, (sp_str){end, 2}, (sp_str){0});
    }
}

static void read_more(exec *e) {
    if (!e->in || e->in_over || e->reading || sp_ws_pending(e->ws) > PENDING_HIGH) return;
    uv_buf_t b = uv_buf_init(e->bytes, sizeof e->bytes);
    e->read.data = e;
    e->reading = uv_fs_read(&e->cli.loop, &e->read, 0, &b, 1, -1, on_read) == 0;
}

/* ---------- output ---------- */

static void on_piece(void *ctx, sp_str bytes, bool text, bool first, bool last) {
    exec *e = ctx;
    (void)text, (void)last;
    if (first) e->channel = -1;
    if (bytes.n && e->channel < 0) {
        e->channel = (uint8_t)bytes.p[0];
        bytes = sp_str_from(bytes, 1);
    }
    if (e->channel == OUT || e->channel == ERR) {
        FILE *to = e->channel == OUT ? stdout : stderr;
        fwrite(bytes.p, 1, bytes.n, to);
        fflush(to);
    }
    if (e->channel == STATUS && e->status.n < 65536) sp_buf_add(&e->status, bytes);
}

static void on_drain(void *ctx) {
    read_more(ctx);
}

/* Success, or the command's exit code, or why it did not run. */
static void conclude(exec *e) {
    sp_json *j;
    if (!sp_json_parse(e->cli.arena, sp_buf_str(&e->status), &j, NULL)) {
        sp_fail(&e->err, SP_CONNECTION, "the connection ended before the command did");
        return;
    }
    if (strcmp(sp_json_get_z(j, "status"), "Success") == 0) return;
    int64_t code = 0;
    sp_json_each(sp_json_dig(j, "details", "causes", NULL), c) {
        if (strcmp(sp_json_get_z(c, "reason"), "ExitCode") == 0)
            (void)!sp_str_i64(sp_json_str(sp_json_get(c, "message")), &code);
    }
    e->exit_code = (int)code;
    if (!code) sp_fail(&e->err, SP_SYSTEM, "%s", sp_json_get_z(j, "message"));
}

static void on_closed(void *ctx, unsigned code) {
    exec *e = ctx;
    (void)code;
    e->ws = NULL;
    e->done = true;
    conclude(e);
}

/* ---------- the connection ---------- */

static void on_upgraded(void *ctx, const sp_header *h, size_t n, sp_conn *io, sp_str early) {
    static const sp_ws_events events = {on_piece, on_drain, on_closed};
    exec *e = ctx;
    (void)h, (void)n;
    raw_terminal(e);
    sp_ws_start(io, false, early, &events, e, &e->ws);
    if (!e->ws) return;
    if (e->tty) e->winch = sp_signal_watch(&e->cli.loop, SIGWINCH, send_size, e);
    if (e->tty) send_size(e, 0);
    read_more(e);
}

static void on_head(void *ctx, int status, const sp_header *h, size_t n) {
    (void)h, (void)n;
    ((exec *)ctx)->http_status = status;
}

static void on_text(void *ctx, sp_str bytes) {
    exec *e = ctx;
    if (e->refusal.n < 65536) sp_buf_add(&e->refusal, bytes);
}

static void on_done(void *ctx, const sp_err *err) {
    exec *e = ctx;
    sp_json *j;
    e->done = true;
    if (err)
        e->err = *err;
    else if (sp_json_parse(e->cli.arena, sp_buf_str(&e->refusal), &j, NULL))
        sp_err_from_status(&e->err, e->http_status, j);
    else
        sp_fail(&e->err, SP_INTERNAL, "the server answered %d", e->http_status);
}

static void start(exec *e, const sp_kube_h1 *k, sp_str target) {
    uint8_t nonce[16];
    sp_auto(sp_buf) key = {0};
    sp_rng_bytes(nonce, sizeof nonce);
    sp_base64_encode(&key, (sp_str){(char *)nonce, sizeof nonce});
    const sp_header h[] = {
        {SP_STR("connection"), SP_STR("Upgrade")},
        {SP_STR("upgrade"), SP_STR("websocket")},
        {SP_STR("sec-websocket-version"), SP_STR("13")},
        {SP_STR("sec-websocket-key"), sp_buf_str(&key)},
        {SP_STR("sec-websocket-protocol"), SP_STR("v5.channel.k8s.io")},
        {SP_STR("authorization"), k->authorization},
    };
    sp_http_call_start(e->http,
                       &(sp_http_call_params){.method = "GET",
                                              .target = target,
                                              .headers = h,
                                              .header_count = SP_COUNT(h) - !k->authorization.n,
                                              .once = true,
                                              .upgraded = on_upgraded,
                                              .head = on_head,
                                              .data = on_text,
                                              .done = on_done,
                                              .ctx = e});
}

static sp_str target_of(exec *e, const sp_kube_h1 *k, const char *pod, int argc, char **argv) {
    sp_auto(sp_buf) q = {0};
    if (sp_str_starts(sp_str_z(pod), SP_STR("pod/"))) pod += 4;
    sp_buf_printf(&q, "%.*s/api/v1/namespaces/%s/pods/", SP_ARG(k->prefix),
                  sp_cli_namespace(&e->cli));
    sp_url_encode(&q, sp_str_z(pod));
    sp_buf_printf(&q, "/exec?stdin=%d&stdout=1&stderr=%d&tty=%d", e->in, !e->tty, e->tty);
    if (e->container) {
        sp_buf_addz(&q, "&container=");
        sp_url_encode(&q, sp_str_z(e->container));
    }
    for (int i = 0; i < argc; i++) {
        sp_buf_addz(&q, "&command=");
        sp_url_encode(&q, sp_str_z(argv[i]));
    }
    return sp_arena_str(e->cli.arena, sp_buf_str(&q));
}

static bool run(exec *e, int argc, char **argv, sp_err *err) {
    sp_kube_h1 k;
    if (!sp_cli_open(&e->cli, err)) return false;
    if (argc < 2)
        return sp_fail(err, SP_BAD_REQUEST,
                       "say which pod and what to run: sampan exec POD -- COMMAND");
    if (e->tty && !isatty(0)) {
        fprintf(stderr, "Unable to use a TTY - input is not a terminal\n");
        e->tty = false;
    }
    const sp_kube_config config = {e->cli.kubeconfig, e->cli.context, NULL};
    if (!sp_kube_open_h1(&e->cli.loop, &config, e->cli.arena, &k, err)) return false;
    e->http = k.http;
    start(e, &k, target_of(e, &k, argv[0], argc - 1, argv + 1));
    while (!e->done) uv_run(&e->cli.loop, UV_RUN_ONCE);
    if (e->raw) tcsetattr(0, TCSANOW, &e->before);
    if (e->err.code != SP_OK) *err = e->err;
    return e->err.code == SP_OK;
}

int sp_exec_main(int argc, char **argv) {
    static exec e = {.cli.command = "sampan exec"};
    const sp_flag flags[] = {
        {"container", 'c', SP_FLAG_STR, &e.container, "NAME", "which container of the pod"},
        {"stdin", 'i', SP_FLAG_BOOL, &e.in, NULL, "pass standard input on"},
        {"tty", 't', SP_FLAG_BOOL, &e.tty, NULL, "with a terminal"},
        SP_CLI_FLAGS(&e.cli),
    };
    const sp_usage usage = {"sampan exec",
                            "POD [flags] -- COMMAND [ARGUMENT...]",
                            "Runs a command in a container; the exit code is the command's.",
                            "  sampan exec web-0 -- ls /\n  sampan exec -it web-0 -- sh\n",
                            flags,
                            SP_COUNT(flags)};
    int rc = sp_flags_parse(&usage, &argc, argv);
    if (rc != SP_FLAGS_GO_ON) return rc;
    sp_err err = {0};
    rc = run(&e, argc - 1, argv + 1, &err) ? e.exit_code : sp_cli_fail(&e.cli, &err);
    if (e.reading) _exit(rc); /* a thread waits for input that nobody wants any more */
    sp_signal_stop(e.winch);
    sp_http_client_free(e.http);
    sp_buf_free(&e.status);
    sp_buf_free(&e.refusal);
    sp_cli_close(&e.cli);
    return rc;
}
