/* Documents are made of three walks over the rows of a group version: the paths (kubectl looks up a
 * kind by its path, and sees from the parameters of PATCH that the server validates fields and
 * knows dry-run), the objects themselves, and every named type reached from them. The hash of a
 * document in the index is that of its bytes, so the first request for the index writes each
 * document once; its bytes are dropped again and kept only when somebody asks for them. */
#include "apiserver/openapi.h"

#include "apiserver/openapi_types.h"

#include <openssl/evp.h>
#include <stdio.h>

typedef struct document {
    char *group, *version; /* owned: rows of CRDs come and go */
    char hash[33];         /* "" until computed */
    sp_blob *bytes;        /* NULL until asked for */
    bool is_crd;           /* of a row that may be another one at the same address later */
} document;

struct sp_openapi {
    sp_discovery_rows rows;
    SP_VEC(document) documents;
    sp_blob *v2, *index;
};

static const char ref_prefix[] = "#/components/schemas/";

/* --- named types --- */

void sp_types_cleanup(sp_types *t) {
    sp_map_free(&t->seen);
    sp_vec_free(&t->named);
}

static void collect_all(sp_types *t, const sp_schema *const *list, size_t n) {
    for (size_t i = 0; i < n; i++) sp_types_collect(t, list[i]);
}

void sp_types_collect(sp_types *t, const sp_schema *s) {
    sp_str address = {(const char *)&s, sizeof s};
    if (!s || sp_map_put(&t->seen, address, (void *)(uintptr_t)s)) return;
    for (size_t i = 0; i < s->field_count; i++) sp_types_collect(t, s->fields[i].schema);
    sp_types_collect(t, s->items);
    if (s->logic) {
        collect_all(t, s->logic->all_of, s->logic->all_count);
        collect_all(t, s->logic->any_of, s->logic->any_count);
        collect_all(t, s->logic->one_of, s->logic->one_count);
        sp_types_collect(t, s->logic->not_);
    }
    if (s->name) sp_vec_push(&t->named, s);
}

void sp_types_gvk(sp_buf *b, const sp_resource *r) {
    sp_buf_printf(b, "{\"group\":\"%s\",\"kind\":\"%s\",\"version\":\"%s\"}", r->group, r->kind,
                  r->version);
}

void sp_types_object_name(sp_buf *b, const sp_resource *r) {
    if (r->schema && r->schema->name)
        sp_buf_addz(b, r->schema->name);
    else
        sp_buf_printf(b, "%s.%s.%s", r->group, r->version, r->kind);
}

/* --- paths --- */

static void content(sp_buf *b, const sp_resource *r) {
    sp_buf_printf(b, "{\"application/json\":{\"schema\":{\"$ref\":\"%s", ref_prefix);
    sp_types_object_name(b, r);
    sp_buf_addz(b, "\"}}}");
}

static const char *const write_parameters[] = {"dryRun", "fieldManager", "fieldValidation"};

static void parameter(sp_buf *b, const char *name, const char *in, const char *type) {
    sp_buf_printf(b, "{\"name\":\"%s\",\"in\":\"%s\"%s,\"schema\":{\"type\":\"%s\"}}", name, in,
                  !strcmp(in, "path") ? ",\"required\":true" : "", type);
}

static void operation(sp_buf *b, const sp_resource *r, const char *method, const char *action) {
    bool writes = !strcmp(method, "post") || !strcmp(method, "put") || !strcmp(method, "patch");
    sp_buf_printf(b, "\"%s\":{\"x-kubernetes-action\":\"%s\",\"x-kubernetes-group-version-kind\":",
                  method, action);
    sp_types_gvk(b, r);
    if (writes) {
        sp_buf_addz(b, ",\"parameters\":[");
        for (size_t i = 0; i < SP_COUNT(write_parameters); i++) {
            if (i) sp_buf_addc(b, ',');
            parameter(b, write_parameters[i], "query", "string");
        }
        sp_buf_addz(b, "]");
    }
    if (writes && strcmp(method, "patch") != 0) {
        sp_buf_addz(b, ",\"requestBody\":{\"content\":");
        content(b, r);
        sp_buf_addc(b, '}');
    }
    sp_buf_addz(b, ",\"responses\":{\"200\":{\"description\":\"OK\",\"content\":");
    content(b, r);
    sp_buf_addz(b, "}}}");
}

typedef struct verb {
    const char *method, *action;
} verb;
static const verb collection_verbs[] = {
    {"get", "list"}, {"post", "post"}, {"delete", "deletecollection"}};
