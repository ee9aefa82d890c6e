/* Images from a registry: github.com/opencontainers/distribution-spec 1.1, with the token protocol
 * of github.com/distribution/distribution (docs/spec/auth/token.md).
 *
 * libcurl does the talking (proxies, redirects, TLS); it is loaded here and nowhere else, and the
 * calls block: pulling happens in a process of its own. Registries on this machine (localhost,
 * 127.*, ::1) are asked over plain HTTP, all others over HTTPS. What arrives is hashed while it is
 * written; nothing is published under a digest it does not have. */
#include "agent/digest.h"
#include "agent/image_store.h"
#include "agent/registry_auth.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#define CURL_FUNCTIONS(X) \
    X(curl_easy_init)     \
    X(curl_easy_cleanup)  \
    X(curl_easy_reset)    \
    X(curl_easy_perform)  \
    X(curl_easy_strerror) \
    X(curl_slist_append)  \
    X(curl_slist_free_all)

enum { MAX_TRIES = 3, MAX_DEPTH = 3, CONNECT_SECONDS = 15, STALL_SECONDS = 60 };

typedef struct puller {
#define X(name) __typeof__(&name) name;
    CURL_FUNCTIONS(X)
#undef X
    CURLcode (*setopt)(CURL *, CURLoption, ...);
    CURLcode (*getinfo)(CURL *, CURLINFO, ...);
    CURL *easy;
    sp_image_store *store;
    sp_arena *arena;
    sp_image_ref ref;
    sp_str base;  /* https://registry-1.docker.io */
    sp_str token; /* "" until the registry asked for one */
    sp_image_progress *progress;
    void *ctx;
} puller;

/* Where one answer goes: a document in memory or a blob. */
typedef struct answer {
    puller *p;
    sp_buf *text;
    sp_blob_writer *blob;
    int64_t got, expected; /* expected -1 = unknown */
    char what[40];
    long status;
    sp_buf challenge; /* WWW-Authenticate */
    sp_err err;
} answer;

static bool load_curl(puller *p, sp_err *err) {
    void *so = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!so)
        return sp_fail(err, SP_UNAVAILABLE, "images cannot be pulled: %s (package libcurl4)",
                       dlerror());
