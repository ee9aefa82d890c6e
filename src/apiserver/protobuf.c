/* Protobuf in, JSON document out, steered by the schema. A message is walked once; each wire field
 * finds its sp_field by number (or, for inlined structs, by the number of the outer message), its
 * value becomes a node, and a zero that only says "not set" is left out. See protobuf.h for the
 * wire facts; the encoding itself is protobuf.dev/programming-guides/encoding. */
#include "apiserver/protobuf.h"

#include "base/map.h"
#include "data/base64.h"
#include "data/time.h"

#include <inttypes.h>
#include <stdio.h>

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
enum { MAX_FIELD_NUMBER = (1 << 29) - 1, OUTER_SHIFT = 16, NUMBER_MASK = 0xffff };

typedef struct decoder {
    sp_arena *arena;
    const char *start; /* of the whole body, for error offsets */
    sp_err *err;
} decoder;

typedef struct wire {
    uint32_t number;
    unsigned type;
    uint64_t value; /* WIRE_VARINT, WIRE_FIXED… */
    sp_str bytes;   /* WIRE_BYTES */
} wire;

static bool fail_at(decoder *d, const char *at, const char *what) {
    return sp_fail(d->err, SP_BAD_REQUEST, "protobuf body, byte %zu: %s", (size_t)(at - d->start),
                   what);
}

static bool take_varint(decoder *d, sp_str *in, uint64_t *ret) {
    uint64_t v = 0;
    for (unsigned i = 0, shift = 0; i < in->n && shift < 64; i++, shift += 7) {
        uint64_t byte = (unsigned char)in->p[i];
        v |= (byte & 0x7f) << shift;
        if (byte & 0x80) continue;
        if (shift == 63 && byte > 1) break;
        *ret = v;
        *in = sp_str_from(*in, i + 1);
        return true;
    }
    return fail_at(d, in->p, "a varint does not end");
}

static bool take_fixed(decoder *d, sp_str *in, size_t size, uint64_t *ret) {
    if (in->n < size) return fail_at(d, in->p, "the message ends inside a number");
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++) v |= (uint64_t)(unsigned char)in->p[i] << (8 * i);
    *ret = v;
    *in = sp_str_from(*in, size);
    return true;
}

static bool take_bytes(decoder *d, sp_str *in, sp_str *ret) {
    uint64_t n;
    if (!take_varint(d, in, &n)) return false;
    if (n > in->n) return fail_at(d, in->p, "a length reaches past the end of the message");
    *ret = sp_str_sub(*in, 0, (size_t)n);
    *in = sp_str_from(*in, (size_t)n);
    return true;
}

static bool take_field(decoder *d, sp_str *in, wire *ret) {
    const char *at = in->p;
    uint64_t tag;
    if (!take_varint(d, in, &tag)) return false;
    if (tag >> 3 == 0 || tag >> 3 > MAX_FIELD_NUMBER) return fail_at(d, at, "no such field number");
    *ret = (wire){.number = (uint32_t)(tag >> 3), .type = tag & 7};
    switch (ret->type) {
    case WIRE_VARINT: return take_varint(d, in, &ret->value);
    case WIRE_FIXED64: return take_fixed(d, in, 8, &ret->value);
    case WIRE_FIXED32: return take_fixed(d, in, 4, &ret->value);
    case WIRE_BYTES: return take_bytes(d, in, &ret->bytes);
    default: return fail_at(d, at, "a wire type that Kubernetes does not use");
    }
}

static bool want(decoder *d, const wire *w, unsigned type, const char *at, const char *name) {
    if (w->type == type) return true;
    return sp_fail(d->err, SP_BAD_REQUEST,
                   "protobuf body, byte %zu: the field %s has wire type %u, not %u",
                   (size_t)(at - d->start), name, w->type, type);
}

/* --- small well-known messages: at most two numbers and a text --- */

typedef struct small {
    uint64_t number[3]; /* by field number 1 and 2 */
    sp_str text[4];     /* by field number 1 to 3 */
} small;

static bool take_small(decoder *d, sp_str in, small *ret) {
    *ret = (small){0};
    while (in.n) {
        wire w;
        if (!take_field(d, &in, &w)) return false;
        if (w.type == WIRE_VARINT && w.number <= 2) ret->number[w.number] = w.value;
        if (w.type == WIRE_BYTES && w.number <= 3) ret->text[w.number] = w.bytes;
    }
    return true;
}

