/* Host and path of a request (one per line) through the normal forms and the search. What the forms
 * accept must be stable: applied twice they change nothing, and no dot segment is left. */
#include "gateway/route.h"

static sp_route_table *make_table(sp_arena *a) {
    static const char *const hosts[] = {"", "example.com", "*.example.com", "*.b.example.com"};
    static const char *const paths[] = {"/", "/a", "/a/b/", "/admin"};
    sp_route_entry e[SP_COUNT(hosts) * SP_COUNT(paths)];
    memset(e, 0, sizeof e);
    for (size_t i = 0; i < SP_COUNT(e); i++) {
        e[i].host = sp_str_z(hosts[i / SP_COUNT(paths)]);
        e[i].path = sp_str_z(paths[i % SP_COUNT(paths)]);
        e[i].path_kind = i % 3 ? SP_PATH_PREFIX : SP_PATH_EXACT;
        e[i].action = SP_NEW(a, sp_route_action);
    }
    return sp_route_table_build(a, e, SP_COUNT(e));
}

static void check_path(sp_str path) {
    char again[4096];
    sp_str same;
    sp_assert(path.n && path.p[0] == '/');
    sp_assert(sp_str_find(path, SP_STR("/../")) < 0 && !sp_str_ends(path, SP_STR("/..")));
    sp_assert(sp_str_find(path, SP_STR("/./")) < 0 && !sp_str_ends(path, SP_STR("/.")));
    sp_assert(sp_str_find(path, SP_STR("//")) < 0 && sp_str_find(path, SP_STR("/..;")) < 0);
    sp_assert(sp_str_find(path, SP_STR("/..%2F")) < 0 && sp_str_find(path, SP_STR("%2F../")) < 0);
    sp_assert(!sp_route_path_has_dots(path));
    sp_assert(sp_route_path(path, again, sizeof again, &same) && sp_str_eq(same, path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_route_table *t = make_table(a);
    sp_str rest = {(const char *)data, size}, raw_host = {0}, raw_target = {0}, raw_path = {0};
    sp_str_cut(&rest, '\n', &raw_host);
    sp_str_cut(&rest, '\n', &raw_target);
    sp_str query = raw_target;
    sp_str_cut(&query, '?', &raw_path);
    char host_scratch[256], path_scratch[4096];
    sp_str host = {0}, path = {0};
    if (!sp_route_host(raw_host, host_scratch, sizeof host_scratch, &host)) return 0;
    if (!sp_route_path(raw_path, path_scratch, sizeof path_scratch, &path)) return 0;
    check_path(path);
    const sp_route_entry *e =
        sp_route_find(t, &(sp_route_request){SP_STR("GET"), host, path, query, NULL, 0});
    sp_assert(e == NULL || e->host.n == 0 ||
              sp_str_ends(host, sp_str_from(e->host, e->host.p[0] == '*')));
    return 0;
}
