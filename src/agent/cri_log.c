#include "agent/cri_log.h"

#include "data/time.h"

#include <stdio.h>
#include <time.h>

static void put_time(int64_t wall_ns, char ret[SP_CRI_TIME + 1]) {
    time_t sec = (time_t)(wall_ns / 1000000000);
    struct tm tm;
    gmtime_r(&sec, &tm);
    char text[48];
    size_t n = strftime(text, 24, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof text - n, ".%09dZ", (int)(wall_ns % 1000000000));
    memcpy(ret, text, SP_CRI_TIME);
    ret[SP_CRI_TIME] = 0;
}

static void put_line(sp_buf *out, const char *time, const char *stream, bool partial, sp_str text) {
    sp_buf_addz(out, time);
    sp_buf_addc(out, ' ');
    sp_buf_addz(out, stream);
    sp_buf_addz(out, partial ? " P " : " F ");
    sp_buf_add(out, text);
    sp_buf_addc(out, '\n');
}

static void put_pieces(sp_cri_stream *s, sp_buf *out, const char *time) {
    while (s->rest.n >= SP_CRI_MAX_LINE) {
        put_line(out, time, s->name, true, sp_str_sub(sp_buf_str(&s->rest), 0, SP_CRI_MAX_LINE));
        sp_buf_drop(&s->rest, SP_CRI_MAX_LINE);
    }
}

void sp_cri_feed(sp_cri_stream *s, sp_str bytes, int64_t wall_ns, sp_buf *out) {
    char time[SP_CRI_TIME + 1];
    put_time(wall_ns, time);
    while (bytes.n) {
        ptrdiff_t end = sp_str_chr(bytes, '\n');
        sp_buf_add(&s->rest, end < 0 ? bytes : sp_str_sub(bytes, 0, (size_t)end));
        put_pieces(s, out, time);
        if (end < 0) return;
        put_line(out, time, s->name, false, sp_buf_str(&s->rest));
        sp_buf_clear(&s->rest);
        bytes = sp_str_from(bytes, (size_t)end + 1);
    }
}

void sp_cri_finish(sp_cri_stream *s, int64_t wall_ns, sp_buf *out) {
    char time[SP_CRI_TIME + 1];
    put_time(wall_ns, time);
    if (s->rest.n) put_line(out, time, s->name, true, sp_buf_str(&s->rest));
    sp_buf_free(&s->rest);
}

bool sp_cri_parse(sp_str line, sp_cri_entry *ret) {
    sp_cri_entry e = {0};
    sp_str rest = line, tag;
    if (!sp_str_cut(&rest, ' ', &e.time) || !sp_str_cut(&rest, ' ', &e.stream) ||
        !sp_str_cut(&rest, ' ', &tag))
        return false;
    if (!sp_str_eqz(e.stream, "stdout") && !sp_str_eqz(e.stream, "stderr")) return false;
    if (!sp_str_eqz(tag, "F") && !sp_str_eqz(tag, "P")) return false;
    if (!sp_time_parse(e.time, &e.wall_ms)) return false;
    e.partial = tag.p[0] == 'P';
    e.text = rest;
    *ret = e;
    return true;
}
