#include "controllers/taint.h"

enum { DEFAULT_TOLERATION_S = 300 };

static sp_str text(const sp_json *o, const char *key) {
    return sp_json_str(sp_json_get(o, key));
}

static bool matches(const sp_json *toleration, const sp_json *taint) {
    sp_str key = text(toleration, "key"), effect = text(toleration, "effect");
    bool exists = sp_str_eqz(text(toleration, "operator"), "Exists");
    if (effect.n && !sp_str_eq(effect, text(taint, "effect"))) return false;
    if (!key.n && exists) return true;
    if (!sp_str_eq(key, text(taint, "key"))) return false;
    return exists || sp_str_eq(text(toleration, "value"), text(taint, "value"));
}

bool sp_taint_is_tolerated(const sp_json *taint, const sp_json *spec) {
    const sp_json *list = sp_json_get(spec, "tolerations");
    sp_json_each(list, t) {
        if (matches(t, taint)) return true;
    }
    return false;
}

static int64_t unsaid_ms(const sp_json *taint) {
    sp_str key = text(taint, "key");
    bool lost = sp_str_eqz(key, SP_TAINT_NOT_READY) || sp_str_eqz(key, SP_TAINT_UNREACHABLE);
    return lost ? DEFAULT_TOLERATION_S * 1000 : 0;
}

static int64_t seconds_ms(const sp_json *seconds) {
    int64_t ms, s = SP_MAX(sp_json_int(seconds, 0), 0);
    return __builtin_mul_overflow(s, (int64_t)1000, &ms) ? INT64_MAX : ms;
}

int64_t sp_taint_tolerated_ms(const sp_json *taint, const sp_json *spec) {
    const sp_json *list = sp_json_get(spec, "tolerations");
    int64_t least = SP_TOLERATED_FOR_EVER;
    bool any = false;
    sp_json_each(list, t) {
        const sp_json *seconds = sp_json_get(t, "tolerationSeconds");
        if (!matches(t, taint)) continue;
        any = true;
        if (seconds && (least == SP_TOLERATED_FOR_EVER || seconds_ms(seconds) < least))
            least = seconds_ms(seconds);
    }
    return any ? least : unsaid_ms(taint);
}
