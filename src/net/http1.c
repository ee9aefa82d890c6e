/* Heads: the scan finds the end and refuses bytes that may never occur; the parser then works on a
 * whole head and needs no states. Lines end in CRLF and in nothing else, so the parser can cut at
 * CRLF without looking back. The body decoder is in http1_body.c. */
#include "net/http1.h"

static bool bad(sp_h1_error *err, int status, const char *text) {
    *err = (sp_h1_error){status, text};
    return false;
}

/* --- where does the head end --- */

static bool is_control(char c) {
    unsigned char u = (unsigned char)c;
    return (u < 0x20 && u != '\t') || u == 0x7f;
}

static bool token_char(char c) {
    return sp_http_is_token((sp_str){&c, 1});
}

static bool over_long(const sp_h1_scan *s, bool first_line, bool response, sp_h1_error *err) {
    if (first_line && s->at - s->line > SP_H1_MAX_LINE)
        return !bad(err, response ? 502 : 414, "the first line is too long");
    if (s->at > SP_H1_MAX_HEAD) return !bad(err, 431, "the header fields are too large");
    return false;
}

/* One line from s->line; true when its CRLF is there, s->at behind it. */
static sp_h1_result scan_line(sp_h1_scan *s, sp_str b, sp_h1_error *err) {
    for (; s->at < b.n; s->at++) {
        char c = b.p[s->at];
        if (!is_control(c)) continue;
        if (c != '\r') {
            bad(err, 400, c == '\n' ? "a line ends in LF without CR" : "control character in head");
            return SP_H1_BAD;
        }
        if (s->at + 1 == b.n) return SP_H1_MORE;
        if (b.p[s->at + 1] != '\n') {
            bad(err, 400, "CR without LF");
            return SP_H1_BAD;
        }
        s->at += 2;
        return SP_H1_OK;
    }
    return SP_H1_MORE;
}

sp_h1_result sp_h1_scan_head(sp_h1_scan *s, sp_str b, bool response, size_t *ret_n,
                             sp_h1_error *err) {
    while (s->at < b.n) {
        bool first = s->line == 0 || (s->line == 2 && b.p[0] == '\r');
        if (first && s->at == s->line && b.p[s->at] != '\r' && !token_char(b.p[s->at])) {
            bad(err, 400, "this is not HTTP (is the other side speaking TLS?)");
            return SP_H1_BAD;
        }
        sp_h1_result r = scan_line(s, b, err);
        if (r == SP_H1_BAD || over_long(s, first, response, err)) return SP_H1_BAD;
        if (r == SP_H1_MORE) return SP_H1_MORE;
        bool empty = s->at - s->line == 2;
        if (empty && first && s->line == 2) {
            bad(err, 400, "empty lines before the first line");
            return SP_H1_BAD;
        }
        s->line = s->at;
        if (empty && !first) {
            *ret_n = s->at;
            return SP_H1_OK;
        }
    }
    return SP_H1_MORE;
}

/* --- fields --- */

static sp_str cut_line(sp_str *rest) {
    ptrdiff_t cr = sp_str_chr(*rest, '\r');
    sp_assert(cr >= 0); /* the scan saw it */
    sp_str line = sp_str_sub(*rest, 0, (size_t)cr);
    *rest = sp_str_from(*rest, (size_t)cr + 2);
    return line;
}

static sp_str trim_ows(sp_str s) {
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) s = sp_str_from(s, 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
    return s;
}

static void lower_case(char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] >= 'A' && p[i] <= 'Z') p[i] = (char)(p[i] + ('a' - 'A'));
}

static bool parse_field(char *base, size_t offset, sp_str line, sp_headers *to, sp_h1_error *err) {
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return bad(err, 400, "a header field continues on the next line");
    ptrdiff_t colon = sp_str_chr(line, ':');
    sp_str name = sp_str_sub(line, 0, colon < 0 ? 0 : (size_t)colon);
    if (!sp_http_is_token(name)) return bad(err, 400, "broken header field name");
    if (to->n == SP_H1_MAX_FIELDS) return bad(err, 431, "too many header fields");
    lower_case(base + offset, name.n);
    sp_vec_push(to, (sp_header){name, trim_ows(sp_str_from(line, name.n + 1))});
    return true;
}

