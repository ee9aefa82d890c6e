/* A queue of bytes on their way out: small pieces are gathered into one, blobs are referenced and
 * never copied. Used for connections and for the answers waiting on them. Loop thread only. */
#pragma once
#include "base/blob.h"
#include "base/vec.h"

typedef struct sp_outq_piece {
    sp_blob *blob; /* referenced; or NULL and the bytes are in own */
    sp_buf own;
    size_t at; /* bytes of it that are gone */
} sp_outq_piece;

typedef struct sp_outq {
    SP_VEC(sp_outq_piece) pieces;
    size_t first; /* pieces before it are gone */
    size_t bytes; /* waiting */
} sp_outq;

void sp_outq_add(sp_outq *q, sp_str bytes);                           /* copied */
void sp_outq_add_blob(sp_outq *q, sp_blob *b, size_t from, size_t n); /* referenced */
/* The first waiting bytes that lie together; empty when nothing waits. Lent until the next call. */
sp_str sp_outq_peek(const sp_outq *q);
void sp_outq_drop(sp_outq *q, size_t n);
void sp_outq_move(sp_outq *to, sp_outq *from, size_t n); /* the first n bytes */
void sp_outq_free(sp_outq *q);                           /* and leaves it empty */
