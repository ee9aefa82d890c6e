/* The order as a chain of requests: each step sends one and names the function that takes its
 * answer. Every POST is signed over its URL and a nonce that the server gave with its last answer;
 * a nonce that went stale is asked for anew and the request sent again (RFC 8555 6.5). Nothing the
 * server says is believed beyond its JSON: URLs must lie on the directory's own origin, bodies are
 * bounded, waiting is bounded. */
#include "controllers/acme.h"
#include "data/base64.h"
#include "data/json.h"
#include "net/client.h"
#include "net/jws.h"
#include "net/loop.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    MAX_ANSWER = 1 << 20,
    MAX_STALE_NONCES = 5,
    CALL_TIMEOUT_MS = 30000,
    POLL_MS = 1000,
    POLL_MAX_MS = 30000,
    DEADLINE_MS = 300000
};

typedef struct answer {
    int status;
    const sp_json *body; /* NULL when it is not JSON */
    sp_str bytes, location;
    int64_t retry_after_ms; /* 0 = not said */
} answer;

typedef void step(sp_acme_order *o, const answer *a);

struct sp_acme_order {
    uv_loop_t *loop;
    sp_arena *arena;
    sp_acme_params p;
    sp_http_client *client;
    sp_url origin;
    sp_jws_key *key;
    sp_http_call *call;
    sp_timer *timer, *deadline;
    sp_str nonce, new_nonce, new_account, new_order; /* in the arena */
    sp_str account, order_url, finalize, certificate;
    sp_strs authorizations;
    size_t at; /* of the authorizations */
    sp_str challenge_url;
    bool proving;
    sp_buf csr, key_pem;
    /* The request under way, for sending it again. */
    sp_str url, payload;
    bool with_jwk, is_post;
    unsigned stale;
    step *next;
};

/* --- the end --- */

static void stop_proving(sp_acme_order *o) {
    if (o->proving) o->p.prove(o->p.ctx, NULL);
    o->proving = false;
}

static void free_order(sp_acme_order *o) {
    if (o->call) sp_http_call_cancel(o->call);
    sp_http_client_free(o->client);
    sp_jws_key_free(o->key);
    sp_timer_stop(o->timer);
    sp_timer_stop(o->deadline);
    sp_vec_free(&o->authorizations);
    sp_vec_free(&o->p.names);
    sp_buf_free(&o->csr);
    sp_buf_free(&o->key_pem);
    sp_arena_free(o->arena);
    free(o);
}

sp_acme_order *sp_acme_cancel(sp_acme_order *o) {
    if (o) free_order(o);
    return NULL;
}

static void finish(sp_acme_order *o, const sp_acme_result *r, const sp_err *err) {
    stop_proving(o);
    o->p.done(o->p.ctx, r, err);
    free_order(o);
}

static void fail(sp_acme_order *o, sp_code code, const char *fmt, ...) SP_PRINTF(3, 4);
static void fail(sp_acme_order *o, sp_code code, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sp_err err = {0};
    (void)sp_fail(&err, code, "%s", text);
    finish(o, NULL, &err);
}

/* The problem document (RFC 7807) of a refusal, with its subproblems' words. */
static void fail_by(sp_acme_order *o, const char *what, const answer *a) {
    sp_str detail = sp_json_str(sp_json_get(a->body, "detail"));
    sp_str type = sp_json_str(sp_json_get(a->body, "type"));
    bool later = a->status >= 500 || a->status == 429;
    fail(o, later ? SP_UNAVAILABLE : SP_INVALID, "%s: the ACME server answered %d%s%.*s%s%.*s",
         what, a->status, type.n ? " " : "", SP_ARG(type), detail.n ? ": " : "", SP_ARG(detail));
}

/* --- requests --- */

static void ask(sp_acme_order *o);

