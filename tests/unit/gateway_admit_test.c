/* Token buckets and access lists. Time is an argument; the one test with threads asserts a sum. */
#include "gateway/admit.h"
#include "gateway/policy.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static sp_addr addr(const char *ip) {
    sp_addr a;
    assert_true(sp_addr_parse(sp_str_z(ip), 1, &a));
    return a;
}

static sp_cidr net(const char *text) {
    sp_cidr c;
    assert_true(sp_cidr_parse(sp_str_z(text), &c));
    return c;
}

static void buckets_fill_again(void **state) {
    (void)state;
    sp_limiter *l = sp_limiter_new(1024);
    int64_t wait = 0, now = 1000000;
    for (int i = 0; i < 5; i++) assert_true(sp_limiter_take(l, 7, 10, 1000, 5, now, &wait));
    assert_false(sp_limiter_take(l, 7, 10, 1000, 5, now, &wait));
    assert_int_equal(wait, 100); /* ten in a second: one in 100 ms */
    assert_true(sp_limiter_take(l, 8, 10, 1000, 5, now, &wait)); /* another's bucket */
    assert_false(sp_limiter_take(l, 7, 10, 1000, 5, now + 99000, &wait));
    assert_int_equal(wait, 1);
    assert_true(sp_limiter_take(l, 7, 10, 1000, 5, now + 100000, &wait));
    assert_false(sp_limiter_take(l, 7, 10, 1000, 5, now + 100000, &wait));
    for (int i = 0; i < 5; i++) /* full again, not fuller */
        assert_true(sp_limiter_take(l, 7, 10, 1000, 5, now + 60000000, &wait));
    assert_false(sp_limiter_take(l, 7, 10, 1000, 5, now + 60000000, &wait));
    sp_limiter_free(l);
}

/* Whoever comes from a million addresses pushes out only those that are nearly full. */
static void memory_is_bounded_and_the_greedy_stay(void **state) {
    (void)state;
    sp_limiter *l = sp_limiter_new(1024);
    int64_t wait = 0;
    for (int i = 0; i < 100; i++) sp_limiter_take(l, 42, 100, 100000, 0, 0, &wait);
    assert_false(sp_limiter_take(l, 42, 100, 100000, 0, 0, &wait));
    for (uint64_t k = 100; k < 200000; k++) {
        uint64_t key = k * 0x9e3779b97f4a7c15u;
        assert_true(sp_limiter_take(l, key, 100, 100000, 0, 0, &wait));
    }
    assert_false(sp_limiter_take(l, 42, 100, 100000, 0, 0, &wait));
    sp_limiter_free(l);
}

static sp_limiter *common;
static void *take_many(void *count) {
    int64_t wait;
    for (int i = 0; i < 2000; i++)
        *(int *)count += sp_limiter_take(common, 5, 1000, 1000000, 0, 0, &wait);
    return NULL;
}

static void loops_count_together(void **state) {
    (void)state;
    pthread_t t[4];
    int got[4] = {0};
    common = sp_limiter_new(1024);
    for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, take_many, &got[i]);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    assert_int_equal(got[0] + got[1] + got[2] + got[3], 1000);
    sp_limiter_free(common);
}

static void addresses_are_let_in(void **state) {
    (void)state;
    sp_cidr allowed[] = {net("10.0.0.0/8"), net("fd00::/8")}, denied[] = {net("10.6.0.0/16")};
    sp_route_action a = {
        .allowed = allowed, .allowed_count = 2, .denied = denied, .denied_count = 1};
    static const struct {
        const char *ip;
        int status;
    } rows[] = {{"10.1.2.3", 0}, {"10.6.0.1", 403}, {"192.0.2.1", 403}, {"fd00::1", 0}};
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_addr client = addr(rows[i].ip);
        sp_admit_query q = {.client = &client};
        assert_int_equal(sp_admit_request(NULL, &a, &q).status, rows[i].status);
    }
}