static bool parse_fields(char *head, size_t n, sp_str rest, sp_headers *to, sp_h1_error *err) {
    for (;;) {
        size_t offset = n - rest.n;
        sp_str line = cut_line(&rest);
        if (line.n == 0) return true;
        if (!parse_field(head, offset, line, to, err)) return false;
    }
}

static void read_connection(sp_h1_head *h, sp_str value) {
    for (sp_str part; sp_str_cut(&value, ',', &part);) {
        part = trim_ows(part);
        if (sp_str_ieq(part, SP_STR("close")))
            h->keep_alive = false;
        else if (sp_str_ieq(part, SP_STR("upgrade")))
            h->upgrade = true;
    }
}

static bool has_keep_alive(const sp_h1_head *h) {
    for (size_t i = 0; i < h->headers.n; i++) {
        sp_str value = h->headers.p[i].value;
        if (!sp_str_eqz(h->headers.p[i].name, "connection")) continue;
        for (sp_str part; sp_str_cut(&value, ',', &part);)
            if (sp_str_ieq(trim_ows(part), SP_STR("keep-alive"))) return true;
    }
    return false;
}

static bool read_length(sp_h1_head *h, sp_str value, bool *seen, sp_h1_error *err) {
    for (sp_str part; sp_str_cut(&value, ',', &part);) {
        uint64_t n;
        part = trim_ows(part);
        if (!sp_str_u64(part, &n) || part.n > 19)
            return bad(err, 400, "Content-Length is not a number");
        if (*seen && n != h->length) return bad(err, 400, "two different Content-Lengths");
        *seen = true;
        h->length = n;
    }
    return true;
}

typedef struct framing_fields {
    bool length, coding, chunked;
} framing_fields;

/* The fields that decide how long the message is and what follows it. */
static bool read_framing(sp_h1_head *h, framing_fields *f, sp_h1_error *err) {
    h->keep_alive = h->minor >= 1;
    if (!h->keep_alive) h->keep_alive = has_keep_alive(h);
    sp_vec_each(&h->headers, it) {
        if (sp_str_eqz(it->name, "content-length")) {
            if (!read_length(h, it->value, &f->length, err)) return false;
        } else if (sp_str_eqz(it->name, "transfer-encoding")) {
            if (f->coding) return bad(err, 400, "two Transfer-Encoding fields");
            f->coding = true;
            f->chunked = sp_str_ieq(it->value, SP_STR("chunked"));
        } else if (sp_str_eqz(it->name, "connection")) {
            read_connection(h, it->value);
        } else if (sp_str_eqz(it->name, "expect")) {
            h->expect_continue = sp_str_ieq(it->value, SP_STR("100-continue"));
        }
    }
    if (f->coding && f->length)
        return bad(err, 400, "Transfer-Encoding together with Content-Length");
    if (f->coding && h->minor < 1) return bad(err, 400, "Transfer-Encoding in HTTP/1.0");
    return true;
}

/* --- first lines --- */

static bool parse_version(sp_str v, int *ret_minor, sp_h1_error *err) {
    bool shape = v.n == 8 && sp_str_starts(v, SP_STR("HTTP/")) && v.p[5] >= '0' && v.p[5] <= '9' &&
                 v.p[6] == '.' && v.p[7] >= '0' && v.p[7] <= '9';
    if (!shape) return bad(err, 400, "the version is not HTTP/1.1");
    if (v.p[5] != '1') return bad(err, 505, "only HTTP/1.x is spoken here");
    *ret_minor = v.p[7] == '0' ? 0 : 1;
    return true;
}

static bool visible(sp_str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '#') return false;
    return s.n > 0;
}

static bool parse_request_line(sp_str line, sp_h1_head *h, sp_h1_error *err) {
    sp_str rest = line, version;
    if (!sp_str_cut(&rest, ' ', &h->method) || !sp_http_is_token(h->method))
        return bad(err, 400, "broken method");
    if (!sp_str_cut(&rest, ' ', &h->target) || !visible(h->target))
        return bad(err, 400, "broken request target");
    if (!sp_str_cut(&rest, ' ', &version) || rest.p) return bad(err, 400, "broken request line");
    return parse_version(version, &h->minor, err);
}

