#include "store/value.h"

#include <inttypes.h>
#include <stdio.h>

enum { DIGITS = 21 };

static uint32_t digits(char p[DIGITS], uint64_t rev) {
    return (uint32_t)snprintf(p, DIGITS, "%" PRIu64, rev);
}

static sp_store_value *wrap(sp_blob *taken, uint32_t rev_at, uint32_t rev_len, uint64_t rev,
                            uint64_t create_rev) {
    sp_store_value *v = sp_malloc(sizeof *v);
    *v = (sp_store_value){.refs = 1,
                          .rev = rev,
                          .create_rev = create_rev,
                          .rev_at = rev_at,
                          .rev_len = rev_len,
                          .bytes = taken};
    return v;
}

/* head, the digits of rev, tail */
static sp_blob *compose(sp_str head, uint64_t rev, sp_str tail, uint32_t *ret_len) {
    char number[DIGITS];
    uint32_t n = digits(number, rev);
    sp_blob *b = sp_blob_alloc(head.n + n + tail.n);
    if (head.n) memcpy(b->p, head.p, head.n);
    memcpy(b->p + head.n, number, n);
    if (tail.n) memcpy(b->p + head.n + n, tail.p, tail.n);
    *ret_len = n;
    return b;
}

sp_store_value *sp_store_value_new(sp_str bytes, uint32_t rev_at, uint64_t rev,
                                   uint64_t create_rev) {
    sp_assert(rev_at <= bytes.n);
    uint32_t len;
    sp_blob *b = compose(sp_str_sub(bytes, 0, rev_at), rev, sp_str_from(bytes, rev_at), &len);
    return wrap(b, rev_at, len, rev, create_rev);
}

bool sp_store_value_load(sp_str bytes, uint32_t rev_at, uint64_t rev, uint64_t create_rev,
                         sp_store_value **ret, sp_err *err) {
    char number[DIGITS];
    uint32_t n = digits(number, rev);
    if (!sp_str_eq(sp_str_sub(bytes, rev_at, n), (sp_str){number, n}))
        return sp_fail(err, SP_INTERNAL, "the bytes of revision %s do not carry it", number);
    *ret = wrap(sp_blob_new(bytes), rev_at, n, rev, create_rev);
    return true;
}

sp_store_value *sp_store_value_ref(sp_store_value *v) {
    if (v) v->refs++;
    return v;
}

sp_store_value *sp_store_value_unref(sp_store_value *v) {
    if (!v || --v->refs) return NULL;
    if (v->user && v->user_free) v->user_free(v->user);
    sp_blob_unref(v->bytes);
    free(v);
    return NULL;
}

sp_blob *sp_store_value_bytes_at(const sp_store_value *v, uint64_t rev) {
    if (rev == v->rev) return sp_blob_ref(v->bytes);
    sp_str all = sp_blob_str(v->bytes);
    uint32_t len;
    return compose(sp_str_sub(all, 0, v->rev_at), rev, sp_str_from(all, v->rev_at + v->rev_len),
                   &len);
}

sp_store_event *sp_store_event_new(uint64_t rev, sp_str key, sp_store_value *value,
                                   sp_store_value *prev) {
    sp_store_event *e = sp_malloc(sizeof *e + key.n + 1);
    char *own = (char *)(e + 1);
    if (key.n) memcpy(own, key.p, key.n);
    own[key.n] = 0;
    *e = (sp_store_event){
        .refs = 1,
        .type = !value ? SP_STORE_REMOVED
                : prev ? SP_STORE_UPDATED
                       : SP_STORE_CREATED,
        .rev = rev,
        .key = {own, key.n},
        .value = sp_store_value_ref(value),
        .prev = sp_store_value_ref(prev),
    };
    return e;
}

sp_store_event *sp_store_event_unref(sp_store_event *e) {
    if (!e || --e->refs) return NULL;
    if (e->user && e->user_free) e->user_free(e->user);
    sp_store_value_unref(e->value);
    sp_store_value_unref(e->prev);
    free(e);
    return NULL;
}