static void limits_know_whom_they_count(void **state) {
    (void)state;
    sp_limiter *l = sp_limiter_new(1024);
    sp_rate_limit limits[] = {{.name = SP_STR("by key"),
                               .by = SP_LIMIT_BY_HEADER,
                               .header = SP_STR("x-key"),
                               .requests = 2,
                               .period_ms = 60000}};
    sp_route_action a = {.limits = limits, .limit_count = 1};
    sp_addr one = addr("10.0.0.1"), two = addr("10.0.0.2");
    sp_header red = {SP_STR("X-Key"), SP_STR("red")}, blue = {SP_STR("x-key"), SP_STR("blue")};
    const struct {
        const sp_addr *client;
        const sp_header *header;
        int status;
    } rows[] = {
        {&one, &red, 0},   {&two, &red, 0}, {&one, &red, 429}, /* one bucket for all of red */
        {&one, &blue, 0},  {&one, NULL, 0}, {&one, NULL, 0},
        {&one, NULL, 429}, /* without the field: one bucket per source */
        {&two, NULL, 0},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_admit_query q = {.client = rows[i].client,
                            .headers = rows[i].header,
                            .header_count = rows[i].header != NULL};
        sp_admit_verdict v = sp_admit_request(l, &a, &q);
        assert_int_equal(v.status, rows[i].status);
        if (v.status) assert_in_range(v.retry_after_s, 29, 30);
        if (v.status) assert_true(sp_str_eqz(v.limit, "by key"));
    }
    sp_limiter_free(l);
}

/* Who has a /64 has no bucket for each of its addresses. */
static void ipv6_sources_are_prefixes(void **state) {
    (void)state;
    sp_limiter *l = sp_limiter_new(1024);
    const struct {
        uint8_t prefix;
        const char *ip;
        int status;
    } rows[] = {
        {0, "2001:db8:1:1::1", 0},     {0, "2001:db8:1:1:ffff::2", 429}, /* the same /64 */
        {0, "2001:db8:1:2::1", 0},     {56, "2001:db8:1:1::1", 0},
        {56, "2001:db8:1:ff::1", 429}, {56, "2001:db8:1:100::1", 0},
        {61, "2001:db8:1:8::1", 0},    {61, "2001:db8:1:f::1", 429},
        {61, "2001:db8:1:10::1", 0},   {128, "2001:db8:1:1::1", 0},
        {128, "2001:db8:1:1::2", 0},   {128, "2001:db8:1:1::2", 429},
        {1, "192.0.2.1", 0}, /* addresses of IPv4 count whole */
        {1, "192.0.2.2", 0},           {1, "::ffff:192.0.2.2", 429},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_addr client = addr(rows[i].ip);
        char name[8];
        snprintf(name, sizeof name, "%u", rows[i].prefix);
        sp_rate_limit limit = {.name = sp_str_z(name),
                               .requests = 1,
                               .period_ms = 60000,
                               .ipv6_prefix = rows[i].prefix};
        sp_route_action a = {.limits = &limit, .limit_count = 1};
        sp_admit_query q = {.client = &client};
        if (sp_admit_request(l, &a, &q).status != rows[i].status)
            fail_msg("row %zu: %s by /%u", i, rows[i].ip, rows[i].prefix);
    }
    sp_listener_spec spec = {.client_rate = 1};
    sp_addr one = addr("2001:db8::1"), near = addr("2001:db8::2"), far = addr("2001:db8:1::1");
    assert_int_equal(sp_admit_client(l, &spec, &one, 0, 0), SP_ADMIT_OK);
    assert_int_equal(sp_admit_client(l, &spec, &near, 0, 0), SP_ADMIT_TOO_FAST);
    assert_int_equal(sp_admit_client(l, &spec, &far, 0, 0), SP_ADMIT_OK);
    sp_limiter_free(l);
}

static void ports_let_in(void **state) {
    (void)state;
    sp_limiter *l = sp_limiter_new(1024);
    sp_cidr denied = net("10.6.0.0/16"), sources = net("10.0.0.0/8");
    sp_listener_spec spec = {.denied = &denied,
                             .denied_count = 1,
                             .sources = &sources,
                             .source_count = 1,
                             .max_connections = 3,
                             .client_rate = 2};
    sp_addr good = addr("10.0.0.1"), bad = addr("10.6.0.1"), far = addr("192.0.2.1");
    assert_int_equal(sp_admit_client(l, &spec, &bad, 0, 0), SP_ADMIT_DENIED);
    assert_int_equal(sp_admit_client(l, &spec, &far, 0, 0), SP_ADMIT_DENIED);
    assert_int_equal(sp_admit_client(l, &spec, &good, 3, 0), SP_ADMIT_TOO_MANY);
    assert_int_equal(sp_admit_client(l, &spec, &good, 2, 0), SP_ADMIT_OK);
    assert_int_equal(sp_admit_client(l, &spec, &good, 2, 0), SP_ADMIT_OK);
    assert_int_equal(sp_admit_client(l, &spec, &good, 2, 0), SP_ADMIT_TOO_FAST);
    assert_int_equal(sp_admit_client(l, &spec, &good, 2, 500000), SP_ADMIT_OK);
    sp_limiter_free(l);
}