static bool names_more_than_host(sp_str s) {
    for (size_t i = 0; i < s.n; i++)
        if (strchr("/?@,\\", s.p[i])) return true;
    return false;
}

static bool check_host(const sp_h1_head *h, sp_h1_error *err) {
    int hosts = 0;
    for (size_t i = 0; i < h->headers.n; i++) {
        const sp_header *f = &h->headers.p[i];
        if (!sp_str_eqz(f->name, "host")) continue;
        hosts++;
        if (f->value.n && (!visible(f->value) || names_more_than_host(f->value)))
            return bad(err, 400, "broken Host field");
    }
    if (hosts > 1) return bad(err, 400, "more than one Host field");
    if (hosts == 0 && h->minor >= 1) return bad(err, 400, "the Host field is missing");
    return true;
}

static sp_str skip_empty_line(char **head, size_t *n) {
    if (*n >= 2 && (*head)[0] == '\r') {
        *head += 2;
        *n -= 2;
    }
    return (sp_str){*head, *n};
}

static void reset(sp_h1_head *h) {
    sp_headers keep = h->headers;
    keep.n = 0;
    *h = (sp_h1_head){.headers = keep};
}

bool sp_h1_parse_request(char *head, size_t n, sp_h1_head *ret, sp_h1_error *err) {
    reset(ret);
    framing_fields f = {0};
    sp_str rest = skip_empty_line(&head, &n);
    if (!parse_request_line(cut_line(&rest), ret, err) ||
        !parse_fields(head, n, rest, &ret->headers, err) || !check_host(ret, err) ||
        !read_framing(ret, &f, err))
        return false;
    if (f.coding && !f.chunked) return bad(err, 501, "the only Transfer-Encoding is chunked");
    ret->framing = f.chunked                 ? SP_H1_CHUNKED
                   : f.length && ret->length ? SP_H1_LENGTH
                                             : SP_H1_NO_BODY;
    return true;
}

static bool parse_status_line(sp_str line, sp_h1_head *h, sp_h1_error *err) {
    sp_str rest = line, version, status;
    if (!sp_str_cut(&rest, ' ', &version) || !parse_version(version, &h->minor, err))
        return bad(err, 502, "the answer does not start with HTTP/1.1");
    uint64_t code;
    if (!sp_str_cut(&rest, ' ', &status) || status.n != 3 || !sp_str_u64(status, &code) ||
        code < 100 || code > 599)
        return bad(err, 502, "broken status code");
    h->status = (int)code;
    h->reason = rest;
    return true;
}

static sp_h1_framing response_framing(const sp_h1_head *h, const framing_fields *f, bool to_head,
                                      bool to_connect) {
    bool empty = h->status < 200 || h->status == 204 || h->status == 304;
    if (to_head || empty || (to_connect && h->status < 300)) return SP_H1_NO_BODY;
    if (f->chunked) return SP_H1_CHUNKED;
    if (f->length) return h->length ? SP_H1_LENGTH : SP_H1_NO_BODY;
    return SP_H1_UNTIL_CLOSE;
}

bool sp_h1_parse_response(char *head, size_t n, bool to_head, bool to_connect, sp_h1_head *ret,
                          sp_h1_error *err) {
    reset(ret);
    framing_fields f = {0};
    sp_str rest = skip_empty_line(&head, &n);
    bool ok = parse_status_line(cut_line(&rest), ret, err) &&
              parse_fields(head, n, rest, &ret->headers, err) && read_framing(ret, &f, err);
    if (ok && f.coding && !f.chunked) ok = bad(err, 502, "the only Transfer-Encoding is chunked");
    if (!ok) {
        err->status = 502;
        return false;
    }
    ret->framing = response_framing(ret, &f, to_head, to_connect);
    if (ret->framing == SP_H1_UNTIL_CLOSE) ret->keep_alive = false;
    return true;
}

bool sp_h1_add_field(sp_buf *b, sp_str name, sp_str value) {
    if (!sp_http_is_token(name) || !sp_http_is_value(value)) return false;
    sp_buf_reserve(b, name.n + value.n + 4);
    sp_buf_add(b, name);
    sp_buf_add(b, SP_STR(": "));
    sp_buf_add(b, value);
    sp_buf_add(b, SP_STR("\r\n"));
    return true;
}
