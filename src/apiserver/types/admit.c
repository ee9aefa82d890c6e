/* The words of refusals, and checks of single values. */
#include "apiserver/types/admit.h"

#include <stdarg.h>
#include <stdio.h>

/* --- places --- */

static void write_place(sp_buf *b, const sp_at *at) {
    if (!at->up) return;
    write_place(b, at->up);
    if (!at->key)
        sp_buf_printf(b, "[%zu]", at->index);
    else
        sp_buf_printf(b, "%s%s", b->n ? "." : "", at->key);
}

static sp_str place(sp_buf *b, const sp_at *at, const char *key) {
    write_place(b, at);
    if (key) sp_buf_printf(b, "%s%s", b->n ? "." : "", key);
    return sp_buf_str(b);
}

/* What the schema said already is not said again. */
static bool is_said(const sp_at *at, const char *reason, sp_str field) {
    sp_vec_each(&at->admit->causes->list, c) {
        if (!strcmp(c->reason, reason) && sp_str_eq(c->field, field)) return true;
    }
    return false;
}

static const char *value_text(sp_buf *b, const sp_json *value) {
    enum { SHOWN = 256 };
    if (!value) return "\"\"";
    sp_json_write(b, value);
    if (b->n > SHOWN) {
        size_t cut = SHOWN;
        while (cut && ((unsigned char)b->p[cut] & 0xc0) == 0x80) cut--;
        b->p[cut] = 0;
        b->n = cut;
        sp_buf_addz(b, "...");
    }
    return sp_buf_z(b);
}

void sp_say_required(const sp_at *at, const char *key, const char *detail) {
    sp_auto(sp_buf) b = {0};
    sp_str field = place(&b, at, key);
    if (is_said(at, "FieldValueRequired", field)) return;
    sp_causes_add(at->admit->causes, "FieldValueRequired", field, "Required value%s%s",
                  detail ? ": " : "", detail ? detail : "");
}

void sp_say_invalid(const sp_at *at, const char *key, const sp_json *value, const char *fmt, ...) {
    sp_auto(sp_buf) where = {0};
    sp_auto(sp_buf) what = {0};
    char detail[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    sp_causes_add(at->admit->causes, "FieldValueInvalid", place(&where, at, key),
                  "Invalid value: %s: %s", value_text(&what, value), detail);
}

static void say(const sp_at *at, const char *key, const char *reason, const char *word,
                const sp_json *value) {
    sp_auto(sp_buf) where = {0};
    sp_auto(sp_buf) what = {0};
    sp_causes_add(at->admit->causes, reason, place(&where, at, key), "%s: %s", word,
                  value_text(&what, value));
}

void sp_say_duplicate(const sp_at *at, const char *key, const sp_json *value) {
    say(at, key, "FieldValueDuplicate", "Duplicate value", value);
}

void sp_say_not_found(const sp_at *at, const char *key, const sp_json *value) {
    say(at, key, "FieldValueNotFound", "Not found", value);
}

void sp_say_forbidden(const sp_at *at, const char *key, const char *fmt, ...) {
    sp_auto(sp_buf) where = {0};
    char detail[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    sp_causes_add(at->admit->causes, "FieldValueForbidden", place(&where, at, key), "Forbidden: %s",
                  detail);
}

void sp_say_unsupported(const sp_at *at, const char *key, const sp_json *value,
                        const char *supported) {
    sp_auto(sp_buf) where = {0};
    sp_auto(sp_buf) what = {0};
    sp_str field = place(&where, at, key);
    if (is_said(at, "FieldValueNotSupported", field)) return;
    sp_causes_add(at->admit->causes, "FieldValueNotSupported", field,
                  "Unsupported value: %s: supported values: %s", value_text(&what, value),
                  supported);
}

void sp_say_too_long(const sp_at *at, const char *key, size_t max_bytes) {
    sp_auto(sp_buf) where = {0};
    sp_causes_add(at->admit->causes, "FieldValueTooLong", place(&where, at, key),
                  "Too long: may not be more than %zu bytes", max_bytes);
}

void sp_say_invalid_entry(const sp_at *at, sp_str key, const char *what) {
    sp_auto(sp_buf) where = {0};
    sp_auto(sp_buf) quoted = {0};
    sp_json_write_string(&quoted, key);
    place(&where, at, NULL);
    sp_buf_printf(&where, "[%.*s]", SP_ARG(key));
    sp_causes_add(at->admit->causes, "FieldValueInvalid", sp_buf_str(&where),
                  "Invalid value: %s: %s", sp_buf_z(&quoted), what);
}

/* --- single values --- */

static bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}
static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool is_alnum(char c) {
    return is_lower(c) || is_digit(c) || (c >= 'A' && c <= 'Z');
}

const char *sp_wrong_subdomain(sp_str s) {
    if (s.n > 253) return "must be no more than 253 characters";
    if (sp_name_is_subdomain(s)) return NULL;
    return "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' "
           "or "
           "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex "
           "used "
           "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
}

const char *sp_wrong_label(sp_str s) {
    if (s.n > 63) return "must be no more than 63 characters";
    if (sp_name_is_label(s)) return NULL;
    return "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
           "and "
           "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', "
           "regex "
           "used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
}

const char *sp_wrong_1035(sp_str s) {
    if (s.n > 63) return "must be no more than 63 characters";
    if (sp_name_is_label(s) && is_lower(s.p[0])) return NULL;
    return "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with "
           "an "
           "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or "
           "'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
}

/* Letters, digits and the characters of `also`; ends on alphanumerics. */
static bool is_word(sp_str s, const char *also) {
    if (!s.n || !is_alnum(s.p[0]) || !is_alnum(s.p[s.n - 1])) return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_alnum(s.p[i]) && (!s.p[i] || !strchr(also, s.p[i]))) return false;
    }
    return true;
}

