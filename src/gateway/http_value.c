/* A compiled value is the text itself; each part to be filled in is a mark, a letter, and what it
 * needs up to the next mark. No value of a header can contain the mark. */
#include "gateway/http_value.h"

enum { MARK = 1 };

typedef enum part {
    SRC = 'a',
    SRC_PORT,
    DST,
    DST_PORT,
    TLS,
    SNI,
    METHOD,
    PATH,
    QUERY,
    PATH_QUERY,
    TARGET,
    ID,
    FIELD,      /* the last one of a list, by its name */
    WHOLE_FIELD /* the last line */
} part;

static const struct {
    const char *name;
    part part;
    bool with_field;
} parts[] = {
    {"src", SRC, false},       {"src_port", SRC_PORT, false},
    {"dst", DST, false},       {"dst_port", DST_PORT, false},
    {"ssl_fc", TLS, false},    {"ssl_fc_sni", SNI, false},
    {"method", METHOD, false}, {"path", PATH, false},
    {"query", QUERY, false},   {"pathq", PATH_QUERY, false},
    {"url", TARGET, false},    {"capture.req.uri", TARGET, false},
    {"unique-id", ID, false},  {"req.hdr", FIELD, true},
    {"hdr", FIELD, true},      {"req.fhdr", WHOLE_FIELD, true},
};

/* --- once --- */

static void add_part(sp_buf *b, part p, sp_str what) {
    sp_buf_addc(b, MARK);
    sp_buf_addc(b, (char)p);
    for (size_t i = 0; i < what.n; i++) {
        char c = what.p[i];
        sp_buf_addc(b, c >= 'A' && c <= 'Z' && p != TLS ? (char)(c + 32) : c);
    }
    sp_buf_addc(b, MARK);
}

/* "ssl_fc,iif(https,http)" */
static bool add_choice(sp_buf *b, sp_str name) {
    static const sp_str start = SP_STR_INIT("ssl_fc,iif(");
    if (!sp_str_starts(name, start) || !sp_str_ends(name, SP_STR(")"))) return false;
    sp_str words = sp_str_sub(name, start.n, name.n - start.n - 1);
    ptrdiff_t comma = sp_str_chr(words, ',');
    if (comma < 0 || sp_str_chr(sp_str_from(words, (size_t)comma + 1), ',') >= 0) return false;
    add_part(b, TLS, words);
    return true;
}

static bool add_named(sp_buf *b, sp_str name, sp_err *err) {
    ptrdiff_t open = sp_str_chr(name, '(');
    bool with_field = open > 0 && sp_str_ends(name, SP_STR(")"));
    sp_str word = with_field ? sp_str_sub(name, 0, (size_t)open) : name, field = {0};
    if (with_field) field = sp_str_sub(name, (size_t)open + 1, name.n - (size_t)open - 2);
    for (size_t i = 0; i < SP_COUNT(parts); i++) {
        if (parts[i].with_field != with_field || !sp_str_eqz(word, parts[i].name)) continue;
        if (with_field && !sp_http_is_token(field)) break;
        add_part(b, parts[i].part, field);
        return true;
    }
    if (add_choice(b, name)) return true;
    return sp_fail(err, SP_INVALID, "%%[%.*s] cannot be filled in; what can: " SP_VALUE_NAMES,
                   SP_ARG(name));
}

bool sp_value_compile(sp_arena *a, sp_str text, sp_str *ret, bool *ret_varies, sp_err *err) {
    sp_auto(sp_buf) b = {0};
    *ret_varies = false;
    *ret = text;
    if (!sp_http_is_value(text)) return sp_fail(err, SP_INVALID, "it cannot stand in a header");
    if (sp_str_chr(text, '%') < 0) return true;
    while (text.n) {
        ptrdiff_t end = sp_str_find(text, SP_STR("]"));
        if (text.p[0] != '%') {
            sp_buf_addc(&b, text.p[0]);
            text = sp_str_from(text, 1);
        } else if (sp_str_starts(text, SP_STR("%%"))) {
            sp_buf_addc(&b, '%');
            text = sp_str_from(text, 2);
        } else if (sp_str_starts(text, SP_STR("%[")) && end > 0) {
            if (!add_named(&b, sp_str_trim(sp_str_sub(text, 2, (size_t)end - 2)), err))
                return false;
            *ret_varies = true;
            text = sp_str_from(text, (size_t)end + 1);
        } else {
            return sp_fail(err, SP_INVALID, "a percent sign is written %%%%, a variable %%[NAME]");
        }
    }
    *ret = sp_arena_str(a, sp_buf_str(&b));
    return true;
}

