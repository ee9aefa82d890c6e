/* One walk over value and schema that collects causes in the words of the Kubernetes API server.
 * What allOf, anyOf, oneOf and not hold is tried quietly: the walk then only answers yes or no. */
#include "data/schema.h"

#include "base/map.h"
#include "data/regex.h"
#include "data/schema_format.h"
#include "data/schema_path.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>

enum { MAX_CAUSES = 100, SHOWN_BYTES = 120 };

typedef struct walk {
    sp_causes *causes; /* NULL while trying quietly */
    sp_buf path;
    size_t added;
    bool ok;
} walk;

static const char REQUIRED[] = "FieldValueRequired", INVALID[] = "FieldValueInvalid",
                  TYPE_INVALID[] = "FieldValueTypeInvalid",
                  UNSUPPORTED[] = "FieldValueNotSupported", DUPLICATE[] = "FieldValueDuplicate",
                  TOO_LONG[] = "FieldValueTooLong", TOO_MANY[] = "FieldValueTooMany";

SP_PRINTF(3, 4) static void report(walk *w, const char *reason, const char *fmt, ...) {
    w->ok = false;
    if (!w->causes || ++w->added > MAX_CAUSES) return;
    sp_auto(sp_buf) text = {0};
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    sp_assert(n >= 0);
    sp_buf_reserve(&text, (size_t)n);
    vsnprintf(text.p, (size_t)n + 1, fmt, again);
    va_end(again);
    sp_causes_add(w->causes, reason, sp_buf_str(&w->path), "%s", text.p);
}

/* The value as JSON, cut at a character. The buffer owns the text. */
static const char *shown(sp_buf *b, const sp_json *j) {
    sp_buf_clear(b);
    sp_json_write(b, j);
    if (b->n > SHOWN_BYTES) {
        size_t n = SHOWN_BYTES;
        while ((b->p[n] & 0xc0) == 0x80) n--;
        sp_path_cut(b, n);
        sp_buf_addz(b, "\xe2\x80\xa6");
    }
    return b->p;
}

static const char *here(const walk *w) {
    return w->path.n ? w->path.p : "the object";
}

