/* The key behind sticky cookies: from --sticky-key-file, else from a Secret of the cluster, so that
 * all gateways give the same values and a client stays at its server whichever gateway it meets.
 * The first gateway makes the Secret; a changed one holds at once, and clients then choose anew. */
#include "base/rng.h"
#include "gateway/refs.h"
#include "gateway/status.h"
#include "kube/gvrs.h"

#include "data/base64.h"

enum { NEW_KEY_BYTES = 32 };

static sp_str secret_name(void) {
    return SP_STR("sampan-gateway-sticky");
}

static sp_str secret_namespace(void) {
    return SP_STR("kube-system");
}

/* "" = there is none, or it is too short to be secret. */
static sp_str key_of(sp_translator *t) {
    sp_str key = t->options->sticky_key;
    if (key.n) return sp_arena_str(t->arena, key);
    const sp_json *secret = sp_view_find(&t->view->secrets, secret_namespace(), secret_name());
    if (!secret || !sp_ref_secret_member(t->arena, secret, "key", &key)) return (sp_str){0};
    return key.n >= SP_STICKY_KEY_MIN ? key : (sp_str){0};
}

void sp_translate_sticky_key(sp_translator *t) {
    sp_str key = key_of(t);
    sp_vec_each(&t->pools, p) p->sticky.key = key;
}

sp_str sp_status_sticky_key_name(sp_arena *a) {
    return sp_arena_printf(a, "%.*s/%.*s", SP_ARG(secret_namespace()), SP_ARG(secret_name()));
}

void sp_status_sticky_key(sp_reconcile *r, const sp_json *secret) {
    unsigned char bytes[NEW_KEY_BYTES];
    sp_auto(sp_buf) text = {0};
    if (secret || !sp_str_eq(r->name, secret_name()) || !sp_str_eq(r->ns, secret_namespace()))
        return;
    sp_rng_bytes(bytes, sizeof bytes);
    sp_base64_encode(&text, (sp_str){(const char *)bytes, sizeof bytes});
    sp_json *o = sp_json_object(r->arena);
    sp_json_set_z(r->arena, o, "apiVersion", "v1");
    sp_json_set_z(r->arena, o, "kind", "Secret");
    sp_json_set(r->arena, sp_json_ensure_object(r->arena, o, "metadata"), "name",
                sp_json_new_str(r->arena, secret_name()));
    sp_json_set(r->arena, sp_json_ensure_object(r->arena, o, "data"), "key",
                sp_json_new_str(r->arena, sp_arena_str(r->arena, sp_buf_str(&text))));
    sp_reconcile_create(r, &sp_gvr_secrets, secret_namespace(), o)->tolerate_exists = true;
}