static const verb item_verbs[] = {
    {"get", "get"}, {"put", "put"}, {"patch", "patch"}, {"delete", "delete"}};

static void path(sp_buf *b, const sp_resource *r, const char *tail, const verb *verbs, size_t n) {
    const char *root = r->group[0] ? "/apis/" : "/api";
    sp_buf_printf(b, "\"%s%s/%s%s/%s%s\":{", root, r->group, r->version,
                  r->namespaced ? "/namespaces/{namespace}" : "", r->plural, tail);
    for (size_t i = 0; i < n; i++) {
        if (i) sp_buf_addc(b, ',');
        operation(b, r, verbs[i].method, verbs[i].action);
    }
    if (r->namespaced || tail[0]) sp_buf_addz(b, ",\"parameters\":[");
    if (r->namespaced) parameter(b, "namespace", "path", "string");
    if (r->namespaced && tail[0]) sp_buf_addc(b, ',');
    if (tail[0]) parameter(b, "name", "path", "string");
    sp_buf_addz(b, r->namespaced || tail[0] ? "]}" : "}");
}

/* --- one document --- */

static bool is_of(const sp_resource *r, const document *d) {
    return !strcmp(r->group, d->group) && !strcmp(r->version, d->version);
}

/* The object's schema with the extension by which kubectl explain finds it. */
static void object_schema(sp_buf *b, const sp_resource *r) {
    sp_buf_addc(b, '"');
    sp_types_object_name(b, r);
    sp_buf_addz(b, "\":");
    if (r->schema)
        sp_schema_to_openapi(b, r->schema, ref_prefix);
    else
        sp_buf_addz(b, "{\"type\":\"object\",\"x-kubernetes-preserve-unknown-fields\":true}");
    b->n--; /* before the closing brace */
    sp_buf_addz(b, ",\"x-kubernetes-group-version-kind\":[");
    sp_types_gvk(b, r);
    sp_buf_addz(b, "]}");
}

static void write_schemas(const sp_openapi *o, const document *d, sp_buf *b) {
    sp_auto(sp_types) types = {0};
    sp_auto(sp_types) objects = {0};
    const char *comma = "";
    for (size_t i = 0; i < o->rows.n; i++) {
        const sp_resource *r = o->rows.p[i];
        if (!is_of(r, d)) continue;
        sp_buf_addz(b, comma);
        object_schema(b, r);
        comma = ",";
        sp_types_collect(&types, r->schema);
        if (r->schema) sp_vec_push(&objects.named, r->schema);
    }
    sp_vec_each(&types.named, it) {
        bool listed = false;
        sp_vec_each(&objects.named, object) listed |= *object == *it;
        if (listed) continue;
        sp_buf_printf(b, "%s\"%s\":", comma, (*it)->name);
        sp_schema_to_openapi(b, *it, ref_prefix);
        comma = ",";
    }
}

static void write_document(const sp_openapi *o, const document *d, sp_buf *b) {
    const char *comma = "";
    sp_buf_addz(b, "{\"openapi\":\"3.0.0\",\"info\":{\"title\":\"Sampan\",\"version\":\"" SP_VERSION
                   "\"},\"paths\":{");
    for (size_t i = 0; i < o->rows.n; i++) {
        const sp_resource *r = o->rows.p[i];
        if (!is_of(r, d)) continue;
        sp_buf_addz(b, comma);
        path(b, r, "", collection_verbs, SP_COUNT(collection_verbs));
        sp_buf_addc(b, ',');
        path(b, r, "/{name}", item_verbs, SP_COUNT(item_verbs));
        comma = ",";
    }
    sp_buf_addz(b, "},\"components\":{\"schemas\":{");
    write_schemas(o, d, b);
    sp_buf_addz(b, "}}}");
}

static void hash_of(sp_str bytes, char ret[33]) {
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    unsigned n = 0;
    sp_assert(EVP_Digest(bytes.p, bytes.n, digest, &n, EVP_sha256(), NULL));
    sp_hex_print(digest, 16, ret);
}

static void ensure_hash(const sp_openapi *o, document *d) {
    if (d->hash[0]) return;
    sp_auto(sp_buf) b = {0};
    write_document(o, d, &b);
    hash_of(sp_buf_str(&b), d->hash);
}

static void ensure_bytes(const sp_openapi *o, document *d) {
    if (d->bytes) return;
    sp_auto(sp_buf) b = {0};
    write_document(o, d, &b);
    hash_of(sp_buf_str(&b), d->hash);
    d->bytes = sp_blob_new(sp_buf_str(&b));
}