static bool text_node(decoder *d, sp_str s, sp_json **ret) {
    if (!sp_utf8_is_valid(s)) return fail_at(d, s.p, "a string is not UTF-8");
    *ret = sp_json_new_str(d->arena, s);
    return true;
}

static bool bytes_node(decoder *d, sp_str s, sp_json **ret) {
    sp_auto(sp_buf) b = {0};
    sp_base64_encode(&b, s);
    *ret = sp_json_new_str(d->arena, sp_buf_str(&b));
    return true;
}

/* Seconds and nanoseconds; a zero time is no time. */
static bool time_node(decoder *d, sp_str in, bool micro, sp_json **ret) {
    static const int64_t year_1 = -62135596800, year_10000 = 253402300800;
    small s;
    if (!take_small(d, in, &s)) return false;
    int64_t seconds = (int64_t)s.number[1], nanos = (int64_t)s.number[2];
    if (seconds < year_1 || seconds >= year_10000 || nanos < 0 || nanos > 999999999) {
        return fail_at(d, in.p, "a time is out of range");
    }
    char text[SP_TIME_MAX] = "";
    if (micro)
        sp_time_format_micro(seconds * 1000000 + nanos / 1000, text);
    else
        sp_time_format(seconds * 1000, text);
    *ret = seconds || nanos ? sp_json_new_z(d->arena, text) : sp_json_null(d->arena);
    return true;
}

static bool int_or_string_node(decoder *d, sp_str in, sp_json **ret) {
    small s;
    if (!take_small(d, in, &s)) return false;
    if (s.number[1] == 0) {
        *ret = sp_json_new_int(d->arena, (int32_t)s.number[2]);
        return true;
    }
    return text_node(d, s.text[3], ret);
}

static bool quantity_node(decoder *d, sp_str in, sp_json **ret) {
    small s;
    if (!take_small(d, in, &s)) return false;
    return text_node(d, s.text[1].n ? s.text[1] : SP_STR("0"), ret);
}

static bool duration_node(decoder *d, sp_str in, sp_json **ret) {
    small s;
    if (!take_small(d, in, &s)) return false;
    *ret = sp_json_printf(d->arena, "%.9gs", (double)(int64_t)s.number[1] / 1e9);
    return true;
}

static bool raw_node(decoder *d, sp_str in, sp_json **ret) {
    small s;
    if (!take_small(d, in, &s)) return false;
    if (!s.text[1].n) {
        *ret = sp_json_null(d->arena);
        return true;
    }
    if (!sp_json_parse(d->arena, s.text[1], ret, d->err)) {
        return sp_err_wrap(d->err, "protobuf body, byte %zu: an embedded object is not JSON",
                           (size_t)(s.text[1].p - d->start));
    }
    return true;
}

/* --- values --- */

static bool take_message(decoder *d, const sp_schema *s, uint32_t outer, sp_str in, unsigned depth,
                         sp_json *obj);

static bool number_node(decoder *d, const sp_schema *s, const wire *w, sp_json **ret) {
    if (s->type == SP_SCHEMA_BOOLEAN) {
        *ret = sp_json_new_bool(d->arena, w->value != 0);
    } else if (s->type == SP_SCHEMA_NUMBER) {
        double v;
        memcpy(&v, &w->value, sizeof v);
        if (!(v - v == 0))
            return sp_fail(d->err, SP_BAD_REQUEST, "protobuf body: a number is not finite");
        *ret = sp_json_new_double(d->arena, v);
    } else {
        bool narrow = s->format == SP_FORMAT_INT32;
        *ret = sp_json_new_int(d->arena, narrow ? (int32_t)w->value : (int64_t)w->value);
    }
    return true;
}

static bool bytes_value(decoder *d, const sp_schema *s, sp_str in, unsigned depth, sp_json **ret) {
    switch (s->format) {
    case SP_FORMAT_BYTE: return bytes_node(d, in, ret);
    case SP_FORMAT_DATE_TIME: return time_node(d, in, false, ret);
    case SP_FORMAT_MICRO_TIME: return time_node(d, in, true, ret);
    case SP_FORMAT_QUANTITY: return quantity_node(d, in, ret);
    case SP_FORMAT_INT_OR_STRING: return int_or_string_node(d, in, ret);
    case SP_FORMAT_DURATION: return duration_node(d, in, ret);
    case SP_FORMAT_RAW: return raw_node(d, in, ret);
    case SP_FORMAT_NONE:
    case SP_FORMAT_INT32:
    case SP_FORMAT_INT64:
    case SP_FORMAT_DOUBLE: break;
    }
    if (s->type == SP_SCHEMA_STRING) return text_node(d, in, ret);
    *ret = sp_json_object(d->arena);
    return take_message(d, s, 0, in, depth + 1, *ret);
}

