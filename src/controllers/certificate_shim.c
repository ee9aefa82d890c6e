/* Ingresses and Gateways that ask for certificates by annotation, as cert-manager's ingress-shim
 * does: one Certificate for each Secret they name, owned by them. A Certificate of that name which
 * somebody else made is left alone. */
#include "controllers/certificates.h"
#include "controllers/controllers.h"

typedef struct wish {
    sp_str secret;
    sp_json *names; /* dnsNames */
} wish;
typedef SP_VEC(wish) wishes;

static void add_name(sp_arena *a, wishes *list, sp_str secret, sp_str name) {
    wish *w = NULL;
    if (!secret.n || !name.n || name.p[0] == '*') return; /* http-01 and tls-alpn-01 cannot */
    sp_vec_each(list, it) if (sp_str_eq(it->secret, secret)) w = it;
    if (!w) {
        sp_vec_push(list, (wish){secret, sp_json_array(a)});
        w = &list->p[list->n - 1];
    }
    sp_json_each(w->names, n) if (sp_str_eq(sp_json_str(n), name)) return;
    sp_json_push(w->names, sp_json_new_str(a, name));
}

static void wishes_of_ingress(sp_arena *a, const sp_json *ingress, wishes *ret) {
    sp_json_each(sp_json_dig(ingress, "spec", "tls", NULL), t) {
        sp_json_each(sp_json_get(t, "hosts"), h) {
            add_name(a, ret, sp_json_str(sp_json_get(t, "secretName")), sp_json_str(h));
        }
    }
}

static void wishes_of_gateway(sp_arena *a, const sp_json *gateway, wishes *ret) {
    sp_json_each(sp_json_dig(gateway, "spec", "listeners", NULL), l) {
        sp_json_each(sp_json_dig(l, "tls", "certificateRefs", NULL), ref) {
            sp_str kind = sp_obj_kind(ref), ns = sp_json_str(sp_json_get(ref, "namespace"));
            bool here = !ns.n || sp_str_eq(ns, sp_obj_namespace(gateway));
            if (here && (!kind.n || sp_str_eqz(kind, "Secret")))
                add_name(a, ret, sp_json_str(sp_json_get(ref, "name")),
                         sp_json_str(sp_json_get(l, "hostname")));
        }
    }
}

static sp_json *issuer_ref(sp_arena *a, const sp_json *obj) {
    sp_str cluster = sp_obj_annotation(obj, "cert-manager.io/cluster-issuer");
    sp_str local = sp_obj_annotation(obj, "cert-manager.io/issuer");
    if (!cluster.n && !local.n) return NULL;
    sp_json *ref = sp_json_object(a);
    sp_json_set(a, ref, "name", sp_json_new_str(a, cluster.n ? cluster : local));
    sp_json_set_z(a, ref, "kind", cluster.n ? "ClusterIssuer" : "Issuer");
    sp_json_set_z(a, ref, "group", "cert-manager.io");
    return ref;
}

static sp_json *wanted_spec(sp_arena *a, const wish *w, const sp_json *issuer) {
    sp_json *spec = sp_json_object(a);
    sp_json_set(a, spec, "secretName", sp_json_new_str(a, w->secret));
    sp_json_set(a, spec, "dnsNames", sp_json_clone(a, w->names));
    sp_json_set(a, spec, "issuerRef", sp_json_clone(a, issuer));
    return spec;
}

static void create(sp_reconcile *r, const sp_json *obj, const wish *w, sp_json *spec) {
    sp_json *c = sp_json_object(r->arena);
    sp_json_set_z(r->arena, c, "apiVersion", "cert-manager.io/v1");
    sp_json_set_z(r->arena, c, "kind", "Certificate");
    sp_json *meta = sp_json_ensure_object(r->arena, c, "metadata");
    sp_json_set(r->arena, meta, "name", sp_json_new_str(r->arena, w->secret));
    sp_json_push(sp_json_ensure_array(r->arena, meta, "ownerReferences"),
                 sp_owner_ref(r->arena, obj));
    sp_json_set(r->arena, c, "spec", spec);
    sp_reconcile_create(r, &sp_gvr_certificates, r->ns, c)->tolerate_exists = true;
}

