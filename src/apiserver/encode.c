#include "apiserver/encode.h"

static void member(sp_buf *b, const sp_json *m) {
    if (b->p[b->n - 1] != '{') sp_buf_addc(b, ',');
    sp_json_write_string(b, m->key);
    sp_buf_addc(b, ':');
    sp_json_write(b, m);
}

static const char *const first_metadata[] = {"name", "generateName", "namespace", "uid"};

static bool is_first(sp_str key) {
    for (size_t i = 0; i < SP_COUNT(first_metadata); i++)
        if (sp_str_eqz(key, first_metadata[i])) return true;
    return sp_str_eqz(key, "resourceVersion");
}

void sp_encode_object(sp_buf *b, sp_str head, const sp_json *obj, size_t *ret_rev_at) {
    size_t start = b->n;
    sp_buf_add(b, head);
    sp_buf_add(b, SP_STR(",\"metadata\":{"));
    const sp_json *meta = sp_json_get(obj, "metadata");
    for (size_t i = 0; i < SP_COUNT(first_metadata); i++) {
        const sp_json *m = sp_json_get(meta, first_metadata[i]);
        if (m) member(b, m);
    }
    sp_buf_addz(b, b->p[b->n - 1] == '{' ? "\"resourceVersion\":\"" : ",\"resourceVersion\":\"");
    *ret_rev_at = b->n - start;
    sp_buf_addc(b, '"');
    sp_json_each(meta, m) if (!is_first(m->key)) member(b, m);
    sp_buf_addc(b, '}');
    sp_json_each(obj, m) {
        if (!sp_str_eqz(m->key, "apiVersion") && !sp_str_eqz(m->key, "kind") &&
            !sp_str_eqz(m->key, "metadata"))
            member(b, m);
    }
    sp_buf_addc(b, '}');
}

/* Past the closing quote of the string value that starts at `from`; names of groups, versions and
 * kinds hold no escapes. */
static size_t past_string(sp_str bytes, size_t from) {
    ptrdiff_t end = sp_str_chr(sp_str_from(bytes, from), '"');
    return end < 0 ? 0 : from + (size_t)end + 1;
}

size_t sp_head_length(sp_str bytes) {
    sp_str before = SP_STR("{\"apiVersion\":\""), between = SP_STR(",\"kind\":\"");
    if (!sp_str_starts(bytes, before)) return 0;
    size_t at = past_string(bytes, before.n);
    if (!at || !sp_str_starts(sp_str_from(bytes, at), between)) return 0;
    return past_string(bytes, at + between.n);
}

/* Steps over ,"key":"value" (or {"key":"value" with another opening) and gives the value. */
static bool take_member(sp_str *rest, sp_str opening, sp_str *ret) {
    if (!sp_str_starts(*rest, opening)) return false;
    size_t end = past_string(*rest, opening.n);
    if (!end) return false;
    *ret = sp_str_sub(*rest, opening.n, end - 1 - opening.n);
    *rest = sp_str_from(*rest, end);
    return true;
}

bool sp_canonical_names(sp_str bytes, sp_str *ret_ns, sp_str *ret_name) {
    sp_str rest = sp_str_from(bytes, sp_head_length(bytes)), base;
    *ret_ns = SP_STR("");
    if (!take_member(&rest, SP_STR(",\"metadata\":{\"name\":\""), ret_name)) return false;
    (void)take_member(&rest, SP_STR(",\"generateName\":\""), &base);
    (void)take_member(&rest, SP_STR(",\"namespace\":\""), ret_ns);
    return true;
}

sp_pieces sp_with_head(sp_str bytes, sp_str head) {
    if (sp_str_starts(bytes, head)) return (sp_pieces){{0}, bytes};
    size_t n = sp_head_length(bytes);
    return n ? (sp_pieces){head, sp_str_from(bytes, n)} : (sp_pieces){{0}, bytes};
}

sp_blob *sp_value_blob(const sp_store_value *v, sp_str head) {
    sp_pieces p = sp_with_head(sp_blob_str(v->bytes), head);
    if (!p.head.n) return sp_blob_ref(v->bytes);
    sp_blob *b = sp_blob_alloc(p.head.n + p.rest.n);
    memcpy(b->p, p.head.p, p.head.n);
    memcpy(b->p + p.head.n, p.rest.p, p.rest.n);
    return b;
}

/* ---------- facts ---------- */

/* Copies the member at the dotted path ("spec.nodeName") from one document into another. */
static void copy_path(sp_arena *a, const sp_json *from, sp_json *to, sp_str path) {
    sp_str key;
    while (sp_str_cut(&path, '.', &key)) {
        if (!key.n) continue;
        from = sp_json_get_str(from, key);
        if (!from) return;
        sp_json *child = sp_json_get_str(to, key);
        if (!child)
            child =
                sp_json_set_str(a, to, key, path.p ? sp_json_object(a) : sp_json_clone(a, from));
        to = child;
        if (path.p && !sp_json_is(to, SP_JSON_OBJECT)) return;
    }
}

static void facts_free(void *user) {
    sp_facts *f = user;
    free(f->labels);
    free(f->fields);
    free(f);
}

static sp_facts *make_facts(sp_str bytes, const sp_resource *row) {
    sp_facts *f = sp_zalloc(1, sizeof *f);
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *obj;
    if (!sp_json_parse(a, bytes, &obj, NULL)) {
        f->broken = true;
        return f;
    }
    const sp_json *meta = sp_json_get(obj, "metadata");
    f->labels = sp_json_pack(sp_json_get(meta, "labels"));
    f->deleting = sp_json_get(meta, "deletionTimestamp") != NULL;
    sp_json *fields = sp_json_object(a);
    copy_path(a, obj, fields, SP_STR("metadata.name"));
    copy_path(a, obj, fields, SP_STR("metadata.namespace"));
    for (const char *const *p = row->selectable_fields; p && *p; p++)
        copy_path(a, obj, fields, sp_str_z(*p));
    f->fields = sp_json_pack(fields);
    return f;
}

const sp_facts *sp_value_facts(sp_store_value *v, const sp_resource *row) {
    if (!v->user) {
        v->user = make_facts(sp_blob_str(v->bytes), row);
        v->user_free = facts_free;
    }
    return v->user;
}
