#include "apiserver/outflow.h"

#include "apiserver/encode.h"

void sp_outflow_add(sp_outflow *f, sp_store_value *v) {
    sp_vec_push(&f->values, sp_store_value_ref(v));
}

size_t sp_outflow_size(const sp_outflow *f) {
    size_t total = 0;
    for (size_t i = f->at; i < f->values.n; i++) {
        sp_pieces p = sp_with_head(sp_blob_str(f->values.p[i]->bytes), f->head);
        total += p.head.n + p.rest.n + f->after.n + (i ? f->between.n : 0);
    }
    return total;
}

static void write_value(sp_outflow *f, const sp_store_value *v) {
    sp_pieces p = sp_with_head(sp_blob_str(v->bytes), f->head);
    if (f->at) sp_http_write(f->res, f->between);
    if (p.head.n) {
        sp_http_write(f->res, p.head);
        sp_http_write(f->res, p.rest);
    } else {
        sp_http_write_blob(f->res, v->bytes);
    }
    sp_http_write(f->res, f->after);
}

static void more(void *ctx) {
    sp_outflow *f = ctx;
    for (; f->at < f->values.n; f->at++) {
        if (sp_http_pending(f->res) >= SP_HTTP_LOW) return;
        write_value(f, f->values.p[f->at]);
        f->values.p[f->at] = sp_store_value_unref(f->values.p[f->at]);
    }
    sp_http_on_drain(f->res, NULL, NULL);
    sp_outflow_cleanup(f);
    f->done(f->ctx);
}

void sp_outflow_start(sp_outflow *f, sp_http_res *res) {
    f->res = res;
    sp_http_on_drain(res, more, f);
    more(f);
}

void sp_outflow_cleanup(sp_outflow *f) {
    for (size_t i = f->at; i < f->values.n; i++) sp_store_value_unref(f->values.p[i]);
    sp_vec_free(&f->values);
    f->at = 0;
    if (f->res) sp_http_on_drain(f->res, NULL, NULL);
    f->res = NULL;
}
