#include "data/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <pthread.h>

enum {
    MAX_PATTERN = 4096,
    MATCH_LIMIT = 200000, /* steps: some milliseconds */
    DEPTH_LIMIT = 2000,
    HEAP_LIMIT_KIB = 4096,
};

struct sp_regex {
    pcre2_code *code;
};

static void *take(PCRE2_SIZE n, void *arena) {
    return sp_arena_alloc(arena, n);
}
static void give_back(void *p, void *arena) {
    (void)p;
    (void)arena; /* the arena frees */
}

/* The code is made in the arena; what PCRE2 needs only while compiling may as well be there. */
bool sp_regex_compile(sp_arena *a, sp_str pattern, const sp_regex **ret, sp_err *err) {
    if (pattern.n > MAX_PATTERN)
        return sp_fail(err, SP_INVALID, "a pattern of %zu bytes; at most %d are taken", pattern.n,
                       MAX_PATTERN);
    pcre2_general_context *memory = pcre2_general_context_create(take, give_back, a);
    pcre2_compile_context *context = pcre2_compile_context_create(memory);
    pcre2_set_max_pattern_length(context, MAX_PATTERN);
    pcre2_set_parens_nest_limit(context, 50);
    int code;
    PCRE2_SIZE at;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)(pattern.p ? pattern.p : ""), pattern.n,
                                         PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY,
                                         &code, &at, context);
    if (!compiled) {
        PCRE2_UCHAR text[200] = "";
        pcre2_get_error_message(code, text, sizeof text);
        return sp_fail(err, SP_INVALID, "the pattern is broken at character %zu: %s",
                       (size_t)at + 1, (const char *)text);
    }
    sp_regex *re = SP_NEW(a, sp_regex);
    re->code = compiled;
    *ret = re;
    return true;
}

sp_regex_result sp_regex_search(const sp_regex *re, sp_str text) {
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    sp_assert(context && data);
    pcre2_set_match_limit(context, MATCH_LIMIT);
    pcre2_set_depth_limit(context, DEPTH_LIMIT);
    pcre2_set_heap_limit(context, HEAP_LIMIT_KIB);
    int n = pcre2_match(re->code, (PCRE2_SPTR)(text.p ? text.p : ""), text.n, 0, 0, data, context);
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    return n >= 0 ? SP_REGEX_YES : n == PCRE2_ERROR_NOMATCH ? SP_REGEX_NO : SP_REGEX_GAVE_UP;
}

/* --- matching without allocation: one set of working memory per thread --- */

typedef struct workspace {
    pcre2_match_context *context;
    pcre2_match_data *data;
} workspace;

static _Thread_local workspace own;
static pthread_key_t at_exit;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void drop_workspace(void *p) {
    workspace *w = p;
    pcre2_match_data_free(w->data);
    pcre2_match_context_free(w->context);
    *w = (workspace){0};
}

static void drop_main(void) {
    if (own.data) drop_workspace(&own);
}

static void make_key(void) {
    pthread_key_create(&at_exit, drop_workspace);
    atexit(drop_main); /* the main thread ends without running its keys' destructors */
}

static workspace *workspace_get(void) {
    if (own.data) return &own;
    pthread_once(&once, make_key);
    own.context = pcre2_match_context_create(NULL);
    own.data = pcre2_match_data_create(SP_REGEX_GROUPS, NULL);
    sp_assert(own.context && own.data);
    pcre2_set_match_limit(own.context, MATCH_LIMIT);
    pcre2_set_depth_limit(own.context, DEPTH_LIMIT);
    pcre2_set_heap_limit(own.context, HEAP_LIMIT_KIB);
    pthread_setspecific(at_exit, &own);
    return &own;
}

sp_regex_result sp_regex_match(const sp_regex *re, sp_str text, sp_str *ret_groups, size_t n) {
    workspace *w = workspace_get();
    int found = pcre2_match(re->code, (PCRE2_SPTR)(text.p ? text.p : ""), text.n, 0,
                            PCRE2_ANCHORED | PCRE2_ENDANCHORED, w->data, w->context);
    if (found < 0) return found == PCRE2_ERROR_NOMATCH ? SP_REGEX_NO : SP_REGEX_GAVE_UP;
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(w->data);
    size_t known = found ? (size_t)found : SP_REGEX_GROUPS; /* 0: more groups than room */
    for (size_t i = 0; i < n; i++) {
        bool took_part = i < known && at[2 * i] != PCRE2_UNSET && at[2 * i] <= at[2 * i + 1];
        ret_groups[i] =
            took_part ? sp_str_sub(text, at[2 * i], at[2 * i + 1] - at[2 * i]) : SP_STR("");
    }
    return SP_REGEX_YES;
}