/* Invalid value: <value>: <path> in body <what>. */
SP_PRINTF(3, 4) static void report_value(walk *w, const sp_json *j, const char *fmt, ...) {
    w->ok = false;
    if (!w->causes) return;
    sp_auto(sp_buf) value = {0};
    char what[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    report(w, INVALID, "Invalid value: %s: %s in body %s", shown(&value, j), here(w), what);
}

/* ---------- types ---------- */

static const char *const type_names[] = {"anything", "string", "integer", "number",
                                         "boolean",  "array",  "object"};

static void report_type(walk *w, const sp_json *j, const char *wanted) {
    const char *given = sp_json_type_name(j);
    report(w, TYPE_INVALID, "Invalid value: \"%s\": %s in body must be of type %s: \"%s\"", given,
           here(w), wanted, given);
}

static bool has_type(const sp_schema *s, const sp_json *j) {
    switch (s->type) {
    case SP_SCHEMA_ANY: return true;
    case SP_SCHEMA_STRING: return j->type == SP_JSON_STRING;
    case SP_SCHEMA_INTEGER: return sp_json_is_int(j);
    case SP_SCHEMA_NUMBER: return j->type == SP_JSON_NUMBER;
    case SP_SCHEMA_BOOLEAN: return j->type == SP_JSON_BOOL;
    case SP_SCHEMA_ARRAY: return j->type == SP_JSON_ARRAY;
    case SP_SCHEMA_OBJECT: return j->type == SP_JSON_OBJECT;
    }
    return false;
}

/* The formats that allow more than one type, or give the type another name. */
static bool check_type(walk *w, const sp_schema *s, const sp_json *j) {
    bool scalar = j->type == SP_JSON_STRING || j->type == SP_JSON_NUMBER;
    if (s->format == SP_FORMAT_QUANTITY) {
        if (!scalar) report_type(w, j, "quantity (a string or a number)");
        return scalar;
    }
    if (s->format == SP_FORMAT_INT_OR_STRING) {
        bool fits = j->type == SP_JSON_STRING || sp_json_is_int(j);
        if (!fits) report_type(w, j, "integer or string");
        return fits;
    }
    if (has_type(s, j)) return true;
    report_type(w, j, type_names[s->type]);
    return false;
}

/* ---------- scalars ---------- */

static void check_number(walk *w, const sp_schema *s, const sp_json *j) {
    int64_t whole = 0;
    double v = sp_json_double(j, 0);
    if (sp_json_is_int(j) &&
        (s->type == SP_SCHEMA_INTEGER || s->format == SP_FORMAT_INT_OR_STRING)) {
        if (!sp_str_i64(j->text, &whole))
            report_value(w, j, "must fit into 64 bits");
        else if (s->format != SP_FORMAT_INT64 && s->format != SP_FORMAT_NONE &&
                 (whole > INT32_MAX || whole < INT32_MIN))
            report_value(w, j, "must fit into 32 bits");
    }
    if (s->has_minimum && s->exclusive_minimum && v <= s->minimum)
        report_value(w, j, "should be greater than %.17g", s->minimum);
    else if (s->has_minimum && v < s->minimum)
        report_value(w, j, "should be greater than or equal to %.17g", s->minimum);
    if (s->has_maximum && s->exclusive_maximum && v >= s->maximum)
        report_value(w, j, "should be less than %.17g", s->maximum);
    else if (s->has_maximum && v > s->maximum)
        report_value(w, j, "should be less than or equal to %.17g", s->maximum);
    if (s->multiple_of > 0) {
        double times = v / s->multiple_of;
        if (fabs(times - round(times)) > 1e-9 * SP_MAX(1.0, fabs(times)))
            report_value(w, j, "should be a multiple of %.17g", s->multiple_of);
    }
}

static int64_t characters(sp_str s) {
    int64_t n = 0;
    for (size_t i = 0; i < s.n; i++) n += (s.p[i] & 0xc0) != 0x80;
    return n;
}

static void check_pattern(walk *w, const sp_schema *s, const sp_json *j) {
    if (!s->pattern) return;
    const sp_regex *re = s->regex;
    sp_auto_ptr(sp_arena) scratch = NULL;
    sp_err err = {0};
    if (!re) {
        scratch = sp_arena_new();
        if (!sp_regex_compile(scratch, sp_str_z(s->pattern), &re, &err)) {
            report_value(w, j, "cannot be checked: %s", err.text);
            return;
        }
    }
    sp_regex_result got = sp_regex_search(re, j->text);
    if (got == SP_REGEX_NO) report_value(w, j, "should match '%.300s'", s->pattern);
    if (got == SP_REGEX_GAVE_UP)
        report_value(w, j, "takes too long to match against '%.300s'", s->pattern);
}

static void check_string(walk *w, const sp_schema *s, const sp_json *j) {
    int64_t n = s->min_length || s->max_length || s->must_be_empty ? characters(j->text) : 0;
    if (n < s->min_length)
        report_value(w, j, "should be at least %" PRId64 " chars long", s->min_length);
    if ((s->max_length && n > s->max_length) || (s->must_be_empty && n))
        report(w, TOO_LONG, "Too long: may not be longer than %" PRId64 " characters",
               s->max_length);
    check_pattern(w, s, j);
    const char *wanted = sp_schema_format_problem(s, j);
    if (wanted) report_value(w, j, "must be %s", wanted);
}

static void check_enum(walk *w, const sp_schema *s, const sp_json *j) {
    if (!s->enum_values) return;
    sp_json_each(s->enum_values, allowed) if (sp_json_equal(allowed, j)) return;
    w->ok = false;
    if (!w->causes) return;
    sp_auto(sp_buf) value = {0};
    sp_auto(sp_buf) list = {0};
    sp_json_each(s->enum_values, allowed) {
        if (list.n) sp_buf_addz(&list, ", ");
        sp_json_write(&list, allowed);
    }
    report(w, UNSUPPORTED, "Unsupported value: %s: supported values: %s", shown(&value, j),
           sp_buf_z(&list));
}

/* ---------- lists and objects ---------- */

static void check(walk *w, const sp_schema *s, const sp_json *j);

/* What an item of a list is known by: its map keys, or all of it. */
static void write_identity(sp_buf *b, const sp_schema *s, const sp_json *item) {
    sp_buf_clear(b);
    if (!s->map_key_count) {
        sp_json_write(b, item);
        return;
    }
    for (size_t i = 0; i < s->map_key_count; i++) {
        const sp_json *key = sp_json_get(item, s->map_keys[i]);
        sp_buf_addz(b, i ? "," : "{");
        sp_json_write_string(b, sp_str_z(s->map_keys[i]));
        sp_buf_addc(b, ':');
        if (key)
            sp_json_write(b, key);
        else
            sp_buf_addz(b, "null");
    }
    sp_buf_addc(b, '}');
}

static void check_duplicates(walk *w, const sp_schema *s, const sp_json *list) {
    if (!s->is_set && !s->unique_items && !s->map_key_count) return;
    sp_auto(sp_map) seen = {0};
    sp_auto(sp_buf) identity = {0};
    size_t i = 0;
    sp_json_each(list, item) {
        write_identity(&identity, s, item);
        size_t before = sp_path_index(&w->path, i++);
        if (sp_map_put(&seen, sp_buf_str(&identity), item))
            report(w, DUPLICATE, "Duplicate value: %.*s", (int)SP_MIN(identity.n, 200u),
                   identity.p);
        sp_path_cut(&w->path, before);
    }
}

static void check_list(walk *w, const sp_schema *s, const sp_json *j) {
    int64_t n = (int64_t)j->count;
    if (n < s->min_length)
        report_value(w, j, "should have at least %" PRId64 " items", s->min_length);
    if ((s->max_length && n > s->max_length) || (s->must_be_empty && n))
        report(w, TOO_MANY, "Too many: %" PRId64 ": must have at most %" PRId64 " items", n,
               s->max_length);
    check_duplicates(w, s, j);
    size_t i = 0;
    if (s->items) sp_json_each(j, item) {
            size_t before = sp_path_index(&w->path, i++);
            check(w, s->items, item);
            sp_path_cut(&w->path, before);
        }
}

static bool is_unset(const sp_field *f, const sp_json *value) {
    return !value || (value->type == SP_JSON_NULL && f->number);
}

static void check_required(walk *w, const sp_schema *s, const sp_json *obj) {
    for (size_t i = 0; i < s->field_count; i++) {
        const sp_field *f = &s->fields[i];
        if (!f->required || !is_unset(f, sp_json_get(obj, f->name))) continue;
        size_t before = sp_path_field(&w->path, sp_str_z(f->name));
        report(w, REQUIRED, "Required value");
        sp_path_cut(&w->path, before);
    }
}

static void check_embedded(walk *w, const sp_json *obj) {
    static const char *const head[] = {"apiVersion", "kind"};
    for (size_t i = 0; i < SP_COUNT(head); i++) {
        const sp_json *value = sp_json_get(obj, head[i]);
        size_t before = sp_path_field(&w->path, sp_str_z(head[i]));
        if (!value || sp_str_eq(sp_json_str(value), SP_STR("")))
            report(w, REQUIRED, "Required value: must not be empty");
        sp_path_cut(&w->path, before);
    }
    const sp_json *meta = sp_json_get(obj, "metadata");
    size_t before = sp_path_field(&w->path, SP_STR("metadata"));
    if (meta && meta->type != SP_JSON_OBJECT) report_type(w, meta, "object");
    sp_path_cut(&w->path, before);
}

static void check_object(walk *w, const sp_schema *s, const sp_json *j) {
    int64_t n = (int64_t)j->count;
    if (n < s->min_length)
        report_value(w, j, "should have at least %" PRId64 " properties", s->min_length);
    if ((s->max_length && n > s->max_length) || (s->must_be_empty && n))
        report(w, TOO_MANY, "Too many: %" PRId64 ": must have at most %" PRId64 " properties", n,
               s->max_length);
    check_required(w, s, j);
    if (s->embedded_resource) check_embedded(w, j);
    sp_json_each(j, m) {
        const sp_field *f = sp_schema_field(s, m->key);
        if (!f && !s->items) continue;
        if (f && is_unset(f, m)) continue;
        size_t before = f ? sp_path_field(&w->path, m->key) : sp_path_key(&w->path, m->key);
        check(w, f ? f->schema : s->items, m);
        sp_path_cut(&w->path, before);
    }
}

/* ---------- allOf, anyOf, oneOf, not ---------- */

static bool fits(const sp_schema *s, const sp_json *j) {
    walk quiet = {.ok = true};
    check(&quiet, s, j);
    sp_buf_free(&quiet.path);
    return quiet.ok;
}

static size_t count_fitting(const sp_schema *const *list, size_t n, const sp_json *j) {
    size_t fitting = 0;
    for (size_t i = 0; i < n; i++) fitting += fits(list[i], j);
    return fitting;
}

static void check_logic(walk *w, const sp_schema *s, const sp_json *j) {
    const struct sp_schema_logic *l = s->logic;
    if (!l) return;
    for (size_t i = 0; i < l->all_count; i++) check(w, l->all_of[i], j);
    if (l->any_count && !count_fitting(l->any_of, l->any_count, j))
        report_value(w, j, "must validate at least one schema (anyOf)");
    size_t one = count_fitting(l->one_of, l->one_count, j);
    if (l->one_count && one != 1)
        report_value(w, j, "must validate one and only one schema (oneOf). Found %s",
                     one ? "more than one valid" : "none valid");
    if (l->not_ && fits(l->not_, j)) report_value(w, j, "must not validate the schema (not)");
}

static void check(walk *w, const sp_schema *s, const sp_json *j) {
    if (!w->ok && !w->causes) return; /* quiet, and the answer is known */
    if (j->type == SP_JSON_NULL && s->nullable) return;
    if (!check_type(w, s, j)) return;
    switch (j->type) {
    case SP_JSON_NUMBER: check_number(w, s, j); break;
    case SP_JSON_STRING: check_string(w, s, j); break;
    case SP_JSON_ARRAY: check_list(w, s, j); break;
    case SP_JSON_OBJECT: check_object(w, s, j); break;
    case SP_JSON_NULL:
    case SP_JSON_BOOL: break;
    }
    check_enum(w, s, j);
    check_logic(w, s, j);
}

bool sp_schema_validate(const sp_schema *s, const sp_json *j, sp_str at, sp_causes *causes) {
    walk w = {.causes = causes, .ok = true};
    sp_buf_add(&w.path, at);
    check(&w, s, j);
    sp_buf_free(&w.path);
    return w.ok;
}
