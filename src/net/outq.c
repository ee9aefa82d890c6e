#include "net/outq.h"

enum { COPY_BELOW = 2048, OWN_MAX = 64 * 1024 };

static sp_outq_piece *last(sp_outq *q) {
    return q->pieces.n > q->first ? &q->pieces.p[q->pieces.n - 1] : NULL;
}

void sp_outq_add(sp_outq *q, sp_str bytes) {
    if (!bytes.n) return;
    sp_outq_piece *p = last(q);
    if (!p || p->blob || p->own.n + bytes.n > OWN_MAX) {
        sp_vec_push(&q->pieces, (sp_outq_piece){0});
        p = last(q);
    }
    sp_buf_add(&p->own, bytes);
    q->bytes += bytes.n;
}

void sp_outq_add_blob(sp_outq *q, sp_blob *b, size_t from, size_t n) {
    sp_assert(from + n <= b->n);
    if (n < COPY_BELOW) { /* cheaper than a piece, and joins its neighbours in one write */
        sp_outq_add(q, (sp_str){b->p + from, n});
        return;
    }
    sp_outq_piece p = {.blob = sp_blob_ref(b), .at = from};
    p.own.n = from + n; /* where it ends */
    sp_vec_push(&q->pieces, p);
    q->bytes += n;
}

static size_t left(const sp_outq_piece *p) {
    return p->own.n - p->at;
}

static const char *bytes_of(const sp_outq_piece *p) {
    return (p->blob ? p->blob->p : p->own.p) + p->at;
}

static void release(sp_outq_piece *p) {
    if (p->blob)
        sp_blob_unref(p->blob);
    else
        sp_buf_free(&p->own);
}

static sp_outq_piece *first(sp_outq *q) {
    sp_assert(q->pieces.p && q->first < q->pieces.n);
    return &q->pieces.p[q->first];
}

sp_str sp_outq_peek(const sp_outq *q) {
    if (q->first >= q->pieces.n) return (sp_str){0};
    const sp_outq_piece *p = &q->pieces.p[q->first];
    return (sp_str){bytes_of(p), left(p)};
}

static void compact(sp_outq *q) {
    if (q->first < q->pieces.n) {
        if (q->first < 64) return;
        q->pieces.n -= q->first;
        memmove(q->pieces.p, q->pieces.p + q->first, q->pieces.n * sizeof *q->pieces.p);
        q->first = 0;
        return;
    }
    q->first = 0;
    if (q->pieces.cap > 64)
        sp_vec_free(&q->pieces);
    else
        q->pieces.n = 0;
}

void sp_outq_drop(sp_outq *q, size_t n) {
    sp_assert(n <= q->bytes);
    q->bytes -= n;
    while (n > 0) {
        sp_outq_piece *p = first(q);
        size_t take = SP_MIN(n, left(p));
        p->at += take;
        n -= take;
        if (left(p)) break;
        release(p);
        q->first++;
    }
    compact(q);
}

void sp_outq_move(sp_outq *to, sp_outq *from, size_t n) {
    sp_assert(n <= from->bytes);
    if (n && n == from->bytes && to->bytes == 0) { /* all of it: hand over the pieces */
        sp_outq swap = *to;
        *to = *from;
        *from = swap;
        return;
    }
    while (n > 0) {
        const sp_outq_piece *p = first(from);
        size_t take = SP_MIN(n, left(p));
        if (p->blob)
            sp_outq_add_blob(to, p->blob, p->at, take);
        else
            sp_outq_add(to, (sp_str){bytes_of(p), take});
        sp_outq_drop(from, take);
        n -= take;
    }
}

void sp_outq_free(sp_outq *q) {
    for (size_t i = q->first; i < q->pieces.n; i++) release(&q->pieces.p[i]);
    sp_vec_free(&q->pieces);
    q->first = q->bytes = 0;
}
