#include "cli/cluster_view.h"

#include "cli/print.h"

void sp_cluster_print_size(int64_t bytes, char ret[24]) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double n = (double)bytes;
    size_t i = 0;
    while (n >= 999.5 && i + 1 < SP_COUNT(units)) n /= 1000, i++;
    snprintf(ret, 24, n < 9.95 && i ? "%.1f %s" : "%.0f %s", n, units[i]);
}

static const char *role_of(const sp_json *m) {
    if (sp_json_bool(sp_json_get(m, "learner"), false)) return "learner";
    return sp_json_bool(sp_json_get(m, "leader"), false) ? "leader" : "follower";
}

static void add_row(sp_grid *g, sp_arena *a, const sp_json *m) {
    bool answers = sp_json_get(m, "version") != NULL;
    const char *health = sp_json_bool(sp_json_get(m, "healthy"), false) ? "yes" : "no";
    char size[24] = "-";
    if (answers) sp_cluster_print_size(sp_json_int(sp_json_get(m, "dbBytes"), 0), size);
    double ms = (double)sp_json_int(sp_json_get(m, "latencyMicroseconds"), 0) / 1000;
    const char *name = sp_json_get_z(m, "name");
    const sp_json *peers = sp_json_get(m, "peerURLs");
    sp_grid_cell(g, sp_str_z(*name ? name : "-"));
    sp_grid_cell(g, sp_str_z(sp_json_get_z(m, "id")));
    sp_grid_cell(g, sp_str_z(health));
    sp_grid_cell(g, sp_str_z(answers || *role_of(m) == 'l' ? role_of(m) : "-"));
    sp_grid_cell(g, sp_str_z(answers ? sp_json_get_z(m, "version") : "-"));
    sp_grid_cell(g, sp_str_z(size));
    sp_grid_cell(g, answers ? sp_arena_printf(a, "%.1f ms", ms) : SP_STR("-"));
    sp_grid_cell(g, peers && peers->first ? sp_json_str(peers->first) : SP_STR("-"));
    const char *alarm = sp_json_get_z(m, "alarm"), *error = sp_json_get_z(m, "error");
    sp_grid_cell(g, sp_str_z(*alarm ? alarm : *error ? error : "-"));
    sp_grid_end_row(g);
}

void sp_cluster_print_members(const sp_json *cluster, FILE *out, const char *indent) {
    static const char *const names[] = {"NAME", "ID",      "HEALTHY", "ROLE",   "VERSION",
                                        "DB",   "LATENCY", "PEERS",   "TROUBLE"};
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_grid *g = sp_grid_new();
    for (size_t i = 0; i < SP_COUNT(names); i++) sp_grid_cell(g, sp_str_z(names[i]));
    sp_grid_end_row(g);
    sp_json_each(sp_json_get(cluster, "members"), m) add_row(g, a, m);
    sp_grid_print(g, out, indent);
}
