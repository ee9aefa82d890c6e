/* Two levels of the same cache. A "slot" is one context: a certificate, and those of the same names
 * whose keys are of another kind, so that OpenSSL may choose by what the client can verify. A
 * "server" is a list of slots and the names that lead to them. Both are keyed by the SHA-256 of all
 * they were made of, so one changed certificate out of a thousand makes one new slot. */
#include "gateway/tls_server.h"

#include "base/log.h"

#include <openssl/evp.h>
#include <pthread.h>

enum { KEY_BYTES = 32, PARTNERS_MAX = 3 };

typedef sp_tls_client slot; /* the same: one context by its content */

struct sp_tls_server {
    char key[KEY_BYTES];
    uint32_t refs;        /* under the lock */
    SP_VEC(slot *) slots; /* referenced; the first is for names nobody has */
    sp_map names;         /* "a.example", "*.example" → slot */
};

static struct {
    pthread_mutex_t lock;
    sp_map slots, servers, clients; /* by key */
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- keys --- */

typedef EVP_MD_CTX hash;

static hash *hash_new(void) {
    hash *h = EVP_MD_CTX_new();
    sp_assert(h && EVP_DigestInit_ex(h, EVP_sha256(), NULL) == 1);
    return h;
}

static void hash_add(hash *h, sp_str s) {
    uint64_t n = s.n;
    sp_assert(EVP_DigestUpdate(h, &n, sizeof n) == 1 && EVP_DigestUpdate(h, s.p, s.n) == 1);
}

static void hash_end(hash *h, char ret[KEY_BYTES]) {
    sp_assert(EVP_DigestFinal_ex(h, (unsigned char *)ret, NULL) == 1);
    EVP_MD_CTX_free(h);
}

static sp_str key_str(const char key[KEY_BYTES]) {
    return (sp_str){key, KEY_BYTES};
}

static void hash_options(hash *h, const sp_tls_spec *t, const char *alpn) {
    uint32_t numbers[] = {t->client_verify, t->min_version, t->no_http2};
    hash_add(h, (sp_str){(const char *)numbers, sizeof numbers});
    hash_add(h, t->client_ca_pem);
    hash_add(h, sp_str_z(alpn));
}

static void hash_cert(hash *h, const sp_tls_cert *c) {
    hash_add(h, c->cert_pem);
    hash_add(h, c->key_pem);
    hash_add(h, c->ocsp_der);
}

/* --- slots --- */

static slot *slot_ref(sp_map *map, const char key[KEY_BYTES]) {
    slot *s = sp_map_get(map, key_str(key));
    if (s) s->refs++;
    return s;
}

static slot *slot_new(sp_map *map, const char key[KEY_BYTES], sp_tls_ctx *ctx) {
    slot *s = sp_zalloc(1, sizeof *s);
    memcpy(s->key, key, KEY_BYTES);
    s->refs = 1;
    s->ctx = ctx;
    sp_map_put(map, key_str(s->key), s);
    return s;
}

static void slot_unref(sp_map *map, slot *s) {
    if (--s->refs) return;
    sp_map_del(map, key_str(s->key));
    sp_tls_ctx_unref(s->ctx);
    free(s);
}

/* What is known of a certificate while a server is made. */
typedef struct leaf {
    const sp_tls_cert *cert;
    sp_strs names; /* in the arena */
    int kind;      /* of its key, EVP_PKEY_…; 0 = not usable */
} leaf;

static bool same_names(const leaf *a, const leaf *b) {
    if (a->names.n != b->names.n) return false;
    for (size_t i = 0; i < a->names.n; i++) {
        bool found = false;
        for (size_t k = 0; k < b->names.n; k++) found |= sp_str_eq(a->names.p[i], b->names.p[k]);
        if (!found) return false;
    }
    return true;
}

static size_t find_partners(const leaf *all, size_t n, size_t at,
                            const sp_tls_cert *ret[PARTNERS_MAX]) {
    size_t count = 0;
    int kinds[PARTNERS_MAX + 1] = {all[at].kind};
    for (size_t i = 0; i < n && count < PARTNERS_MAX; i++) {
        bool other = i != at && all[i].kind;
        for (size_t k = 0; k <= count; k++) other &= all[i].kind != kinds[k];
        if (!other || !same_names(&all[at], &all[i])) continue;
        kinds[count + 1] = all[i].kind;
        ret[count++] = all[i].cert;
    }
    return count;
}

static bool make_ctx(const sp_tls_spec *t, const char *alpn, const sp_tls_cert *c,
                     const sp_tls_cert *const *partners, size_t n, sp_tls_ctx **ret, sp_err *err) {
    sp_tls_pair others[PARTNERS_MAX];
    for (size_t i = 0; i < n; i++)
        others[i] =
            (sp_tls_pair){partners[i]->cert_pem, partners[i]->key_pem, partners[i]->ocsp_der};
    sp_tls_config config = {.cert_pem = c->cert_pem,
                            .key_pem = c->key_pem,
                            .ocsp_der = c->ocsp_der,
                            .others = others,
                            .other_count = n,
                            .server = true,
                            .resume = true,
                            .strict_alpn = true,
                            .light = true,
                            .min_version = t->min_version,
                            .alpn = alpn};
    if (t->client_verify != SP_VERIFY_NOBODY) config.ca_pem = t->client_ca_pem;
    config.require_client = t->client_verify == SP_VERIFY_REQUIRED;
    return sp_tls_ctx_new(&config, ret, err) || sp_err_wrap(err, "%.*s", SP_ARG(c->source));
}

static slot *get_slot(const sp_tls_spec *t, const char *alpn, const leaf *all, size_t n, size_t at,
                      sp_err *err) {
    const sp_tls_cert *partners[PARTNERS_MAX] = {0};
    size_t count = find_partners(all, n, at, partners);
    char key[KEY_BYTES];
    hash *h = hash_new();
    hash_options(h, t, alpn);
    hash_cert(h, all[at].cert);
    for (size_t i = 0; i < count; i++) hash_cert(h, partners[i]);
    hash_end(h, key);
    slot *s = slot_ref(&cache.slots, key);
    sp_tls_ctx *ctx = NULL;
    if (s || !make_ctx(t, alpn, all[at].cert, partners, count, &ctx, err)) return s;
    return slot_new(&cache.slots, key, ctx);
}

/* --- servers --- */

static sp_tls_server *server_free(sp_tls_server *s) {
    sp_vec_each(&s->slots, it) slot_unref(&cache.slots, *it);
    sp_vec_free(&s->slots);
    sp_map_free(&s->names);
    free(s);
    return NULL;
}

static void add_leaf(sp_tls_server *s, const sp_tls_spec *t, const char *alpn, const leaf *all,
                     size_t n, size_t at, sp_err *err) {
    sp_err why = {0};
    slot *it = all[at].kind ? get_slot(t, alpn, all, n, at, &why) : NULL;
    if (!it) {
        if (why.code != SP_OK) {
            sp_warn("a certificate is not used", SP_KV("why", why.text));
            if (err) *err = why;
        }
        return;
    }
    sp_vec_push(&s->slots, it);
    sp_vec_each(&all[at].names, name) {
        if (!sp_map_has(&s->names, *name)) sp_map_put(&s->names, *name, it);
    }
}

static void read_leaf(sp_arena *a, const sp_tls_cert *c, leaf *ret, sp_err *err) {
    ret->cert = c;
    ret->kind = 0;
    sp_err why = {0};
    if (sp_cert_names(c->cert_pem, a, &ret->names, &why)) ret->kind = sp_cert_key_kind(c->cert_pem);
    if (ret->kind) return;
    if (why.code == SP_OK) sp_fail(&why, SP_BAD_REQUEST, "its key is of a kind that is not known");
    sp_err_wrap(&why, "%.*s", SP_ARG(c->source));
    sp_warn("a certificate is not used", SP_KV("why", why.text));
    if (err) *err = why;
}

static sp_tls_server *make_server(const sp_tls_spec *t, const char *alpn, const char key[KEY_BYTES],
                                  sp_err *err) {
    sp_tls_server *s = sp_zalloc(1, sizeof *s);
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    leaf *all = sp_arena_alloc(a, (t->cert_count + 1) * sizeof *all);
    memcpy(s->key, key, KEY_BYTES);
    s->refs = 1;
    for (size_t i = 0; i < t->cert_count; i++) read_leaf(a, &t->certs[i], &all[i], err);
    for (size_t i = 0; i < t->cert_count; i++) add_leaf(s, t, alpn, all, t->cert_count, i, err);
    if (!s->slots.n) return server_free(s);
    sp_map_put(&cache.servers, key_str(s->key), s);
    return s;
}

bool sp_tls_server_get(const sp_tls_spec *t, const char *alpn, sp_tls_server **ret, sp_err *err) {
    char key[KEY_BYTES];
    hash *h = hash_new();
    hash_options(h, t, alpn);
    for (size_t i = 0; i < t->cert_count; i++) hash_cert(h, &t->certs[i]);
    hash_end(h, key);
    if (!t->cert_count) return sp_fail(err, SP_BAD_REQUEST, "there is no certificate");
    pthread_mutex_lock(&cache.lock);
    sp_tls_server *s = sp_map_get(&cache.servers, key_str(key));
    if (s)
        s->refs++;
    else
        s = make_server(t, alpn, key, err);
    pthread_mutex_unlock(&cache.lock);
    if (s) *ret = s;
    return s != NULL;
}

sp_tls_server *sp_tls_server_unref(sp_tls_server *s) {
    if (!s) return NULL;
    pthread_mutex_lock(&cache.lock);
    if (--s->refs == 0) {
        sp_map_del(&cache.servers, key_str(s->key));
        server_free(s);
    }
    if (!cache.servers.n) sp_map_free(&cache.servers);
    if (!cache.slots.n) sp_map_free(&cache.slots);
    pthread_mutex_unlock(&cache.lock);
    return NULL;
}

sp_tls_ctx *sp_tls_server_pick(const sp_tls_server *s, sp_str name) {
    char wild[256];
    slot *it = sp_map_get(&s->names, name);
    ptrdiff_t dot = it ? -1 : sp_str_chr(name, '.');
    sp_str parent = sp_str_from(name, (size_t)SP_MAX(dot, 0));
    if (!it && dot > 0 && parent.n + 1 < sizeof wild) { /* a star stands for one label: RFC 6125 */
        wild[0] = '*';
        memcpy(wild + 1, parent.p, parent.n);
        it = sp_map_get(&s->names, (sp_str){wild, parent.n + 1});
    }
    return (it ? it : s->slots.p[0])->ctx;
}

/* --- names --- */

static bool wild_matches(sp_str host, sp_str name) {
    if (host.n < 2 || host.p[0] != '*' || host.p[1] != '.') return false;
    return name.n > host.n - 1 && sp_str_ends(name, sp_str_from(host, 1));
}

const sp_sni_entry *sp_sni_find(const sp_sni_entry *list, size_t n, sp_str name) {
    const sp_sni_entry *best = NULL;
    for (size_t i = 0; i < n; i++) {
        const sp_sni_entry *e = &list[i];
        if (name.n && sp_str_eq(e->host, name)) return e;
        if (e->host.n && !wild_matches(e->host, name)) continue;
        if (!best || e->host.n > best->host.n) best = e;
    }
    return best;
}

/* --- towards endpoints --- */

static slot *make_client(const sp_upstream_tls *t, const char key[KEY_BYTES], sp_err *err) {
    sp_tls_config config = {.ca_pem = t->ca_pem,
                            .cert_pem = t->cert_pem,
                            .key_pem = t->key_pem,
                            .insecure = t->insecure,
                            .resume = true};
    sp_tls_ctx *ctx = NULL;
    return sp_tls_ctx_new(&config, &ctx, err) ? slot_new(&cache.clients, key, ctx) : NULL;
}

bool sp_tls_client_get(const sp_upstream_tls *t, sp_tls_client **ret, sp_err *err) {
    char key[KEY_BYTES];
    hash *h = hash_new();
    hash_add(h, t->ca_pem);
    hash_add(h, t->cert_pem);
    hash_add(h, t->key_pem);
    hash_add(h, t->insecure ? SP_STR("insecure") : SP_STR(""));
    hash_end(h, key);
    pthread_mutex_lock(&cache.lock);
    slot *s = slot_ref(&cache.clients, key);
    if (!s) s = make_client(t, key, err);
    pthread_mutex_unlock(&cache.lock);
    if (s) *ret = s;
    return s != NULL;
}

sp_tls_client *sp_tls_client_unref(sp_tls_client *c) {
    if (!c) return NULL;
    pthread_mutex_lock(&cache.lock);
    slot_unref(&cache.clients, c);
    if (!cache.clients.n) sp_map_free(&cache.clients);
    pthread_mutex_unlock(&cache.lock);
    return NULL;
}

/* --- looking --- */

bool sp_tls_check_cert(const sp_tls_cert *c, sp_err *err) {
    sp_tls_pair p = {c->cert_pem, c->key_pem, c->ocsp_der};
    return sp_tls_check_pair(&p, err) ||
           (c->source.n && sp_err_wrap(err, "%.*s", SP_ARG(c->source)));
}

bool sp_tls_check_ca(sp_str ca_pem, sp_err *err) {
    sp_tls_ctx *ctx = NULL;
    if (!sp_str_trim(ca_pem).n) return sp_fail(err, SP_BAD_REQUEST, "there is no CA certificate");
    if (!sp_tls_ctx_new(&(sp_tls_config){.ca_pem = ca_pem}, &ctx, err)) return false;
    sp_tls_ctx_unref(ctx);
    return true;
}
