/* From an accepted connection to a session, where something has to be read first: a PROXY header
 * from peers that must send one, and what a TLS client asks for. A name leads to its entry, which
 * either passes the connection through as it came, with what was read, or ends TLS here; then HTTP
 * or a tunnel takes the socket over. All of it has one deadline, and until it is over a connection
 * costs an arrival and, in the handshake, what OpenSSL needs.
 *
 * The first answer of a handshake costs a signature, as much as ten requests. So that those who are
 * served already do not wait for all who come, hellos queue up: one per turn, after all else.
 *
 * The entry is looked up again after the handshake, because the configuration may have changed
 * meanwhile; the certificate was chosen before. */
#include "base/clock.h"
#include "base/log.h"
#include "gateway/admit.h"
#include "gateway/datapath.h"
#include "gateway/hello.h"
#include "gateway/proxy_header.h"
#include "gateway/tls_server.h"

#include <stdio.h>
#include <unistd.h>

typedef enum stage {
    PROXY_HEADER,
    HELLO,
    QUEUED, /* its hello was read */
    HANDSHAKE,
    LEAVING /* refused: reading until the client has seen why */
} stage;

typedef struct arrival {
    sp_session s; /* first: buried by its address */
    sp_listener *listener;
    sp_sock client;
    sp_alarm alarm;
    sp_list queued; /* member of the worker's hellos; the first of them is called again */
    stage stage;
    bool acme; /* an ACME server looks at our certificate (RFC 8737), and that is all */
} arrival;

/* --- what a listener needs for it --- */

static sp_tls_server *get_server(const sp_sni_entry *e) {
    sp_tls_server *s = NULL;
    sp_err err = {0};
    const char *alpn = !e->inner.http ? NULL : e->tls->no_http2 ? "http/1.1" : SP_HTTP_ALPN;
    if (!sp_tls_server_get(e->tls, alpn, &s, &err))
        sp_warn("a server name has no usable certificate", SP_KV("owner", e->owner),
                SP_KV("host", e->host), SP_KV("why", err.text));
    return s;
}

static void drop_servers(sp_tls_server **list, size_t n) {
    for (size_t i = 0; i < n; i++) sp_tls_server_unref(list[i]);
    free(list);
}

void sp_listener_follow_tls(sp_listener *l) {
    sp_tls_server **old = l->tls;
    size_t old_count = l->tls_count;
    l->tls_count = l->spec ? l->spec->sni_count : 0;
    l->tls = l->tls_count ? sp_zalloc(l->tls_count, sizeof(sp_tls_server *)) : NULL;
    for (size_t i = 0; i < l->tls_count; i++)
        if (l->spec->sni[i].tls) l->tls[i] = get_server(&l->spec->sni[i]);
    drop_servers(old, old_count); /* last, so that what is the same was never gone */
}

const sp_inner_spec *sp_listener_inner(const sp_listener *l, const char *server_name) {
    const sp_listener_spec *spec = l->spec;
    if (!spec) return NULL;
    if (!spec->sni_count) return &spec->plain;
    const sp_sni_entry *e = sp_sni_find(spec->sni, spec->sni_count, sp_str_z(server_name));
    return e && e->tls ? &e->inner : NULL;
}

static bool in(const sp_cidr *list, size_t n, const sp_addr *a) {
    for (size_t i = 0; i < n; i++)
        if (sp_cidr_has(&list[i], a)) return true;
    return false;
}

static sp_shared_count *places(sp_listener *l) {
    char at[SP_ADDR_MAX];
    if (l->open) return l->open;
    sp_auto(sp_buf) name = {0};
    sp_addr_format(&l->addr, at);
    sp_buf_printf(&name, "port %s", at);
    l->open = sp_counts_get(sp_buf_str(&name));
    return l->open;
}

bool sp_listener_admits(sp_listener *l, const sp_addr *client) {
    const sp_listener_spec *spec = l->spec;
    sp_worker_stats *stats = &l->worker->stats;
    uint32_t open = spec->max_connections ? sp_count_now(&places(l)->open) : 0;
    sp_limiter *limiter = spec->client_rate ? sp_limiter_shared() : NULL;
    switch (sp_admit_client(limiter, spec, client, open, sp_clock_mono_us())) {
    case SP_ADMIT_OK: return true;
    case SP_ADMIT_DENIED: stats->turned_away++; break;
    case SP_ADMIT_TOO_FAST: stats->too_fast++; break;
    case SP_ADMIT_TOO_MANY: stats->too_many++; break;
    }
    return false;
}

