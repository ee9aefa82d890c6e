/* Answers to ACME challenges. A Challenge object (acme.cert-manager.io/v1) becomes a route on every
 * HTTP port (HTTP-01, RFC 8555 8.3) or a certificate for the protocol acme-tls/1 on every TLS port
 * (TLS-ALPN-01, RFC 8737); once the configuration with it is carried out, the object says so, and
 * the controller lets the ACME server look. */
#include "gateway/status.h"
#include "kube/gvrs.h"

#include <ctype.h>

enum { LOOK_AGAIN_MS = 50 };

static const char well_known[] = "/.well-known/acme-challenge/";

static sp_str field(const sp_json *challenge, const char *key) {
    return sp_json_str(sp_json_dig(challenge, "spec", key, NULL));
}

/* Names are equal in any case; the table and the server names are in lower case. */
static sp_str name_of(sp_arena *a, const sp_json *challenge) {
    return sp_translate_lower(a, field(challenge, "dnsName"));
}

static sp_str path_of(sp_arena *a, const sp_json *challenge) {
    return sp_arena_printf(a, "%s%.*s", well_known, SP_ARG(field(challenge, "token")));
}

/* --- translation --- */

static void add_route(sp_translator *t, const sp_json *challenge) {
    sp_str key = sp_obj_key(t->arena, challenge);
    sp_route_action *act = SP_NEW(t->arena, sp_route_action);
    act->owner = sp_arena_printf(t->arena, "Challenge %.*s", SP_ARG(key));
    act->answer_status = 200;
    act->answer_body = sp_arena_str(t->arena, field(challenge, "key"));
    sp_route_entry e = {.host = name_of(t->arena, challenge),
                        .path_kind = SP_PATH_EXACT,
                        .path = path_of(t->arena, challenge),
                        .object = key,
                        .action = act};
    for (size_t i = 0; i < t->entries.n; i++) sp_translate_entry(t, (uint32_t)i, &e);
}

static void add_answer(sp_translator *t, const sp_json *challenge) {
    const sp_json *answer = sp_json_dig(challenge, "spec", "tlsAnswer", NULL);
    sp_gateway_config *c = t->out->config;
    sp_acme_answer *a = &c->acme_answers[c->acme_answer_count++];
    a->name = name_of(t->arena, challenge);
    a->cert.cert_pem = sp_arena_str(t->arena, sp_json_str(sp_json_get(answer, "certificate")));
    a->cert.key_pem = sp_arena_str(t->arena, sp_json_str(sp_json_get(answer, "privateKey")));
    a->cert.source = sp_obj_key(t->arena, challenge);
}

/* One name and one token: a proof is never for all hosts, nor for other paths. */
static bool is_proof(const sp_json *challenge) {
    sp_str name = field(challenge, "dnsName"), token = field(challenge, "token");
    for (size_t i = 0; i < token.n; i++)
        if (!strchr("-_", token.p[i]) && !isalnum((unsigned char)token.p[i])) return false;
    return name.n && sp_str_chr(name, '*') < 0 && token.n && token.n <= 256;
}

static bool is_http(const sp_json *challenge) {
    return sp_str_eqz(field(challenge, "type"), "HTTP-01");
}

void sp_translate_challenges(sp_translator *t) {
    sp_gateway_config *c = t->out->config;
    c->acme_answers =
        sp_arena_alloc(t->arena, (t->view->challenges.n + 1) * sizeof *c->acme_answers);
    sp_vec_each(&t->view->challenges, it) {
        if (!is_proof(*it)) continue;
        if (is_http(*it))
            add_route(t, *it);
        else
            add_answer(t, *it);
    }
}

/* --- status --- */

static bool is_routed(sp_reconcile *r, const sp_gateway_config *c, const sp_json *challenge) {
    sp_route_request q = {.method = SP_STR("GET"),
                          .host = name_of(r->arena, challenge),
                          .path = path_of(r->arena, challenge)};
    const sp_route_entry *e = c->table_count ? sp_route_find(c->tables[0], &q) : NULL;
    return e && sp_str_eq(e->action->answer_body, field(challenge, "key"));
}

static bool is_answered(const sp_gateway_config *c, const sp_json *challenge) {
    sp_str cert = sp_json_str(sp_json_dig(challenge, "spec", "tlsAnswer", "certificate", NULL));
    for (size_t i = 0; i < c->acme_answer_count; i++)
        if (sp_str_eq(c->acme_answers[i].cert.cert_pem, cert)) return true;
    return false;
}

void sp_status_challenge(sp_reconcile *r, const sp_gateway_config *config,
                         const sp_json *challenge) {
    if (sp_json_bool(sp_json_dig(challenge, "status", "presented", NULL), false)) return;
    if (!is_proof(challenge)) return;
    bool served =
        is_http(challenge) ? is_routed(r, config, challenge) : is_answered(config, challenge);
    if (!served) { /* the configuration with it is being made */
        r->requeue_ms = LOOK_AGAIN_MS;
        return;
    }
    sp_json *wanted = sp_json_object(r->arena);
    sp_json_set_bool(r->arena, wanted, "presented", true);
    sp_json_set_bool(r->arena, wanted, "processing", true);
    sp_json_set_z(r->arena, wanted, "state", "pending");
    sp_json_set_z(r->arena, wanted, "reason", "the gateway answers; the ACME server may look");
    sp_status_patch(r, &sp_gvr_challenges, challenge, wanted);
}
