/* Which address of a machine others would use. */
#include "net/own_address.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static sp_own_candidate one(const char *what) {
    return (sp_own_candidate){.running = strchr(what, 'u') != NULL, /* up */
                              .routed = strchr(what, 'r') != NULL,
                              .physical = strchr(what, 'p') != NULL};
}

static void the_best_is_chosen(void **state) {
    (void)state;
    static const struct {
        const char *list[4];
        size_t best;
    } rows[] = {
        {{"u"}, 0},
        {{""}, 0},
        {{"u", "u"}, 0},        /* of equals the first */
        {{"", "u"}, 1},         /* the other end of a pair is going away */
        {{"rp", "u"}, 1},       /* the cable is out */
        {{"u", "ur"}, 1},       /* the default route */
        {{"up", "ur"}, 1},      /* which may be on a bridge */
        {{"u", "up"}, 1},       /* without one: no pair, no bridge */
        {{"u", "up", "up"}, 1}, /* in their order */
        {{"r", "p", "u", "up"}, 3},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_own_candidate list[4];
        size_t n = 0;
        for (; n < 4 && rows[i].list[n]; n++) list[n] = one(rows[i].list[n]);
        assert_int_equal(sp_own_address_choose(list, n), rows[i].best);
    }
}

static void loopback_is_known(void **state) {
    (void)state;
    static const char *const yes[] = {"127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"};
    static const char *const no[] = {"10.0.0.1",        "0.0.0.0",     "::", "fd00::1",
                                     "::ffff:10.0.0.1", "127.example", ""};
    for (size_t i = 0; i < SP_COUNT(yes); i++) assert_true(sp_address_is_loopback(yes[i]));
    for (size_t i = 0; i < SP_COUNT(no); i++) assert_false(sp_address_is_loopback(no[i]));
}

static void an_address_is_here_or_not(void **state) {
    (void)state;
    char address[46], interface[IF_NAMESIZE];
    bool any = sp_own_address(NULL, address, interface);
    if (any) assert_true(sp_own_address_is_here(address));
    assert_false(sp_own_address_is_here("203.0.113.77"));
    assert_false(sp_own_address_is_here("no address"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_is_chosen),
        cmocka_unit_test(loopback_is_known),
        cmocka_unit_test(an_address_is_here_or_not),
    };
    return cmocka_run_group_tests_name("own_address", tests, NULL, NULL);
}
