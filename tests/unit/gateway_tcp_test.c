/* TCP from clients to endpoints: half-closes, resets, slow readers, endpoints that come, vanish and
 * go, second connects, queues and limits. */
#include "gateway_story_one.h"

static void tcp_half_close(void) {
    int l = one_server();
    int c = dial(t.tcp_port), s = take(l);
    say(c, "question");
    shutdown(c, SHUT_WR);
    hear(s, "question");
    hear_end(s); /* the client said all; the answer still goes through */
    say(s, "answer");
    hear(c, "answer");
    close(s);
    hear_end(c);
    CLOSE(c, l);
}

/* More than all buffers hold, to a reader that starts late and takes small bites. */
static void tcp_slow_reader(void) {
    int l = one_server();
    int c = dial(t.tcp_port), s = take(l);
    pthread_t sender;
    void *failed = NULL;
    pthread_create(&sender, NULL, send_bulk, &c);
    hear_bulk(s, 1000);
    say(s, "thanks");
    hear(c, "thanks");
    close(s);
    hear_end(c);
    pthread_join(sender, &failed);
    CHECK(!failed);
    CLOSE(c, l);
}

static void tcp_goes_on_to_the_next(void) {
    uint16_t dead, port;
    close(listen_on(&dead)); /* nobody is there any more */
    int l = listen_on(&port);
    ENDPOINTS({dead, true}, {port, true});
    for (int i = 0; i < 6; i++) {
        int c = dial(t.tcp_port), s = take(l);
        say(s, "here");
        hear(c, "here");
        CLOSE(c, s);
    }
    in_loop(read_stats);
    CHECK(story.stats.connect_failures >= 1 &&
          story.stats.connect_failures < 6); /* then it is avoided */
    close(l);
}

/* A backlog that is full swallows connects in silence, as an address does that is gone. */
static void tcp_leaves_a_vanished_endpoint(void) {
    uint16_t silent, port;
    int ls = listen_on(&silent), l = listen_on(&port);
    listen(ls, 0);
    int filler = dial(silent);
    ENDPOINTS({silent, true});
    int c = dial(t.tcp_port), h = dial(t.http_port);
    say(h, "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n");
    do in_loop(read_stats);
    while (story.stats.connections < 2);
    ENDPOINTS({silent, true}, {port, false}); /* changes nothing for them */
    ENDPOINTS({port, true});
    int s1 = take(l), s2 = take(l);
    CLOSE(s1, s2, c, h, filler, ls, l);
}

/* The connect's own timeout is far away: who gets through was not waiting for it. */
static void a_second_connect_wins(void) {
    uint16_t silent, port;
    int ls = listen_on(&silent), l = listen_on(&port);
    listen(ls, 0);
    int filler = dial(silent);
    ENDPOINTS({silent, true}, {port, true});
    for (int i = 0; i < 4; i++) {
        int c = dial(t.tcp_port), s = take(l);
        say(c, "over tcp");
        hear(s, "over tcp");
        CLOSE(c, s);
    }
    int h = dial(t.http_port);
    say(h, "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n");
    int s = take(l);
    hear_head(s);
    in_loop(read_stats);
    CHECK(story.stats.hedges >= 1 && story.stats.hedges_won >= 1);
    CHECK(story.stats.hedges_won < 5); /* then it is avoided */
    CLOSE(h, s, filler, ls, l);
}

/* What was slow answers first after all, or both are silent: nothing is lost or left. */
static void a_second_connect_is_not_needed(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    listen(la, 0);
    listen(lb, 0);
    int fa = dial(a), fb = dial(b);
    ENDPOINTS({a, true}, {b, true});
    int c = dial(t.tcp_port), c2 = dial(t.tcp_port);
    do in_loop(read_stats);
    while (story.stats.hedges < 2);
    CLOSE(c);             /* in the middle of both */
    int s = take(la);     /* the filler's: now there is room */
    ENDPOINTS({a, true}); /* one of the two goes */
    int s2 = take(la);
    say(c2, "late");
    hear(s2, "late");
    CLOSE(s, s2, c2, fa, fb, la, lb);
}

