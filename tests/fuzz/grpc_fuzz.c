/* What an etcd server sends: length-prefixed messages (net/grpc), and in each what protobuf-c makes
 * of it. Cut anywhere (the first byte says where), the same messages come out. */
#include "net/grpc.h"
#include "store/etcd.pb-c.h"

typedef struct seen {
    size_t n, bytes;
    uint64_t sum;
    bool broken;
} seen;

static void unpack(sp_str m) {
    static const ProtobufCMessageDescriptor *const types[] = {
        &etcd__range_response__descriptor, &etcd__watch_response__descriptor,
        &etcd__txn_response__descriptor, &etcd__authenticate_response__descriptor};
    for (size_t i = 0; i < SP_COUNT(types); i++) {
        ProtobufCMessage *p = protobuf_c_message_unpack(types[i], NULL, m.n, (const uint8_t *)m.p);
        if (p) protobuf_c_message_free_unpacked(p, NULL);
    }
}

static void drain(sp_grpc_reader *r, seen *s) {
    sp_str m;
    sp_err err = {0};
    sp_grpc_read got;
    while ((got = sp_grpc_reader_next(r, &m, &err)) == SP_GRPC_MESSAGE) {
        s->n++;
        s->bytes += m.n;
        for (size_t i = 0; i < m.n; i++) s->sum = s->sum * 31 + (uint8_t)m.p[i];
        unpack(m);
    }
    s->broken |= got == SP_GRPC_BROKEN;
    sp_assert((got == SP_GRPC_BROKEN) == (err.code != SP_OK));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (!n) return 0;
    size_t at = SP_MIN((size_t)data[0], n - 1);
    sp_str all = {(const char *)data + 1, n - 1};
    sp_grpc_reader whole = {0}, cut = {0};
    seen a = {0}, b = {0};
    sp_grpc_reader_add(&whole, all);
    drain(&whole, &a);
    sp_grpc_reader_add(&cut, sp_str_sub(all, 0, at));
    drain(&cut, &b);
    if (!b.broken) {
        sp_grpc_reader_add(&cut, sp_str_from(all, at));
        drain(&cut, &b);
    }
    sp_assert(a.n == b.n && a.bytes == b.bytes && a.sum == b.sum && a.broken == b.broken);
    sp_grpc_reader_free(&whole);
    sp_grpc_reader_free(&cut);
    return 0;
}
