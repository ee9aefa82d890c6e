#include "store/dump.h"
#include "data/json.h"
#include "data/time.h"
#include "store/etcd_key.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>

enum { HASH_BYTES = 32, VERSION = 1 };

/* --- the hash over everything --- */

static void *hash_new(void) {
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    sp_assert(c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1);
    return c;
}

static void hash_add(void *h, sp_str s) {
    sp_assert(EVP_DigestUpdate(h, s.p, s.n) == 1);
}

static void hash_free(void **h) {
    EVP_MD_CTX_free(*h);
    *h = NULL;
}

static void hash_text(void *h, char ret[2 * HASH_BYTES + 1]) {
    unsigned char sum[HASH_BYTES];
    sp_assert(EVP_DigestFinal_ex(h, sum, NULL) == 1);
    sp_hex_print(sum, HASH_BYTES, ret);
}

/* --- writing --- */

static void seal(sp_dump_writer *w, const sp_buf *b, size_t from) {
    hash_add(w->hash, sp_str_from(sp_buf_str(b), from));
}

void sp_dump_begin(sp_dump_writer *w, sp_buf *b, uint64_t revision, uint64_t objects,
                   int64_t wall_ms) {
    size_t from = b->n;
    char created[SP_TIME_MAX];
    *w = (sp_dump_writer){.hash = hash_new()};
    sp_time_format(wall_ms, created);
    sp_buf_printf(b,
                  "{\"sampan\":\"backup\",\"version\":%d,\"revision\":%" PRIu64
                  ",\"objects\":%" PRIu64 ",\"created\":\"%s\"}\n",
                  VERSION, revision, objects, created);
    seal(w, b, from);
}

void sp_dump_object(sp_dump_writer *w, sp_buf *b, sp_str key, const sp_store_value *v) {
    size_t from = b->n;
    sp_str bytes = sp_blob_str(v->bytes);
    sp_buf_addz(b, "{\"key\":");
    sp_json_write_string(b, key);
    sp_buf_printf(b, ",\"rev\":%" PRIu64 ",\"createRev\":%" PRIu64 ",\"value\":", v->rev,
                  v->create_rev);
    sp_buf_add(b, sp_str_sub(bytes, 0, v->rev_at));
    sp_buf_add(b, sp_str_from(bytes, v->rev_at + v->rev_len));
    sp_buf_addz(b, "}\n");
    seal(w, b, from);
    w->objects++;
}

void sp_dump_end(sp_dump_writer *w, sp_buf *b) {
    char sum[2 * HASH_BYTES + 1];
    hash_text(w->hash, sum);
    sp_buf_printf(b, "{\"end\":true,\"objects\":%" PRIu64 ",\"sha256\":\"%s\"}\n", w->objects, sum);
    hash_free(&w->hash);
}

void sp_dump_drop(sp_dump_writer *w) {
    hash_free(&w->hash);
}

/* --- reading --- */

static bool bad(const sp_dump_reader *r, sp_err *err, const char *what) {
    return sp_fail(err, SP_INVALID, "line %" PRIu64 ": %s", r->lines, what);
}

static bool read_head(sp_dump_reader *r, const sp_json *j, sp_err *err) {
    if (!sp_str_eqz(sp_json_str(sp_json_get(j, "sampan")), "backup"))
        return bad(r, err, "this is not a backup of Sampan");
    if (sp_json_int(sp_json_get(j, "version"), 0) != VERSION)
        return bad(r, err, "a backup of a newer Sampan");
    r->head.revision = (uint64_t)sp_json_int(sp_json_get(j, "revision"), 0);
    r->head.objects = (uint64_t)sp_json_int(sp_json_get(j, "objects"), 0);
    snprintf(r->head.created, sizeof r->head.created, "%s", sp_json_get_z(j, "created"));
    return true;
}

static bool read_end(sp_dump_reader *r, const sp_json *j, sp_err *err) {
    char sum[2 * HASH_BYTES + 1];
    hash_text(r->hash, sum);
    if (!sp_str_eqz(sp_json_str(sp_json_get(j, "sha256")), sum))
        return bad(r, err, "the checksum does not fit: the file was changed or damaged");
    if ((uint64_t)sp_json_int(sp_json_get(j, "objects"), -1) != r->objects)
        return bad(r, err, "objects are missing");
    r->complete = true;
    return true;
}

/* The value as it stands in the line. No string can hold these very bytes: its quotes would be
 * escaped; and the key comes before. */
static bool find_value(sp_str line, sp_str *ret) {
    static const sp_str before = SP_STR_INIT(",\"value\":");
    ptrdiff_t at = sp_str_find(line, before);
    if (at < 0) return false;
    *ret = sp_str_from(line, (size_t)at + before.n);
    if (ret->n && ret->p[ret->n - 1] == '\n') ret->n--;
    if (!ret->n || ret->p[ret->n - 1] != '}') return false;
    ret->n--;
    return true;
}

static bool read_item(sp_dump_reader *r, sp_arena *a, sp_str line, const sp_json *j,
                      sp_dump_item *ret, sp_err *err) {
    (void)a;
    sp_str key = sp_json_str(sp_json_get(j, "key"));
    ret->rev = (uint64_t)sp_json_int(sp_json_get(j, "rev"), 0);
    ret->create_rev = (uint64_t)sp_json_int(sp_json_get(j, "createRev"), 0);
    if (!sp_str_starts(key, SP_STR(SP_ETCD_DATA)) || key.n > 4096)
        return bad(r, err, "the key is none of ours");
    if (!ret->rev || ret->rev < r->last_rev || ret->create_rev > ret->rev)
        return bad(r, err, "its revision is out of order");
    if (!find_value(line, &ret->value) || !sp_etcd_find_rev(ret->value, &ret->rev_at))
        return bad(r, err, "the value is not an object");
    ptrdiff_t at = sp_str_find(line, key); /* keys hold nothing that is escaped */
    if (at < 0) return bad(r, err, "the key is none of ours");
    ret->key = sp_str_sub(line, (size_t)at, key.n);
    r->last_rev = ret->rev;
    r->objects++;
    return true;
}

bool sp_dump_read(sp_dump_reader *r, sp_str line, bool *ret_item, sp_dump_item *ret, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *j = NULL;
    sp_err why = {0};
    r->lines++;
    *ret_item = false;
    if (r->complete) return bad(r, err, "something stands behind the end");
    if (!sp_json_parse(a, line, &j, &why)) return bad(r, err, why.text);
    if (!r->hash) r->hash = hash_new();
    if (sp_json_bool(sp_json_get(j, "end"), false)) return read_end(r, j, err);
    hash_add(r->hash, line);
    if (r->lines == 1) return read_head(r, j, err);
    *ret_item = true;
    return read_item(r, a, line, j, ret, err);
}

bool sp_dump_finish(sp_dump_reader *r, sp_err *err) {
    bool complete = r->complete;
    hash_free(&r->hash);
    if (complete) return true;
    return sp_fail(err, SP_INVALID,
                   r->lines ? "the file ends after %" PRIu64 " lines, before its end"
                            : "the file is empty (%" PRIu64 " lines)",
                   r->lines);
}
