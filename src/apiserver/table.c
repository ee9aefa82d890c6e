/* Tables are written straight to the buffer; only cells become nodes. A cell is made by the
 * column's function, or taken from the object at its path and shown as kubectl's users expect:
 * dates as ages, whole numbers as numbers, anything else as text. */
#include "apiserver/table.h"

#include "apiserver/accept.h"
#include "data/jsonpath.h"
#include "data/time.h"

#include <stdio.h>

static const sp_column default_columns[] = {SP_COLUMN_NAME, SP_COLUMN_AGE};

static const sp_column *columns_of(const sp_resource *r, size_t *ret_count) {
    *ret_count = r->columns ? r->column_count : SP_COUNT(default_columns);
    return r->columns ? r->columns : default_columns;
}

/* --- negotiation --- */

static sp_table_form form_of(sp_str as) {
    if (!as.n) return SP_FORM_OBJECT;
    if (sp_str_eqz(as, "Table")) return SP_FORM_TABLE;
    if (sp_str_eqz(as, "PartialObjectMetadata")) return SP_FORM_PARTIAL;
    if (sp_str_eqz(as, "PartialObjectMetadataList")) return SP_FORM_PARTIAL_LIST;
    return SP_FORM_REFUSED;
}

static bool is_yaml(sp_str type) {
    return sp_str_ieq(type, SP_STR("application/yaml")) ||
           sp_str_ieq(type, SP_STR("application/x-yaml"));
}

static bool is_servable(sp_str type) {
    static const char *const types[] = {"application/json", "application/*", "*/*"};
    for (size_t i = 0; i < SP_COUNT(types); i++) {
        if (sp_str_ieq(type, sp_str_z(types[i]))) return true;
    }
    return is_yaml(type);
}

static const char *meta_version(sp_str v) {
    if (!v.n || sp_str_eqz(v, "v1")) return "v1";
    return sp_str_eqz(v, "v1beta1") ? "v1beta1" : NULL;
}

sp_table_form sp_table_negotiate(sp_str accept, const char **ret_version, bool *ret_yaml) {
    sp_table_form best = SP_FORM_REFUSED;
    int quality = 0;
    *ret_version = NULL;
    *ret_yaml = false;
    if (!sp_str_trim(accept).n) return SP_FORM_OBJECT;
    sp_accept e;
    for (sp_str rest = accept; sp_accept_next(&rest, &e);) {
        sp_table_form form = form_of(e.as);
        const char *version = meta_version(e.version);
        bool known_group = !e.group.n || sp_str_eqz(e.group, "meta.k8s.io");
        if (e.quality <= quality || form == SP_FORM_REFUSED || !is_servable(e.type)) continue;
        if (form != SP_FORM_OBJECT && (!version || !known_group)) continue;
        best = form;
        quality = e.quality;
        *ret_version = form == SP_FORM_OBJECT ? NULL : version;
        *ret_yaml = is_yaml(e.type);
    }
    return best;
}

bool sp_table_include_parse(sp_str s, sp_table_include *ret, sp_err *err) {
    static const char *const words[] = {
        [SP_TABLE_METADATA] = "Metadata", [SP_TABLE_OBJECT] = "Object", [SP_TABLE_NONE] = "None"};
    for (unsigned i = 0; i < SP_COUNT(words); i++) {
        if (sp_str_eqz(s, words[i]) || (!s.n && i == SP_TABLE_METADATA)) {
            *ret = (sp_table_include)i;
            return true;
        }
    }
    return sp_fail(err, SP_BAD_REQUEST,
                   "includeObject must be Object, Metadata or None, not \"%.*s\"", SP_ARG(s));
}

/* --- head --- */

static void write_pair(sp_buf *b, const char *before, const char *key, sp_str value) {
    sp_buf_printf(b, "%s\"%s\":", before, key);
    sp_json_write_string(b, value);
}

static void write_list_meta(sp_buf *b, const sp_table *t) {
    const char *comma = "";
    sp_buf_addz(b, "\"metadata\":{");
    if (t->resource_version.n) {
        write_pair(b, comma, "resourceVersion", t->resource_version);
        comma = ",";
    }
    if (t->continue_.n) {
        write_pair(b, comma, "continue", t->continue_);
        comma = ",";
    }
    if (t->remaining >= 0) {
        sp_buf_printf(b, "%s\"remainingItemCount\":%lld", comma, (long long)t->remaining);
    }
    sp_buf_addc(b, '}');
}

static void write_column(sp_buf *b, const sp_column *c) {
    write_pair(b, "{", "name", sp_str_z(c->name));
    write_pair(b, ",", "type", sp_str_z(c->type));
    write_pair(b, ",", "format", sp_str_z(c->format));
    write_pair(b, ",", "description", sp_str_z(c->doc));
    sp_buf_printf(b, ",\"priority\":%d}", c->priority);
}

