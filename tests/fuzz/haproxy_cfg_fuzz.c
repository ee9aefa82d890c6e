/* A haproxy.cfg of any bytes: every object made of it can be written as YAML and read back as the
 * same document, and what is taken without an error also goes through the gateway's translation.
 * Problems name lines of the file. */
#include "gateway/haproxy/haproxy.h"
#include "gateway/translate.h"

static sp_str variable(void *ctx, sp_str name) {
    (void)ctx;
    return sp_str_eqz(name, "PORT") ? SP_STR("8080") : (sp_str){0};
}

static bool read_file(void *ctx, sp_arena *a, sp_str path, sp_str *ret, sp_err *err) {
    (void)ctx, (void)a;
    if (!sp_str_ends(path, SP_STR(".pem"))) return sp_fail(err, SP_NOT_FOUND, "no such file");
    *ret = SP_STR("-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
                  "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n");
    return true;
}

static bool resolve(void *ctx, sp_arena *a, sp_str name, sp_strs *ret, sp_err *err) {
    (void)ctx, (void)a;
    if (name.n > 20) return sp_fail(err, SP_NOT_FOUND, "no such name");
    sp_vec_push(ret, SP_STR("192.0.2.7"));
    sp_vec_push(ret, SP_STR("2001:db8::7"));
    return true;
}

static void check_document(const sp_json *d) {
    sp_auto(sp_buf) b = {0};
    sp_arena *a = sp_arena_new();
    sp_json *again = NULL;
    sp_err err = {0};
    sp_yaml_write(&b, d);
    sp_assert(sp_yaml_parse(a, sp_buf_str(&b), &again, &err));
    sp_assert(sp_json_equal(d, again));
    sp_assert(sp_name_is_subdomain(sp_obj_name(d)));
    sp_arena_free(a);
}

static void put(sp_cluster_view *v, const sp_json *d) {
    const struct {
        const char *kind;
        sp_obj_list *list;
    } rows[] = {{"Service", &v->services},
                {"EndpointSlice", &v->slices},
                {"Gateway", &v->gateways},
                {"GatewayClass", &v->gateway_classes},
                {"HTTPRoute", &v->routes},
                {"TLSRoute", &v->tls_routes},
                {"TCPRoute", &v->tcp_routes},
                {"Secret", &v->secrets},
                {"ConfigMap", &v->config_maps},
                {"BackendPolicy", &v->backend_policies},
                {"TrafficPolicy", &v->traffic_policies},
                {"BackendTLSPolicy", &v->backend_tls_policies}};
    for (size_t i = 0; i < SP_COUNT(rows); i++)
        if (sp_str_eqz(sp_obj_kind(d), rows[i].kind)) sp_vec_push(rows[i].list, d);
}

static void translate(const sp_json_docs *docs) {
    sp_cluster_view v = {0};
    sp_translate_options o = {.node_address = "192.0.2.1"};
    sp_assert(sp_addr_parse(SP_STR("0.0.0.0"), 0, &o.bind));
    sp_vec_each(docs, d) put(&v, *d);
    sp_translation_free(sp_translate(&v, &o));
    sp_cluster_view_free(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_arena *a = sp_arena_new();
    sp_haproxy_options o = {NULL, variable, read_file, resolve};
    sp_haproxy_config c;
    sp_str text = {(const char *)data, size};
    size_t lines = 1;
    for (size_t i = 0; i < size; i++) lines += data[i] == '\n';
    sp_haproxy_read(a, text, &o, &c);
    sp_vec_each(&c.problems, p) {
        sp_assert(p->line <= lines && p->text.n && sp_utf8_is_valid(p->text));
    }
    sp_vec_each(&c.objects, d) check_document(*d);
    if (!c.errors && c.objects.n < 200) translate(&c.objects);
    sp_haproxy_config_free(&c);
    sp_arena_free(a);
    return 0;
}
