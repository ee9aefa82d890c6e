/* Patterns from outside (CRD schemas), matched by PCRE2 under limits of steps, depth and memory, so
 * that no pattern and no subject can hold up the server. Compiled patterns are immutable and may be
 * used by any thread. */
#pragma once
#include "base/arena.h"
#include "base/err.h"

typedef struct sp_regex sp_regex;

typedef enum sp_regex_result {
    SP_REGEX_NO,
    SP_REGEX_YES,
    SP_REGEX_GAVE_UP /* a limit was reached: treat as no match and say so */
} sp_regex_result;

/* Everything lives in the arena. Errors (SP_INVALID) say what is wrong at which character. */
SP_MUST_USE bool sp_regex_compile(sp_arena *a, sp_str pattern, const sp_regex **ret, sp_err *err);
/* Does it match anywhere in the text? UTF-8 on both sides. */
sp_regex_result sp_regex_search(const sp_regex *re, sp_str text);

/* For the data path: nothing is allocated once a thread has matched a few times. The whole text
 * must match. ret_groups (may be NULL with n = 0): [0] the whole, [1]… its groups, "" where a group
 * took no part; borrowed from text. */
enum { SP_REGEX_GROUPS = 10 };
sp_regex_result sp_regex_match(const sp_regex *re, sp_str text, sp_str *ret_groups, size_t n);