void sp_table_begin(sp_buf *b, sp_table *t) {
    sp_buf_printf(b, "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/%s\",", t->version);
    write_list_meta(b, t);
    sp_buf_addz(b, ",\"columnDefinitions\":");
    if (t->with_columns) {
        size_t count;
        const sp_column *columns = columns_of(t->resource, &count);
        for (size_t i = 0; i < count; i++) {
            sp_buf_addc(b, i ? ',' : '[');
            write_column(b, &columns[i]);
        }
        sp_buf_addc(b, ']');
    } else {
        sp_buf_addz(b, "null");
    }
    sp_buf_addz(b, ",\"rows\":[");
    t->with_columns = false;
    t->rows = 0;
}

void sp_table_end(sp_buf *b) {
    sp_buf_addz(b, "]}");
}

/* --- rows --- */

static void write_age(sp_buf *b, sp_str when, int64_t now_wall_ms) {
    int64_t then;
    char text[SP_TIME_MAX] = "<invalid>";
    if (sp_time_parse(when, &then)) sp_duration_human(now_wall_ms - then, text);
    sp_json_write_string(b, sp_str_z(text));
}

/* A value found at a path, as the column's type wants it. */
static void write_found(sp_buf *b, const sp_column *c, const sp_json *v, int64_t now_wall_ms) {
    if (!v || v->type == SP_JSON_NULL) {
        sp_buf_addz(b, c->format[0] ? "\"\"" : "null");
    } else if (!strcmp(c->type, "date")) {
        write_age(b, sp_json_str(v), now_wall_ms);
    } else if (!strcmp(c->type, "string") && v->type != SP_JSON_STRING) {
        sp_auto(sp_buf) text = {0};
        sp_json_write(&text, v);
        sp_json_write_string(b, sp_buf_str(&text));
    } else {
        sp_json_write(b, v);
    }
}

/* A path that does not compile was refused when its CRD was written: it leads nowhere. Most paths
 * are plain members, for which there is nothing to compile. */
static const sp_json *at_path(const char *path, const sp_json *obj, sp_arena *scratch) {
    const sp_jsonpath *compiled;
    if (strpbrk(path, "[]*'\"@{}\\$") || strstr(path, "..")) {
        bool ok = sp_jsonpath_compile(scratch, sp_str_z(path), &compiled, NULL);
        return ok ? sp_jsonpath_first(compiled, obj) : NULL;
    }
    sp_str rest = sp_str_z(path[0] == '.' ? path + 1 : path), key;
    while (obj && sp_str_cut(&rest, '.', &key)) obj = sp_json_get_str(obj, key);
    return obj;
}

static void write_cell(sp_buf *b, const sp_table *t, const sp_column *c, const sp_json *obj,
                       sp_arena *scratch) {
    if (c->cell) {
        sp_json_write(b, c->cell(scratch, obj, t->now_wall_ms));
    } else {
        write_found(b, c, at_path(c->json_path, obj, scratch), t->now_wall_ms);
    }
}

static void write_object(sp_buf *b, const sp_table *t, const sp_json *obj, sp_str raw) {
    if (t->include == SP_TABLE_NONE) {
        sp_buf_addz(b, "null");
    } else if (t->include == SP_TABLE_METADATA) {
        sp_table_partial(b, t->version, obj);
    } else if (raw.n) {
        sp_buf_add(b, raw);
    } else {
        sp_json_write(b, obj);
    }
}

void sp_table_row(sp_buf *b, sp_table *t, const sp_json *obj, sp_str raw, sp_arena *scratch) {
    size_t count;
    const sp_column *columns = columns_of(t->resource, &count);
    if (t->rows++) sp_buf_addc(b, ',');
    sp_buf_addz(b, "{\"cells\":[");
    for (size_t i = 0; i < count; i++) {
        if (i) sp_buf_addc(b, ',');
        write_cell(b, t, &columns[i], obj, scratch);
    }
    sp_buf_addz(b, "],\"object\":");
    write_object(b, t, obj, raw);
    sp_buf_addc(b, '}');
}

void sp_table_partial(sp_buf *b, const char *version, const sp_json *obj) {
    const sp_json *meta = sp_json_get(obj, "metadata");
    sp_buf_printf(b, "{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/%s\"",
                  version);
    sp_buf_addz(b, ",\"metadata\":");
    if (meta)
        sp_json_write(b, meta);
    else
        sp_buf_addz(b, "{}");
    sp_buf_addc(b, '}');
}