static void on_answer(void *ctx, const sp_http_reply_msg *r, const sp_err *err) {
    sp_acme_order *o = ctx;
    o->call = NULL;
    if (err) {
        fail(o, SP_UNAVAILABLE, "cannot ask the ACME server %.*s: %s", SP_ARG(o->url), err->text);
        return;
    }
    uint64_t seconds = 0;
    sp_json *body = NULL;
    sp_auto_ptr(sp_arena) a_while = sp_arena_new(); /* answers may be large, and many */
    sp_str nonce = sp_headers_get(r->headers, r->header_count, "replay-nonce");
    if (nonce.n) o->nonce = sp_arena_str(o->arena, nonce);
    if (!sp_json_parse(a_while, r->body, &body, NULL)) body = NULL;
    if (!sp_str_u64(sp_headers_get(r->headers, r->header_count, "retry-after"), &seconds))
        seconds = 0;
    answer a = {.status = r->status,
                .body = body,
                .bytes = r->body,
                .location = sp_headers_get(r->headers, r->header_count, "location"),
                .retry_after_ms = (int64_t)SP_MIN(seconds, 60u) * 1000};
    bool stale = r->status == 400 && sp_str_eqz(sp_json_str(sp_json_get(body, "type")),
                                                "urn:ietf:params:acme:error:badNonce");
    if (stale && ++o->stale <= MAX_STALE_NONCES)
        ask(o);
    else
        o->next(o, &a);
}

/* The part of a URL that is asked for; false when it leads to another server. */
static bool target_of(const sp_acme_order *o, sp_str url, sp_str *ret) {
    sp_url u;
    if (!sp_url_parse(url, &u, NULL) || !sp_str_eq(u.host, o->origin.host) ||
        u.port != o->origin.port || u.tls != o->origin.tls)
        return false;
    *ret = u.target;
    return true;
}

static bool render(sp_acme_order *o, sp_buf *body, sp_err *err) {
    sp_auto(sp_buf) head = {0};
    sp_buf_addz(&head, "{\"alg\":\"ES256\",");
    if (o->with_jwk) {
        sp_buf_addz(&head, "\"jwk\":");
        sp_jws_write_jwk(o->key, &head);
    } else {
        sp_buf_addz(&head, "\"kid\":");
        sp_json_write_string(&head, o->account);
    }
    sp_buf_addz(&head, ",\"nonce\":");
    sp_json_write_string(&head, o->nonce);
    sp_buf_addz(&head, ",\"url\":");
    sp_json_write_string(&head, o->url);
    sp_buf_addc(&head, '}');
    return sp_jws_sign(o->key, sp_buf_str(&head), o->payload, body, err);
}

static void call(sp_acme_order *o, const char *method, sp_str target, sp_str body) {
    sp_header h[] = {{SP_STR("content-type"), SP_STR("application/jose+json")},
                     {SP_STR("user-agent"), SP_STR("sampan")}};
    sp_http_call_params p = {.method = method,
                             .target = target,
                             .headers = body.n ? h : h + 1,
                             .header_count = body.n ? 2 : 1,
                             .body = body,
                             .timeout_ms = CALL_TIMEOUT_MS};
    o->call = sp_http_fetch(o->client, &p, MAX_ANSWER, on_answer, o);
}

static void ask(sp_acme_order *o) {
    sp_auto(sp_buf) body = {0};
    sp_err err = {0};
    sp_str target;
    if (!target_of(o, o->url, &target))
        fail(o, SP_INVALID, "the ACME server names \"%.*s\", which is not on %.*s", SP_ARG(o->url),
             SP_ARG(o->p.directory));
    else if (!o->is_post)
        call(o, "GET", target, (sp_str){0});
    else if (!render(o, &body, &err))
        fail(o, err.code, "%s", err.text);
    else
        call(o, "POST", target, sp_buf_str(&body));
}

/* payload "" is POST-as-GET (RFC 8555 6.3). */
static void post(sp_acme_order *o, sp_str url, sp_str payload, step *next) {
    o->url = url;
    o->payload = payload;
    o->is_post = true;
    o->stale = 0;
    o->next = next;
    ask(o);
}

static void get(sp_acme_order *o, sp_str url, step *next) {
    o->url = url;
    o->is_post = false;
    o->next = next;
    ask(o);
}