static bool same(const sp_json *certificate, const sp_json *spec) {
    static const char *const members[] = {"secretName", "dnsNames", "issuerRef"};
    const sp_json *now = sp_json_get(certificate, "spec");
    for (size_t i = 0; i < SP_COUNT(members); i++)
        if (!sp_json_equal(sp_json_get(now, members[i]), sp_json_get(spec, members[i])))
            return false;
    return true;
}

static void want(sp_reconcile *r, const sp_json *obj, const wish *w, const sp_json *there,
                 const sp_json *issuer) {
    sp_json *spec = wanted_spec(r->arena, w, issuer);
    if (!there) {
        create(r, obj, w, spec);
    } else if (!sp_obj_controlled_by(there, obj)) {
        return;
    } else if (!same(there, spec)) {
        sp_json *patch = sp_json_object(r->arena);
        sp_json_set(r->arena, patch, "spec", spec);
        sp_reconcile_merge(r, &sp_gvr_certificates, r->ns, w->secret, patch);
    }
}

static bool is_wished(const wishes *list, sp_str name) {
    sp_vec_each(list, w) if (sp_str_eq(w->secret, name)) return true;
    return false;
}

void sp_certificate_shim_decide(sp_reconcile *r, const sp_json *obj, const sp_obj_list *owned,
                                const sp_json *(*get)(void *ctx, sp_str ns, sp_str name),
                                void *ctx) {
    wishes list = {0};
    sp_json *issuer = issuer_ref(r->arena, obj);
    if (issuer && sp_str_eqz(sp_obj_kind(obj), "Ingress")) wishes_of_ingress(r->arena, obj, &list);
    if (issuer && sp_str_eqz(sp_obj_kind(obj), "Gateway")) wishes_of_gateway(r->arena, obj, &list);
    sp_vec_each(&list, w) want(r, obj, w, get(ctx, r->ns, w->secret), issuer);
    sp_vec_each(owned, c) {
        if (!is_wished(&list, sp_obj_name(*c)))
            sp_reconcile_delete(r, &sp_gvr_certificates, *c, "Background");
    }
    sp_vec_free(&list);
}

/* --- wiring --- */

static const sp_json *get_certificate(void *ctx, sp_str ns, sp_str name) {
    return sp_informer_get(sp_manager_informer(ctx, &sp_gvr_certificates), ns, name);
}

static bool reconcile_kind(sp_manager *m, const sp_gvr *g, sp_reconcile *r) {
    const sp_json *obj = sp_informer_get(sp_manager_informer(m, g), r->ns, r->name);
    sp_obj_list owned = {0};
    if (!obj || sp_obj_deleting(obj)) return true;
    sp_informer_owned(sp_manager_informer(m, &sp_gvr_certificates), sp_obj_uid(obj), &owned);
    sp_certificate_shim_decide(r, obj, &owned, get_certificate, m);
    sp_vec_free(&owned);
    return true;
}

static bool reconcile_ingress(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    return reconcile_kind(ctx, &sp_gvr_ingresses, r);
}

static bool reconcile_gateway(void *ctx, sp_reconcile *r, sp_err *err) {
    (void)err;
    return reconcile_kind(ctx, &sp_gvr_gateways, r);
}

void sp_add_certificate_shim(sp_manager *m) {
    static const struct {
        const char *name;
        const sp_gvr *gvr;
        sp_reconcile_fn *fn;
    } rows[] = {{"certificate-ingress", &sp_gvr_ingresses, reconcile_ingress},
                {"certificate-gateway", &sp_gvr_gateways, reconcile_gateway}};
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_controller *c = sp_controller_new(m, rows[i].name, rows[i].fn, m);
        sp_controller_for(c, rows[i].gvr);
        sp_controller_owns(c, &sp_gvr_certificates, rows[i].gvr->kind);
    }
}