#define X(name)                            \
    *(void **)&p->name = dlsym(so, #name); \
    if (!p->name) return sp_fail(err, SP_UNAVAILABLE, "libcurl has no function " #name);
    CURL_FUNCTIONS(X)
#undef X
    *(void **)&p->setopt = dlsym(so, "curl_easy_setopt");
    *(void **)&p->getinfo = dlsym(so, "curl_easy_getinfo");
    p->easy = p->curl_easy_init();
    return p->easy || sp_fail(err, SP_INTERNAL, "libcurl does not start");
}

static size_t take_bytes(char *bytes, size_t one, size_t n, void *ctx) {
    (void)one;
    answer *an = ctx;
    an->p->getinfo(an->p->easy, CURLINFO_RESPONSE_CODE, &an->status);
    an->got += (int64_t)n;
    if (an->blob && an->status == 200) {
        if (an->expected >= 0 && an->got > an->expected) return 0;
        if (!sp_blob_writer_add(an->blob, bytes, n, &an->err)) return 0;
        if (an->p->progress) an->p->progress(an->p->ctx, an->what, an->got, an->expected);
        return n;
    }
    if (an->got > SP_IMAGE_MAX_DOC) return 0;
    if (an->text) sp_buf_add(an->text, (sp_str){bytes, n});
    return n;
}

static size_t take_header(char *line, size_t one, size_t n, void *ctx) {
    (void)one;
    answer *an = ctx;
    if (n > 17 && strncasecmp(line, "WWW-Authenticate:", 17) == 0) {
        sp_buf_clear(&an->challenge);
        sp_buf_add(&an->challenge, sp_str_trim((sp_str){line + 17, n - 17}));
    }
    return n;
}

static void set_options(puller *p, answer *an, const char *url, struct curl_slist *headers) {
    p->curl_easy_reset(p->easy);
    p->setopt(p->easy, CURLOPT_URL, url);
    p->setopt(p->easy, CURLOPT_HTTPHEADER, headers);
    p->setopt(p->easy, CURLOPT_FOLLOWLOCATION, 1L);
    p->setopt(p->easy, CURLOPT_MAXREDIRS, 10L);
    p->setopt(p->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    /* A registry reached over TLS must not lead us off it. */
    p->setopt(p->easy, CURLOPT_REDIR_PROTOCOLS_STR,
              strncmp(url, "https:", 6) == 0 ? "https" : "http,https");
    p->setopt(p->easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    p->setopt(p->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    p->setopt(p->easy, CURLOPT_LOW_SPEED_TIME, (long)STALL_SECONDS);
    p->setopt(p->easy, CURLOPT_NOSIGNAL, 1L);
    p->setopt(p->easy, CURLOPT_USERAGENT, "sampan/" SP_VERSION);
    p->setopt(p->easy, CURLOPT_WRITEFUNCTION, take_bytes);
    p->setopt(p->easy, CURLOPT_WRITEDATA, an);
    p->setopt(p->easy, CURLOPT_HEADERFUNCTION, take_header);
    p->setopt(p->easy, CURLOPT_HEADERDATA, an);
}

/* One GET, redirects followed. True when an answer came, whatever its status. */
static bool get(puller *p, answer *an, const char *url, const char *accept, bool with_token,
                sp_err *err) {
    struct curl_slist *headers = NULL;
    sp_auto(sp_buf) line = {0};
    if (accept) {
        sp_buf_printf(&line, "Accept: %s", accept);
        headers = p->curl_slist_append(headers, line.p);
    }
    if (with_token && p->token.n) {
        sp_buf_clear(&line);
        sp_buf_printf(&line, "Authorization: Bearer %.*s", SP_ARG(p->token));
        headers = p->curl_slist_append(headers, line.p);
    }
    an->p = p;
    an->got = 0;
    an->status = 0;
    set_options(p, an, url, headers);
    CURLcode rc = p->curl_easy_perform(p->easy);
    p->getinfo(p->easy, CURLINFO_RESPONSE_CODE, &an->status);
    p->curl_slist_free_all(headers);
    if (rc == CURLE_OK) return true;
    if (an->err.code != SP_OK) {
        if (err) *err = an->err;
        return false;
    }
    if (rc == CURLE_WRITE_ERROR)
        return sp_fail(err, SP_INVALID, "the registry sends more bytes than the image announces");
    return sp_fail(err, SP_CONNECTION, "registry %.*s cannot be reached: %s",
                   SP_ARG(p->ref.registry), p->curl_easy_strerror(rc));
}

static bool fetch_token(puller *p, const sp_buf *challenge, sp_err *err) {
    sp_auto(sp_buf) url = {0};
    sp_auto(sp_buf) text = {0};
    if (!sp_registry_token_url(sp_buf_str(challenge), p->ref.repository,
                               sp_str_starts(p->base, SP_STR("https:")), &url, err))
        return false;
    answer an = {.text = &text};
    bool ok = get(p, &an, url.p, NULL, false, err);
    sp_buf_free(&an.challenge);
    if (!ok) return false;
    sp_json *doc = NULL;
    if (an.status != 200 || !sp_json_parse(p->arena, sp_buf_str(&text), &doc, NULL))
        return sp_fail(err, SP_UNAUTHORIZED, "the registry refuses a token for %.*s (HTTP %ld)",
                       SP_ARG(p->ref.repository), an.status);
    const sp_json *token = sp_json_get(doc, "token");
    p->token = sp_json_str(token ? token : sp_json_get(doc, "access_token"));
    for (size_t i = 0; i < p->token.n; i++)
        if ((unsigned char)p->token.p[i] <= ' ') p->token = (sp_str){0};
    return p->token.n || sp_fail(err, SP_UNAUTHORIZED, "the token server sent no token");
}

static bool explain_status(puller *p, long status, sp_str what, sp_err *err) {
    if (status == 404)
        return sp_fail(err, SP_NOT_FOUND,
                       "%.*s is not in registry %.*s (is the name spelled right?)", SP_ARG(what),
                       SP_ARG(p->ref.registry));
    if (status == 401 || status == 403)
        return sp_fail(
            err, SP_UNAUTHORIZED,
            "registry %.*s does not let us read %.*s: it does not exist or needs a login",
            SP_ARG(p->ref.registry), SP_ARG(what));
    if (status == 429)
        return sp_fail(err, SP_TOO_MANY, "registry %.*s: too many requests; wait and try again",
                       SP_ARG(p->ref.registry));
    return sp_fail(err, status >= 500 ? SP_UNAVAILABLE : SP_INVALID,
                   "registry %.*s answered HTTP %ld for %.*s", SP_ARG(p->ref.registry), status,
                   SP_ARG(what));
}

/* With the token the registry asks for. what: for the error. */
static bool get_authorized(puller *p, answer *an, sp_str url, const char *accept, sp_str what,
                           sp_err *err) {
    bool ok = get(p, an, url.p, accept, true, err);
    if (ok && an->status == 401 && an->challenge.n) {
        if (an->text) sp_buf_clear(an->text);
        ok = fetch_token(p, &an->challenge, err) && get(p, an, url.p, accept, true, err);
    }
    sp_buf_free(&an->challenge);
    return ok && (an->status == 200 || explain_status(p, an->status, what, err));
}

static bool may_retry(const sp_err *err) {
    return err->code == SP_CONNECTION || err->code == SP_UNAVAILABLE || err->code == SP_TOO_MANY;
}

/* ---------- manifests ---------- */

static bool fetch_manifest(puller *p, sp_str reference, sp_buf *text, sp_err *err) {
    static const char accept[] = SP_MEDIA_INDEX ", " SP_MEDIA_MANIFEST ", " SP_MEDIA_DOCKER_LIST
                                                ", " SP_MEDIA_DOCKER_MANIFEST;
    sp_str url = sp_arena_printf(p->arena, "%.*s/v2/%.*s/manifests/%.*s", SP_ARG(p->base),
                                 SP_ARG(p->ref.repository), SP_ARG(reference));
    sp_str what = sp_image_ref_familiar(sp_image_ref_text(p->arena, &p->ref));
    answer an = {.text = text, .expected = -1};
    return get_authorized(p, &an, url, accept, what, err);
}

/* Ends with the manifest for this platform stored as a blob and its text in *text. */
static bool resolve_manifest(puller *p, sp_buf *text, char ret_digest[72], sp_err *err) {
    sp_str reference = p->ref.digest.n ? p->ref.digest : p->ref.tag;
    sp_str must_be = p->ref.digest;
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        sp_json *doc = NULL;
        sp_image_desc picked;
        sp_buf_clear(text);
        if (!fetch_manifest(p, reference, text, err)) return false;
        sp_digest_of(sp_buf_str(text), ret_digest);
        if (must_be.n && !sp_str_eqz(must_be, ret_digest))
            return sp_fail(err, SP_INVALID,
                           "the registry sent another manifest (%s) than asked for", ret_digest);
        if (!sp_json_parse(p->arena, sp_buf_str(text), &doc, err)) return false;
        if (!sp_image_is_index(doc))
            return sp_image_blob_put(p->store, sp_buf_str(text), ret_digest, err);
        if (!sp_image_index_pick(doc, sp_image_platform_host(), &picked, err)) return false;
        reference = must_be = picked.digest;
    }
    return sp_fail(err, SP_INVALID, "image indexes are nested too deeply");
}

/* ---------- blobs ---------- */

static bool fetch_blob_once(puller *p, const sp_image_desc *d, sp_err *err) {
    answer an = {.expected = d->size};
    sp_str url = sp_arena_printf(p->arena, "%.*s/v2/%.*s/blobs/%.*s", SP_ARG(p->base),
                                 SP_ARG(p->ref.repository), SP_ARG(d->digest));
    snprintf(an.what, sizeof an.what, "pulling %.12s", sp_digest_hex(d->digest).p);
    if (!sp_blob_writer_new(p->store, &an.blob, err)) return false;
    if (!get_authorized(p, &an, url, NULL, d->digest, err)) {
        sp_blob_writer_free(an.blob);
        return false;
    }
    return sp_blob_writer_commit(an.blob, d->digest, NULL, err);
}

static bool fetch_blob(puller *p, const sp_image_desc *d, sp_err *err) {
    sp_err local = {0};
    if (sp_image_blob_has(p->store, d->digest)) return true;
    if (!sp_image_store_room(p->store, d->size, err)) return false;
    for (unsigned n = 1; n <= MAX_TRIES; n++) {
        if (fetch_blob_once(p, d, &local)) return true;
        if (!may_retry(&local)) break;
        if (n < MAX_TRIES) sleep(n);
    }
    if (err) *err = local;
    return false;
}

static bool fetch_all(puller *p, char ret_digest[72], sp_err *err) {
    sp_auto(sp_buf) text = {0};
    sp_image_manifest m = {0};
    if (!resolve_manifest(p, &text, ret_digest, err) ||
        !sp_image_manifest_parse(p->arena, sp_buf_str(&text), &m, err))
        return false;
    bool ok = fetch_blob(p, &m.config, err);
    for (size_t i = 0; ok && i < m.layers.n; i++) ok = fetch_blob(p, &m.layers.p[i], err);
    sp_image_manifest_free(&m);
    return ok;
}

static bool is_loopback(sp_str host) {
    return sp_str_eqz(host, "localhost") || sp_str_starts(host, SP_STR("localhost:")) ||
           sp_str_starts(host, SP_STR("127.")) || sp_str_starts(host, SP_STR("[::1]"));
}

bool sp_image_pull(sp_image_store *s, sp_str reference, sp_image_progress *progress, void *ctx,
                   char ret_digest[72], sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    puller p = {.store = s, .arena = a, .progress = progress, .ctx = ctx};
    if (!sp_image_ref_parse(a, reference, &p.ref, err) || !load_curl(&p, err)) return false;
    bool hub = sp_str_eqz(p.ref.registry, "docker.io");
    sp_str host = hub ? SP_STR("registry-1.docker.io") : p.ref.registry;
    p.base = sp_arena_printf(a, "%s://%.*s", is_loopback(host) ? "http" : "https", SP_ARG(host));
    int lock = sp_image_store_lock(s, false, err);
    bool ok =
        lock >= 0 && fetch_all(&p, ret_digest, err) &&
        sp_image_install(s, sp_image_ref_text(a, &p.ref), sp_str_z(ret_digest), progress, ctx, err);
    if (lock >= 0) close(lock);
    p.curl_easy_cleanup(p.easy);
    return ok || sp_err_wrap(err, "pull %.*s", SP_ARG(reference));
}