static void tcp_endpoint_removed(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    ENDPOINTS({a, true});
    int c = dial(t.tcp_port), s = take(la);
    say(c, "one");
    hear(s, "one");
    ENDPOINTS({b, true});
    int c2 = dial(t.tcp_port), s2 = take(lb); /* new ones go elsewhere */
    say(c, "two");                            /* the old one lives */
    hear(s, "two");
    say(s, "bye");
    hear(c, "bye");
    close(s);
    hear_end(c);
    CLOSE(c, c2, s2, la, lb);
}

static void tcp_endpoint_removed_and_cut(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    t.reset_on_removal = true;
    ENDPOINTS({a, true}, {b, true});
    int c = dial(t.tcp_port), s = take(la), c2 = dial(t.tcp_port), s2 = take(lb);
    say(c, "one");
    hear(s, "one");
    ENDPOINTS({a, false, true}, {b, true}); /* on its way out is not gone */
    say(s, "two");
    hear(c, "two");
    ENDPOINTS({b, true});
    hear_reset(c);
    hear_reset(s);
    say(c2, "three");
    hear(s2, "three");
    t.reset_on_removal = false;
    CLOSE(c, s, c2, s2, la, lb);
}

static void tcp_check_failed(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    ENDPOINTS({a, true}, {b, true});
    int c = dial(t.tcp_port), s = take(la), c2 = dial(t.tcp_port), s2 = take(lb);
    ENDPOINTS({a, false, false, true}, {b, true});
    say(c, "one"); /* kept, if nothing is said */
    hear(s, "one");
    t.reset_on_check_failure = true;
    ENDPOINTS({a, false, false, true}, {b, true});
    hear_reset(c);
    hear_reset(s);
    say(c2, "two");
    hear(s2, "two");
    ENDPOINTS({a, true}, {b, false}); /* well again; the other one is out, but not by a check */
    int c3 = dial(t.tcp_port), s3 = take(la);
    say(c3, "three");
    hear(s3, "three");
    say(c2, "four");
    hear(s2, "four");
    t.reset_on_check_failure = false;
    CLOSE(c, s, c2, s2, c3, s3, la, lb);
}

/* The Service itself goes, not one of its endpoints; another one has taken its port. */
static void tcp_service_removed_and_cut(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    t.reset_on_removal = true;
    ENDPOINTS({a, true}, {b, true});
    int c = dial(t.tcp_port), s = take(la), c2 = dial(t.tcp_port), s2 = take(lb);
    t.protocol = "+h2c";
    ENDPOINTS({a, true}); /* another way to a is a kept, and b is gone */
    hear_reset(c2);
    hear_reset(s2);
    say(c, "one");
    hear(s, "one");
    int c3 = dial(t.tcp_port), s3 = take(la);
    t.protocol = NULL;
    t.service = "ns/other";
    ENDPOINTS({b, true});
    hear_reset(c3);
    hear_reset(s3);
    hear_reset(c); /* also those who came by the way that had gone before */
    hear_reset(s);
    t.service = NULL;
    t.reset_on_removal = false;
    CLOSE(c, s, c2, s2, c3, s3, la, lb);
}

static void tcp_service_removed_while_dialling(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    listen(la, 0);
    t.reset_on_removal = true;
    int filler = dial(a);
    ENDPOINTS({a, true});
    int c = dial(t.tcp_port);
    do in_loop(read_stats);
    while (story.stats.hedges + story.stats.connections == 0);
    t.service = "ns/other";
    ENDPOINTS({b, true});
    CLOSE(take(la)); /* now there is room */
    hear_reset(c);
    t.service = NULL;
    t.reset_on_removal = false;
    CLOSE(c, filler, la, lb);
}

static void tcp_draining(void) {
    uint16_t a;
    int la = listen_on(&a);
    ENDPOINTS({a, false, true});
    int c = dial(t.tcp_port), s = take(la);
    CLOSE(c, s, la);
}

static void tcp_resets_pass(void) {
    int l = one_server();
    int c = dial(t.tcp_port), s = take(l);
    say(c, "x");
    hear(s, "x");
    reset_and_close(s);
    hear_reset(c);
    close(c);
    c = dial(t.tcp_port), s = take(l);
    say(c, "y");
    hear(s, "y");
    reset_and_close(c);
    hear_reset(s);
    CLOSE(s, l);
}

