/* Body framing: length, chunked (RFC 9112 section 7.1), until the connection ends. A machine that
 * takes any split of the bytes and hands out slices of them. */
#include "net/http1.h"

enum { MAX_EXTRA = 16 * 1024, MAX_DIGITS = 16 };

enum state {
    SIZE,      /* hexadecimal digits */
    EXTENSION, /* up to CR; checked, dropped */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER, /* a line of the trailer section */
    TRAILER_LF,
    DONE,
    FAILED
};

void sp_h1_body_start(sp_h1_body *b, const sp_h1_head *head) {
    *b = (sp_h1_body){.framing = head->framing, .left = head->length};
    if (head->framing == SP_H1_NO_BODY)
        b->state = DONE;
    else
        b->state = head->framing == SP_H1_CHUNKED ? SIZE : DATA;
    if (head->framing == SP_H1_CHUNKED) b->left = 0;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    char l = (char)(c | 0x20);
    return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

static const char *size_byte(sp_h1_body *b, char c) {
    int v = hex_value(c);
    if (v >= 0) {
        if (++b->digits > MAX_DIGITS || b->left >> 59) return "the chunk size is too large";
        b->left = b->left * 16 + (uint64_t)v;
        return NULL;
    }
    if (b->digits == 0) return "the chunk size is missing";
    if (c == '\r')
        b->state = SIZE_LF;
    else if (c == ';' || c == ' ' || c == '\t')
        b->state = EXTENSION;
    else
        return "broken chunk size";
    return NULL;
}

static bool text_char(char c) {
    unsigned char u = (unsigned char)c;
    return u == '\t' || (u >= 0x20 && u != 0x7f);
}

static const char *extension_byte(sp_h1_body *b, char c) {
    if (c == '\r')
        b->state = SIZE_LF;
    else if (!text_char(c))
        return "broken chunk extension";
    else if (++b->extra > MAX_EXTRA)
        return "chunk extensions and trailers are too large";
    return NULL;
}

static const char *size_end(sp_h1_body *b, char c) {
    if (c != '\n') return "CR without LF after a chunk size";
    b->digits = 0;
    b->state = b->left ? DATA : TRAILER;
    b->line = 0;
    b->colon = false;
    return NULL;
}

static const char *trailer_byte(sp_h1_body *b, char c) {
    if (c == '\r') {
        if (b->line && !b->colon) return "broken trailer field";
        if (b->line && b->trailers) sp_buf_add(b->trailers, SP_STR("\r\n"));
        b->state = TRAILER_LF;
        return NULL;
    }
    bool in_name = !b->colon && c != ':';
    if (!text_char(c) || (b->line == 0 && c == ':') ||
        (in_name && !sp_http_is_token((sp_str){&c, 1})))
        return "broken trailer field";
    if (c == ':') b->colon = true;
    b->line++;
    if (++b->extra > MAX_EXTRA) return "chunk extensions and trailers are too large";
    bool upper = in_name && c >= 'A' && c <= 'Z';
    if (b->trailers) sp_buf_addc(b->trailers, upper ? (char)(c + ('a' - 'A')) : c);
    return NULL;
}

static const char *trailer_end(sp_h1_body *b, char c) {
    if (c != '\n') return "CR without LF in the trailer";
    b->state = b->line ? TRAILER : DONE;
    b->line = 0;
    b->colon = false;
    return NULL;
}

static const char *chunk_end(sp_h1_body *b, char c, char want, int next) {
    if (c != want) return "a chunk is longer than its size says";
    b->state = next;
    return NULL;
}

static const char *step(sp_h1_body *b, char c) {
    switch (b->state) {
    case SIZE: return size_byte(b, c);
    case EXTENSION: return extension_byte(b, c);
    case SIZE_LF: return size_end(b, c);
    case DATA_CR: return chunk_end(b, c, '\r', DATA_LF);
    case DATA_LF: return chunk_end(b, c, '\n', SIZE);
    case TRAILER: return trailer_byte(b, c);
    case TRAILER_LF: return trailer_end(b, c);
    default: return "the body failed before";
    }
}

static sp_str take_data(sp_h1_body *b, sp_str *in) {
    size_t n = in->n;
    if (b->framing != SP_H1_UNTIL_CLOSE) {
        n = b->left < n ? (size_t)b->left : n;
        b->left -= n;
        if (b->left == 0) b->state = b->framing == SP_H1_CHUNKED ? DATA_CR : DONE;
    }
    sp_str piece = sp_str_sub(*in, 0, n);
    *in = sp_str_from(*in, n);
    return piece;
}

sp_h1_piece sp_h1_body_next(sp_h1_body *b, sp_str *in, sp_str *ret, sp_h1_error *err) {
    while (b->state != DONE) {
        if (in->n == 0) return SP_H1_NEED;
        if (b->state == DATA) {
            *ret = take_data(b, in);
            return SP_H1_DATA;
        }
        const char *wrong = step(b, in->p[0]);
        if (wrong) {
            b->state = FAILED;
            *err = (sp_h1_error){400, wrong};
            return SP_H1_BROKEN;
        }
        *in = sp_str_from(*in, 1);
    }
    return SP_H1_END;
}

bool sp_h1_body_eof_ok(const sp_h1_body *b) {
    return b->state == DONE || b->framing == SP_H1_UNTIL_CLOSE;
}
