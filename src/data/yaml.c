/* libyaml's events composed into JSON nodes. Plain scalars are resolved by data/yaml_scalar; this
 * file is about structure: anchors, merge keys, duplicate keys, documents, limits, and turning
 * libyaml's complaints into sentences that name the line a person has to look at. */
#include "data/yaml.h"

#include "base/map.h"
#include "data/yaml_scalar.h"

#include <stdio.h>
#include <yaml.h>

enum { MAX_ALIASES = 10000, MAX_EXPANDED_NODES = 200000, LINEAR_MEMBERS = 24 };

typedef struct reader {
    sp_arena *a;
    sp_str text;
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    sp_map anchors; /* name to sp_json, of the current document, complete ones only */
    size_t aliases, expanded;
    sp_err *err;
} reader;

/* ---------- errors ---------- */

static bool fail_at(reader *r, yaml_mark_t at, const char *what) {
    return sp_fail(r->err, SP_BAD_REQUEST, "YAML line %zu, column %zu: %s", at.line + 1,
                   at.column + 1, what);
}

static bool fail_here(reader *r, const char *what) {
    return fail_at(r, r->event.start_mark, what);
}

/* libyaml's problem to our sentence; `context` points at the start of the construct instead of the
 * place where its end was missed. */
static const struct {
    const char *problem, *says;
    bool context;
} problems[] = {
    {"could not find expected ':'", "this line is no \"field: value\": a ':' is missing", true},
    {"mapping values are not allowed in this context",
     "a ':' is not allowed here (is the line above complete, the indentation right, or does a "
     "value need quotes?)",
     false},
    {"did not find expected key", "the indentation does not match the lines above", false},
    {"did not find expected '-' indicator", "a list item starting with '-' is expected here",
     false},
    {"block sequence entries are not allowed in this context",
     "a list item is not allowed here (put it on a line of its own)", false},
    {"did not find expected ',' or ']'", "',' or ']' is expected here", false},
    {"did not find expected ',' or '}'", "',' or '}' is expected here", false},
    {"found unexpected end of stream", "the quoted text does not end", true},
    {"found character that cannot start any token",
     "this character cannot start a value (tabs do not indent; '@' and '`' need quotes)", false},
    {"found a tab character that violates indentation", "a tab cannot be used to indent", false},
    {"found unknown escape character", "an unknown escape in quoted text", false},
    {"did not find expected node content", "a value is expected here", false},
    {"found undefined tag handle", "an unknown tag", false},
    {"did not find expected alphabetic or numeric character",
     "a name must follow '&' or '*' (text that begins so needs quotes)", false},
    {"control characters are not allowed", "a control character is not allowed", false},
    {"did not find expected <document start>", "only '---' may start the next document", false},
};

/* Reader errors (bad UTF-8, control characters) come with a byte offset instead of a mark. */
static yaml_mark_t mark_of_offset(const reader *r, size_t offset) {
    yaml_mark_t at = {0};
    for (size_t i = 0; i < SP_MIN(offset, r->text.n); i++) {
        unsigned char c = (unsigned char)r->text.p[i];
        if (c == '\n')
            at.line++, at.column = 0;
        else if ((c & 0xc0) != 0x80)
            at.column++;
    }
    return at;
}

static sp_str line_at(const reader *r, size_t line) {
    sp_str got = {0};
    for (sp_str rest = r->text; sp_str_cut(&rest, '\n', &got) && line; line--) got = (sp_str){0};
    return sp_str_trim(got);
}

static bool fail_parser(reader *r) {
    const yaml_parser_t *p = &r->parser;
    yaml_mark_t at =
        p->error == YAML_READER_ERROR ? mark_of_offset(r, p->problem_offset) : p->problem_mark;
    const char *says = p->problem ? p->problem : "broken text";
    if (p->error == YAML_READER_ERROR && strstr(says, "UTF-8")) says = "the bytes are not UTF-8";
    for (size_t i = 0; i < SP_COUNT(problems); i++)
        if (strcmp(says, problems[i].problem) == 0) {
            says = problems[i].says;
            if (problems[i].context && p->context) at = p->context_mark;
            break;
        }
    if (sp_str_eqz(line_at(r, at.line), "..."))
        says =
            "\"...\" ends a document only at the start of a line; here it is indented: remove it";
    return fail_at(r, at, says);
}

/* ---------- events ---------- */

static bool next(reader *r) {
    if (r->has_event) yaml_event_delete(&r->event);
    r->has_event = yaml_parser_parse(&r->parser, &r->event);
    return r->has_event || fail_parser(r);
}

static bool compose(reader *r, int depth, sp_json *j);

static bool remember(reader *r, const yaml_char_t *anchor, sp_json *j) {
    if (anchor) sp_map_put(&r->anchors, sp_str_z((const char *)anchor), j);
    return true;
}

