#include "apiserver/protobuf.h"
#include "apiserver/registry.h"
#include "protobuf_bodies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void what_kubectl_sends_reads_as_what_it_prints(void **state) {
    (void)state;
    for (size_t i = 0; i < SP_COUNT(kubectl_bodies); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_json *got = NULL, *wanted = NULL;
        sp_err err = {0};
        if (!sp_protobuf_decode(a, kubectl_bodies[i].body, sp_builtin_schema, NULL, &got, &err)) {
            fail_msg("body %zu: %s", i, err.text);
        }
        assert_true(sp_json_parse(a, sp_str_z(kubectl_bodies[i].json), &wanted, &err));
        sp_auto(sp_buf) text = {0};
        sp_json_write(&text, got);
        if (!sp_json_equal(got, wanted)) {
            fail_msg("body %zu:\n%s\nwanted\n%s", i, text.p, kubectl_bodies[i].json);
        }
        assert_string_equal(got->first->key.p, "apiVersion");
    }
}

/* A little writer, to say things kubectl does not. */
static void field(sp_buf *b, unsigned number, sp_str bytes) {
    assert_true(bytes.n < 128 && number < 16);
    sp_buf_addc(b, (char)(number << 3 | 2));
    sp_buf_addc(b, (char)bytes.n);
    sp_buf_add(b, bytes);
}

static bool decode(sp_arena *a, const char *kind, sp_str raw, sp_json **ret, sp_err *err) {
    sp_auto(sp_buf) type = {0}, body = {0};
    field(&type, 1, SP_STR("v1"));
    field(&type, 2, sp_str_z(kind));
    sp_buf_add(&body, (sp_str){"k8s\0", 4});
    field(&body, 1, sp_buf_str(&type));
    field(&body, 2, raw);
    return sp_protobuf_decode(a, sp_buf_str(&body), sp_builtin_schema, NULL, ret, err);
}

static void reads_as(const char *kind, sp_str raw, const char *json) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *got = NULL;
    sp_err err = {0};
    if (!decode(a, kind, raw, &got, &err)) fail_msg("%s", err.text);
    sp_auto(sp_buf) text = {0};
    sp_json_write(&text, got);
    assert_string_equal(text.p, json);
}

static void zeros_are_kept_where_they_were_meant(void **state) {
    (void)state;
    /* spec 2 { terminationGracePeriodSeconds 4: 0 (pointer), hostNetwork 11: false (not) } */
    reads_as(
        "Pod", SP_STR("\x12\x04\x20\x00\x58\x00"),
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"spec\":{\"terminationGracePeriodSeconds\":0}}");
    /* spec { volumes 1 { name 1: "v", volumeSource 2 { emptyDir 2 {} } } } */
    reads_as("Pod", SP_STR("\x12\x09\x0a\x07\x0a\x01v\x12\x02\x12\x00"),
             "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"spec\":{\"volumes\":[{\"name\":\"v\","
             "\"emptyDir\":{}}]}}");
}

static void well_known_messages(void **state) {
    (void)state;
    /* metadata 1 { deletionTimestamp 9 { seconds 1: 1700000000 } } */
    reads_as("Pod", SP_STR("\x0a\x08\x4a\x06\x08\x80\xe2\xcf\xaa\x06"),
             "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"deletionTimestamp\":"
             "\"2023-11-14T22:13:20Z\"}}");
    /* spec { containers 2 { resources 8 { limits 1 { key 1 "cpu", value 2 { 1: "250m" } } } } } */
    reads_as("Pod",
             SP_STR("\x12\x13\x12\x11\x42\x0f\x0a\x0d\x0a\x03"
                    "cpu\x12\x06\x0a\x04"
                    "250m"),
             "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"spec\":{\"containers\":[{\"resources\":"
             "{\"limits\":{\"cpu\":\"250m\"}}}]}}");
    /* Service spec 2 { ports 1 { port 3: 80, targetPort 4 { type 1: 1, strVal 3: "http" } } } */
    reads_as("Service", SP_STR("\x12\x0e\x0a\x0c\x18\x50\x22\x08\x08\x01\x1a\x04http"),
             "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"spec\":{\"ports\":[{\"port\":80,"
             "\"targetPort\":\"http\"}]}}");
    /* An unknown field (500, a string) is skipped. */
    reads_as("Pod", SP_STR("\xa2\x1f\x03xyz"), "{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}");
}

static void is_refused(sp_str raw, const char *says) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *got = NULL;
    sp_err err = {0};
    assert_false(decode(a, "ConfigMap", raw, &got, &err));
    assert_null(got);
    assert_string_equal(err.text, says);
}

static void broken_bodies_are_located(void **state) {
    (void)state;
    /* The raw message begins at byte 23. */
    is_refused(SP_STR("\x0a\x7f"),
               "protobuf body, byte 25: a length reaches past the end of the message");
    is_refused(SP_STR("\x0a"), "protobuf body, byte 24: a varint does not end");
    is_refused(SP_STR("\x0b"), "protobuf body, byte 23: a wire type that Kubernetes does not use");
    is_refused(SP_STR("\x08\x01"),
               "protobuf body, byte 23: the field metadata has wire type 0, not 2");
    is_refused(SP_STR("\x12\x04\x0a\x02\xff\xff"), "protobuf body, byte 27: a string is not UTF-8");
    is_refused(SP_STR("\x12\x03\x0a\x01k\x12\x03\x0a\x01k"),
               "protobuf body, byte 23: a map has the same key twice");
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *got = NULL;
    sp_err err = {0};
    assert_false(decode(a, "Gadget", SP_STR(""), &got, &err));
    assert_int_equal(err.code, SP_UNSUPPORTED_MEDIA);
    assert_string_equal(err.text, "v1 Gadget cannot be sent as protobuf; send it as JSON");
    assert_false(sp_protobuf_decode(a, SP_STR("{}"), sp_builtin_schema, NULL, &got, &err));
    assert_int_equal(err.code, SP_BAD_REQUEST);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_kubectl_sends_reads_as_what_it_prints),
        cmocka_unit_test(zeros_are_kept_where_they_were_meant),
        cmocka_unit_test(well_known_messages),
        cmocka_unit_test(broken_bodies_are_located),
    };
    return cmocka_run_group_tests_name("protobuf", tests, NULL, NULL);
}