void sp_session_count(sp_session *s, sp_listener *l) {
    if (!l->spec || !l->spec->max_connections) return;
    s->place = sp_counts_ref(places(l));
    sp_count_add(&s->place->open, 1);
}

/* --- the end of an arrival --- */

static void call_next_hello(sp_worker *w) {
    if (!sp_list_empty(&w->hellos))
        sp_io_again(&SP_CONTAINER(w->hellos.next, arrival, queued)->client.io);
}

static bool is_next_hello(const arrival *a) {
    return a->s.worker->hellos.next == &a->queued;
}

static void queue_hello(arrival *a) {
    a->stage = QUEUED;
    sp_list_append(&a->s.worker->hellos, &a->queued);
    if (is_next_hello(a)) call_next_hello(a->s.worker);
}

static void leave_queue(arrival *a) {
    bool next = is_next_hello(a);
    sp_list_remove(&a->queued);
    if (next) call_next_hello(a->s.worker);
}

static void end(arrival *a, bool reset) {
    leave_queue(a);
    sp_alarm_stop(&a->alarm);
    sp_sock_close(a->s.worker, &a->client, reset);
    sp_listener_unref(a->listener);
    sp_session_close(&a->s);
}

static void log_refusal(arrival *a, const char *why) {
    if (a->s.worker->settings.access_log_fd < 0) return;
    sp_access r = {.client = a->s.client,
                   .local = a->s.local,
                   .server_name = sp_str_z(a->s.server_name ? a->s.server_name : ""),
                   .in = a->client.received,
                   .out = a->client.sent,
                   .wall_ms = sp_clock_wall_ms(),
                   .connected_us = -1,
                   .answered_us = -1,
                   .refused = why};
    if (a->listener->spec) r.listener = a->listener->spec->owner;
    sp_worker_log_access(a->s.worker, &r);
}

static void leave(arrival *a) {
    a->stage = LEAVING;
    sp_io_push(&a->client.io);
    shutdown(a->client.io.fd, SHUT_WR);
    sp_alarm_start(a->s.worker->poller, &a->alarm, SP_TIMEOUT_LINGER);
    sp_io_again(&a->client.io);
}

static void refuse(arrival *a, sp_alert alert, const char *why) {
    char bytes[SP_ALERT_BYTES];
    a->s.worker->stats.tls_refused++;
    log_refusal(a, why);
    sp_alert_write(alert, bytes);
    sp_sock_write(a->s.worker, &a->client, (sp_str){bytes, sizeof bytes});
    leave(a);
}

static void hand_over(arrival *a, const sp_inner_spec *inner) {
    char *name = (char *)(uintptr_t)a->s.server_name;
    a->s.server_name = NULL;
    if (!inner) {
        free(name);
        end(a, true);
        return;
    }
    if (inner->http)
        sp_proxy_take(a->listener, &a->client, &a->s.client, &a->s.local, name);
    else
        sp_tunnel_take(a->listener, &a->client, &a->s.client, &a->s.local, name, &inner->targets);
    end(a, false);
}

/* --- the stages; true: the next one may go on --- */

static bool await_more(arrival *a, sp_str bytes) {
    if (a->client.eof || a->client.failed) {
        end(a, false);
        return false;
    }
    sp_sock_keep(a->s.worker, &a->client, bytes);
    if (a->client.io.readable) sp_io_again(&a->client.io); /* the end is there already */
    return false;
}

static bool read_proxy_header(arrival *a) {
    sp_worker *w = a->s.worker;
    sp_proxy_header h;
    sp_str bytes = sp_sock_read(w, &a->client);
    sp_proxy_result r = sp_proxy_parse(bytes, &h);
    if (r == SP_PROXY_MORE) return await_more(a, bytes);
    if (r == SP_PROXY_BAD) {
        w->stats.proxy_refused++;
        log_refusal(a, "a PROXY header is required here");
        end(a, true);
        return false;
    }
    if (!h.local) {
        a->s.client = h.source;
        a->s.local = h.target;
    }
    if (!a->listener->spec || !sp_listener_admits(a->listener, &a->s.client)) {
        end(a, true);
        return false;
    }
    sp_session_count(&a->s, a->listener);
    sp_sock_unread(w, &a->client, sp_str_from(bytes, h.n));
    a->stage = HELLO;
    return true;
}

