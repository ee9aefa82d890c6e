/* Copies of requests (Gateway API's RequestMirror): fire and forget. A mirror is an exchange of its
 * own whose front reads the answer and throws it away; the main exchange never hears of it. It
 * starts in a later turn, because the bytes of this one may still be lent. */
#include "gateway/http.h"

typedef struct mirror {
    sp_list link;
    sp_exchange *x;
} mirror;

static void wake(sp_exchange *x) {
    enum { STEPS = 32 };
    sp_exchange_hold(x);
    int budget = STEPS;
    while (budget && sp_exchange_step(x)) budget--;
    if (!budget && !sp_exchange_is_over(x)) sp_exchange_client_gone(x); /* an endless answer */
    sp_exchange_let_go(x);
}

static bool nothing(sp_exchange *x) {
    (void)x;
    return false;
}

static void no_head(sp_exchange *x, const sp_h1_head *h, const sp_http_edit *edit) {
    (void)x, (void)h, (void)edit;
}

static void no_data(sp_exchange *x, sp_str piece) {
    (void)x, (void)piece;
}

static void no_flush(sp_exchange *x) {
    (void)x;
}

static sp_sock *no_socket(sp_exchange *x) {
    (void)x;
    return NULL;
}

static void over(sp_exchange *x, sp_over how) {
    mirror *m = x->client;
    (void)how;
    sp_list_remove(&m->link);
    x->worker->mirror_count--;
    free(m);
}

static const sp_front front = {
    .wake = wake,
    .pump = nothing,
    .blocked = nothing,
    .gone = nothing,
    .head = no_head,
    .data = no_data,
    .end = no_data,
    .flush = no_flush,
    .over = over,
    .socket = no_socket,
};

/* A slice of the one exchange as the same slice of the other. */
static sp_str moved(const sp_exchange *from, const sp_exchange *to, sp_str s) {
    uintptr_t p = (uintptr_t)s.p, head = (uintptr_t)from->head.p,
              path = (uintptr_t)from->path_scratch;
    if (from->head.p && p >= head && p - head <= from->head.n)
        return (sp_str){to->head.p + (p - head), s.n};
    if (p >= path && p - path < sizeof from->path_scratch)
        return (sp_str){to->path_scratch + (p - path), s.n};
    return s; /* a literal */
}

static void copy_request(const sp_exchange *from, sp_exchange *to) {
    sp_headers list = to->request.headers;
    list.n = 0;
    sp_buf_add(&to->head, sp_buf_str(&from->head));
    size_t cert_at = to->head.n; /* the client's connection may be gone before the copy is sent */
    sp_buf_add(&to->head, from->hop.client_cert);
    size_t name_at = to->head.n;
    sp_buf_add(&to->head, from->hop.server_name);
    memcpy(to->path_scratch, from->path_scratch, sizeof to->path_scratch);
    to->request = from->request;
    to->request.headers = list;
    to->request.method = moved(from, to, from->request.method);
    to->request.target = moved(from, to, from->request.target);
    sp_vec_each(&from->request.headers, h) sp_vec_push(
        &to->request.headers, (sp_header){moved(from, to, h->name), moved(from, to, h->value)});
    sp_str ip = to->hop.client_ip;
    to->hop = from->hop;
    to->hop.client_ip = ip;
    to->hop.client_cert = sp_str_sub(sp_buf_str(&to->head), cert_at, name_at - cert_at);
    to->hop.server_name = sp_str_from(sp_buf_str(&to->head), name_at);
    to->hop.upgrade = (sp_str){0};
    to->hop.target.host = moved(from, to, from->hop.target.host);
    to->hop.target.path = moved(from, to, from->hop.target.path);
    to->hop.target.query = moved(from, to, from->hop.target.query);
    to->idempotent = from->idempotent;
    to->to_head = from->to_head;
}

static void start(sp_exchange *x, uint32_t pool) {
    sp_worker *w = x->worker;
    if (pool >= x->config->pool_count || w->mirror_count >= SP_MAX_MIRRORS) return;
    sp_pool *p = sp_map_get(&w->pools, x->config->pools[pool].name);
    if (!p) return;
    mirror *m = sp_zalloc(1, sizeof *m);
    sp_session from = {.worker = w, .client = x->client_addr, .local = x->local};
    sp_exchange *y = m->x = sp_exchange_new(&front, m, &from, x->listener);
    sp_list_init(&m->link);
    sp_list_append(&w->mirrors, &m->link);
    w->mirror_count++;
    sp_gateway_config_unref(y->config);
    y->config = sp_gateway_config_ref(x->config);
    y->pool = sp_pool_ref(p);
    y->pool_spec = &x->config->pools[pool];
    copy_request(x, y);
    y->request_done = true;
    y->copying = y->body_touched = x->request.framing != SP_H1_NO_BODY;
    sp_buf_add(&y->copy, sp_buf_str(&x->copy));
    y->state = SP_EXCHANGE_PAUSE;
    sp_alarm_after(w->poller, &y->alarm, 1);
}

void sp_mirror_start(sp_exchange *x) {
    const sp_route_action *a = x->hop.entry->action;
    if (x->hop.upgrade.n || !x->front->count) return; /* a mirror is not mirrored */
    for (size_t i = 0; i < a->mirror_count; i++) {
        const sp_mirror *m = &a->mirrors[i];
        if (m->denominator && sp_worker_random(x->worker) % m->denominator >= m->numerator)
            continue;
        start(x, m->pool);
    }
}

void sp_worker_cancel_mirrors(sp_worker *w) {
    while (!sp_list_empty(&w->mirrors))
        sp_exchange_client_gone(SP_CONTAINER(w->mirrors.next, mirror, link)->x);
}
