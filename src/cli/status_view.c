#include "cli/status_view.h"

#include "base/clock.h"
#include "cli/cluster_view.h"
#include "cli/print.h"
#include "data/time.h"
#include "kube/object.h"

#include <stdarg.h>

#define API_PREFIX "apiserver-"
#define GATEWAY_PREFIX "sampan-gateway-"
#define GATEWAY_ADDRESS "sampan.dev/gateway-address"
#define CONTROLLERS "sampan-controllers"

enum { GRACE_MS = 3000 }; /* on top of what a Lease promises */

typedef struct judge {
    sp_arena *a;
    const sp_status_input *in;
    sp_json *doc, *troubles;
} judge;

static void trouble(judge *j, const char *fmt, ...) SP_PRINTF(2, 3);
static void trouble(judge *j, const char *fmt, ...) {
    char text[700];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    sp_json_push(j->troubles, sp_json_new_z(j->a, text));
}

/* ---------- Leases ---------- */

static sp_str renewed(const sp_json *lease) {
    return sp_json_str(sp_json_dig(lease, "spec", "renewTime", NULL));
}

static sp_str holder(const sp_json *lease) {
    return sp_json_str(sp_json_dig(lease, "spec", "holderIdentity", NULL));
}

/* Milliseconds since it was renewed; false when that cannot be read. */
static bool age_of(const sp_json *lease, int64_t now, int64_t *ret) {
    int64_t when;
    if (!sp_time_parse(renewed(lease), &when)) return false;
    *ret = now - when;
    return true;
}

static bool is_fresh(const sp_json *lease, int64_t now) {
    int64_t age, s = sp_json_int(sp_json_dig(lease, "spec", "leaseDurationSeconds", NULL), 0);
    int64_t most = sp_ms_from_s(s) + GRACE_MS;
    return age_of(lease, now, &age) && age <= most && age >= -most;
}

static const sp_json *find(const sp_json *list, sp_str name) {
    sp_json_each(sp_json_get(list, "items"), o) if (sp_str_eq(sp_obj_name(o), name)) return o;
    return NULL;
}

static bool is_held(const judge *j, const sp_json *lease) {
    const sp_json *before = find(j->in->leases_before, sp_obj_name(lease));
    if (!lease || !holder(lease).n) return false;
    return is_fresh(lease, j->in->now_wall_ms) ||
           (before && !sp_str_eq(renewed(before), renewed(lease)));
}

static bool is_ours(sp_str name) {
    return sp_str_starts(name, SP_STR(API_PREFIX)) || sp_str_starts(name, SP_STR(GATEWAY_PREFIX)) ||
           sp_str_eqz(name, CONTROLLERS);
}

bool sp_status_is_doubtful(const sp_json *leases, int64_t now_wall_ms) {
    sp_json_each(sp_json_get(leases, "items"), l) if (is_ours(sp_obj_name(l)) && holder(l).n &&
                                                      !is_fresh(l, now_wall_ms)) return true;
    return false;
}

static sp_json *lease_row(judge *j, const sp_json *lease) {
    int64_t age;
    sp_json *o = sp_json_object(j->a);
    sp_json_set_bool(j->a, o, "healthy", is_held(j, lease));
    if (age_of(lease, j->in->now_wall_ms, &age))
        sp_json_set_int(j->a, o, "seenSecondsAgo", SP_MAX(age, 0) / 1000);
    return o;
}

/* ---------- the parts ---------- */

static void judge_server(judge *j) {
    sp_json_set_z(j->a, j->doc, "server", j->in->server);
    sp_json_set_bool(j->a, j->doc, "ready", j->in->ready);
    if (!j->in->ready)
        trouble(j,
                "the API server %s is not ready: its /readyz?verbose says which check "
                "fails",
                j->in->server);
}

static void judge_member(judge *j, const sp_json *m) {
    const char *name = sp_json_get_z(m, "name"), *alarm = sp_json_get_z(m, "alarm");
    if (!*name) name = sp_json_get_z(m, "id");
    if (strcmp(alarm, "NOSPACE") == 0)
        trouble(j,
                "etcd member %s is full (alarm NOSPACE): compact, defragment, etcdctl alarm "
                "disarm",
                name);
    else if (*alarm)
        trouble(j, "etcd member %s has the alarm %s", name, alarm);
    else if (!sp_json_bool(sp_json_get(m, "healthy"), false))
        trouble(j, "etcd member %s is not well: %s", name, sp_json_get_z(m, "error"));
    if (sp_json_bool(sp_json_get(m, "learner"), false))
        trouble(j, "etcd member %s is a learner: it has no vote yet", name);
}

