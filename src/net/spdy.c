/* Header fields are compressed by one zlib stream for each direction and connection, primed with a
 * dictionary that both sides know (section 2.6.10.1). It is composed here from its words: each with
 * its length in four bytes, then a tail of frequent texts without lengths. */
#include "net/spdy.h"

#include <pthread.h>
#include <zlib.h>

enum {
    VERSION = 3,
    SYN_STREAM = 1,
    SYN_REPLY = 2,
    RST_STREAM = 3,
    PING = 6,
    GOAWAY = 7,
    HEADERS = 8,
    FIN = 1,
    REFUSED = 3,
    HEAD = 8,
    MAX_CONTROL = 64 << 10,
    MAX_FIELDS_BYTES = 64 << 10,
    MAX_FIELDS = 64,
    MAX_STREAMS = 1000,
    MAX_DATA = 1 << 20,
    DICTIONARY_SIZE = 1423
};

struct sp_spdy {
    sp_spdy_events ev;
    void *ctx;
    z_stream in, out;
    sp_list streams;
    size_t n_streams;
    uint32_t last_id;
    sp_buf control; /* head and payload of the control frame under way */
    uint8_t head[HEAD];
    size_t head_n, left; /* of the frame's payload */
    uint32_t data_id;    /* of the data frame under way */
    bool is_control, data_fin, in_frame, feeding, freed;
};

/* --- the dictionary --- */

static const char words[] =
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base content-encoding "
    "content-language content-length content-location content-md5 content-range content-type date "
    "etag expect expires from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since last-modified location max-forwards pragma proxy-authenticate "
    "proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url "
    "public set-cookie keep-alive origin";
static const char tail[] =
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 "
    "Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age="
    "gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static sp_buf dictionary;

static void put32(sp_buf *b, uint32_t v) {
    char p[4] = {(char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v};
    sp_buf_add(b, (sp_str){p, 4});
}

static void make_dictionary(void) {
    for (sp_str word, rest = sp_str_z(words); sp_str_cut(&rest, ' ', &word);) {
        put32(&dictionary, (uint32_t)word.n);
        for (size_t i = 0; i < word.n; i++)
            sp_buf_addc(&dictionary, word.p[i] == '_' ? ' ' : word.p[i]);
    }
    sp_buf_addz(&dictionary, tail);
    sp_assert(dictionary.n == DICTIONARY_SIZE);
}

/* --- lives --- */

sp_spdy *sp_spdy_new(const sp_spdy_events *ev, void *ctx) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_dictionary);
    sp_spdy *s = sp_zalloc(1, sizeof *s);
    s->ev = *ev;
    s->ctx = ctx;
    sp_list_init(&s->streams);
    sp_assert(inflateInit(&s->in) == Z_OK && deflateInit(&s->out, 1) == Z_OK);
    sp_assert(deflateSetDictionary(&s->out, (const Bytef *)dictionary.p, (uInt)dictionary.n) ==
              Z_OK);
    return s;
}

static void drop(sp_spdy *s, sp_spdy_stream *st) {
    sp_list_remove(&st->link);
    s->n_streams--;
    s->ev.gone(s->ctx, st);
    free(st);
}

static void release(sp_spdy *s) {
    inflateEnd(&s->in);
    deflateEnd(&s->out);
    sp_buf_free(&s->control);
    free(s);
}

void sp_spdy_free(sp_spdy *s) {
    if (!s || s->freed) return;
    s->freed = true;
    while (!sp_list_empty(&s->streams))
        drop(s, SP_CONTAINER(s->streams.next, sp_spdy_stream, link));
    if (!s->feeding) release(s);
}

static sp_spdy_stream *find(sp_spdy *s, uint32_t id) {
    sp_list_each(&s->streams, it) {
        sp_spdy_stream *st = SP_CONTAINER(it, sp_spdy_stream, link);
        if (st->id == id) return st;
    }
    return NULL;
}

/* --- out --- */

static void send_frame(sp_spdy *s, uint32_t first, uint8_t flags, sp_str payload) {
    char head[HEAD] = {
        (char)(first >> 24), (char)(first >> 16),     (char)(first >> 8),     (char)first,
        (char)flags,         (char)(payload.n >> 16), (char)(payload.n >> 8), (char)payload.n};
    s->ev.send(s->ctx, (sp_str){head, HEAD}, payload);
}

static void send_control(sp_spdy *s, unsigned type, sp_str payload) {
    send_frame(s, 0x80000000u | VERSION << 16 | type, 0, payload);
}