/* --- policies --- */

static const sp_json *parse(sp_arena *a, const char *text) {
    sp_json *j = NULL;
    sp_err err = {0};
    sp_auto(sp_buf) b = {0};
    for (const char *c = text; *c; c++) sp_buf_addc(&b, *c == '\'' ? '"' : *c);
    if (!sp_json_parse(a, sp_arena_str(a, sp_buf_str(&b)), &j, &err)) fail_msg("%s", err.text);
    return j;
}

#define SERVICE                                                                                    \
    "{'kind':'Service','metadata':{'name':'web','namespace':'ns'},'spec':{'type':'LoadBalancer','" \
    "ports':[{'name':'http','port':80},{'name':'admin','port':81}]}}"
#define SLICE                                                                                     \
    "{'metadata':{'name':'web-1','namespace':'ns','labels':{'kubernetes.io/service-name':'web'}}" \
    ",'ports':[{'name':'http','port':8080},{'name':'admin','port':8081}],'endpoints':["           \
    "{'addresses':['10.1.0.1'],'targetRef':{'kind':'Pod','name':'web-0'}},"                       \
    "{'addresses':['10.1.0.2'],'targetRef':{'kind':'Pod','name':'web-1'}}]}"
#define POLICY(name, created, target, spec)                                                    \
    "{'kind':'BackendPolicy','metadata':{'name':'" name                                        \
    "','namespace':'ns','creationTimestamp':'2026-01-0" created "T00:00:00Z'},'spec':{'target" \
    "Refs':[{'group':'','kind':'Service','name':'web'" target "}]," spec "}}"

static const sp_pool_spec *pool(const sp_translation *t, const char *name) {
    for (size_t i = 0; i < t->config->pool_count; i++)
        if (sp_str_eqz(t->config->pools[i].name, name)) return &t->config->pools[i];
    fail_msg("no pool %s", name);
    return NULL;
}

static void backend_policies_become_pools(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_cluster_view v = {0};
    sp_translate_options o = {.bind = addr("127.0.0.1")};
    sp_vec_push(&v.services, parse(a, SERVICE));
    sp_vec_push(&v.slices, parse(a, SLICE));
    sp_vec_push(&v.backend_policies,
                parse(a, POLICY("young", "3", "", "'balance':{'algorithm':'First'}")));
    sp_vec_push(
        &v.backend_policies,
        parse(a,
              POLICY("old", "1", "",
                     "'balance':{'algorithm':'Hash','hash':{'by':'Cookie','name':'u'}},"
                     "'slowStart':'30s','check':{'type':'HTTP','interval':'500ms','http':{'path'"
                     ":'/ok','status':{'min':204}}},'outlier':{'consecutiveFailures':5},'limits':"
                     "{'maxPending':9,'queueTimeout':'2s'},'timeouts':{'connect':'100ms'},"
                     "'proxyProtocol':'v2','goawayChance':0.001,'servers':[{'name':'web-0',"
                     "'weight':10,'maxConnections':7},{'address':'10.1.0.2','weight':0}]")));
    sp_vec_push(&v.backend_policies, parse(a, POLICY("part", "2", ",'sectionName':'admin'",
                                                     "'balance':{'algorithm':'RoundRobin'}")));
    sp_translation *t = sp_translate(&v, &o);
    const sp_pool_spec *p = pool(t, "ns/web:80"); /* the oldest wins */
    assert_int_equal(p->algorithm, SP_BALANCE_HASH);
    assert_int_equal(p->hash_by, SP_HASH_COOKIE);
    assert_int_equal(p->slow_start_ms, 30000);
    assert_int_equal(p->check.kind, SP_CHECK_HTTP);
    assert_int_equal(p->check.interval_ms, 500);
    assert_int_equal(p->check.status_min, 204);
    assert_int_equal(p->outlier.consecutive, 5);
    assert_int_equal(p->limits.max_pending, 9);
    assert_int_equal(p->limits.queue_timeout_ms, 2000);
    assert_int_equal(p->connect_timeout_ms, 100);
    assert_int_equal(p->send_proxy, 2);
    assert_int_equal(p->goaway_per_million, 1000);
    assert_int_equal(p->endpoints[0].weight, 10);
    assert_int_equal(p->endpoints[0].max_connections, 7);
    assert_true(!p->endpoints[1].ready && p->endpoints[1].draining);
    assert_int_equal(pool(t, "ns/web:81")->algorithm, SP_BALANCE_ROUND_ROBIN); /* more precise */
    static const struct {
        const char *reason;
        bool accepted;
    } want[] = {{"Conflicted", false}, {"Accepted", true}, {"Accepted", true}};
    for (size_t i = 0; i < 3; i++) {
        sp_policy_verdict verdict = sp_policy_accepted(a, &v, &o, v.backend_policies.p[i]);
        assert_string_equal(verdict.reason, want[i].reason);
        assert_int_equal(verdict.accepted, want[i].accepted);
    }
    sp_vec_push(&v.backend_policies, parse(a, POLICY("run", "4", ",'sectionName':'http'",
                                                     "'check':{'type':'Script','script':'id'}")));
    sp_policy_verdict script = sp_policy_accepted(a, &v, &o, v.backend_policies.p[3]);
    assert_true(!script.accepted && strstr(script.text.p, "--script-checks"));
    sp_translation *u = sp_translate(&v, &o);
    assert_int_equal(pool(u, "ns/web:80")->check.kind, SP_CHECK_NONE);
    sp_translation_free(u);
    o.script_checks = true;
    u = sp_translate(&v, &o);
    assert_int_equal(pool(u, "ns/web:80")->check.kind, SP_CHECK_SCRIPT);
    sp_translation_free(u);
    v.services.n = 0;
    assert_string_equal(sp_policy_accepted(a, &v, &o, v.backend_policies.p[1]).reason,
                        "TargetNotFound");
    sp_translation_free(t);
    sp_cluster_view_free(&v);
}