static void tcp_waits_for_an_endpoint(void) {
    uint16_t port;
    int l = listen_on(&port);
    endpoints(0, t.endpoints);
    int c = dial(t.tcp_port);
    say(c, "early");
    ENDPOINTS({port, true});
    int s = take(l);
    hear(s, "early");
    CLOSE(c, s);
    endpoints(0, t.endpoints);
    c = dial(t.tcp_port);
    hear_reset(c); /* none came */
    CLOSE(c, l);
}

static void tcp_queue_is_in_order(void) {
    uint16_t port;
    int l = listen_on(&port), c[3];
    t.limits = (sp_pool_limits){.max_connections = 1, .queue_timeout_ms = 60000};
    ENDPOINTS({port, true});
    c[0] = dial(t.tcp_port);
    int s = take(l);
    for (int i = 1; i < 3; i++) {
        c[i] = dial(t.tcp_port);
        say(c[i], i == 1 ? "first" : "second");
        await_queued((uint64_t)i);
    }
    CLOSE(s, c[0]);
    s = take(l);
    hear(s, "first");
    CLOSE(s, c[1]);
    s = take(l);
    hear(s, "second");
    CLOSE(s, c[2], l);
}

static void tcp_full_queues_refuse(void) {
    uint16_t port;
    int l = listen_on(&port);
    t.limits = (sp_pool_limits){.max_connections = 1, .max_pending = 1, .queue_timeout_ms = 60000};
    ENDPOINTS({port, true});
    int c = dial(t.tcp_port), s = take(l), waits = dial(t.tcp_port);
    await_queued(1);
    int refused = dial(t.tcp_port);
    hear_reset(refused);
    in_loop(read_stats);
    CHECK(story.stats.queue_refused == 1);
    reset_and_close(waits); /* who leaves makes room in the queue */
    do in_loop(read_stats);
    while (story.stats.open > 1);
    waits = dial(t.tcp_port);
    await_queued(2);
    CLOSE(c, s);
    s = take(l);
    CLOSE(waits, refused, s, l);
}

static void tcp_queues_time_out(void) {
    uint16_t port;
    int l = listen_on(&port);
    t.limits = (sp_pool_limits){.max_connections = 1, .queue_timeout_ms = 50};
    ENDPOINTS({port, true});
    int c = dial(t.tcp_port), s = take(l), waits = dial(t.tcp_port);
    hear_reset(waits);
    in_loop(read_stats);
    CHECK(story.stats.queue_timeouts == 1);
    CLOSE(waits, c, s, l);
}

/* The other endpoint has no place either; the first one that has gets the connection. */
static void tcp_endpoints_have_limits(void) {
    uint16_t a, b;
    int la = listen_on(&a), lb = listen_on(&b);
    t.max_connections = 1;
    t.limits.queue_timeout_ms = 60000;
    ENDPOINTS({a, true}, {b, true});
    int c1 = dial(t.tcp_port), c2 = dial(t.tcp_port), sa = take(la), sb = take(lb);
    int c3 = dial(t.tcp_port);
    await_queued(1);
    say(c3, "third");
    close(sb);
    shutdown(c1, SHUT_WR);
    shutdown(c2, SHUT_WR);
    sb = take(lb);
    hear(sb, "third");
    CLOSE(c1, c2, c3, sa, sb, la, lb);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(tcp_half_close),
        STORY(tcp_slow_reader),
        STORY(tcp_goes_on_to_the_next),
        STORY(tcp_leaves_a_vanished_endpoint),
        STORY(a_second_connect_wins),
        STORY(a_second_connect_is_not_needed),
        STORY(tcp_endpoint_removed),
        STORY(tcp_endpoint_removed_and_cut),
        STORY(tcp_check_failed),
        STORY(tcp_service_removed_and_cut),
        STORY(tcp_service_removed_while_dialling),
        STORY(tcp_draining),
        STORY(tcp_resets_pass),
        STORY(tcp_waits_for_an_endpoint),
        STORY(tcp_queue_is_in_order),
        STORY(tcp_full_queues_refuse),
        STORY(tcp_queues_time_out),
        STORY(tcp_endpoints_have_limits),
    };
    return cmocka_run_group_tests_name("gateway_tcp", tests, NULL, NULL);
}