static void send_reset(sp_spdy *s, uint32_t id, uint32_t why) {
    sp_auto(sp_buf) b = {0};
    put32(&b, id);
    put32(&b, why);
    send_control(s, RST_STREAM, sp_buf_str(&b));
}

/* Without any field. */
static void send_reply(sp_spdy *s, uint32_t id) {
    uint8_t none[4] = {0}, packed[128];
    sp_auto(sp_buf) b = {0};
    put32(&b, id);
    s->out.next_in = none;
    s->out.avail_in = sizeof none;
    s->out.next_out = packed;
    s->out.avail_out = sizeof packed;
    sp_assert(deflate(&s->out, Z_SYNC_FLUSH) == Z_OK && s->out.avail_out);
    sp_buf_add(&b, (sp_str){(char *)packed, sizeof packed - s->out.avail_out});
    send_control(s, SYN_REPLY, sp_buf_str(&b));
}

void sp_spdy_write(sp_spdy *s, sp_spdy_stream *st, sp_str bytes) {
    if (st->out_over) return;
    while (bytes.n) {
        sp_str piece = sp_str_sub(bytes, 0, MAX_DATA);
        send_frame(s, st->id, 0, piece);
        bytes = sp_str_from(bytes, piece.n);
    }
}

void sp_spdy_end(sp_spdy *s, sp_spdy_stream *st) {
    if (st->out_over) return;
    st->out_over = true;
    send_frame(s, st->id, FIN, (sp_str){0});
    if (st->in_over) drop(s, st);
}

/* --- in --- */