static void traffic_policies_become_listeners(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_cluster_view v = {0};
    sp_translate_options o = {.bind = addr("127.0.0.1")};
    sp_vec_push(&v.services, parse(a, SERVICE));
    sp_vec_push(&v.traffic_policies,
                parse(a, "{'kind':'TrafficPolicy','metadata':{'name':'p','namespace':'ns'},'spec':{"
                         "'targetRefs':[{'group':'','kind':'Service','name':'web'}],'allow':["
                         "'10.0.0.0/8','192.0.2.1'],'deny':['nonsense'],'acceptProxyProtocol':{"
                         "'from':['10.9.9.9/32']},'maxConnections':5,'connectionRate':6,"
                         "'timeouts':{'requestHead':'4s'}}}"));
    sp_translation *t = sp_translate(&v, &o);
    assert_true(t->config->listener_count >= 2);
    const sp_listener_spec *l = &t->config->listeners[0];
    sp_addr in = addr("192.0.2.1"), out = addr("192.0.2.2");
    assert_int_equal(
        sp_admit_client(NULL,
                        &(sp_listener_spec){.sources = l->sources, .source_count = l->source_count},
                        &in, 0, 0),
        SP_ADMIT_OK);
    assert_int_equal(
        sp_admit_client(NULL,
                        &(sp_listener_spec){.sources = l->sources, .source_count = l->source_count},
                        &out, 0, 0),
        SP_ADMIT_DENIED);
    assert_int_equal(l->proxy_from_count, 1);
    assert_int_equal(l->max_connections, 5);
    assert_int_equal(l->client_rate, 6);
    assert_int_equal(l->head_timeout_ms, 4000);
    assert_true(sp_policy_accepted(a, &v, &o, v.traffic_policies.p[0]).accepted);
    sp_translation_free(t);
    sp_cluster_view_free(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_fill_again),
        cmocka_unit_test(memory_is_bounded_and_the_greedy_stay),
        cmocka_unit_test(loops_count_together),
        cmocka_unit_test(addresses_are_let_in),
        cmocka_unit_test(limits_know_whom_they_count),
        cmocka_unit_test(ipv6_sources_are_prefixes),
        cmocka_unit_test(ports_let_in),
        cmocka_unit_test(backend_policies_become_pools),
        cmocka_unit_test(traffic_policies_become_listeners),
    };
    return cmocka_run_group_tests_name("gateway_admit", tests, NULL, NULL);
}
