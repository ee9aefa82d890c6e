/* Printing. Text goes straight into the buffer's memory: room for the plain case is made first, and
 * only strings that need escapes take the slow way. */
#include "data/json.h"

#include "data/json_scan.h"

#include <stdio.h>

enum { FIRST_ROOM = 512 };

/* Memory for n more bytes (and the NUL behind the text). */
static inline char *room(sp_buf *b, size_t n) {
    if (b->cap - b->n <= n) sp_buf_reserve(b, n);
    return b->p + b->n;
}

static inline void add_char(sp_buf *b, char c) {
    *room(b, 1) = c;
    b->n++;
}

static inline void add(sp_buf *b, const char *p, size_t n) {
    memcpy(room(b, n), p, n);
    b->n += n;
}

static inline bool needs_escape(char c) {
    return (unsigned char)c < 0x20 || c == '"' || c == '\\';
}

/* Copies up to the first byte that needs an escape and returns how many that are. */
static inline size_t copy_plain(char *out, sp_str s) {
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        uint64_t x = sp_load_word(s.p + i), marks = sp_scan_word(x, false);
        memcpy(out + i, &x, sizeof x);
        if (marks) return i + sp_scan_index(marks);
    }
    for (; i < s.n && !needs_escape(s.p[i]); i++) out[i] = s.p[i];
    return i;
}

static void write_escape(sp_buf *b, char c) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = c ? strchr(from, c) : NULL;
    char text[8] = {'\\', at ? to[at - from] : 'u'};
    if (!at) snprintf(text + 2, sizeof text - 2, "%04x", (unsigned)c & 0xff);
    add(b, text, strlen(text));
}

static inline void write_string(sp_buf *b, sp_str s) {
    add_char(b, '"');
    for (;;) {
        size_t n = copy_plain(room(b, s.n + 1), s);
        b->n += n;
        if (n == s.n) break;
        write_escape(b, s.p[n]);
        s = (sp_str){s.p + n + 1, s.n - n - 1};
    }
    add_char(b, '"');
}

static void new_line(sp_buf *b, int indent) {
    if (indent < 0) return;
    size_t n = 1 + 2 * (size_t)indent;
    char *out = room(b, n);
    memset(out, ' ', n);
    *out = '\n';
    b->n += n;
}

static void write_node(sp_buf *b, const sp_json *j, int indent);

static void write_children(sp_buf *b, const sp_json *j, int indent) {
    bool object = j->type == SP_JSON_OBJECT;
    int inner = indent < 0 ? -1 : indent + 1;
    add_char(b, object ? '{' : '[');
    sp_json_each(j, c) {
        if (c != j->first) add_char(b, ',');
        new_line(b, inner);
        if (object) {
            write_string(b, c->key);
            add_char(b, ':');
            if (indent >= 0) add_char(b, ' ');
        }
        write_node(b, c, inner);
    }
    if (j->first) new_line(b, indent);
    add_char(b, object ? '}' : ']');
}

/* indent < 0: compact. */
static void write_node(sp_buf *b, const sp_json *j, int indent) {
    switch (j->type) {
    case SP_JSON_NULL: add(b, "null", 4); return;
    case SP_JSON_BOOL: add(b, j->boolean ? "true" : "false", j->boolean ? 4 : 5); return;
    case SP_JSON_NUMBER: add(b, j->text.p, j->text.n); return;
    case SP_JSON_STRING: write_string(b, j->text); return;
    case SP_JSON_ARRAY:
    case SP_JSON_OBJECT: write_children(b, j, indent); return;
    }
}

static void write(sp_buf *b, const sp_json *j, int indent) {
    if (!b->p) sp_buf_reserve(b, FIRST_ROOM);
    write_node(b, j, indent);
    b->p[b->n] = 0;
}

void sp_json_write(sp_buf *b, const sp_json *j) {
    write(b, j, -1);
}
void sp_json_write_pretty(sp_buf *b, const sp_json *j) {
    write(b, j, 0);
}

void sp_json_write_string(sp_buf *b, sp_str s) {
    write_string(b, s);
    b->p[b->n] = 0;
}