static uint32_t get32(const char *p) {
    const uint8_t *u = (const uint8_t *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static bool broken(sp_err *err, const char *text) {
    return sp_fail(err, SP_BAD_REQUEST, "SPDY: %s", text);
}

/* The fields' bytes; what one frame compresses is whole. */
static bool unpack(sp_spdy *s, sp_str packed, sp_buf *ret, sp_err *err) {
    s->in.next_in = (Bytef *)(uintptr_t)packed.p;
    s->in.avail_in = (uInt)packed.n;
    while (s->in.avail_in) {
        uint8_t piece[4096];
        s->in.next_out = piece;
        s->in.avail_out = sizeof piece;
        int rc = inflate(&s->in, Z_SYNC_FLUSH);
        if (rc == Z_NEED_DICT)
            rc = inflateSetDictionary(&s->in, (const Bytef *)dictionary.p, (uInt)dictionary.n);
        sp_buf_add(ret, (sp_str){(char *)piece, sizeof piece - s->in.avail_out});
        if (ret->n > MAX_FIELDS_BYTES) return broken(err, "the header fields are too large");
        if (rc != Z_OK) return broken(err, "header fields that cannot be unpacked");
    }
    /* Output that did not fit the last piece. */
    for (unsigned n = 1; n;) {
        uint8_t piece[4096];
        s->in.next_out = piece;
        s->in.avail_out = sizeof piece;
        int rc = inflate(&s->in, Z_SYNC_FLUSH);
        n = sizeof piece - s->in.avail_out;
        sp_buf_add(ret, (sp_str){(char *)piece, n});
        if (ret->n > MAX_FIELDS_BYTES) return broken(err, "the header fields are too large");
        if (rc != Z_OK && rc != Z_BUF_ERROR)
            return broken(err, "header fields that cannot be unpacked");
    }
    return true;
}

static bool take_text(sp_str *in, sp_str *ret) {
    if (in->n < 4) return false;
    uint32_t n = get32(in->p);
    if (n > in->n - 4) return false;
    *ret = sp_str_sub(*in, 4, n);
    *in = sp_str_from(*in, 4 + (size_t)n);
    return true;
}

static bool read_fields(sp_spdy *s, sp_str packed, sp_buf *text, sp_headers *ret, sp_err *err) {
    if (!unpack(s, packed, text, err)) return false;
    sp_str in = sp_buf_str(text);
    if (in.n < 4) return broken(err, "header fields without a count");
    uint32_t count = get32(in.p);
    in = sp_str_from(in, 4);
    if (count > MAX_FIELDS) return broken(err, "too many header fields");
    for (uint32_t i = 0; i < count; i++) {
        sp_header h;
        if (!take_text(&in, &h.name) || !take_text(&in, &h.value))
            return broken(err, "header fields that are cut off");
        sp_vec_push(ret, h);
    }
    return true;
}

static void open_stream(sp_spdy *s, uint32_t id, bool fin, const sp_headers *h) {
    if (s->n_streams >= MAX_STREAMS) {
        send_reset(s, id, REFUSED);
        return;
    }
    sp_spdy_stream *st = sp_zalloc(1, sizeof *st);
    st->id = id;
    st->in_over = fin;
    sp_list_init(&st->link);
    sp_list_append(&s->streams, &st->link);
    s->n_streams++;
    send_reply(s, id);
    if (s->ev.open(s->ctx, st, h->p, h->n) || s->freed) return;
    send_reset(s, id, REFUSED);
    drop(s, st);
}

static bool got_syn(sp_spdy *s, sp_str p, uint8_t flags, sp_err *err) {
    sp_auto(sp_buf) text = {0};
    sp_headers fields = {0};
    if (p.n < 10) return broken(err, "a SYN_STREAM that is too short");
    uint32_t id = get32(p.p) & 0x7fffffff;
    if (!(id & 1) || id <= s->last_id) return broken(err, "a stream id out of order");
    s->last_id = id;
    bool ok = read_fields(s, sp_str_from(p, 10), &text, &fields, err);
    if (ok) open_stream(s, id, flags & FIN, &fields);
    sp_vec_free(&fields);
    return ok;
}

/* Later fields mean nothing to us, but the decompressor has to see them. */
static bool got_headers(sp_spdy *s, sp_str p, sp_err *err) {
    sp_auto(sp_buf) text = {0};
    if (p.n < 4) return broken(err, "a HEADERS frame that is too short");
    return unpack(s, sp_str_from(p, 4), &text, err);
}

static bool got_control(sp_spdy *s, sp_err *err) {
    const uint8_t *h = s->head;
    unsigned version = (unsigned)(h[0] & 0x7f) << 8 | h[1], type = (unsigned)h[2] << 8 | h[3];
    sp_str p = sp_buf_str(&s->control);
    if (version != VERSION) return broken(err, "not version 3");
    if (type == SYN_STREAM) return got_syn(s, p, h[4], err);
    if (type == HEADERS || type == SYN_REPLY) return got_headers(s, p, err);
    if (type == PING && p.n == 4 && p.p[3] & 1) send_control(s, PING, p);
    if (type != RST_STREAM) return true; /* SETTINGS, WINDOW_UPDATE, GOAWAY: nothing to do */
    if (p.n < 8) return broken(err, "a RST_STREAM that is too short");
    sp_spdy_stream *st = find(s, get32(p.p) & 0x7fffffff);
    if (st) drop(s, st);
    return true;
}

static bool take_head(sp_spdy *s, sp_err *err) {
    const uint8_t *h = s->head;
    s->is_control = h[0] & 0x80;
    s->left = (size_t)h[5] << 16 | (size_t)h[6] << 8 | h[7];
    s->data_id = get32((const char *)h) & 0x7fffffff;
    s->data_fin = h[4] & FIN;
    s->in_frame = true;
    s->head_n = 0;
    sp_buf_clear(&s->control);
    return !s->is_control || s->left <= MAX_CONTROL ||
           broken(err, "a control frame that is too large");
}

static void got_data(sp_spdy *s, sp_str piece) {
    sp_spdy_stream *st = find(s, s->data_id); /* data of a stream that was reset is dropped */
    if (!st || st->in_over) return;
    if (piece.n) s->ev.data(s->ctx, st, piece);
    if (s->freed || s->left || !s->data_fin) return;
    st = find(s, s->data_id);
    if (!st) return;
    st->in_over = true;
    s->ev.end(s->ctx, st);
    if (s->freed) return;
    st = find(s, s->data_id);
    if (st && st->out_over) drop(s, st);
}

static bool take_payload(sp_spdy *s, sp_str piece, sp_err *err) {
    s->left -= piece.n;
    if (s->left == 0) s->in_frame = false;
    if (!s->is_control) {
        got_data(s, piece);
        return true;
    }
    sp_buf_add(&s->control, piece);
    return s->left || got_control(s, err);
}

static bool feed(sp_spdy *s, sp_str in, sp_err *err) {
    while (!s->freed && (in.n || (s->in_frame && s->left == 0))) {
        if (!s->in_frame) {
            s->head[s->head_n++] = (uint8_t)in.p[0];
            in = sp_str_from(in, 1);
            if (s->head_n == HEAD && !take_head(s, err)) return false;
            continue;
        }
        sp_str piece = sp_str_sub(in, 0, s->left);
        in = sp_str_from(in, piece.n);
        if (!take_payload(s, piece, err)) return false;
    }
    return true;
}

bool sp_spdy_feed(sp_spdy *s, sp_str bytes, sp_err *err) {
    s->feeding = true;
    bool ok = feed(s, bytes, err);
    s->feeding = false;
    if (!s->freed) return ok;
    release(s);
    return true;
}