static size_t nodes_of(const sp_json *j) {
    size_t n = 1;
    sp_json_each(j, c) n += nodes_of(c);
    return n;
}

static size_t bytes_of(const sp_json *j) {
    size_t n = j->text.n + j->key.n;
    sp_json_each(j, c) n += bytes_of(c);
    return n;
}

/* Counts what an alias or a merge key adds to the document beyond its own text. */
static bool account(reader *r, const sp_json *from, int depth) {
    r->expanded += nodes_of(from) + bytes_of(from) / sizeof(sp_json);
    if (++r->aliases > MAX_ALIASES || r->expanded > MAX_EXPANDED_NODES)
        return fail_here(r, "the aliases expand to too much");
    if ((size_t)depth + sp_json_depth(from) > SP_JSON_MAX_DEPTH)
        return fail_here(r, "nested too deeply (100 levels at most)");
    return true;
}

static bool compose_alias(reader *r, int depth, sp_json *j) {
    const sp_json *from =
        sp_map_get(&r->anchors, sp_str_z((const char *)r->event.data.alias.anchor));
    if (!from) return fail_here(r, "the alias names no anchor that is complete before it");
    if (!account(r, from, depth)) return false;
    sp_json_assign(j, sp_json_clone(r->a, from));
    return true;
}

static bool compose_scalar(reader *r, sp_json *j) {
    const char *problem = sp_yaml_scalar(r->a, &r->event, j);
    if (problem) return fail_here(r, problem);
    return remember(r, r->event.data.scalar.anchor, j);
}

static bool check_tag(reader *r, const yaml_char_t *tag, const char *ours) {
    if (!tag || strcmp((const char *)tag, ours) == 0 || strcmp((const char *)tag, "!") == 0)
        return true;
    return fail_here(r, "an unknown tag");
}

static char *anchor_of(reader *r, const yaml_char_t *anchor) {
    return anchor ? sp_arena_strz(r->a, sp_str_z((const char *)anchor)) : NULL;
}

static bool compose_list(reader *r, int depth, sp_json *j) {
    const char *anchor = anchor_of(r, r->event.data.sequence_start.anchor);
    if (!check_tag(r, r->event.data.sequence_start.tag, YAML_SEQ_TAG)) return false;
    j->type = SP_JSON_ARRAY;
    for (;;) {
        if (!next(r)) return false;
        if (r->event.type == YAML_SEQUENCE_END_EVENT) break;
        sp_json *item = SP_NEW(r->a, sp_json);
        if (!compose(r, depth, item)) return false;
        sp_json_push(j, item);
    }
    return remember(r, (const yaml_char_t *)anchor, j);
}

/* ---------- mappings ---------- */

typedef struct members {
    sp_json *obj;
    sp_map seen;     /* of keys, once there are many */
    sp_json *merges; /* what "<<" names: mappings and lists of them, earlier ones win */
} members;

/* Adds the key to those seen; false if it is there already. */
static bool is_new(members *m, sp_str key) {
    if (m->obj->count < LINEAR_MEMBERS) return !sp_json_get_str(m->obj, key);
    if (!m->seen.n) sp_json_each(m->obj, it) sp_map_put(&m->seen, it->key, it);
    return !sp_map_put(&m->seen, key, m->obj);
}

static bool collect_merge(reader *r, int depth, members *m) {
    sp_json *value = SP_NEW(r->a, sp_json);
    if (!next(r)) return false;
    yaml_mark_t at = r->event.start_mark;
    if (!compose(r, depth, value)) return false;
    bool right = value->type == SP_JSON_OBJECT || value->type == SP_JSON_ARRAY;
    if (value->type == SP_JSON_ARRAY)
        sp_json_each(value, item) right = right && item->type == SP_JSON_OBJECT;
    if (!right) return fail_at(r, at, "\"<<\" takes a mapping or a list of mappings");
    if (!m->merges) m->merges = sp_json_array(r->a);
    sp_json_push(m->merges, value);
    return true;
}

static void merge_from(reader *r, members *m, const sp_json *from) {
    sp_json_each(from, it) {
        if (!is_new(m, it->key)) continue;
        sp_json *copy = sp_json_clone(r->a, it);
        copy->key = it->key;
        sp_json_set_new(m->obj, copy);
    }
}

/* After the mapping's own members, because those win wherever "<<" stands. */
static void apply_merges(reader *r, members *m) {
    sp_json_each(m->merges, from) {
        if (from->type == SP_JSON_OBJECT)
            merge_from(r, m, from);
        else
            sp_json_each(from, item) merge_from(r, m, item);
    }
}

