/* Stories about one Service: some endpoints, a TCP port and an HTTP port. */
#pragma once
#include "gateway_story_bulk.h"

enum { MAX_SERVERS = 4, BULK = 8 << 20 };

typedef struct endpoint_is {
    uint16_t port;
    bool ready, draining, sick;
} endpoint_is;

static struct {
    endpoint_is endpoints[MAX_SERVERS];
    size_t endpoint_count;
    uint16_t tcp_port, http_port;
    sp_pool_limits limits;
    bool reset_on_removal, reset_on_check_failure;
    const char *service, *protocol; /* of the pool's name; NULL = ns/web, none */
    uint32_t max_connections;       /* of each endpoint */
} t;

static void forget(void) {
    memset(&t, 0, sizeof t);
}

static inline sp_route_action *action(sp_arena *a, const char *owner, uint32_t pool) {
    sp_route_action *r = SP_NEW(a, sp_route_action);
    r->owner = sp_str_z(owner);
    r->targets = to_pool(a, pool);
    return r;
}

static sp_gateway_config *make_config(void) {
    sp_gateway_config *c = sp_gateway_config_new();
    sp_arena *a = c->arena;
    sp_endpoint_spec *e = sp_arena_alloc(a, (t.endpoint_count + 1) * sizeof *e);
    for (size_t i = 0; i < t.endpoint_count; i++) {
        e[i] = (sp_endpoint_spec){.ready = t.endpoints[i].ready,
                                  .draining = t.endpoints[i].draining,
                                  .sick = t.endpoints[i].sick,
                                  .max_connections = t.max_connections};
        sp_assert(sp_addr_parse(SP_STR("127.0.0.1"), t.endpoints[i].port, &e[i].addr));
    }
    c->pools = SP_NEW(a, sp_pool_spec);
    sp_str service = sp_str_z(t.service ? t.service : "ns/web");
    c->pools[0] = (sp_pool_spec){
        .name = sp_arena_printf(a, "%.*s:80%s", SP_ARG(service), t.protocol ? t.protocol : ""),
        .service = service,
        .algorithm = SP_BALANCE_ROUND_ROBIN,
        .limits = t.limits,
        .reset_on_removal = t.reset_on_removal,
        .reset_on_check_failure = t.reset_on_check_failure,
        .endpoints = e,
        .endpoint_count = t.endpoint_count};
    c->pool_count = 1;
    sp_header *set = SP_NEW(a, sp_header);
    *set = (sp_header){SP_STR("x-set"), SP_STR("by rule")};
    sp_route_action *plain = action(a, "Ingress ns/web", 0),
                    *moved = action(a, "HTTPRoute ns/old", 0);
    plain->request.set = set;
    plain->request.set_count = 1;
    moved->redirect_status = 301;
    moved->redirect_scheme = SP_STR("https");
    moved->path_edit = SP_PATH_REPLACE_PREFIX;
    moved->path = SP_STR("/new");
    sp_route_entry entries[] = {
        {.host = SP_STR("web.test"), .path = SP_STR("/"), .action = plain},
        {.host = SP_STR("web.test"), .path = SP_STR("/old"), .action = moved},
        {.host = SP_STR("none.test"), .path = SP_STR("/"), .action = action(a, "x", SP_NO_POOL)},
    };
    c->tables = SP_NEW(a, sp_route_table *);
    c->tables[0] = sp_route_table_build(a, entries, SP_COUNT(entries));
    c->table_count = 1;
    c->listeners = sp_arena_alloc(a, 2 * sizeof *c->listeners);
    c->listener_count = 2;
    for (int i = 0; i < 2; i++) {
        c->listeners[i] = (sp_listener_spec){.plain = {.http = i, .targets = to_pool(a, 0)},
                                             .owner = SP_STR("Service ns/web")};
        sp_assert(sp_addr_parse(SP_STR("127.0.0.1"), 0, &c->listeners[i].addr));
    }
    return c;
}

static void listens_at(const sp_listener_state *l) {
    *(l->spec->plain.http ? &t.http_port : &t.tcp_port) = l->addr.port;
}

static inline void endpoints(size_t n, const endpoint_is *list) {
    memcpy(t.endpoints, list, n * sizeof *list);
    t.endpoint_count = n;
    in_loop(apply_now);
}
#define ENDPOINTS(...) \
    endpoints(SP_COUNT(((endpoint_is[]){__VA_ARGS__})), (endpoint_is[]){__VA_ARGS__})

/* All that most stories need. */
static inline int one_server(void) {
    uint16_t port;
    int l = listen_on(&port);
    ENDPOINTS({port, true});
    return l;
}

static inline int dial(uint16_t port) {
    return dial_at(0, port);
}

static inline void reset_and_close(int fd) {
    struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static inline void *send_bulk(void *arg) {
    return bulk_send(*(int *)arg, BULK) ? NULL : arg;
}

static inline void hear_bulk(int fd, size_t piece) {
    static char got[64 * 1024];
    uint64_t at = 0;
    for (;;) {
        ssize_t n = recv(fd, got, piece, 0);
        CHECK(n >= 0);
        if (n == 0) break;
        for (ssize_t i = 0; i < n; i++, at++) CHECK(got[i] == bulk_at(at));
    }
    CHECK(at == BULK);
}

static inline void await_queued(uint64_t n) {
    do in_loop(read_stats);
    while (story.stats.queued < n);
}
