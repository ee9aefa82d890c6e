/* Any JSON as the body of any kind, created as a dry run, so that defaults, hooks and validation of
 * every row see what no client should send. What is let in is encoded, shown as a Table and sent
 * through an update. The first byte chooses the row, the rest is the document. */
#include "apiserver/admit.h"
#include "apiserver/server.h"
#include "base/log.h"

static struct {
    uv_loop_t loop;
    sp_apiserver server;
    bool done;
} w;

static void op_done(sp_op *op) {
    (void)op;
    w.done = true;
}

static void make_namespace(void) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *obj;
    sp_op op = {.s = &w.server, .arena = a, .done = op_done};
    op.served = sp_served_ref(
        sp_registry_served(w.server.registry, SP_STR(""), SP_STR("v1"), SP_STR("namespaces")));
    sp_assert(sp_json_parse(a, SP_STR("{\"metadata\":{\"name\":\"default\"}}"), &obj, NULL));
    sp_op_create(&op, obj);
    while (!w.done) uv_run(&w.loop, UV_RUN_ONCE);
    sp_assert(op.err.code == SP_OK);
    sp_op_cleanup(&op);
}

static void start(void) {
    sp_err err;
    sp_store_config c = {0};
    sp_log_set_level(SP_LOG_ERROR);
    uv_loop_init(&w.loop);
    w.server.loop = &w.loop;
    w.server.registry = sp_registry_new();
    sp_assert(sp_store_open(&w.loop, &c, &w.server.store, &err));
    make_namespace();
}

static void show(sp_arena *a, const sp_resource *row, const sp_json *obj) {
    sp_auto(sp_buf) b = {0};
    sp_table t = {.resource = row, .version = "v1", .with_columns = true, .remaining = -1};
    sp_json *again;
    sp_err err;
    sp_table_begin(&b, &t);
    sp_table_row(&b, &t, obj, SP_STR(""), a);
    sp_table_end(&b);
    sp_assert(sp_json_parse(a, sp_buf_str(&b), &again, &err));
}

static sp_op new_op(sp_arena *a, sp_served *v) {
    return (sp_op){.s = &w.server,
                   .served = sp_served_ref(v),
                   .arena = a,
                   .ns = v->row->namespaced ? SP_STR("default") : SP_STR(""),
                   .dry_run = true,
                   .causes = {.arena = a},
                   .done = op_done};
}

/* What was let in once must be let in again, unchanged. */
static void update_with_itself(sp_arena *a, sp_served *v, const sp_json *obj) {
    sp_op op = new_op(a, v);
    sp_err err = {0};
    sp_json *same = sp_json_clone(a, obj);
    op.name = sp_obj_name(obj);
    if (sp_admit_update(&op, obj, same, &err))
        show(a, v->row, same);
    else
        sp_assert(err.code != SP_OK && err.code != SP_INTERNAL && err.text[0]);
    sp_op_cleanup(&op);
}

static void create(sp_arena *a, sp_served *v, sp_json *obj) {
    sp_op op = new_op(a, v);
    sp_json *seen;
    sp_op_create(&op, obj);
    if (op.err.code) {
        sp_assert(op.err.text[0] && op.err.code != SP_INTERNAL);
    } else {
        sp_assert(sp_json_parse(a, sp_blob_str(op.bytes), &seen, &op.err));
        show(a, v->row, seen);
        update_with_itself(a, v, seen);
    }
    sp_op_cleanup(&op);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!w.server.registry) start();
    if (size < 2) return 0;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    const sp_resource *row =
        sp_registry_rows(w.server.registry)[data[0] % sp_registry_count(w.server.registry)];
    sp_served *v = sp_registry_served(w.server.registry, sp_str_z(row->group),
                                      sp_str_z(row->version), sp_str_z(row->plural));
    sp_json *obj;
    sp_err err = {0};
    if (!sp_json_parse(a, (sp_str){(const char *)data + 1, size - 1}, &obj, &err)) return 0;
    create(a, v, obj);
    return 0;
}