static bool looks_like_http(sp_str bytes) {
    static const char *const methods[] = {"GET ",     "POST ",   "HEAD ",  "PUT ",
                                          "OPTIONS ", "DELETE ", "PATCH ", "PRI * HTTP/2"};
    for (size_t i = 0; i < SP_COUNT(methods); i++)
        if (sp_str_starts(bytes, sp_str_z(methods[i]))) return true;
    return false;
}

/* Somebody wrote http:// for https://: told in their own words. */
static void refuse_plain(arrival *a, sp_str bytes) {
    static const char text[] = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n"
                               "content-length: 61\r\nconnection: close\r\n\r\n"
                               "this port speaks TLS: the address has to begin with https://\n";
    a->s.worker->stats.tls_refused++;
    log_refusal(a, "not TLS");
    if (!looks_like_http(bytes)) {
        end(a, true);
        return;
    }
    sp_sock_write(a->s.worker, &a->client, (sp_str){text, sizeof text - 1});
    leave(a);
}

/* The name of every protocol offered stands between commas. */
static bool offers_acme(const sp_hello *hello) {
    for (sp_str one, rest = sp_str_z(hello->alpn); sp_str_cut(&rest, ',', &one);)
        if (sp_str_eqz(one, SP_ACME_ALPN)) return true;
    return false;
}

/* An ACME server looks for its challenge, whatever names this port knows. */
static bool answer_challenge(arrival *a, sp_str bytes, const sp_hello *hello) {
    const sp_gateway_config *c = a->s.worker->config;
    for (size_t i = 0; offers_acme(hello) && i < c->acme_answer_count; i++) {
        sp_acme_answer *answer = &c->acme_answers[i];
        if (!sp_str_ieq(answer->name, sp_str_z(hello->sni))) continue;
        const sp_tls_spec spec = {.certs = &answer->cert, .cert_count = 1};
        sp_tls_server *server = NULL;
        if (!sp_tls_server_get(&spec, SP_ACME_ALPN, &server, NULL)) return false;
        sp_tls_ctx *ctx = sp_tls_server_pick(server, answer->name);
        sp_sock_start_tls(a->s.worker, &a->client, ctx, true, NULL, bytes);
        sp_tls_server_unref(server); /* the connection holds what it needs */
        a->acme = true;
        queue_hello(a);
        return true;
    }
    return false;
}

static void choose(arrival *a, sp_str bytes, const sp_hello *hello) {
    sp_worker *w = a->s.worker;
    if (answer_challenge(a, bytes, hello)) return;
    sp_listener *l = a->listener;
    const sp_listener_spec *spec = l->spec;
    const sp_sni_entry *e = sp_sni_find(spec->sni, spec->sni_count, sp_str_z(hello->sni));
    if (hello->sni[0]) a->s.server_name = sp_strdup(hello->sni);
    if (!e) {
        refuse(a, SP_ALERT_UNRECOGNIZED_NAME, "nobody has this server name");
        return;
    }
    if (!e->tls) {
        sp_sock_unread(w, &a->client, bytes);
        hand_over(a, &e->inner);
        return;
    }
    sp_tls_server *server = l->tls[e - spec->sni];
    if (!server) {
        refuse(a, SP_ALERT_INTERNAL_ERROR, "no usable certificate");
        return;
    }
    sp_tls_ctx *ctx = sp_tls_server_pick(server, sp_str_z(hello->sni));
    sp_sock_start_tls(w, &a->client, ctx, true, NULL, bytes);
    queue_hello(a);
}