/* --- the set of documents --- */

static void document_clear(document *d) {
    free(d->group);
    free(d->version);
    sp_blob_unref(d->bytes);
}

sp_openapi *sp_openapi_new(void) {
    return sp_zalloc(1, sizeof(sp_openapi));
}

sp_openapi *sp_openapi_free(sp_openapi *o) {
    if (!o) return NULL;
    sp_vec_each(&o->documents, d) document_clear(d);
    sp_vec_free(&o->documents);
    sp_blob_unref(o->v2);
    sp_blob_unref(o->index);
    free(o);
    return NULL;
}

static document *document_of(sp_openapi *o, const sp_resource *r) {
    sp_vec_each(&o->documents, d) {
        if (is_of(r, d)) return d;
    }
    sp_vec_push(&o->documents, {.group = sp_strdup(r->group), .version = sp_strdup(r->version)});
    return &o->documents.p[o->documents.n - 1];
}

static bool is_served(const sp_openapi *o, const document *d) {
    for (size_t i = 0; i < o->rows.n; i++) {
        if (is_of(o->rows.p[i], d)) return true;
    }
    return false;
}

/* Forgets documents that hold, or held, rows of a CRD: only those change. */
void sp_openapi_set_rows(sp_openapi *o, sp_discovery_rows rows) {
    o->rows = rows;
    o->v2 = sp_blob_unref(o->v2);
    o->index = sp_blob_unref(o->index);
    for (size_t i = o->documents.n; i-- > 0;) {
        document *d = &o->documents.p[i];
        if (!d->is_crd && is_served(o, d)) continue;
        document_clear(d);
        sp_vec_remove(&o->documents, i);
    }
    for (size_t i = 0; i < rows.n; i++) {
        document *d = document_of(o, rows.p[i]);
        if (!rows.p[i]->is_crd) continue;
        d->is_crd = true;
        d->hash[0] = 0;
        d->bytes = sp_blob_unref(d->bytes);
    }
}

/* --- answers --- */

static void etag(const char *hash, char ret[SP_ETAG_MAX]) {
    snprintf(ret, SP_ETAG_MAX, "\"%s\"", hash);
}

static void etag_of(const sp_blob *b, char ret[SP_ETAG_MAX]) {
    char hash[33];
    hash_of(sp_blob_str(b), hash);
    etag(hash, ret);
}

sp_blob *sp_openapi_v2(sp_openapi *o, char ret_etag[SP_ETAG_MAX]) {
    if (!o->v2) {
        sp_auto(sp_buf) b = {0};
        sp_openapi_v2_write(&b, o->rows);
        o->v2 = sp_blob_new(sp_buf_str(&b));
    }
    etag_of(o->v2, ret_etag);
    return o->v2;
}

sp_blob *sp_openapi_v3_index(sp_openapi *o, char ret_etag[SP_ETAG_MAX]) {
    if (!o->index) {
        sp_auto(sp_buf) b = {0};
        sp_buf_addz(&b, "{\"paths\":{");
        sp_vec_each(&o->documents, d) {
            const char *root = d->group[0] ? "apis/" : "api", *group = d->group;
            ensure_hash(o, d);
            sp_buf_printf(&b,
                          "%s\"%s%s/%s\":{\"serverRelativeURL\":\"/openapi/v3/%s%s/%s?hash=%s\"}",
                          d == o->documents.p ? "" : ",", root, group, d->version, root, group,
                          d->version, d->hash);
        }
        sp_buf_addz(&b, "}}");
        o->index = sp_blob_new(sp_buf_str(&b));
    }
    etag_of(o->index, ret_etag);
    return o->index;
}

/* "api/v1" or "apis/GROUP/VERSION". */
static bool path_is(sp_str p, const document *d) {
    sp_auto(sp_buf) b = {0};
    sp_buf_printf(&b, "%s%s/%s", d->group[0] ? "apis/" : "api", d->group, d->version);
    return sp_str_eq(p, sp_buf_str(&b));
}

sp_blob *sp_openapi_v3(sp_openapi *o, sp_str p, char ret_etag[SP_ETAG_MAX]) {
    sp_vec_each(&o->documents, d) {
        if (!path_is(p, d)) continue;
        ensure_bytes(o, d);
        etag(d->hash, ret_etag);
        return d->bytes;
    }
    return NULL;
}
