/* The turn is one prepare and one check handle per loop: check runs right after the events of a
 * round, prepare right before the loop sleeps, so between them nothing waits longer than a round.
 * Both handles are unreferenced while no task waits, so they never keep a loop alive. Tasks that
 * put off further tasks could keep one pass busy for ever; what is left after a pass is done in the
 * next round, with an idle handle that forbids sleeping. */
#include "net/loop.h"

#include <netinet/in.h>
#include <stdio.h>

struct sp_turn {
    uv_loop_t *loop;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    sp_list tasks;
    unsigned refs, open; /* open: handles libuv still knows */
    bool running, armed; /* armed: the prepare handle keeps the loop alive */
    sp_turn *next;       /* of this thread */
};

static __thread sp_turn *turns;

static void turn_closed(uv_handle_t *h) {
    sp_turn *t = h->data;
    if (--t->open == 0) free(t);
}

static void turn_close(sp_turn *t) {
    for (sp_turn **at = &turns; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            break;
        }
    uv_close((uv_handle_t *)&t->prepare, turn_closed);
    uv_close((uv_handle_t *)&t->check, turn_closed);
    uv_close((uv_handle_t *)&t->idle, turn_closed);
}

static void settle(sp_turn *t) {
    if (!sp_list_empty(&t->tasks)) return;
    t->armed = false;
    uv_unref((uv_handle_t *)&t->prepare);
    uv_idle_stop(&t->idle);
    if (t->refs == 0) turn_close(t);
}

static void never_sleep(uv_idle_t *h) {
    (void)h;
}

static void run_tasks(sp_turn *t) {
    if (!t->armed || t->running) return;
    t->running = true;
    for (int budget = 10000; budget > 0 && !sp_list_empty(&t->tasks); budget--) {
        sp_task *task = SP_CONTAINER(t->tasks.next, sp_task, link);
        sp_list_remove(&task->link);
        task->fn(task);
    }
    t->running = false;
    if (!sp_list_empty(&t->tasks)) uv_idle_start(&t->idle, never_sleep);
    settle(t);
}

static void on_prepare(uv_prepare_t *h) {
    run_tasks(h->data);
}
static void on_check(uv_check_t *h) {
    run_tasks(h->data);
}

static sp_turn *turn_new(uv_loop_t *loop) {
    sp_turn *t = sp_zalloc(1, sizeof *t);
    t->loop = loop;
    t->open = 3;
    sp_list_init(&t->tasks);
    uv_prepare_init(loop, &t->prepare);
    uv_check_init(loop, &t->check);
    uv_idle_init(loop, &t->idle);
    t->prepare.data = t->check.data = t->idle.data = t;
    uv_prepare_start(&t->prepare, on_prepare);
    uv_check_start(&t->check, on_check);
    uv_unref((uv_handle_t *)&t->prepare);
    uv_unref((uv_handle_t *)&t->check);
    t->next = turns;
    return turns = t;
}

sp_turn *sp_turn_ref(uv_loop_t *loop) {
    sp_turn *t = turns;
    while (t && t->loop != loop) t = t->next;
    if (!t) t = turn_new(loop);
    t->refs++;
    return t;
}

sp_turn *sp_turn_unref(sp_turn *t) {
    if (!t) return NULL;
    sp_assert(t->refs > 0);
    if (--t->refs == 0 && !t->running) settle(t);
    return NULL;
}

void sp_task_defer(sp_turn *t, sp_task *task) {
    if (!sp_list_empty(&task->link)) return;
    sp_list_append(&t->tasks, &task->link);
    t->armed = true;
    uv_ref((uv_handle_t *)&t->prepare);
}

/* --- timers --- */

struct sp_timer {
    uv_timer_t h;
    sp_timer_fn *fn;
    void *ctx;
    bool once;
};

static void timer_closed(uv_handle_t *h) {
    free(h->data);
}

sp_timer *sp_timer_stop(sp_timer *t) {
    if (t && !uv_is_closing((uv_handle_t *)&t->h)) uv_close((uv_handle_t *)&t->h, timer_closed);
    return NULL;
}

static void timer_fired(uv_timer_t *h) {
    sp_timer *t = h->data;
    if (t->once) uv_close((uv_handle_t *)h, timer_closed);
    t->fn(t->ctx);
}

static sp_timer *timer_new(uv_loop_t *loop, uint64_t ms, bool once, sp_timer_fn *fn, void *ctx) {
    sp_timer *t = sp_zalloc(1, sizeof *t);
    t->fn = fn;
    t->ctx = ctx;
    t->once = once;
    uv_timer_init(loop, &t->h);
    t->h.data = t;
    uv_timer_start(&t->h, timer_fired, ms, once ? 0 : SP_MAX(ms, 1));
    return t;
}

sp_timer *sp_timer_start(uv_loop_t *loop, uint64_t ms, sp_timer_fn *fn, void *ctx) {
    return timer_new(loop, ms, true, fn, ctx);
}

sp_timer *sp_timer_every(uv_loop_t *loop, uint64_t ms, sp_timer_fn *fn, void *ctx) {
    return timer_new(loop, ms, false, fn, ctx);
}