static void read_hello(arrival *a) {
    sp_worker *w = a->s.worker;
    const sp_listener_spec *spec = a->listener->spec;
    sp_hello hello;
    if (!spec || !spec->sni_count) {
        hand_over(a, spec ? &spec->plain : NULL);
        return;
    }
    sp_str bytes = sp_sock_read(w, &a->client);
    switch (sp_hello_parse(bytes, w->scratch + 2 * SP_READ_SIZE, &hello)) {
    case SP_HELLO_MORE: (void)await_more(a, bytes); return;
    case SP_HELLO_NOT_TLS: refuse_plain(a, bytes); return;
    case SP_HELLO_BAD: refuse(a, SP_ALERT_DECODE_ERROR, "a broken ClientHello"); return;
    case SP_HELLO_OK: choose(a, bytes, &hello);
    }
}

static void shake_hands(arrival *a) {
    sp_worker *w = a->s.worker;
    sp_err err = {0};
    switch (sp_sock_handshake(w, &a->client, &err)) {
    case SP_TLS_MORE: return;
    case SP_TLS_OK:
        w->stats.tls_handshakes++;
        if (sp_sock_tls_resumed(&a->client)) w->stats.tls_resumed++;
        if (a->acme) {
            sp_sock_shutdown(w, &a->client);
            leave(a);
            return;
        }
        hand_over(a, sp_listener_inner(a->listener, a->s.server_name));
        return;
    case SP_TLS_CLOSED:
    case SP_TLS_FAILED:
        w->stats.tls_refused++;
        log_refusal(a, err.text);
        leave(a);
        return;
    }
}

static void read_rest(arrival *a) {
    while (a->client.io.readable) {
        ssize_t n = sp_sock_recv(&a->client, a->s.worker->scratch, SP_READ_SIZE);
        if (n > 0) continue;
        if (n == 0 || a->client.failed) end(a, false);
        return;
    }
}

static void run(arrival *a) {
    switch (a->stage) {
    case PROXY_HEADER:
        if (read_proxy_header(a)) read_hello(a);
        return;
    case HELLO: read_hello(a); return;
    case QUEUED:
        if (!is_next_hello(a)) return;
        leave_queue(a);
        a->stage = HANDSHAKE;
        shake_hands(a);
        return;
    case HANDSHAKE: shake_hands(a); return;
    case LEAVING: read_rest(a); return;
    }
}

static void on_event(sp_io *io) {
    run(SP_CONTAINER(SP_CONTAINER(io, sp_sock, io), arrival, client));
}

static void on_alarm(sp_alarm *alarm) {
    arrival *a = SP_CONTAINER(alarm, arrival, alarm);
    if (a->stage != LEAVING) {
        a->s.worker->stats.tls_refused++;
        log_refusal(a, "it did not say in time what it wants");
    }
    end(a, true);
}

/* A handshake has its deadline; cut off, it would look like a failure to the client. */
static void stop(sp_session *s, bool force) {
    if (force) end((arrival *)(void *)s, true);
}

static void arrive(sp_listener *l, int fd, const sp_addr *client, const sp_addr *local, stage at) {
    sp_worker *w = l->worker;
    arrival *a = sp_zalloc(1, sizeof *a);
    sp_session_open(&a->s, w, client, local);
    if (at != PROXY_HEADER) sp_session_count(&a->s, l); /* else when it is admitted */
    a->s.stop = stop;
    a->listener = l;
    a->stage = at;
    a->client.io.fd = -1;
    l->refs++;
    sp_alarm_init(&a->alarm, on_alarm);
    sp_list_init(&a->queued);
    if (!sp_sock_open(w, &a->client, fd, on_event)) {
        close(fd);
        end(a, true);
        return;
    }
    sp_alarm_start_or(w->poller, &a->alarm, l->spec->head_timeout_ms, SP_TIMEOUT_HEAD);
}

void sp_listener_take(sp_listener *l, int fd, const sp_addr *client, const sp_addr *local) {
    const sp_listener_spec *spec = l->spec;
    sp_worker *w = l->worker;
    bool by_proxy = in(spec->proxy_from, spec->proxy_from_count, client);
    if (!by_proxy && !sp_listener_admits(l, client)) {
        close(fd);
        return;
    }
    w->stats.connections++;
    l->connections++;
    if (by_proxy || spec->sni_count)
        arrive(l, fd, client, local, by_proxy ? PROXY_HEADER : HELLO);
    else if (spec->plain.http)
        sp_proxy_accept(l, fd, client, local);
    else
        sp_tunnel_accept(l, fd, client, local);
}
