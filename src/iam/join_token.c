#include "iam/join_token.h"

#include "base/rng.h"
#include "data/base64.h"
#include "data/time.h"
#include "net/tls.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>

static bool is_word(sp_str s, size_t length, bool hex) {
    if (s.n != length) return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool digit = c >= '0' && c <= '9', letter = c >= 'a' && c <= (hex ? 'f' : 'z');
        if (!digit && !letter) return false;
    }
    return true;
}

static void copy(char *to, sp_str s) {
    if (s.n) memcpy(to, s.p, s.n);
    to[s.n] = 0;
}

bool sp_join_token_parse(sp_str text, sp_join_token *ret, sp_err *err) {
    sp_str rest = sp_str_trim(text), id = {0}, secret = {0};
    sp_join_token t = {0};
    bool ok = sp_str_cut(&rest, '.', &id) && sp_str_cut(&rest, '.', &secret) &&
              is_word(id, SP_JOIN_ID, false) && is_word(secret, SP_JOIN_SECRET, false) &&
              (!rest.p || is_word(rest, SP_JOIN_HASH, true));
    if (!ok)
        return sp_fail(err, SP_INVALID,
                       "this is no token of a cluster: three words of %d, %d and %d letters and "
                       "digits with dots between them are expected, as `sampan cluster token` "
                       "prints them",
                       SP_JOIN_ID, SP_JOIN_SECRET, SP_JOIN_HASH);
    copy(t.id, id);
    copy(t.secret, secret);
    if (rest.n) copy(t.ca_hash, rest);
    *ret = t;
    return true;
}

/* 27 letters, 28 times: 133 bits. */
void sp_join_token_make(const char *ca_hash, sp_join_token *ret) {
    *ret = (sp_join_token){0};
    sp_rng_suffix(ret->id, SP_JOIN_ID);
    sp_rng_suffix(ret->secret, SP_JOIN_SECRET);
    snprintf(ret->ca_hash, sizeof ret->ca_hash, "%s", ca_hash);
}

void sp_join_token_print(const sp_join_token *t, char ret[SP_JOIN_TOKEN_MAX]) {
    snprintf(ret, SP_JOIN_TOKEN_MAX, "%s.%s%s%s", t->id, t->secret, *t->ca_hash ? "." : "",
             t->ca_hash);
}

bool sp_join_ca_hash(sp_str ca_pem, char ret[SP_JOIN_HASH + 1], sp_err *err) {
    unsigned char sum[32];
    if (!sp_cert_key_digest(ca_pem, sum, err)) return false;
    sp_hex_print(sum, sizeof sum, ret);
    return true;
}

/* --- how the cluster keeps it --- */

static void digest(const sp_join_token *t, char ret[SP_JOIN_HASH + 1]) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    char text[SP_JOIN_ID + SP_JOIN_SECRET + 2];
    unsigned n = 0;
    int length = snprintf(text, sizeof text, "%s.%s", t->id, t->secret);
    sp_assert(EVP_Digest(text, (size_t)length, sum, &n, EVP_sha256(), NULL) == 1);
    sp_hex_print(sum, 32, ret);
}

static void set_data(sp_arena *a, sp_json *data, const char *key, const char *value) {
    sp_auto(sp_buf) b = {0};
    sp_base64_encode(&b, sp_str_z(value));
    sp_json_set(a, data, key, sp_json_new_str(a, sp_buf_str(&b)));
}

sp_json *sp_join_token_object(sp_arena *a, const sp_join_token *t, int64_t expires_wall_ms) {
    char sum[SP_JOIN_HASH + 1], when[SP_TIME_MAX];
    sp_json *obj = sp_json_object(a), *meta = sp_json_ensure_object(a, obj, "metadata");
    sp_json_set_z(a, obj, "apiVersion", "v1");
    sp_json_set_z(a, obj, "kind", "Secret");
    sp_json_set(a, meta, "name", sp_json_printf(a, SP_JOIN_PREFIX "%s", t->id));
    sp_json_set_z(a, meta, "namespace", SP_JOIN_NAMESPACE);
    sp_json_set_z(a, obj, "type", SP_JOIN_TYPE);
    sp_json *data = sp_json_ensure_object(a, obj, "data");
    digest(t, sum);
    sp_time_format(expires_wall_ms, when);
    set_data(a, data, "sha256", sum);
    set_data(a, data, "expiration", when);
    return obj;
}

static bool get_data(const sp_json *object, const char *key, sp_buf *ret) {
    return sp_base64_decode(ret, sp_json_str(sp_json_dig(object, "data", key, NULL)));
}

bool sp_join_token_check(const sp_json *object, const sp_join_token *t, int64_t now_wall_ms,
                         sp_err *err) {
    sp_auto(sp_buf) sum = {0}, when = {0};
    char own[SP_JOIN_HASH + 1];
    int64_t expires;
    digest(t, own);
    bool known = object && sp_str_eqz(sp_json_text(object, "type"), SP_JOIN_TYPE) &&
                 get_data(object, "sha256", &sum) && sum.n == SP_JOIN_HASH &&
                 CRYPTO_memcmp(sum.p, own, SP_JOIN_HASH) == 0;
    if (!known)
        return sp_fail(err, SP_UNAUTHORIZED,
                       "the token is not known to this cluster: `sampan cluster token` on one of "
                       "its machines prints a new one");
    if (!get_data(object, "expiration", &when) || !sp_time_parse(sp_buf_str(&when), &expires) ||
        now_wall_ms >= expires)
        return sp_fail(err, SP_UNAUTHORIZED,
                       "the token has expired (%.*s): `sampan cluster token` on a machine of the "
                       "cluster prints a new one",
                       SP_ARG(sp_buf_str(&when)));
    return true;
}