static sp_str keep(sp_acme_order *o, const sp_json *body, const char *key) {
    return sp_arena_str(o->arena, sp_json_str(sp_json_get(body, key)));
}

static bool status_is(const answer *a, const char *status) {
    return sp_str_eqz(sp_json_str(sp_json_get(a->body, "status")), status);
}

static void later(sp_acme_order *o, const answer *a, sp_timer_fn *fn) {
    int64_t ms = a->retry_after_ms ? SP_MIN(a->retry_after_ms, (int64_t)POLL_MAX_MS) : POLL_MS;
    o->timer = sp_timer_start(o->loop, (uint64_t)ms, fn, o);
}

/* --- the certificate --- */

static void on_certificate(sp_acme_order *o, const answer *a) {
    if (a->status != 200 || !a->bytes.n) {
        fail_by(o, "the certificate was not handed out", a);
        return;
    }
    sp_acme_result r = {a->bytes, sp_buf_str(&o->key_pem)};
    finish(o, &r, NULL);
}

static void on_order_state(sp_acme_order *o, const answer *a);

static void poll_order(void *ctx) {
    sp_acme_order *o = ctx;
    o->timer = NULL;
    post(o, o->order_url, (sp_str){0}, on_order_state);
}

static void on_order_state(sp_acme_order *o, const answer *a) {
    if (a->status != 200) {
        fail_by(o, "the order was refused", a);
    } else if (status_is(a, "valid")) {
        o->certificate = keep(o, a->body, "certificate");
        post(o, o->certificate, (sp_str){0}, on_certificate);
    } else if (status_is(a, "invalid")) {
        answer why = *a;
        why.body = sp_json_get(a->body, "error");
        fail_by(o, "the order has failed", &why);
    } else {
        later(o, a, poll_order);
    }
}

static void finalize(sp_acme_order *o) {
    sp_err err = {0};
    if (!sp_csr_make(&o->p.names, &o->key_pem, &o->csr, &err)) {
        fail(o, SP_INVALID, "%s", err.text);
        return;
    }
    sp_auto(sp_buf) b = {0};
    sp_buf_addz(&b, "{\"csr\":\"");
    sp_base64url_encode(&b, sp_buf_str(&o->csr));
    sp_buf_addz(&b, "\"}");
    post(o, o->finalize, sp_arena_str(o->arena, sp_buf_str(&b)), on_order_state);
}

/* --- proofs --- */

static void next_authorization(sp_acme_order *o);

static void on_authorization_state(sp_acme_order *o, const answer *a);

static void poll_authorization(void *ctx) {
    sp_acme_order *o = ctx;
    o->timer = NULL;
    post(o, o->authorizations.p[o->at], (sp_str){0}, on_authorization_state);
}

static const char *method_name(sp_acme_method m) {
    return m == SP_ACME_HTTP_01 ? "http-01" : "tls-alpn-01";
}

static const sp_json *find_challenge(const sp_acme_order *o, const sp_json *authorization) {
    sp_json_each(sp_json_get(authorization, "challenges"), c) {
        if (sp_str_eqz(sp_json_str(sp_json_get(c, "type")), method_name(o->p.method))) return c;
    }
    return NULL;
}

static void fail_proof(sp_acme_order *o, const answer *a) {
    const sp_json *c = find_challenge(o, a->body);
    sp_str name = sp_json_str(sp_json_dig(a->body, "identifier", "value", NULL));
    sp_str why = sp_json_str(sp_json_dig(c, "error", "detail", NULL));
    fail(o, SP_INVALID, "the ACME server could not verify %.*s by %s: %.*s", SP_ARG(name),
         method_name(o->p.method), SP_ARG(why.n ? why : SP_STR("it does not say why")));
}

static void on_authorization_state(sp_acme_order *o, const answer *a) {
    if (a->status != 200) {
        fail_by(o, "the proof was refused", a);
    } else if (status_is(a, "valid")) {
        stop_proving(o);
        o->at++;
        next_authorization(o);
    } else if (status_is(a, "pending") || status_is(a, "processing")) {
        later(o, a, poll_authorization);
    } else {
        fail_proof(o, a);
    }
}