static bool compose_member(reader *r, int depth, members *m) {
    yaml_mark_t at = r->event.start_mark;
    if (r->event.type != YAML_SCALAR_EVENT)
        return fail_here(r, "a field name must be plain or quoted text");
    if (sp_yaml_is_merge_key(&r->event)) return collect_merge(r, depth, m);
    sp_json *value = SP_NEW(r->a, sp_json);
    const char *problem = sp_yaml_key(r->a, &r->event, &value->key);
    if (problem) return fail_here(r, problem);
    if (!is_new(m, value->key)) {
        char text[160];
        snprintf(text, sizeof text, "the field \"%.100s\" is there twice", value->key.p);
        return fail_at(r, at, text);
    }
    if (!next(r) || !compose(r, depth, value)) return false;
    sp_json_set_new(m->obj, value);
    return true;
}

static bool compose_mapping(reader *r, int depth, sp_json *j) {
    const char *anchor = anchor_of(r, r->event.data.mapping_start.anchor);
    if (!check_tag(r, r->event.data.mapping_start.tag, YAML_MAP_TAG)) return false;
    members m = {.obj = j};
    j->type = SP_JSON_OBJECT;
    bool ok;
    while ((ok = next(r)) && r->event.type != YAML_MAPPING_END_EVENT)
        if (!(ok = compose_member(r, depth, &m))) break;
    if (ok) apply_merges(r, &m);
    sp_map_free(&m.seen);
    return ok && remember(r, (const yaml_char_t *)anchor, j);
}

static bool compose(reader *r, int depth, sp_json *j) {
    bool nests =
        r->event.type == YAML_SEQUENCE_START_EVENT || r->event.type == YAML_MAPPING_START_EVENT;
    if (nests && depth == SP_JSON_MAX_DEPTH)
        return fail_here(r, "nested too deeply (100 levels at most)");
    switch ((int)r->event.type) {
    case YAML_SCALAR_EVENT: return compose_scalar(r, j);
    case YAML_ALIAS_EVENT: return compose_alias(r, depth, j);
    case YAML_SEQUENCE_START_EVENT: return compose_list(r, depth + 1, j);
    case YAML_MAPPING_START_EVENT: return compose_mapping(r, depth + 1, j);
    default: return fail_here(r, "a value is expected here");
    }
}

/* ---------- streams ---------- */

/* Plain nothing between two "---" is no document; "null" spelled out neither. */
static bool compose_document(reader *r, sp_json_docs *ret) {
    sp_map_free(&r->anchors);
    sp_json *doc = SP_NEW(r->a, sp_json);
    if (!next(r) || !compose(r, 0, doc) || !next(r)) return false;
    if (doc->type != SP_JSON_NULL) sp_vec_push(ret, doc);
    return true;
}

static bool compose_stream(reader *r, sp_json_docs *ret) {
    for (;;) {
        if (!next(r)) return false;
        if (r->event.type == YAML_STREAM_END_EVENT) return true;
        if (r->event.type == YAML_DOCUMENT_START_EVENT && !compose_document(r, ret)) return false;
    }
}

static bool parse_stream(sp_arena *a, sp_str text, sp_json_docs *ret, sp_err *err) {
    reader r = {.a = a, .text = text, .err = err};
    size_t before = ret->n;
    sp_assert(yaml_parser_initialize(&r.parser));
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
    bool ok = compose_stream(&r, ret);
    if (!ok) ret->n = before;
    if (r.has_event) yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    sp_map_free(&r.anchors);
    return ok;
}

/* libyaml knows no surrogate pairs, so what looks like JSON goes to the JSON parser first. */
static bool looks_like_json(sp_str text) {
    text = sp_str_trim(text);
    if (!text.n || (text.p[0] != '{' && text.p[0] != '[')) return false;
    text = sp_str_trim(sp_str_from(text, 1));
    return text.n && strchr("\"{}[]", text.p[0]) && text.p[0];
}

bool sp_yaml_parse_all(sp_arena *a, sp_str text, sp_json_docs *ret, sp_err *err) {
    if (text.n > SP_JSON_MAX_BYTES)
        return sp_fail(err, SP_TOO_LARGE, "YAML text of %zu bytes; at most %d are taken", text.n,
                       SP_JSON_MAX_BYTES);
    sp_json *doc;
    if (!looks_like_json(text)) return parse_stream(a, text, ret, err);
    sp_err json_err = {0};
    if (sp_json_parse(a, text, &doc, &json_err)) {
        sp_vec_push(ret, doc);
        return true;
    }
    if (parse_stream(a, text, ret, NULL)) return true;
    if (err) *err = json_err;
    return false;
}

bool sp_yaml_parse(sp_arena *a, sp_str text, sp_json **ret, sp_err *err) {
    sp_json_docs docs = {0};
    bool ok = sp_yaml_parse_all(a, text, &docs, err);
    if (ok && docs.n != 1)
        ok = sp_fail(err, SP_BAD_REQUEST,
                     docs.n ? "YAML: %zu documents where one is expected"
                            : "YAML: the text holds no document",
                     docs.n);
    if (ok) *ret = docs.p[0];
    sp_vec_free(&docs);
    return ok;
}