static unsigned wire_type_of(const sp_schema *s) {
    if (s->format == SP_FORMAT_INT_OR_STRING || s->format == SP_FORMAT_RAW) return WIRE_BYTES;
    if (s->type == SP_SCHEMA_INTEGER || s->type == SP_SCHEMA_BOOLEAN) return WIRE_VARINT;
    if (s->type == SP_SCHEMA_NUMBER) return WIRE_FIXED64;
    return WIRE_BYTES;
}

/* at: where the wire field begins; name: for errors. */
static bool take_value(decoder *d, const sp_schema *s, const wire *w, const char *at,
                       const char *name, unsigned depth, sp_json **ret) {
    if (s->type == SP_SCHEMA_ANY && s->format != SP_FORMAT_INT_OR_STRING &&
        s->format != SP_FORMAT_RAW) {
        return sp_fail(d->err, SP_UNSUPPORTED_MEDIA,
                       "the field %s is not understood in protobuf; send this object as JSON",
                       name);
    }
    unsigned type = wire_type_of(s);
    if (!want(d, w, type, at, name)) return false;
    if (type == WIRE_BYTES) return bytes_value(d, s, w->bytes, depth, ret);
    return number_node(d, s, w, ret);
}

/* A map is a list of {key 1, value 2}. */
static bool take_entry(decoder *d, const sp_schema *values, sp_str in, const char *name,
                       unsigned depth, sp_json *map) {
    sp_json *key = NULL, *value = NULL;
    while (in.n) {
        const char *at = in.p;
        wire w;
        if (!take_field(d, &in, &w)) return false;
        if (w.number == 1 && !(want(d, &w, WIRE_BYTES, at, name) && text_node(d, w.bytes, &key))) {
            return false;
        }
        if (w.number == 2 && !take_value(d, values, &w, at, name, depth, &value)) return false;
    }
    wire zero = {.type = wire_type_of(values)};
    if (!value && !take_value(d, values, &zero, d->start, name, depth, &value)) return false;
    value->key = key ? key->text : SP_STR("");
    sp_json_set_new(map, value);
    return true;
}

/* A list of numbers may come packed into one length-delimited field. */
static bool take_packed(decoder *d, const sp_schema *items, sp_str in, sp_json *list) {
    while (in.n) {
        wire w = {.type = wire_type_of(items)};
        sp_json *item;
        bool ok =
            w.type == WIRE_VARINT ? take_varint(d, &in, &w.value) : take_fixed(d, &in, 8, &w.value);
        if (!ok || !number_node(d, items, &w, &item)) return false;
        sp_json_push(list, item);
    }
    return true;
}

/* --- fields --- */

/* Written by Go although nobody set it. */
static bool means_unset(const sp_field *f, const sp_json *v) {
    if (v->type == SP_JSON_NULL) return true;
    if (f->pointer) return false;
    if (v->type == SP_JSON_STRING) return v->text.n == 0;
    if (f->required) return false;
    if (v->type == SP_JSON_BOOL) return !v->boolean;
    if (v->type == SP_JSON_NUMBER) return sp_str_eqz(v->text, "0");
    return v->type == SP_JSON_OBJECT && v->count == 0;
}

static bool take_into(decoder *d, const sp_field *f, const wire *w, const char *at, unsigned depth,
                      sp_json *obj) {
    const sp_schema *s = f->schema;
    bool is_map = s->type == SP_SCHEMA_OBJECT && s->items && s->format == SP_FORMAT_NONE;
    if (is_map) {
        sp_json *map = sp_json_ensure_object(d->arena, obj, f->name);
        return want(d, w, WIRE_BYTES, at, f->name) &&
               take_entry(d, s->items, w->bytes, f->name, depth + 1, map);
    }
    sp_json *value;
    if (s->type == SP_SCHEMA_ARRAY) {
        sp_json *list = sp_json_ensure_array(d->arena, obj, f->name);
        if (w->type == WIRE_BYTES && wire_type_of(s->items) != WIRE_BYTES) {
            return take_packed(d, s->items, w->bytes, list);
        }
        if (!take_value(d, s->items, w, at, f->name, depth, &value)) return false;
        sp_json_push(list, value);
        return true;
    }
    if (!take_value(d, s, w, at, f->name, depth, &value)) return false;
    if (!means_unset(f, value)) sp_json_set(d->arena, obj, f->name, value);
    return true;
}