static void judge_store(judge *j) {
    const sp_json *s = j->in->store;
    sp_json *o = sp_json_set(j->a, j->doc, "store", sp_json_clone(j->a, s));
    int64_t voters = 0, well = 0;
    if (strcmp(sp_json_get_z(s, "store"), "etcd") != 0) {
        if (!sp_json_bool(sp_json_get(s, "writable"), true))
            trouble(j, "the store cannot be written: %s", sp_json_get_z(s, "file"));
        return;
    }
    sp_json_each(sp_json_get(s, "members"), m) {
        bool votes = !sp_json_bool(sp_json_get(m, "learner"), false);
        voters += votes;
        well += votes && sp_json_bool(sp_json_get(m, "healthy"), false);
        judge_member(j, m);
    }
    bool quorum = sp_json_bool(sp_json_get(s, "quorum"), false);
    int64_t spare = well - (voters / 2 + 1);
    sp_json_set_int(j->a, o, "mayLose", quorum && spare > 0 ? spare : 0);
    if (!quorum)
        trouble(j, "etcd has no quorum%s%s: nothing can be written",
                *sp_json_get_z(s, "error") ? ": " : "", sp_json_get_z(s, "error"));
}

/* host of "https://10.0.0.1:2379" and of "10.0.0.1:6443" alike */
static sp_str host_of(sp_str s) {
    ptrdiff_t slashes = sp_str_find(s, SP_STR("://"));
    if (slashes >= 0) s = sp_str_from(s, (size_t)slashes + 3);
    ptrdiff_t colon = sp_str_rchr(s, ':');
    s = colon < 0 ? s : sp_str_sub(s, 0, (size_t)colon);
    return s.n > 2 && s.p[0] == '[' ? sp_str_sub(s, 1, s.n - 2) : s;
}

static bool has_api_server(const sp_json *list, sp_str host) {
    sp_json_each(list, o) if (sp_str_eq(host_of(sp_json_text(o, "address")), host)) return true;
    return false;
}

/* Where we run etcd ourselves each member has an API server beside it. The Lease of one that is
 * gone is cleared away by the others, so what is missing has to be looked for. */
static void judge_missing(judge *j, sp_json *list) {
    if (!sp_json_bool(sp_json_get(j->in->store, "managed"), false)) return;
    sp_json_each(sp_json_get(j->in->store, "members"), m) {
        sp_str url = sp_json_str(sp_json_at(sp_json_get(m, "clientURLs"), 0));
        if (!url.n || has_api_server(list, host_of(url))) continue;
        sp_json *o = sp_json_push(list, sp_json_object(j->a));
        sp_json_set(j->a, o, "address", sp_json_new_str(j->a, host_of(url)));
        sp_json_set_bool(j->a, o, "healthy", false);
        trouble(j, "there is no API server on %s (%.*s)", sp_json_get_z(m, "name"),
                SP_ARG(host_of(url)));
    }
}

static void judge_api_servers(judge *j) {
    sp_json *list = sp_json_ensure_array(j->a, j->doc, "apiServers");
    sp_json_each(sp_json_get(j->in->leases, "items"), l) {
        if (!sp_str_starts(sp_obj_name(l), SP_STR(API_PREFIX))) continue;
        sp_json *o = sp_json_push(list, lease_row(j, l));
        sp_json_set(j->a, o, "address", sp_json_new_str(j->a, holder(l)));
        if (!is_held(j, l))
            trouble(j, "the API server %.*s has not been heard of since %.*s", SP_ARG(holder(l)),
                    SP_ARG(renewed(l)));
    }
    judge_missing(j, list);
}