/* --- for each request --- */

/* Behind the last comma that is not in quotes. */
static sp_str last_of(sp_str list) {
    size_t from = 0;
    bool quoted = false;
    for (size_t i = 0; i < list.n; i++) {
        if (quoted && list.p[i] == '\\')
            i++;
        else if (list.p[i] == '"')
            quoted = !quoted;
        else if (list.p[i] == ',' && !quoted)
            from = i + 1;
    }
    return sp_str_trim(sp_str_from(list, from));
}

static sp_str field_of(const sp_h1_head *h, const sp_http_hop *hop, sp_str name) {
    if (sp_str_eq(name, SP_STR("host"))) return hop->target.host;
    for (size_t i = h->headers.n; i-- > 0;)
        if (sp_str_eq(h->headers.p[i].name, name)) return h->headers.p[i].value;
    return (sp_str){0};
}

static void write_ip(sp_buf *b, const sp_addr *a) {
    char text[SP_ADDR_MAX];
    sp_addr_format_ip(a, text);
    sp_buf_addz(b, text);
}

/* words: "YES,NO"; none are haproxy's own for a boolean. */
static void write_tls(sp_buf *b, sp_str words, bool tls) {
    ptrdiff_t comma = sp_str_chr(words, ',');
    if (comma < 0)
        sp_buf_addc(b, tls ? '1' : '0');
    else
        sp_buf_add(b, tls ? sp_str_sub(words, 0, (size_t)comma)
                          : sp_str_from(words, (size_t)comma + 1));
}

static void write_path_query(sp_buf *b, const sp_http_target *t) {
    sp_buf_add(b, t->path);
    if (!t->query.p) return;
    sp_buf_addc(b, '?');
    sp_buf_add(b, t->query);
}

static void write_part(sp_buf *b, part p, sp_str what, const sp_h1_head *h,
                       const sp_http_hop *hop) {
    char id[SP_HTTP_ID_BYTES];
    switch (p) {
    case SRC: sp_buf_add(b, hop->client_ip); break;
    case SRC_PORT: sp_buf_u64(b, hop->client_port); break;
    case DST: write_ip(b, &hop->local); break;
    case DST_PORT: sp_buf_u64(b, hop->port); break;
    case TLS: write_tls(b, what, hop->tls); break;
    case SNI: sp_buf_add(b, hop->server_name); break;
    case METHOD: sp_buf_add(b, h->method); break;
    case PATH: sp_buf_add(b, hop->target.path); break;
    case QUERY: sp_buf_add(b, hop->target.query); break;
    case PATH_QUERY: write_path_query(b, &hop->target); break;
    case TARGET: sp_buf_add(b, h->target); break;
    case ID: sp_buf_add(b, sp_http_request_id(h, hop, id)); break;
    case FIELD: sp_buf_add(b, last_of(field_of(h, hop, what))); break;
    case WHOLE_FIELD: sp_buf_add(b, field_of(h, hop, what)); break;
    }
}

/* The next part; text before it in *ret_text. False: nothing but text was left. */
static bool next_part(sp_str *rest, sp_str *ret_text, part *ret_part, sp_str *ret_what) {
    ptrdiff_t at = sp_str_chr(*rest, MARK);
    *ret_text = at < 0 ? *rest : sp_str_sub(*rest, 0, (size_t)at);
    if (at < 0) return false;
    *ret_part = (part)rest->p[at + 1];
    sp_str behind = sp_str_from(*rest, (size_t)at + 2);
    ptrdiff_t end = sp_str_chr(behind, MARK);
    *ret_what = sp_str_sub(behind, 0, (size_t)end);
    *rest = sp_str_from(behind, (size_t)end + 1);
    return true;
}

void sp_value_write(sp_buf *b, sp_str compiled, const sp_h1_head *h, const sp_http_hop *hop) {
    sp_str text, what;
    part p;
    while (next_part(&compiled, &text, &p, &what)) {
        sp_buf_add(b, text);
        write_part(b, p, what, h, hop);
    }
    sp_buf_add(b, text);
}

bool sp_value_reads(sp_str compiled, sp_str field) {
    sp_str text, what;
    part p;
    while (next_part(&compiled, &text, &p, &what))
        if ((p == FIELD || p == WHOLE_FIELD) && sp_str_eq(what, field)) return true;
    return false;
}

bool sp_value_reads_path(sp_str compiled) {
    sp_str text, what;
    part p;
    while (next_part(&compiled, &text, &p, &what))
        if (p == PATH || p == PATH_QUERY || p == TARGET) return true;
    return false;
}