static void on_challenge_accepted(sp_acme_order *o, const answer *a) {
    if (a->status != 200)
        fail_by(o, "the proof was refused", a);
    else
        later(o, a, poll_authorization);
}

void sp_acme_proved(sp_acme_order *o) {
    if (o->proving && !o->call && !o->timer)
        post(o, o->challenge_url, SP_STR("{}"), on_challenge_accepted);
}

/* Tokens go into paths and headers: base64url only (RFC 8555 8.3). */
static bool is_token(sp_str s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_';
        if (!ok) return false;
    }
    return s.n > 0 && s.n <= 256;
}

static bool is_ours(const sp_acme_order *o, sp_str name) {
    sp_vec_each(&o->p.names, n) if (sp_str_ieq(*n, name)) return true;
    return false;
}

static void begin_proof(sp_acme_order *o, const sp_json *authorization, const sp_json *challenge) {
    sp_auto(sp_buf) authorization_text = {0};
    sp_acme_proof p = {.method = o->p.method,
                       .name = keep(o, sp_json_get(authorization, "identifier"), "value"),
                       .token = keep(o, challenge, "token"),
                       .url = keep(o, challenge, "url")};
    if (!is_token(p.token)) {
        fail(o, SP_INVALID, "the ACME server gave a token that is none");
        return;
    }
    if (!is_ours(o, p.name)) { /* else it could have proofs for the names of others */
        fail(o, SP_INVALID, "the ACME server wants a proof for \"%.*s\", which was not ordered",
             SP_ARG(p.name));
        return;
    }
    sp_buf_printf(&authorization_text, "%.*s.", SP_ARG(p.token));
    sp_jws_write_thumbprint(o->key, &authorization_text);
    p.key_authorization = sp_arena_str(o->arena, sp_buf_str(&authorization_text));
    o->challenge_url = p.url;
    o->proving = true;
    o->p.prove(o->p.ctx, &p);
}

static void on_authorization(sp_acme_order *o, const answer *a) {
    if (a->status != 200) {
        fail_by(o, "the names were refused", a);
        return;
    }
    if (status_is(a, "valid")) { /* proved a while ago */
        o->at++;
        next_authorization(o);
        return;
    }
    const sp_json *c = find_challenge(o, a->body);
    if (!c)
        fail(o, SP_INVALID, "the ACME server does not offer %s for %.*s", method_name(o->p.method),
             SP_ARG(sp_json_str(sp_json_dig(a->body, "identifier", "value", NULL))));
    else
        begin_proof(o, a->body, c);
}

static void next_authorization(sp_acme_order *o) {
    if (o->at < o->authorizations.n)
        post(o, o->authorizations.p[o->at], (sp_str){0}, on_authorization);
    else
        finalize(o);
}

/* --- account and order --- */

static void on_order(sp_acme_order *o, const answer *a) {
    if (a->status != 201 || !a->location.n) {
        fail_by(o, "the order was refused", a);
        return;
    }
    o->order_url = sp_arena_str(o->arena, a->location);
    o->finalize = keep(o, a->body, "finalize");
    const sp_json *list = sp_json_get(a->body, "authorizations");
    if (list && list->count > o->p.names.n) {
        fail(o, SP_INVALID, "the ACME server wants more proofs than names were ordered");
        return;
    }
    sp_json_each(list, u) {
        sp_vec_push(&o->authorizations, sp_arena_str(o->arena, sp_json_str(u)));
    }
    next_authorization(o);
}

static sp_str order_body(sp_acme_order *o) {
    sp_auto(sp_buf) b = {0};
    sp_buf_addz(&b, "{\"identifiers\":[");
    for (size_t i = 0; i < o->p.names.n; i++) {
        sp_buf_addz(&b, i ? ",{\"type\":\"dns\",\"value\":" : "{\"type\":\"dns\",\"value\":");
        sp_json_write_string(&b, o->p.names.p[i]);
        sp_buf_addc(&b, '}');
    }
    sp_buf_addz(&b, "]}");
    return sp_arena_str(o->arena, sp_buf_str(&b));
}

