#include "gateway/steer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *say(sp_steer *s, const char *request) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *r;
    sp_steering said;
    const char *wrong;
    assert_true(sp_json_parse(a, sp_str_z(request), &r, NULL));
    if (!sp_steer_read(r, &said, &wrong)) return wrong;
    sp_steer_set(s, &said);
    return NULL;
}

static void is(const sp_steer *s, const char *pool, sp_steer_state state, int weight) {
    sp_addr at;
    assert_true(sp_addr_parse(SP_STR("10.0.0.1"), 80, &at));
    sp_steering now = sp_steer_get(s, sp_str_z(pool), SP_STR("s1"), &at);
    assert_int_equal(now.state, state);
    assert_int_equal(now.weight, weight);
}

static void state_and_weight_are_said_apart(void **state) {
    (void)state;
    sp_steer *s = sp_steer_new();
    is(s, "a", SP_STEER_AS_IT_IS, -1);
    assert_null(say(s, "{\"server\":\"s1\",\"state\":\"drain\"}"));
    assert_null(say(s, "{\"server\":\"10.0.0.1\",\"weight\":7}"));
    is(s, "a", SP_STEER_DRAIN, 7);
    assert_null(say(s, "{\"server\":\"s1\",\"pool\":\"a\",\"state\":\"disable\"}"));
    is(s, "a", SP_STEER_DISABLED, 7);
    is(s, "b", SP_STEER_DRAIN, 7);
    assert_null(say(s, "{\"server\":\"10.0.0.1:80\",\"pool\":\"a\",\"state\":\"enable\"}"));
    is(s, "a", SP_STEER_AS_IT_IS, -1);
    is(s, "b", SP_STEER_DRAIN, 7);
    assert_null(say(s, "{\"server\":\"s1\",\"pool\":\"a\",\"weight\":0}"));
    is(s, "a", SP_STEER_AS_IT_IS, 0);
    sp_steer_free(s);
}

static void a_successor_is_told_all_of_it(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_steer *s = sp_steer_new(), *next = sp_steer_new();
    const char *const words[] = {"{\"server\":\"s1\",\"state\":\"drain\"}",
                                 "{\"server\":\"s1\",\"weight\":7}",
                                 "{\"server\":\"s1\",\"pool\":\"a\",\"state\":\"enable\"}",
                                 "{\"server\":\"s1\",\"pool\":\"b\",\"state\":\"disable\"}",
                                 "{\"server\":\"10.0.0.1\",\"pool\":\"c\",\"weight\":256}"};
    for (size_t i = 0; i < SP_COUNT(words); i++) assert_null(say(s, words[i]));
    sp_steer_hear(next, sp_steer_tell(s, a));
    sp_steer_hear(next, NULL);
    is(next, "a", SP_STEER_AS_IT_IS, -1);
    is(next, "b", SP_STEER_DISABLED, 7);
    is(next, "c", SP_STEER_DRAIN, 256);
    is(next, "d", SP_STEER_DRAIN, 7);
    sp_steer_free(s);
    sp_steer_free(next);
}

static void what_is_wrong_is_told(void **state) {
    (void)state;
    sp_steer *s = sp_steer_new();
    assert_non_null(say(s, "{\"server\":\"s1\"}"));
    assert_non_null(say(s, "{\"server\":\"s1\",\"state\":\"sleep\"}"));
    assert_non_null(say(s, "{\"server\":\"s1\",\"weight\":257}"));
    assert_non_null(say(s, "{\"server\":\"s1\",\"weight\":-2}"));
    assert_non_null(say(s, "{\"state\":\"drain\"}"));
    is(s, "a", SP_STEER_AS_IT_IS, -1);
    sp_steer_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_and_weight_are_said_apart),
        cmocka_unit_test(a_successor_is_told_all_of_it),
        cmocka_unit_test(what_is_wrong_is_told),
    };
    return cmocka_run_group_tests_name("gateway_steer", tests, NULL, NULL);
}
