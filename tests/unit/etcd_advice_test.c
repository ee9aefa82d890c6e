/* What is made of the words of TLS, of the wire and of etcd. */
#include "store/etcd_advice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct sample {
    const char *text;
    sp_code code;
    bool tls;
    sp_etcd_fault fault;
    sp_code becomes;
    const char *advice; /* NULL: the text stays */
} sample;

#define CALL SP_ETCD_FAULT_CALL
#define ENDPOINT SP_ETCD_FAULT_ENDPOINT
#define FINAL SP_ETCD_FAULT_FINAL
#define TOKEN SP_ETCD_FAULT_TOKEN

static const sample samples[] = {
    {"the certificate of the server is not accepted: certificate has expired", SP_CONNECTION, true,
     FINAL, SP_CONNECTION, "the clock of this machine"},
    {"the certificate of the server is not accepted: hostname mismatch", SP_CONNECTION, true, FINAL,
     SP_CONNECTION, "is for other names"},
    {"the certificate of the server is not accepted: self-signed certificate", SP_CONNECTION, true,
     FINAL, SP_CONNECTION, "--etcd-cafile"},
    {"TLS: sslv3 alert bad certificate", SP_CONNECTION, true, FINAL, SP_CONNECTION,
     "etcd does not take our certificate"},
    {"TLS: tlsv13 alert certificate required", SP_CONNECTION, true, FINAL, SP_CONNECTION,
     "etcd wants a client certificate"},
    {"the server hung up without a word", SP_CONNECTION, false, ENDPOINT, SP_CONNECTION,
     "is it https://?"},
    {"the other side hung up during the TLS handshake", SP_CONNECTION, true, FINAL, SP_CONNECTION,
     "is it http://?"},
    {"connection refused", SP_CONNECTION, true, ENDPOINT, SP_CONNECTION, NULL},
    {"no complete answer within 5000 ms", SP_TIMEOUT, false, ENDPOINT, SP_TIMEOUT, NULL},
    {"etcdserver: no leader", SP_UNAVAILABLE, false, ENDPOINT, SP_UNAVAILABLE, NULL},
    {"HTTP status 404 in place of gRPC", SP_NOT_FOUND, false, FINAL, SP_UNAVAILABLE,
     "this is not etcd"},
    {"HTTP status 503 in place of gRPC", SP_UNAVAILABLE, false, ENDPOINT, SP_UNAVAILABLE, NULL},
    {"unknown service etcdserverpb.KV", SP_METHOD_NOT_ALLOWED, true, FINAL, SP_UNAVAILABLE,
     "does not know this request"},
    {"etcdserver: invalid auth token", SP_UNAUTHORIZED, true, TOKEN, SP_UNAVAILABLE, NULL},
    {"etcdserver: revision of auth store is old", SP_BAD_REQUEST, true, TOKEN, SP_UNAVAILABLE,
     NULL},
    {"etcdserver: user name is empty", SP_BAD_REQUEST, true, TOKEN, SP_UNAVAILABLE, "--etcd-user"},
    {"etcdserver: permission denied", SP_FORBIDDEN, true, CALL, SP_UNAVAILABLE, "needs a role"},
    {"etcdserver: mvcc: database space exceeded", SP_TOO_MANY, true, CALL, SP_UNAVAILABLE,
     "alarm disarm"},
    {"etcdserver: request is too large", SP_BAD_REQUEST, true, CALL, SP_TOO_LARGE, NULL},
    {"etcdserver: mvcc: required revision has been compacted", SP_EXPIRED, true, CALL, SP_EXPIRED,
     "--etcd-compaction-interval"},
    {"etcdserver: duplicate key given in txn request", SP_BAD_REQUEST, true, CALL, SP_BAD_REQUEST,
     NULL},
};

static void each_is_judged_and_explained(void **state) {
    (void)state;
    for (size_t i = 0; i < SP_COUNT(samples); i++) {
        const sample *s = &samples[i];
        sp_err err = {0};
        sp_err_set(&err, s->code, "%s", s->text);
        sp_etcd_fault fault = sp_etcd_judge(&err, s->tls);
        if (fault != s->fault || err.code != s->becomes) fprintf(stderr, "at: %s\n", s->text);
        assert_int_equal(fault, s->fault);
        assert_int_equal(err.code, s->becomes);
        assert_ptr_equal(strstr(err.text, s->text), err.text); /* their words first */
        if (s->advice)
            assert_non_null(strstr(err.text, s->advice));
        else
            assert_string_equal(err.text, s->text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_judged_and_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