static void on_account(sp_acme_order *o, const answer *a) {
    if ((a->status != 200 && a->status != 201) || !a->location.n) {
        fail_by(o, "the account was refused", a);
        return;
    }
    o->account = sp_arena_str(o->arena, a->location);
    o->with_jwk = false;
    post(o, o->new_order, order_body(o), on_order);
}

/* A known key gets its old account back (RFC 8555 7.3.1), so nothing needs to be remembered. */
static void on_nonce(sp_acme_order *o, const answer *a) {
    sp_auto(sp_buf) b = {0};
    if (!o->nonce.n) {
        fail_by(o, "the ACME server gives no nonce", a);
        return;
    }
    sp_buf_addz(&b, "{\"termsOfServiceAgreed\":true");
    if (o->p.email.n) {
        sp_buf_addz(&b, ",\"contact\":[");
        sp_json_write_string(&b, sp_arena_printf(o->arena, "mailto:%.*s", SP_ARG(o->p.email)));
        sp_buf_addc(&b, ']');
    }
    sp_buf_addc(&b, '}');
    o->with_jwk = true;
    post(o, o->new_account, sp_arena_str(o->arena, sp_buf_str(&b)), on_account);
}

static void on_directory(sp_acme_order *o, const answer *a) {
    o->new_nonce = keep(o, a->body, "newNonce");
    o->new_account = keep(o, a->body, "newAccount");
    o->new_order = keep(o, a->body, "newOrder");
    if (a->status != 200 || !o->new_nonce.n || !o->new_account.n || !o->new_order.n)
        fail(o, a->status >= 500 ? SP_UNAVAILABLE : SP_INVALID,
             "%.*s is not an ACME directory (status %d)", SP_ARG(o->p.directory), a->status);
    else
        get(o, o->new_nonce, on_nonce);
}

/* --- the beginning --- */

static void on_deadline(void *ctx) {
    sp_acme_order *o = ctx;
    o->deadline = NULL;
    fail(o, SP_UNAVAILABLE, "the ACME server has not finished the order within %d minutes",
         DEADLINE_MS / 60000);
}

static void copy_params(sp_acme_order *o, const sp_acme_params *p) {
    o->p = *p;
    o->p.names = (sp_strs){0};
    sp_vec_each(&p->names, n) sp_vec_push(&o->p.names, sp_arena_str(o->arena, *n));
    sp_str *const copies[] = {&o->p.directory, &o->p.email};
    for (size_t i = 0; i < SP_COUNT(copies); i++) *copies[i] = sp_arena_str(o->arena, *copies[i]);
}

static bool open_client(sp_acme_order *o, sp_err *err) {
    sp_tls_config t = {.ca_pem = o->p.ca_pem, .insecure = o->p.insecure, .alpn = "h2,http/1.1"};
    sp_tls_ctx *tls = NULL;
    if (o->origin.tls && !sp_tls_ctx_new(&t, &tls, err)) return false;
    char *host = sp_str_dup(o->origin.host);
    sp_http_client_config c = {.host = host, .port = o->origin.port, .tls = tls};
    o->client = sp_http_client_new(o->loop, &c);
    free(host);
    sp_tls_ctx_unref(tls);
    return true;
}

bool sp_acme_start(uv_loop_t *loop, const sp_acme_params *p, sp_acme_order **ret, sp_err *err) {
    sp_acme_order *o = sp_zalloc(1, sizeof *o);
    o->loop = loop;
    o->arena = sp_arena_new();
    copy_params(o, p);
    if (!sp_url_parse(o->p.directory, &o->origin, err) || !open_client(o, err) ||
        !sp_jws_key_load(p->account_key_pem, &o->key, err)) {
        free_order(o);
        return false;
    }
    o->p.ca_pem = o->p.account_key_pem = (sp_str){0}; /* used up, not copied */
    o->deadline = sp_timer_start(loop, DEADLINE_MS, on_deadline, o);
    get(o, o->p.directory, on_directory);
    *ret = o;
    return true;
}
