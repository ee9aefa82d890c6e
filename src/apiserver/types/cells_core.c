/* Helpers for cells, and the cells of core/v1's small kinds. */
#include "apiserver/types/cells.h"

#include "data/time.h"

sp_json *sp_cell_text(sp_arena *a, sp_str s) {
    return s.n ? sp_json_new_str(a, s) : sp_json_new_z(a, "<none>");
}

void sp_cell_join(sp_buf *b, sp_str item) {
    if (b->n) sp_buf_addc(b, ',');
    sp_buf_add(b, item);
}

sp_json *sp_cell_buf(sp_arena *a, sp_buf *b) {
    sp_json *cell = sp_cell_text(a, sp_buf_str(b));
    sp_buf_free(b);
    return cell;
}

/* "<unknown>" when bad. */
static sp_json *since(sp_arena *a, sp_str when, int64_t now_wall_ms) {
    int64_t then;
    if (!sp_time_parse(when, &then)) return sp_json_new_z(a, "<unknown>");
    char text[SP_TIME_MAX];
    sp_duration_human(now_wall_ms - then, text);
    return sp_json_new_z(a, text);
}

CELL(age) {
    return since(a, sp_json_str(sp_json_dig(obj, "metadata", "creationTimestamp", NULL)),
                 now_wall_ms);
}

CELL(created_at) {
    return sp_json_new_str(a, sp_json_str(sp_json_dig(obj, "metadata", "creationTimestamp", NULL)));
}

static size_t count_of(const sp_json *j) {
    return j ? j->count : 0;
}

CELL(data_count) {
    size_t n = count_of(sp_json_get(obj, "data")) + count_of(sp_json_get(obj, "binaryData"));
    return sp_json_new_int(a, (int64_t)n);
}

CELL(secrets_count) {
    return sp_json_new_int(a, (int64_t)count_of(sp_json_get(obj, "secrets")));
}

/* --- events: either the old counters or a series --- */

static sp_str first_time(const sp_json *obj) {
    sp_str t = sp_json_str(sp_json_get(obj, "firstTimestamp"));
    return t.n ? t : sp_json_str(sp_json_get(obj, "eventTime"));
}

CELL(event_first) {
    return since(a, first_time(obj), now_wall_ms);
}

static int64_t times_seen(const sp_json *obj) {
    const sp_json *series = sp_json_get(obj, "series");
    int64_t n = sp_json_int(sp_json_get(series ? series : obj, "count"), 0);
    return n ? n : 1;
}

CELL(event_last) {
    const sp_json *series = sp_json_get(obj, "series");
    sp_str t = series ? sp_json_str(sp_json_get(series, "lastObservedTime"))
                      : sp_json_str(sp_json_get(obj, "lastTimestamp"));
    return since(a, t.n ? t : first_time(obj), now_wall_ms);
}

CELL(event_count) {
    return sp_json_new_int(a, times_seen(obj));
}

CELL(event_object) {
    const sp_json *about = sp_json_get(obj, "involvedObject");
    sp_str kind = sp_json_str(sp_json_get(about, "kind"));
    sp_buf b = {0};
    for (size_t i = 0; i < kind.n; i++) {
        char c = kind.p[i];
        sp_buf_addc(&b, c >= 'A' && c <= 'Z' ? (char)(c + 32) : c);
    }
    sp_str name = sp_json_str(sp_json_get(about, "name"));
    if (name.n) sp_buf_printf(&b, "/%.*s", SP_ARG(name));
    return sp_cell_buf(a, &b);
}

CELL(event_source) {
    const sp_json *source = sp_json_get(obj, "source");
    sp_str who = sp_json_str(sp_json_get(source, "component"));
    sp_str host = sp_json_str(sp_json_get(source, "host"));
    if (!who.n) who = sp_json_str(sp_json_get(obj, "reportingComponent"));
    if (!host.n) host = sp_json_str(sp_json_get(obj, "reportingInstance"));
    sp_buf b = {0};
    sp_buf_add(&b, who);
    if (host.n) sp_buf_printf(&b, ", %.*s", SP_ARG(host));
    return sp_json_new_str(a, sp_cell_buf(a, &b)->text);
}

CELL(event_message) {
    return sp_json_new_str(a, sp_str_trim(sp_json_str(sp_json_get(obj, "message"))));
}
