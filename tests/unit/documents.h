/* For tests that read and compare JSON documents. */
#pragma once
#include "data/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static inline sp_json *parse(sp_arena *a, const char *text) {
    sp_json *j = NULL;
    sp_err err = {0};
    if (!sp_json_parse(a, sp_str_z(text), &j, &err)) fail_msg("%s in %s", err.text, text);
    return j;
}

static inline void assert_json(const sp_json *j, const char *want) {
    sp_auto(sp_buf) b = {0};
    sp_json_write(&b, j);
    assert_string_equal(b.p, want);
}
