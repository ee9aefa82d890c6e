/* Carries a configuration out: pools and listeners keep their identity (name, address) from one
 * configuration to the next, so connections, counters and kept upstream connections survive it. */
#include "base/clock.h"
#include "base/rng.h"
#include "gateway/datapath.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

enum { LOG_FLUSH_BYTES = 64 * 1024 };

sp_worker_settings sp_worker_defaults(void) {
    return (sp_worker_settings){.connect_timeout_ms = 3000,
                                .endpoint_wait_ms = 1000,
                                .head_timeout_ms = 10000,
                                .idle_timeout_ms = 75000,
                                .pooled_timeout_ms = 30000,
                                .response_timeout_ms = 60000,
                                .stream_timeout_ms = 3600000,
                                .max_connections = 10000,
                                .max_idle_per_endpoint = 512,
                                .access_log_fd = -1};
}

uint64_t sp_worker_random(sp_worker *w) { /* xorshift64* */
    w->random ^= w->random >> 12;
    w->random ^= w->random << 25;
    w->random ^= w->random >> 27;
    return w->random * 2685821657736338717u;
}

/* --- the access log: lines gather during a turn and go out with one write --- */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

/* A pipe takes less than all at once, and lines of several loops must not mix: one at a time. */
static void flush_log(sp_worker *w) {
    if (!w->log.n) return;
    pthread_mutex_lock(&log_lock);
    for (size_t at = 0; at < w->log.n;) {
        ssize_t n = write(w->settings.access_log_fd, w->log.p + at, w->log.n - at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break; /* nowhere left to complain */
        at += (size_t)n;
    }
    pthread_mutex_unlock(&log_lock);
    sp_buf_clear(&w->log);
}

void sp_worker_log(sp_worker *w, sp_str line) {
    if (w->settings.access_log_fd < 0) return;
    sp_buf_add(&w->log, line);
    sp_buf_addc(&w->log, '\n');
    if (w->log.n > LOG_FLUSH_BYTES) flush_log(w);
}

void sp_worker_log_access(sp_worker *w, const sp_access *a) {
    sp_auto(sp_buf) b = sp_worker_take_buf(w);
    sp_access_write(&b, w->settings.access_log_format, a);
    sp_worker_log(w, sp_buf_str(&b));
    sp_worker_give_buf(w, &b);
}

static void on_turn_end(void *ctx) {
    sp_worker_run_queues(ctx);
    flush_log(ctx);
}

/* --- sessions --- */

void sp_session_open(sp_session *s, sp_worker *w, const sp_addr *client, const sp_addr *local) {
    s->worker = w;
    s->client = *client;
    s->local = *local;
    sp_list_init(&s->link);
    sp_list_append(&w->sessions, &s->link);
    w->stats.open++;
}

static void on_handle_closed(uv_handle_t *h) {
    sp_worker *w = h->data;
    if (--w->handles) return;
    void (*fn)(void *) = w->on_stopped;
    void *ctx = w->on_stopped_ctx;
    free(w);
    if (fn) fn(ctx);
}

static void finish_stop(sp_worker *w) {
    if (!sp_list_empty(&w->sessions) || uv_is_closing((uv_handle_t *)&w->grace_timer)) return;
    sp_worker_cancel_mirrors(w);
    sp_vec_each(&w->pool_at, p) sp_pool_unref(w, *p);
    sp_vec_free(&w->pool_at);
    sp_map_free(&w->pools);
    w->config = sp_gateway_config_unref(w->config);
    sp_worker_close_pipes(w);
    sp_worker_free_exchanges(w);
    sp_worker_free_routes(w);
    sp_h2_pool_free(w);
    sp_vec_free(&w->answer.headers);
    sp_vec_each(&w->spare, b) sp_buf_free(b);
    sp_vec_free(&w->spare);
    sp_worker_free_listeners(w);
    sp_alarm_stop(&w->accept_pause);
    free(w->scratch);
    free(w->cipher);
    sp_buf_free(&w->wire);
    flush_log(w);
    sp_buf_free(&w->log);
    if (w->own_sockets) sp_sockets_free(w->sockets);
    w->poller = sp_poller_free(w->poller);
    uv_close((uv_handle_t *)&w->retry_timer, on_handle_closed);
    uv_close((uv_handle_t *)&w->grace_timer, on_handle_closed);
}

/* The worker must not go while the session's own callers are still on the stack. */
static void on_last_session(uv_timer_t *t) {
    finish_stop(t->data);
}

void sp_session_close(sp_session *s) {
    sp_worker *w = s->worker;
    sp_list_remove(&s->link);
    free((char *)(uintptr_t)s->server_name);
    s->server_name = NULL;
    if (s->place) sp_count_add(&s->place->open, -1);
    s->place = sp_counts_put(s->place);
    w->stats.open--;
    sp_poller_bury(w->poller, s);
    if (w->accept_paused && w->stats.open < w->settings.max_connections) sp_worker_resume_accept(w);
    if (w->stopping && sp_list_empty(&w->sessions))
        uv_timer_start(&w->grace_timer, on_last_session, 0, 0);
}

static void on_grace_over(uv_timer_t *t) {
    sp_worker *w = t->data;
    sp_list_each(&w->sessions, l) {
        sp_session *s = SP_CONTAINER(l, sp_session, link);
        s->stop(s, true);
    }
    uv_timer_start(&w->grace_timer, on_last_session, 0, 0);
}

void sp_worker_stop(sp_worker *w, uint32_t grace_ms, uint32_t idle_ms, void (*done)(void *ctx),
                    void *ctx) {
    w->stopping = true;
    w->last_request_ms = idle_ms;
    w->on_stopped = done;
    w->on_stopped_ctx = ctx;
    sp_worker_close_listeners(w);
    uv_timer_stop(&w->retry_timer);
    uv_timer_start(&w->grace_timer, on_grace_over, grace_ms, 0);
    sp_list_each(&w->sessions, l) {
        sp_session *s = SP_CONTAINER(l, sp_session, link);
        s->stop(s, false);
    }
    if (sp_list_empty(&w->sessions)) uv_timer_start(&w->grace_timer, on_last_session, 0, 0);
}

void sp_worker_reset_address(sp_worker *w, const sp_addr *ip) {
    sp_list_each(&w->sessions, l) {
        sp_session *s = SP_CONTAINER(l, sp_session, link);
        sp_addr at = *ip;
        at.port = s->local.port;
        if (sp_addr_eq(&at, &s->local)) s->stop(s, true);
    }
}

/* --- life --- */

static void set_timeouts(sp_worker *w) {
    const sp_worker_settings *s = &w->settings;
    const struct {
        sp_timeout class;
        uint32_t ms;
    } rows[] = {
        {SP_TIMEOUT_CONNECT, s->connect_timeout_ms},
        {SP_TIMEOUT_ENDPOINT, s->endpoint_wait_ms},
        {SP_TIMEOUT_RETRY, 50},
        {SP_TIMEOUT_HEAD, s->head_timeout_ms},
        {SP_TIMEOUT_IDLE, s->idle_timeout_ms},
        {SP_TIMEOUT_POOLED, s->pooled_timeout_ms},
        {SP_TIMEOUT_RESPONSE, s->response_timeout_ms},
        {SP_TIMEOUT_STREAM, s->stream_timeout_ms},
        {SP_TIMEOUT_LINGER, 2000},
        {SP_TIMEOUT_ACCEPT, 100},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++)
        sp_poller_set_timeout(w->poller, rows[i].class, rows[i].ms);
}

sp_worker *sp_worker_new(uv_loop_t *loop, const sp_worker_settings *s) {
    sp_worker *w = sp_zalloc(1, sizeof *w);
    w->loop = loop;
    w->settings = *s;
    w->poller = sp_poller_new(loop, s->engine);
    sp_poller_on_unsent(w->poller, sp_sock_on_unsent, w);
    w->random = sp_rng_u64() | 1;
    w->scratch = sp_malloc(3 * SP_READ_SIZE);
    w->config = sp_gateway_config_new();
    w->own_sockets = !s->sockets;
    w->sockets = s->sockets ? s->sockets : sp_sockets_new(1);
    sp_list_init(&w->sessions);
    sp_list_init(&w->queues);
    sp_list_init(&w->hellos);
    sp_list_init(&w->mirrors);
    sp_worker_init_accept(w);
    set_timeouts(w);
    sp_poller_on_turn_end(w->poller, on_turn_end, w);
    uv_timer_init(loop, &w->retry_timer);
    uv_timer_init(loop, &w->grace_timer);
    w->retry_timer.data = w->grace_timer.data = w;
    w->handles = 2;
    return w;
}

void sp_worker_apply(sp_worker *w, sp_gateway_config *config) {
    sp_gateway_config *old = w->config;
    if (w->stopping) return;
    w->config = sp_gateway_config_ref(config);
    sp_worker_apply_pools(w, config);
    sp_worker_apply_listeners(w, config);
    sp_worker_wake_pools(w);
    if (w->cuts) {
        sp_tunnel_end_cut(w);
        sp_front2_end_cut(w);
    }
    w->cuts = false;
    sp_gateway_config_unref(old);
}

const sp_worker_stats *sp_worker_get_stats(const sp_worker *w) {
    return &w->stats;
}

void sp_worker_on_listeners(sp_worker *w, void (*fn)(void *ctx), void *ctx) {
    w->on_listeners = fn;
    w->on_listeners_ctx = ctx;
}

void sp_worker_run(sp_worker *w) {
    sp_poller_run(w->poller);
}
