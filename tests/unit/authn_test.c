/* Token files and certificates: who is who. */
#include "iam/authn.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char file[] = "# the operators\n"
                           "t1,alice,1,\"dev,ops\"\n"
                           "\n"
                           "t2 , bob , 2\n"
                           "t3,system:node:n1,3,system:nodes\n"
                           "t4,\"a \"\"quoted\"\" one\",4,x\n";

static bool in_group(const sp_user *u, const char *group) {
    for (size_t i = 0; i < u->group_count; i++)
        if (sp_str_eqz(u->groups[i], group)) return true;
    return false;
}

static void tokens_name_users(void **state) {
    (void)state;
    sp_authn *a;
    sp_err err = {0};
    sp_user u;
    assert_true(sp_authn_new(sp_str_z(file), &a, &err));
    assert_true(sp_authn_identify(a, SP_STR(""), NULL, SP_STR("Bearer t1"), &u, &err));
    assert_true(sp_str_eqz(u.name, "alice") && sp_str_eqz(u.uid, "1"));
    assert_true(in_group(&u, "ops") && !in_group(&u, "dev,ops"));
    assert_true(sp_authn_identify(a, SP_STR(""), NULL, SP_STR("bearer t2"), &u, &err));
    assert_true(sp_str_eqz(u.name, "bob") && u.group_count == 0);
    assert_true(sp_authn_identify(a, SP_STR(""), NULL, SP_STR("Bearer t4"), &u, &err));
    assert_true(sp_str_eqz(u.name, "a \"quoted\" one"));
    assert_false(sp_authn_identify(a, SP_STR(""), NULL, SP_STR("Bearer nope"), &u, &err));
    assert_int_equal(err.code, SP_UNAUTHORIZED);
    assert_false(sp_authn_identify(a, SP_STR("admin"), NULL, SP_STR("Basic dDE6"), &u, &err));
    sp_authn_free(a);
}

static void certificates_name_users(void **state) {
    (void)state;
    sp_authn *a;
    sp_err err = {0};
    sp_user u;
    sp_strs orgs = {0};
    sp_vec_push(&orgs, SP_STR("system:nodes"));
    assert_true(sp_authn_new(sp_str_z(file), &a, &err));
    assert_true(sp_authn_identify(a, SP_STR("system:node:n7"), &orgs, SP_STR(""), &u, &err));
    assert_int_equal(u.kind, SP_USER_CERTIFICATE);
    assert_true(sp_str_eqz(u.name, "system:node:n7") && in_group(&u, "system:nodes"));
    assert_false(sp_user_is_master(&u));
    orgs.p[0] = SP_STR("system:masters");
    assert_true(sp_authn_identify(a, SP_STR("ann"), &orgs, SP_STR(""), &u, &err));
    assert_true(sp_user_is_master(&u));
    orgs.n = 0;
    assert_true(sp_authn_identify(a, SP_STR("system:node:n7"), &orgs, SP_STR(""), &u, &err));
    assert_int_equal(u.group_count, 0);
    assert_true(sp_authn_identify(a, SP_STR(""), NULL, SP_STR(""), &u, &err));
    assert_int_equal(u.kind, SP_USER_ANONYMOUS);
    sp_vec_free(&orgs);
    sp_authn_free(a);
}

static void broken_files_name_the_line(void **state) {
    (void)state;
    static const char *const bad[] = {"t1,alice,1\nt2\n", "t,\"open,1\n", "t,,1\n",
                                      "t,alice,1\nt,bob,2\n"};
    static const char *const line[] = {"line 2", "line 1", "line 1", "line 2"};
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        sp_authn *a;
        sp_err err = {0};
        assert_false(sp_authn_new(sp_str_z(bad[i]), &a, &err));
        assert_non_null(strstr(err.text, line[i]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tokens_name_users),
                                       cmocka_unit_test(certificates_name_users),
                                       cmocka_unit_test(broken_files_name_the_line)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