/* --- signals --- */

struct sp_signal {
    uv_signal_t h;
    void (*fn)(void *ctx, int signum);
    void *ctx;
};

static void signal_fired(uv_signal_t *h, int signum) {
    sp_signal *s = h->data;
    s->fn(s->ctx, signum);
}

sp_signal *sp_signal_watch(uv_loop_t *loop, int signum, void (*fn)(void *ctx, int signum),
                           void *ctx) {
    sp_signal *s = sp_zalloc(1, sizeof *s);
    s->fn = fn;
    s->ctx = ctx;
    uv_signal_init(loop, &s->h);
    s->h.data = s;
    uv_signal_start(&s->h, signal_fired, signum);
    uv_unref((uv_handle_t *)&s->h);
    return s;
}

sp_signal *sp_signal_stop(sp_signal *s) {
    if (s && !uv_is_closing((uv_handle_t *)&s->h)) uv_close((uv_handle_t *)&s->h, timer_closed);
    return NULL;
}

/* --- names --- */

enum { MAX_ADDRS = 16 };

struct sp_resolve {
    uv_getaddrinfo_t req;
    sp_task task; /* an address in text needs no lookup, only patience */
    sp_turn *turn;
    sp_resolve_done *done; /* NULL once cancelled */
    void *ctx;
    char *host;
    uint16_t port;
    struct sockaddr_storage addr;
};

static void resolve_free(sp_resolve *r) {
    sp_turn_unref(r->turn);
    free(r->host);
    free(r);
}

static void set_port(struct sockaddr_storage *a, uint16_t port) {
    if (a->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)a)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)a)->sin_port = htons(port);
}

static void resolve_fail(sp_resolve *r, int status) {
    sp_err err = {0};
    sp_fail(&err, SP_CONNECTION, "cannot resolve host name \"%s\": %s", r->host,
            uv_strerror(status));
    r->done(r->ctx, NULL, 0, &err);
}

static void resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found) {
    sp_resolve *r = req->data;
    struct sockaddr_storage addrs[MAX_ADDRS];
    size_t n = 0;
    for (struct addrinfo *a = found; a && n < MAX_ADDRS; a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6) continue;
        memcpy(&addrs[n], a->ai_addr, a->ai_addrlen);
        set_port(&addrs[n++], r->port);
    }
    uv_freeaddrinfo(found);
    if (r->done && status == 0 && n > 0)
        r->done(r->ctx, addrs, n, NULL);
    else if (r->done)
        resolve_fail(r, status ? status : UV_EAI_NONAME);
    resolve_free(r);
}

static void resolve_now(sp_task *task) {
    sp_resolve *r = SP_CONTAINER(task, sp_resolve, task);
    r->done(r->ctx, &r->addr, 1, NULL);
    resolve_free(r);
}

static void resolve_failed_start(sp_task *task) {
    sp_resolve *r = SP_CONTAINER(task, sp_resolve, task);
    resolve_fail(r, UV_EAI_MEMORY);
    resolve_free(r);
}

static bool address_in_text(const char *host, uint16_t port, struct sockaddr_storage *ret) {
    return uv_ip4_addr(host, port, (struct sockaddr_in *)ret) == 0 ||
           uv_ip6_addr(host, port, (struct sockaddr_in6 *)ret) == 0;
}

sp_resolve *sp_resolve_start(uv_loop_t *loop, const char *host, uint16_t port,
                             sp_resolve_done *done, void *ctx) {
    sp_resolve *r = sp_zalloc(1, sizeof *r);
    r->turn = sp_turn_ref(loop);
    r->done = done;
    r->ctx = ctx;
    r->host = sp_strdup(host);
    r->port = port;
    r->req.data = r;
    sp_task_init(&r->task, resolve_now);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    if (address_in_text(host, port, &r->addr)) {
        sp_task_defer(r->turn, &r->task);
    } else if (uv_getaddrinfo(loop, &r->req, resolved, host, NULL, &hints) != 0) {
        r->task.fn = resolve_failed_start;
        sp_task_defer(r->turn, &r->task);
    }
    return r;
}

sp_resolve *sp_resolve_cancel(sp_resolve *r) {
    if (!r) return NULL;
    if (!sp_list_empty(&r->task.link)) {
        sp_task_cancel(&r->task);
        resolve_free(r);
        return NULL;
    }
    r->done = NULL; /* the lookup runs on a thread; its end frees r */
    uv_cancel((uv_req_t *)&r->req);
    return NULL;
}

void sp_addr_print(const struct sockaddr *sa, char *ret, size_t size) {
    char ip[64] = "";
    ret[0] = 0;
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)sa;
        uv_ip4_name(v4, ip, sizeof ip);
        snprintf(ret, size, "%s:%u", ip, ntohs(v4->sin_port));
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)sa;
        uv_ip6_name(v6, ip, sizeof ip);
        snprintf(ret, size, "[%s]:%u", ip, ntohs(v6->sin6_port));
    }
}