static void judge_controllers(judge *j) {
    const sp_json *l = find(j->in->leases, SP_STR(CONTROLLERS));
    bool shared = strcmp(sp_json_get_z(j->in->store, "store"), "etcd") == 0;
    if (!l && !shared) return; /* one machine: nobody is elected */
    sp_json *o =
        sp_json_set(j->a, j->doc, "controllers", l ? lease_row(j, l) : sp_json_object(j->a));
    if (!l) sp_json_set_bool(j->a, o, "healthy", false);
    sp_json_set(j->a, o, "acting", sp_json_new_str(j->a, holder(l)));
    if (!l || !is_held(j, l))
        trouble(j, "no controllers act%s", l && holder(l).n ? ": the last ones fell silent" : "");
}

static void judge_nodes(judge *j) {
    sp_json *list = sp_json_ensure_array(j->a, j->doc, "nodes");
    sp_json_each(sp_json_get(j->in->nodes, "items"), n) {
        bool ready = sp_condition_is_true(n, "Ready");
        const sp_json *c = sp_condition_get(n, "Ready");
        sp_json *o = sp_json_push(list, sp_json_object(j->a));
        sp_json_set(j->a, o, "name", sp_json_new_str(j->a, sp_obj_name(n)));
        sp_json_set_bool(j->a, o, "healthy", ready);
        sp_json_set_bool(j->a, o, "schedulable",
                         !sp_json_bool(sp_json_dig(n, "spec", "unschedulable", NULL), false));
        if (!ready)
            trouble(j, "the node %.*s is not ready: %s", SP_ARG(sp_obj_name(n)),
                    c ? sp_json_get_z(c, "message") : "it has said nothing yet");
    }
}

static void judge_gateways(judge *j) {
    sp_json *list = sp_json_ensure_array(j->a, j->doc, "gateways");
    sp_json_each(sp_json_get(j->in->leases, "items"), l) {
        if (!sp_str_starts(sp_obj_name(l), SP_STR(GATEWAY_PREFIX))) continue;
        sp_json *o = sp_json_push(list, lease_row(j, l));
        sp_json_set(j->a, o, "name", sp_json_new_str(j->a, holder(l)));
        sp_json_set(j->a, o, "address",
                    sp_json_new_str(j->a, sp_obj_annotation(l, GATEWAY_ADDRESS)));
        if (!is_held(j, l))
            trouble(j, "the gateway of %.*s has not been heard of since %.*s", SP_ARG(holder(l)),
                    SP_ARG(renewed(l)));
    }
}

static void judge_vips(judge *j) {
    sp_json *list = sp_json_ensure_array(j->a, j->doc, "virtualAddresses");
    sp_json_each(sp_json_get(j->in->vips, "items"), v) {
        sp_str owner = sp_json_str(sp_json_dig(v, "status", "owner", NULL));
        sp_str address = sp_json_str(sp_json_at(sp_json_dig(v, "spec", "addresses", NULL), 0));
        const sp_json *lease =
            find(j->in->leases, sp_arena_printf(j->a, GATEWAY_PREFIX "%.*s", SP_ARG(owner)));
        bool silent = lease && !is_held(j, lease);
        sp_json *o = sp_json_push(list, sp_json_object(j->a));
        sp_json_set(j->a, o, "name", sp_json_new_str(j->a, sp_obj_name(v)));
        sp_json_set(j->a, o, "address", sp_json_new_str(j->a, address));
        sp_json_set(j->a, o, "owner", sp_json_new_str(j->a, owner));
        sp_json_set_bool(j->a, o, "healthy", owner.n && !silent);
        if (!owner.n)
            trouble(j, "nobody holds the virtual address %.*s (%.*s)", SP_ARG(sp_obj_name(v)),
                    SP_ARG(address));
        else if (silent)
            trouble(j,
                    "the virtual address %.*s is said to be held by %.*s, whose gateway is "
                    "silent",
                    SP_ARG(sp_obj_name(v)), SP_ARG(owner));
    }
}

sp_json *sp_status_judge(sp_arena *a, const sp_status_input *in) {
    judge j = {a, in, sp_json_object(a), sp_json_array(a)};
    sp_json_set_bool(a, j.doc, "healthy", true);
    sp_json_set(a, j.doc, "troubles", j.troubles);
    judge_server(&j);
    judge_store(&j);
    judge_api_servers(&j);
    judge_controllers(&j);
    judge_nodes(&j);
    judge_gateways(&j);
    judge_vips(&j);
    sp_json_set_bool(a, j.doc, "healthy", j.troubles->count == 0);
    return j.doc;
}

