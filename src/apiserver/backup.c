/* The values are referenced at once, so they are of one revision whatever happens meanwhile; they
 * are written as fast as the reader takes them. */
#include "apiserver/backup.h"
#include "base/clock.h"
#include "store/dump.h"

enum { PIECE = 256 * 1024 };

typedef struct entry {
    sp_str key; /* in the arena */
    sp_store_value *value;
} entry;

typedef struct backup {
    sp_http_res *res;
    sp_arena *arena;
    SP_VEC(entry) entries;
    size_t at;
    sp_dump_writer writer;
    bool over;
} backup;

static bool collect(void *ctx, sp_str key, sp_store_value *v) {
    backup *b = ctx;
    sp_vec_push(&b->entries, ((entry){sp_arena_str(b->arena, key), sp_store_value_ref(v)}));
    return true;
}

static int by_rev(const void *a, const void *b) {
    const entry *x = a, *y = b;
    return x->value->rev < y->value->rev ? -1 : x->value->rev > y->value->rev;
}

static void free_backup(void *ctx) {
    backup *b = ctx;
    for (size_t i = b->at; i < b->entries.n; i++) sp_store_value_unref(b->entries.p[i].value);
    sp_vec_free(&b->entries);
    if (!b->over) sp_dump_drop(&b->writer);
    sp_arena_free(b->arena);
    free(b);
}

static void write_more(void *ctx) {
    backup *b = ctx;
    sp_auto(sp_buf) piece = {0};
    while (b->at < b->entries.n && piece.n < PIECE) {
        entry *e = &b->entries.p[b->at++];
        sp_dump_object(&b->writer, &piece, e->key, e->value);
        sp_store_value_unref(e->value);
    }
    bool last = b->at == b->entries.n && !b->over;
    if (last) sp_dump_end(&b->writer, &piece);
    if (last) b->over = true;
    sp_http_write(b->res, sp_buf_str(&piece));
    if (last)
        sp_http_end(b->res);
    else if (!b->over)
        sp_http_on_drain(b->res, write_more, b);
}

void sp_backup_serve(sp_call *c, sp_str rest) {
    static const sp_header type = {SP_STR_INIT("content-type"),
                                   SP_STR_INIT("application/x-ndjson")};
    sp_store *store = c->op.s->store;
    sp_err err = {0};
    (void)rest;
    if (!sp_str_eqz(c->http->method, "GET")) {
        sp_fail(&err, SP_METHOD_NOT_ALLOWED, "a backup is read by GET");
        sp_call_fail(c, &err, NULL);
        return;
    }
    sp_str text;
    uint64_t rev = 0;
    if (sp_call_query(c, "revision", &text) && text.n && !sp_str_u64(text, &rev)) {
        sp_fail(&err, SP_BAD_REQUEST, "revision: \"%.*s\" is no whole number", SP_ARG(text));
        sp_call_fail(c, &err, NULL);
        return;
    }
    backup *b = sp_zalloc(1, sizeof *b);
    sp_auto(sp_buf) head = {0};
    b->res = c->res;
    b->arena = sp_arena_new();
    if (!sp_store_range(store, SP_STR("/registry/"), SP_STR(""), rev, collect, b, &err)) {
        b->over = true;
        free_backup(b);
        sp_call_fail(c, &err, NULL);
        return;
    }
    if (b->entries.n) qsort(b->entries.p, b->entries.n, sizeof *b->entries.p, by_rev);
    sp_dump_begin(&b->writer, &head, rev ? rev : sp_store_revision(store), b->entries.n,
                  sp_clock_wall_ms());
    sp_call_count(c, 200);
    sp_http_on_close(b->res, free_backup, b);
    sp_http_begin(b->res, 200, &type, 1);
    sp_http_write(b->res, sp_buf_str(&head));
    sp_http_on_drain(b->res, write_more, b);
    sp_call_end(c);
}
