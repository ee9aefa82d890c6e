#include "fake_api.h"

#include "kube/gvrs.h"
#include "kube/informer.h"

static char told[4096]; /* "+a ~b -c " in the order of the calls */

static void on_change(void *ctx, const sp_json *old, const sp_json *obj) {
    (void)ctx;
    size_t n = strlen(told);
    snprintf(told + n, sizeof told - n, "%c%.*s ",
             !old  ? '+'
             : obj ? '~'
                   : '-',
             SP_ARG(sp_obj_name(obj ? obj : old)));
}

static fake_api *f;
static sp_informer *inf;

static int setup(void **state) {
    (void)state;
    told[0] = 0;
    f = fake_new();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    sp_informer_free(inf);
    fake_free(f);
    return 0;
}

static void start(void) {
    sp_informer_config c = {.gvr = &sp_gvr_pods};
    inf = sp_informer_new(f->kube, &c);
    sp_informer_on_change(inf, on_change, NULL);
}

#define POD(name, rv)                                                                              \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"d\",\"resourceVersion\":\"" rv           \
    "\",\"managedFields\":[{\"x\":1}],\"ownerReferences\":[{\"uid\":\"o1\",\"controller\":true}]}" \
    "}"
#define LIST(rv, items) "{\"metadata\":{\"resourceVersion\":\"" rv "\"},\"items\":[" items "]}"
#define EVENT(type, obj) "{\"type\":\"" type "\",\"object\":" obj "}"
#define BOOKMARK(rv) EVENT("BOOKMARK", "{\"metadata\":{\"resourceVersion\":\"" rv "\"}}")

static void lists_then_follows_the_watch(void **state) {
    (void)state;
    f->list_body = LIST("10", POD("b", "7") "," POD("a", "8"));
    start();
    fake_wait(f, sp_informer_synced(inf) && f->watch);
    assert_string_equal(told, "+b +a ");
    assert_non_null(strstr(f->watch_query, "resourceVersion=10"));
    assert_non_null(strstr(f->watch_query, "allowWatchBookmarks=true"));
    fake_send(f, EVENT("ADDED", POD("c", "11")));
    fake_send(f, EVENT("MODIFIED", POD("a", "12")));
    fake_send(f, EVENT("MODIFIED", POD("a", "12"))); /* seen already */
    fake_send(f, EVENT("DELETED", POD("b", "13")));
    fake_wait(f, sp_informer_revision(inf) == 13);
    assert_string_equal(told, "+b +a +c ~a -b ");
    assert_int_equal(sp_informer_count(inf), 2);
    assert_null(sp_informer_get(inf, SP_STR("d"), SP_STR("b")));
    const sp_json *a = sp_informer_get(inf, SP_STR("d"), SP_STR("a"));
    assert_int_equal(sp_obj_rv(a), 12);
    assert_true(sp_str_eqz(sp_obj_kind(a), "Pod"));
    assert_null(sp_json_dig(a, "metadata", "managedFields", NULL));

    sp_obj_list list = {0}, owned = {0}, other = {0};
    sp_informer_list(inf, SP_STR("d"), &list);
    assert_int_equal(list.n, 2);
    assert_true(sp_str_eqz(sp_obj_name(list.p[0]), "a"));
    sp_informer_owned(inf, SP_STR("o1"), &owned);
    assert_int_equal(owned.n, 2);
    sp_informer_list(inf, SP_STR("e"), &other);
    assert_int_equal(other.n, 0);
    sp_vec_free(&list);
    sp_vec_free(&owned);
}

static void a_broken_watch_goes_on_where_it_was(void **state) {
    (void)state;
    f->list_body = LIST("10", POD("a", "8"));
    start();
    fake_send(f, BOOKMARK("20"));
    fake_wait(f, sp_informer_revision(inf) == 20);
    sp_http_end(f->watch);
    fake_wait(f, f->watches == 2 && f->watch);
    assert_non_null(strstr(f->watch_query, "resourceVersion=20"));
    fake_send(f, EVENT("ADDED", POD("b", "21")));
    fake_wait(f, sp_informer_revision(inf) == 21);
    assert_int_equal(f->lists, 1);
    assert_string_equal(told, "+a +b ");
}

static void gone_lists_again_and_tells_the_difference(void **state) {
    (void)state;
    f->list_body = LIST("10", POD("a", "5") "," POD("b", "6") "," POD("c", "7"));
    start();
    fake_wait(f, f->watch != NULL);
    f->list_body = LIST("90", POD("a", "5") "," POD("c", "80") "," POD("d", "81"));
    fake_send(
        f, EVENT("ERROR",
                 "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\",\"message\":\"old\"}"));
    fake_wait(f, f->lists == 2 && f->watches == 2 && f->watch);
    assert_string_equal(told, "+a +b +c ~c +d -b ");
    assert_non_null(strstr(f->watch_query, "resourceVersion=90"));
    /* the same as an answer of the watch request itself */
    f->watch_status = 410;
    f->watch_body = "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Gone\",\"message\":\"old\"}";
    sp_http_end(f->watch);
    fake_wait(f, f->watches == 3);
    f->watch_status = 200;
    f->list_body = LIST("95", POD("d", "81"));
    fake_wait(f, f->watches >= 4 && f->watch);
    assert_string_equal(told, "+a +b +c ~c +d -b -c -a ");
}

static void a_watch_refused_again_and_again_lists_anew(void **state) {
    (void)state;
    f->list_body = LIST("10", POD("a", "5"));
    f->watch_status = 504;
    f->watch_body =
        "{\"kind\":\"Status\",\"code\":504,\"reason\":\"Timeout\",\"message\":\"too large\"}";
    start();
    fake_wait(f, f->lists == 2);
    assert_int_equal(f->watches, 4);
}

static void lists_come_in_pages(void **state) {
    (void)state;
    f->list_body = "{\"metadata\":{\"resourceVersion\":\"10\",\"continue\":\"t\"},\"items\":[" POD(
        "a", "5") "]}";
    start();
    fake_wait(f, f->lists >= 2);
    assert_false(sp_informer_synced(inf));
    f->list_body = LIST("10", POD("b", "6"));
    fake_wait(f, sp_informer_synced(inf));
    assert_string_equal(told, "+a +b ");
}

static void a_failing_list_is_tried_again(void **state) {
    (void)state;
    f->list_status = 503;
    f->list_body =
        "{\"kind\":\"Status\",\"code\":503,\"reason\":\"ServiceUnavailable\",\"message\":\"no\"}";
    start();
    fake_wait(f, f->lists >= 2);
    f->list_status = 200;
    f->list_body = LIST("10", POD("a", "5"));
    fake_wait(f, sp_informer_synced(inf));
    assert_string_equal(told, "+a ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lists_then_follows_the_watch, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broken_watch_goes_on_where_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(gone_lists_again_and_tells_the_difference, setup, teardown),
        cmocka_unit_test_setup_teardown(a_watch_refused_again_and_again_lists_anew, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(lists_come_in_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failing_list_is_tried_again, setup, teardown),
    };
    return cmocka_run_group_tests_name("informer", tests, NULL, NULL);
}