const char *sp_wrong_qualified(sp_str s) {
    ptrdiff_t slash = sp_str_chr(s, '/');
    sp_str name = slash < 0 ? s : sp_str_from(s, (size_t)slash + 1);
    if (slash == 0) return "prefix part must be non-empty";
    if (slash > 0 && !sp_name_is_subdomain(sp_str_sub(s, 0, (size_t)slash))) {
        return "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric "
               "characters, '-' or '.', and must start and end with an alphanumeric character";
    }
    if (!name.n) return "name part must be non-empty";
    if (name.n > 63) return "name part must be no more than 63 characters";
    if (is_word(name, "-_.")) return NULL;
    return "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and "
           "end "
           "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex "
           "used for "
           "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
}

static const char *wrong_label_value(sp_str s) {
    if (s.n > 63) return "must be no more than 63 characters";
    if (!s.n || is_word(s, "-_.")) return NULL;
    return "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' "
           "or "
           "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "
           "'my_value',  or '12345', regex used for validation is "
           "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
}

const char *sp_wrong_port_name(sp_str s) {
    bool letter = false;
    if (s.n > 15) return "must be no more than 15 characters";
    for (size_t i = 0; i < s.n; i++) {
        letter |= is_lower(s.p[i]);
        if (!is_lower(s.p[i]) && !is_digit(s.p[i]) && s.p[i] != '-') {
            return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
        }
        if (i && s.p[i] == '-' && s.p[i - 1] == '-') return "must not contain consecutive hyphens";
    }
    if (!letter) return "must contain at least one letter (a-z)";
    if (s.p[0] == '-' || s.p[s.n - 1] == '-') return "must not begin or end with a hyphen";
    return NULL;
}

const char *sp_wrong_config_key(sp_str s) {
    static const char wrong[] =
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
        "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
        "'[-._a-zA-Z0-9]+')";
    if (s.n > 253) return "must be no more than 253 characters";
    if (!s.n || sp_str_eqz(s, ".")) return wrong;
    if (sp_str_eqz(s, "..")) return "must not be '..'";
    for (size_t i = 0; i < s.n; i++) {
        if (!is_alnum(s.p[i]) && (!s.p[i] || !strchr("-._", s.p[i]))) return wrong;
    }
    return sp_str_starts(s, SP_STR("..")) ? "must not start with '..'" : NULL;
}

const char *sp_wrong_env_name(sp_str s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c > 0x7e || c == '=') {
            return "a valid environment variable name must consist only of printable ASCII "
                   "characters "
                   "other than '='";
        }
    }
    return NULL;
}

/* --- members --- */

bool sp_check_present(const sp_at *at, const sp_json *obj, const char *key) {
    const sp_json *v = sp_json_get(obj, key);
    if (v && (v->type != SP_JSON_STRING || v->text.n)) return true;
    sp_say_required(at, key, NULL);
    return false;
}

void sp_check_text(const sp_at *at, const sp_json *obj, const char *key,
                   const char *(*wrong)(sp_str s)) {
    const sp_json *v = sp_json_get(obj, key);
    const char *what = sp_json_str(v).n ? wrong(sp_json_str(v)) : NULL;
    if (what) sp_say_invalid(at, key, v, "%s", what);
}