/* ---------- printing ---------- */

static void print_rows(const sp_json *list, const char *title, const char *const *columns,
                       const char *const *keys, size_t n, FILE *out) {
    if (!list || !list->count) return;
    sp_grid *g = sp_grid_new();
    sp_grid_cell(g, sp_str_z(title));
    for (size_t i = 1; i < n; i++) sp_grid_cell(g, sp_str_z(columns[i]));
    sp_grid_end_row(g);
    sp_json_each(list, o) {
        for (size_t i = 0; i < n; i++) {
            const sp_json *v = sp_json_get(o, keys[i]);
            sp_auto(sp_buf) b = {0};
            if (sp_json_is(v, SP_JSON_BOOL))
                sp_buf_addz(&b, v->boolean ? "yes" : "no");
            else if (sp_json_is(v, SP_JSON_NUMBER))
                sp_buf_printf(&b, "%.*ss ago", SP_ARG(v->text));
            else
                sp_buf_add(&b, sp_json_str(v));
            sp_grid_cell(g, b.n ? sp_buf_str(&b) : SP_STR("-"));
        }
        sp_grid_end_row(g);
    }
    fputc('\n', out);
    sp_grid_print(g, out, "");
}

static void print_store(const sp_json *s, FILE *out) {
    char size[24];
    if (strcmp(sp_json_get_z(s, "store"), "etcd") == 0) {
        bool quorum = sp_json_bool(sp_json_get(s, "quorum"), false);
        fprintf(out, "\nSTORE: etcd%s, %s, may lose %lld more\n",
                sp_json_bool(sp_json_get(s, "managed"), false) ? " run by Sampan" : "",
                quorum ? "has a quorum" : "NO QUORUM",
                (long long)sp_json_int(sp_json_get(s, "mayLose"), 0));
        const sp_json *members = sp_json_get(s, "members");
        if (members && members->count) sp_cluster_print_members(s, out, "");
        return;
    }
    sp_cluster_print_size(sp_json_int(sp_json_get(s, "dbBytes"), 0), size);
    const char *file = sp_json_get_z(s, "file");
    fprintf(out, "\nSTORE: %s, %s\n", *file ? file : "memory only", size);
}

static void print_controllers(const sp_json *c, FILE *out) {
    const char *who = sp_json_get_z(c, "acting");
    if (!c) return;
    fprintf(out, "\nCONTROLLERS: %s%s\n", *who ? who : "nobody acts",
            sp_json_bool(sp_json_get(c, "healthy"), false) || !*who ? "" : " (silent)");
}

#define ROWS(list, n, columns, ...) \
    print_rows(list, (columns)[0], columns, (const char *const[]){__VA_ARGS__}, n, out)

void sp_status_print(const sp_json *status, FILE *out) {
    static const char *const servers[] = {"API SERVER", "HEALTHY", "SEEN"},
                             *const nodes[] = {"NODE", "READY", "SCHEDULABLE"},
                             *const gateways[] = {"GATEWAY", "HEALTHY", "ADDRESS", "SEEN"},
                             *const vips[] = {"VIRTUAL ADDRESS", "HEALTHY", "ADDRESS", "OWNER"};
    const sp_json *troubles = sp_json_get(status, "troubles");
    if (sp_json_bool(sp_json_get(status, "healthy"), false))
        fprintf(out, "All is well, as %s knows it.\n", sp_json_get_z(status, "server"));
    else
        fprintf(out, "DEGRADED, as %s knows it:\n", sp_json_get_z(status, "server"));
    sp_json_each(troubles, t) fprintf(out, "  - %s\n", sp_json_z(t));
    ROWS(sp_json_get(status, "apiServers"), 3, servers, "address", "healthy", "seenSecondsAgo");
    print_store(sp_json_get(status, "store"), out);
    print_controllers(sp_json_get(status, "controllers"), out);
    ROWS(sp_json_get(status, "nodes"), 3, nodes, "name", "healthy", "schedulable");
    ROWS(sp_json_get(status, "gateways"), 4, gateways, "name", "healthy", "address",
         "seenSecondsAgo");
    ROWS(sp_json_get(status, "virtualAddresses"), 4, vips, "name", "healthy", "address", "owner");
}