static const sp_field *field_by_number(const sp_schema *s, uint32_t number) {
    for (size_t i = 0; i < s->field_count; i++) {
        if (s->fields[i].number == number) return &s->fields[i];
    }
    return NULL;
}

static bool is_outer(const sp_schema *s, uint32_t number) {
    for (size_t i = 0; i < s->field_count; i++) {
        if (s->fields[i].number >> OUTER_SHIFT == number) return true;
    }
    return false;
}

static bool keys_are_unique(decoder *d, const sp_json *map, const char *at) {
    sp_auto(sp_map) seen = {0};
    sp_json_each(map, it) {
        if (sp_map_put(&seen, it->key, it)) return fail_at(d, at, "a map has the same key twice");
    }
    return true;
}

static bool check_maps(decoder *d, const sp_schema *s, const sp_json *obj, const char *at) {
    for (size_t i = 0; i < s->field_count; i++) {
        const sp_schema *f = s->fields[i].schema;
        if (f->type != SP_SCHEMA_OBJECT || !f->items) continue;
        if (!keys_are_unique(d, sp_json_get(obj, s->fields[i].name), at)) return false;
    }
    return true;
}

/* outer: the number of the inlined struct we are in, 0 for the message itself. */
static bool take_message(decoder *d, const sp_schema *s, uint32_t outer, sp_str in, unsigned depth,
                         sp_json *obj) {
    const char *start = in.p;
    if (depth > SP_JSON_MAX_DEPTH) return fail_at(d, start, "messages are nested too deeply");
    while (in.n) {
        const char *at = in.p;
        wire w;
        if (!take_field(d, &in, &w)) return false;
        if (w.number > NUMBER_MASK) continue;
        const sp_field *f = field_by_number(s, outer << OUTER_SHIFT | w.number);
        if (f) {
            if (!take_into(d, f, &w, at, depth, obj)) return false;
        } else if (!outer && w.type == WIRE_BYTES && is_outer(s, w.number)) {
            if (!take_message(d, s, w.number, w.bytes, depth + 1, obj)) return false;
        }
    }
    return outer || check_maps(d, s, obj, start);
}

/* --- the envelope --- */

typedef struct envelope {
    sp_str api_version, kind, raw;
} envelope;

static bool take_envelope(decoder *d, sp_str in, envelope *ret) {
    small s, type;
    if (!take_small(d, in, &s) || !take_small(d, s.text[1], &type)) return false;
    if (s.text[3].n) return fail_at(d, s.text[3].p, "a content encoding is not supported");
    *ret = (envelope){type.text[1], type.text[2], s.text[2]};
    if (!sp_utf8_is_valid(ret->api_version) || !sp_utf8_is_valid(ret->kind) || !ret->kind.n) {
        return fail_at(d, in.p, "the envelope names no kind");
    }
    return true;
}

bool sp_protobuf_decode(sp_arena *a, sp_str body, sp_protobuf_lookup *lookup, void *ctx,
                        sp_json **ret, sp_err *err) {
    const sp_str magic = {"k8s\0", 4};
    decoder d = {.arena = a, .start = body.p, .err = err};
    envelope e;
    if (!sp_str_starts(body, magic)) {
        return sp_fail(
            err, SP_BAD_REQUEST,
            "the body is said to be Kubernetes protobuf but does not begin with \"k8s\"");
    }
    if (!take_envelope(&d, sp_str_from(body, magic.n), &e)) return false;
    const sp_schema *s = lookup(ctx, e.api_version, e.kind);
    if (!s) {
        return sp_fail(err, SP_UNSUPPORTED_MEDIA,
                       "%.*s %.*s cannot be sent as protobuf; send it as JSON",
                       SP_ARG(e.api_version), SP_ARG(e.kind));
    }
    sp_json *obj = sp_json_object(a);
    sp_json_set(a, obj, "apiVersion", sp_json_new_str(a, e.api_version));
    sp_json_set(a, obj, "kind", sp_json_new_str(a, e.kind));
    if (!take_message(&d, s, 0, e.raw, 1, obj)) return false;
    *ret = obj;
    return true;
}
