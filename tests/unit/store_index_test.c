/* The index against a sorted array: thousands of random changes, every question compared. */
#include "store/index.h"

#include "base/rng.h"
#include "store/value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { MAX_KEYS = 400, STEPS = 6000 };

typedef struct model {
    char keys[MAX_KEYS][24];
    uint64_t revs[MAX_KEYS];
    size_t n;
} model;

static size_t place(const model *m, const char *key) {
    size_t i = 0;
    while (i < m->n && strcmp(m->keys[i], key) < 0) i++;
    return i;
}

static bool model_has(const model *m, const char *key) {
    size_t i = place(m, key);
    return i < m->n && strcmp(m->keys[i], key) == 0;
}

static void model_put(model *m, const char *key, uint64_t rev) {
    size_t i = place(m, key);
    if (!model_has(m, key)) {
        memmove(m->keys[i + 1], m->keys[i], (m->n - i) * sizeof m->keys[0]);
        memmove(&m->revs[i + 1], &m->revs[i], (m->n - i) * sizeof m->revs[0]);
        memset(m->keys[i], 0, sizeof m->keys[i]);
        strcpy(m->keys[i], key);
        m->n++;
    }
    m->revs[i] = rev;
}

static void model_remove(model *m, const char *key) {
    size_t i = place(m, key);
    memmove(m->keys[i], m->keys[i + 1], (m->n - i - 1) * sizeof m->keys[0]);
    memmove(&m->revs[i], &m->revs[i + 1], (m->n - i - 1) * sizeof m->revs[0]);
    m->n--;
}

static void random_key(char key[24]) { /* few letters: many shared prefixes and rewrites */
    size_t n = 1 + sp_rng_below(5);
    memset(key, 0, 24);
    for (size_t i = 0; i < n; i++) key[i] = "ab/\xff"[sp_rng_below(4)];
}

static void compare_walk(const model *m, const sp_index *x, const char *prefix, const char *after) {
    size_t i = 0;
    sp_str p = sp_str_z(prefix);
    for (sp_index_node *n = sp_index_first(x, p, sp_str_z(after)); n; n = sp_index_next(n, p)) {
        while (i < m->n &&
               (strncmp(m->keys[i], prefix, p.n) != 0 || strcmp(m->keys[i], after) <= 0))
            i++;
        assert_true(i < m->n && sp_str_eqz(sp_index_key(n), m->keys[i]));
        assert_int_equal(sp_index_value(n)->rev, m->revs[i]);
        i++;
    }
    for (; i < m->n; i++)
        assert_false(strncmp(m->keys[i], prefix, p.n) == 0 && strcmp(m->keys[i], after) > 0);
}

static void compare_count(const model *m, const sp_index *x, const char *prefix) {
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) n += strncmp(m->keys[i], prefix, strlen(prefix)) == 0;
    assert_int_equal(sp_index_count(x, sp_str_z(prefix)), n);
    assert_int_equal(sp_index_size(x), m->n);
}

static void change(model *m, sp_index *x, uint64_t rev) {
    char key[24];
    random_key(key);
    if (sp_rng_below(5) < 2 || m->n == MAX_KEYS - 1) {
        bool there = model_has(m, key);
        assert_int_equal(sp_index_remove(x, sp_str_z(key)), there);
        if (there) model_remove(m, key);
        return;
    }
    sp_store_value *v = sp_store_value_new(SP_STR("{}"), 1, rev, rev);
    sp_index_put(x, sp_str_z(key), v);
    sp_store_value_unref(v);
    model_put(m, key, rev);
}

static void behaves_like_a_sorted_array(void **state) {
    (void)state;
    static model m;
    sp_index *x = sp_index_new();
    for (uint64_t step = 1; step <= STEPS; step++) {
        change(&m, x, step);
        char prefix[24], after[24], key[24];
        random_key(prefix), random_key(after), random_key(key);
        prefix[sp_rng_below(3)] = 0;
        if (sp_rng_below(2)) after[0] = 0;
        compare_count(&m, x, prefix);
        compare_walk(&m, x, prefix, after);
        assert_int_equal(sp_index_get(x, sp_str_z(key)) != NULL, model_has(&m, key));
    }
    assert_true(m.n > 50);
    sp_index_free(x);
}

static void counts_stay_right_when_large(void **state) {
    (void)state;
    sp_index *x = sp_index_new();
    sp_store_value *v = sp_store_value_new(SP_STR(""), 0, 1, 1);
    char key[48];
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "/pods/ns-%u/p-%u", i % 7, i * 7919u % 20000u);
        sp_index_put(x, sp_str_z(key), v);
    }
    assert_int_equal(sp_index_count(x, SP_STR("")), 20000);
    assert_int_equal(sp_index_count(x, SP_STR("/pods/ns-3/")), 2857);
    assert_int_equal(sp_index_count(x, SP_STR("/q")), 0);
    assert_int_equal(v->refs, 20001);
    sp_index_free(x);
    assert_int_equal(v->refs, 1);
    sp_store_value_unref(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behaves_like_a_sorted_array),
        cmocka_unit_test(counts_stay_right_when_large),
    };
    return cmocka_run_group_tests_name("store_index", tests, NULL, NULL);
}