void sp_check_min(const sp_at *at, const sp_json *obj, const char *key, int64_t min) {
    const sp_json *v = sp_json_get(obj, key);
    if (v && sp_json_int(v, min) < min) {
        sp_say_invalid(at, key, v, "must be greater than or equal to %lld", (long long)min);
    }
}

void sp_check_port(const sp_at *at, const sp_json *obj, const char *key) {
    const sp_json *v = sp_json_get(obj, key);
    int64_t port = sp_json_int(v, 0);
    if (v && (port < 1 || port > 65535)) {
        sp_say_invalid(at, key, v, "must be between 1 and 65535, inclusive");
    }
}

void sp_check_port_or_name(const sp_at *at, const sp_json *obj, const char *key) {
    if (sp_json_is(sp_json_get(obj, key), SP_JSON_STRING)) {
        const sp_json *v = sp_json_get(obj, key);
        const char *what = sp_wrong_port_name(sp_json_str(v));
        if (what) sp_say_invalid(at, key, v, "%s", what);
        return;
    }
    sp_check_port(at, obj, key);
}

void sp_check_labels(const sp_at *at, const sp_json *obj, const char *key) {
    sp_at here = sp_at_key(at, key);
    sp_json_each(sp_json_get(obj, key), it) {
        const char *what = sp_wrong_qualified(it->key);
        sp_json name = {.type = SP_JSON_STRING, .text = it->key};
        if (what) sp_say_invalid(&here, NULL, &name, "%s", what);
        what = wrong_label_value(sp_json_str(it));
        if (what) sp_say_invalid(&here, NULL, it, "%s", what);
    }
}

static void check_requirement(const sp_at *at, const sp_json *req) {
    const char *op = sp_json_get_z(req, "operator");
    const sp_json *values = sp_json_get(req, "values");
    bool needs = !strcmp(op, "In") || !strcmp(op, "NotIn");
    bool has = values && values->count;
    if (needs && !has) {
        sp_say_required(at, "values", "must be specified when `operator` is 'In' or 'NotIn'");
    }
    if (!needs && has) {
        sp_say_forbidden(at, "values",
                         "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    }
    sp_check_text(at, req, "key", sp_wrong_qualified);
}

void sp_check_selector(const sp_at *at, const sp_json *obj, const char *key) {
    const sp_json *selector = sp_json_get(obj, key);
    sp_at here = sp_at_key(at, key), list = sp_at_key(&here, "matchExpressions");
    size_t i = 0;
    sp_check_labels(&here, selector, "matchLabels");
    sp_json_each(sp_json_get(selector, "matchExpressions"), it) {
        sp_at item = sp_at_item(&list, i++);
        check_requirement(&item, it);
    }
}

static bool same(const sp_json *x, const sp_json *y) {
    return x && y ? sp_json_equal(x, y) : x == y;
}

void sp_check_immutable(const sp_at *at, const sp_json *old, const sp_json *obj, const char *key) {
    const sp_json *before = sp_json_get(old, key), *now = sp_json_get(obj, key);
    if (!same(before, now)) sp_say_invalid(at, key, now, "field is immutable");
}

/* --- editing --- */

sp_json *sp_member(const sp_json *obj, const char *key, sp_json_type type) {
    sp_json *v = sp_json_is(obj, SP_JSON_OBJECT) ? sp_json_get(obj, key) : NULL;
    return sp_json_is(v, type) ? v : NULL;
}

/* A null is as good as missing. */
static bool missing(const sp_json *obj, const char *key) {
    const sp_json *v = sp_json_get(obj, key);
    return !v || v->type == SP_JSON_NULL;
}

sp_json *sp_open_object(sp_arena *a, sp_json *obj, const char *key) {
    if (!sp_json_is(obj, SP_JSON_OBJECT)) return NULL;
    if (missing(obj, key)) return sp_json_set(a, obj, key, sp_json_object(a));
    return sp_member(obj, key, SP_JSON_OBJECT);
}

void sp_default_z(sp_arena *a, sp_json *obj, const char *key, const char *value) {
    const sp_json *v = sp_json_get(obj, key);
    bool empty = sp_json_is(v, SP_JSON_STRING) && !v->text.n;
    if (missing(obj, key) || empty) sp_json_set_z(a, obj, key, value);
}

void sp_default_int(sp_arena *a, sp_json *obj, const char *key, int64_t value) {
    if (missing(obj, key)) sp_json_set_int(a, obj, key, value);
}

void sp_default_bool(sp_arena *a, sp_json *obj, const char *key, bool value) {
    if (missing(obj, key)) sp_json_set_bool(a, obj, key, value);
}
