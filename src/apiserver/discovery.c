/* Discovery documents from rows. All forms share two walks: the distinct groups in order of their
 * first row, and within a group the distinct versions by priority. There are few rows, so both are
 * plain scans. */
#include "apiserver/discovery.h"

#include "apiserver/accept.h"
#include "data/base64.h"

#include <openssl/evp.h>
#include <stdio.h>

typedef SP_VEC(const char *) names;
static void names_cleanup(names *n) {
    sp_vec_free(n);
}

static bool has(const names *n, const char *s) {
    sp_vec_each(n, it) {
        if (!strcmp(*it, s)) return true;
    }
    return false;
}

/* --- versions --- */

/* "v2beta3" → major 2, stage beta, minor 3; false for names of another form. */
static bool parse_version(const char *v, uint64_t ret[3]) {
    enum { ALPHA, BETA, STABLE };
    static const struct {
        const char *word;
        unsigned stage;
    } stages[] = {{"alpha", ALPHA}, {"beta", BETA}};
    sp_str s = sp_str_z(v);
    size_t digits = 1;
    if (!s.n || s.p[0] != 'v') return false;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9') digits++;
    if (!sp_str_u64(sp_str_sub(s, 1, digits - 1), &ret[1])) return false;
    s = sp_str_from(s, digits);
    ret[0] = STABLE;
    ret[2] = 0;
    if (!s.n) return true;
    for (size_t i = 0; i < SP_COUNT(stages); i++) {
        sp_str word = sp_str_z(stages[i].word);
        ret[0] = stages[i].stage;
        if (sp_str_starts(s, word)) return sp_str_u64(sp_str_from(s, word.n), &ret[2]);
    }
    return false;
}

int sp_version_compare(const char *a, const char *b) {
    uint64_t x[3], y[3];
    bool a_known = parse_version(a, x), b_known = parse_version(b, y);
    if (a_known != b_known) return a_known ? -1 : 1;
    if (!a_known) return strcmp(a, b);
    for (size_t i = 0; i < SP_COUNT(x); i++) {
        if (x[i] != y[i]) return x[i] > y[i] ? -1 : 1;
    }
    return 0;
}

/* --- walks --- */

static bool in_group(const sp_resource *r, const char *group) {
    return !strcmp(r->group, group);
}

/* core: only the group ""; else all the others. */
static names groups_of(sp_discovery_rows rows, bool core) {
    names found = {0};
    for (size_t i = 0; i < rows.n; i++) {
        const char *g = rows.p[i]->group;
        if ((g[0] == 0) == core && !has(&found, g)) sp_vec_push(&found, g);
    }
    return found;
}

static names versions_of(sp_discovery_rows rows, const char *group) {
    names found = {0};
    for (size_t i = 0; i < rows.n; i++) {
        const char *v = rows.p[i]->version;
        if (!in_group(rows.p[i], group) || has(&found, v)) continue;
        sp_vec_push(&found, v);
        for (size_t k = found.n - 1; k && sp_version_compare(v, found.p[k - 1]) < 0; k--) {
            found.p[k] = found.p[k - 1];
            found.p[k - 1] = v;
        }
    }
    return found;
}

/* --- pieces --- */

static void text(sp_buf *b, const char *key, const char *value) {
    sp_buf_printf(b, "\"%s\":", key);
    sp_json_write_string(b, sp_str_z(value));
}

static void texts(sp_buf *b, const char *key, const char *const *values) {
    if (!values || !*values) return;
    sp_buf_printf(b, ",\"%s\":[", key);
    for (size_t i = 0; values[i]; i++) {
        if (i) sp_buf_addc(b, ',');
        sp_json_write_string(b, sp_str_z(values[i]));
    }
    sp_buf_addc(b, ']');
}

static const char *const all_verbs[] = {
    "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch", NULL};
static const char *const status_verbs[] = {"get", "patch", "update", NULL};
static const char *const create_verbs[] = {"create", NULL};
static const char *const get_verbs[] = {"get", NULL};
static const char *const connect_verbs[] = {"create", "get", NULL};

static const struct subresource {
    unsigned bit;
    const char *name, *group, *version, *kind; /* kind NULL = that of the resource */
    const char *const *verbs;
} subresources[] = {
    {SP_SUB_STATUS, "status", NULL, NULL, NULL, status_verbs},
    {SP_SUB_SCALE, "scale", "autoscaling", "v1", "Scale", status_verbs},
    {SP_SUB_LOG, "attach", "", "v1", "PodAttachOptions", connect_verbs},
    {SP_SUB_LOG, "exec", "", "v1", "PodExecOptions", connect_verbs},
    {SP_SUB_LOG, "log", NULL, NULL, NULL, get_verbs},
    {SP_SUB_LOG, "portforward", "", "v1", "PodPortForwardOptions", connect_verbs},
    {SP_SUB_BINDING, "binding", "", "v1", "Binding", create_verbs},
    {SP_SUB_EVICTION, "eviction", "policy", "v1", "Eviction", create_verbs},
};

void sp_storage_version_hash(const sp_resource *r, char ret[16]) {
    const sp_resource *s = r->storage ? r->storage : r;
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    unsigned n = 0;
    sp_auto(sp_buf) what = {0}, out = {0};
    sp_buf_printf(&what, "%s/%s/%s", s->group, s->version, s->kind);
    sp_assert(EVP_Digest(what.p, what.n, digest, &n, EVP_sha256(), NULL));
    sp_base64_encode(&out, (sp_str){(const char *)digest, 8});
    sp_assert(out.n < 16);
    memcpy(ret, out.p, out.n + 1);
}

/* --- legacy documents --- */

static void legacy_resource(sp_buf *b, const sp_resource *r) {
    char hash[16];
    sp_storage_version_hash(r, hash);
    sp_buf_addc(b, '{');
    text(b, "name", r->plural);
    sp_buf_addc(b, ',');
    text(b, "singularName", r->singular);
    sp_buf_printf(b, ",\"namespaced\":%s,", r->namespaced ? "true" : "false");
    text(b, "kind", r->kind);
    texts(b, "verbs", all_verbs);
    texts(b, "shortNames", r->short_names);
    texts(b, "categories", r->categories);
    sp_buf_printf(b, ",\"storageVersionHash\":\"%s\"}", hash);
}

static void legacy_subresource(sp_buf *b, const sp_resource *r, const struct subresource *s) {
    sp_buf_printf(b, ",{\"name\":\"%s/%s\",\"singularName\":\"\",\"namespaced\":%s,", r->plural,
                  s->name, r->namespaced ? "true" : "false");
    if (s->group && s->group[0]) sp_buf_printf(b, "\"group\":\"%s\",", s->group);
    if (s->group && s->group[0]) sp_buf_printf(b, "\"version\":\"%s\",", s->version);
    text(b, "kind", s->kind ? s->kind : r->kind);
    texts(b, "verbs", s->verbs);
    sp_buf_addc(b, '}');
}

static void group_version(sp_buf *b, const char *group, const char *version) {
    sp_buf_printf(b, "{\"groupVersion\":\"%s%s%s\",\"version\":\"%s\"}", group, *group ? "/" : "",
                  version, version);
}

/* The members of an APIGroup, after what comes before them. */
static void group_members(sp_buf *b, sp_discovery_rows rows, const char *group) {
    sp_auto(names) versions = versions_of(rows, group);
    sp_buf_printf(b, "\"name\":\"%s\",\"versions\":[", group);
    for (size_t i = 0; i < versions.n; i++) {
        if (i) sp_buf_addc(b, ',');
        group_version(b, group, versions.p[i]);
    }
    sp_buf_addz(b, "],\"preferredVersion\":");
    group_version(b, group, versions.p[0]);
    sp_buf_addc(b, '}');
}

bool sp_discovery_group(sp_buf *b, sp_discovery_rows rows, sp_str group) {
    for (size_t i = 0; i < rows.n; i++) {
        if (!group.n || !sp_str_eqz(group, rows.p[i]->group)) continue;
        sp_buf_addz(b, "{\"kind\":\"APIGroup\",\"apiVersion\":\"v1\",");
        group_members(b, rows, rows.p[i]->group);
        return true;
    }
    return false;
}

bool sp_discovery_resources(sp_buf *b, sp_discovery_rows rows, sp_str group, sp_str version) {
    bool found = false;
    for (size_t i = 0; i < rows.n; i++) {
        const sp_resource *r = rows.p[i];
        if (!sp_str_eqz(group, r->group) || !sp_str_eqz(version, r->version)) continue;
        if (!found) {
            sp_buf_printf(
                b, "{\"kind\":\"APIResourceList\",%s\"groupVersion\":\"%s%s%s\",\"resources\":[",
                group.n ? "\"apiVersion\":\"v1\"," : "", r->group, group.n ? "/" : "", r->version);
        } else {
            sp_buf_addc(b, ',');
        }
        found = true;
        legacy_resource(b, r);
        for (size_t k = 0; k < SP_COUNT(subresources); k++) {
            if (r->subresources & subresources[k].bit) legacy_subresource(b, r, &subresources[k]);
        }
    }
    if (found) sp_buf_addz(b, "]}");
    return found;
}

/* --- the aggregated document (KEP-3352) --- */

static void response_kind(sp_buf *b, const char *group, const char *version, const char *kind) {
    sp_buf_printf(b, "\"responseKind\":{\"group\":\"%s\",\"version\":\"%s\",\"kind\":\"%s\"}",
                  group, version, kind);
}

static void aggregated_subresource(sp_buf *b, const sp_resource *r, const struct subresource *s) {
    sp_buf_printf(b, "{\"subresource\":\"%s\",", s->name);
    response_kind(b, s->group ? s->group : r->group, s->version ? s->version : r->version,
                  s->kind ? s->kind : r->kind);
    texts(b, "verbs", s->verbs);
    sp_buf_addc(b, '}');
}

static void aggregated_resource(sp_buf *b, const sp_resource *r) {
    sp_buf_addc(b, '{');
    text(b, "resource", r->plural);
    sp_buf_addc(b, ',');
    response_kind(b, r->group, r->version, r->kind);
    sp_buf_printf(b, ",\"scope\":\"%s\",", r->namespaced ? "Namespaced" : "Cluster");
    text(b, "singularResource", r->singular);
    texts(b, "verbs", all_verbs);
    texts(b, "shortNames", r->short_names);
    texts(b, "categories", r->categories);
    bool first = true;
    for (size_t k = 0; k < SP_COUNT(subresources); k++) {
        if (!(r->subresources & subresources[k].bit)) continue;
        sp_buf_addz(b, first ? ",\"subresources\":[" : ",");
        aggregated_subresource(b, r, &subresources[k]);
        first = false;
    }
    sp_buf_addz(b, first ? "}" : "]}");
}

static void aggregated_version(sp_buf *b, sp_discovery_rows rows, const char *group,
                               const char *version) {
    bool first = true;
    sp_buf_printf(b, "{\"version\":\"%s\",\"resources\":[", version);
    for (size_t i = 0; i < rows.n; i++) {
        const sp_resource *r = rows.p[i];
        if (!in_group(r, group) || strcmp(r->version, version) != 0) continue;
        if (!first) sp_buf_addc(b, ',');
        first = false;
        aggregated_resource(b, r);
    }
    sp_buf_addz(b, "],\"freshness\":\"Current\"}");
}

static void aggregated_group(sp_buf *b, sp_discovery_rows rows, const char *group) {
    sp_auto(names) versions = versions_of(rows, group);
    sp_buf_addz(b, "{\"metadata\":{");
    if (*group) text(b, "name", group);
    sp_buf_addz(b, *group ? ",\"creationTimestamp\":null},\"versions\":["
                          : "\"creationTimestamp\":null},\"versions\":[");
    for (size_t i = 0; i < versions.n; i++) {
        if (i) sp_buf_addc(b, ',');
        aggregated_version(b, rows, group, versions.p[i]);
    }
    sp_buf_addz(b, "]}");
}

static void aggregated(sp_buf *b, sp_discovery_rows rows, sp_discovery_form form, bool core) {
    sp_auto(names) groups = groups_of(rows, core);
    sp_buf_printf(b,
                  "{\"kind\":\"APIGroupDiscoveryList\",\"apiVersion\":\"apidiscovery.k8s.io/%s\","
                  "\"metadata\":{},\"items\":[",
                  form == SP_DISCOVERY_V2 ? "v2" : "v2beta1");
    for (size_t i = 0; i < groups.n; i++) {
        if (i) sp_buf_addc(b, ',');
        aggregated_group(b, rows, groups.p[i]);
    }
    sp_buf_addz(b, "]}");
}

/* --- the two entry points --- */

void sp_discovery_api(sp_buf *b, sp_discovery_rows rows, sp_discovery_form form,
                      sp_str server_address) {
    if (form != SP_DISCOVERY_PLAIN) {
        aggregated(b, rows, form, true);
        return;
    }
    sp_auto(names) versions = versions_of(rows, "");
    sp_buf_addz(b, "{\"kind\":\"APIVersions\",\"versions\":[");
    for (size_t i = 0; i < versions.n; i++) {
        sp_buf_printf(b, "%s\"%s\"", i ? "," : "", versions.p[i]);
    }
    sp_buf_addz(
        b, "],\"serverAddressByClientCIDRs\":[{\"clientCIDR\":\"0.0.0.0/0\",\"serverAddress\":");
    sp_json_write_string(b, server_address);
    sp_buf_addz(b, "}]}");
}

void sp_discovery_apis(sp_buf *b, sp_discovery_rows rows, sp_discovery_form form) {
    if (form != SP_DISCOVERY_PLAIN) {
        aggregated(b, rows, form, false);
        return;
    }
    sp_auto(names) groups = groups_of(rows, false);
    sp_buf_addz(b, "{\"kind\":\"APIGroupList\",\"apiVersion\":\"v1\",\"groups\":[");
    for (size_t i = 0; i < groups.n; i++) {
        sp_buf_addz(b, i ? ",{" : "{");
        group_members(b, rows, groups.p[i]);
    }
    sp_buf_addz(b, "]}");
}

static bool is_form(const sp_accept *e, sp_discovery_form *ret) {
    bool plain_type = sp_str_ieq(e->type, SP_STR("application/json")) ||
                      sp_str_eqz(e->type, "*/*") || sp_str_eqz(e->type, "application/*");
    if (!plain_type) return false;
    if (!e->as.n) {
        *ret = SP_DISCOVERY_PLAIN;
        return true;
    }
    bool v2 = sp_str_eqz(e->version, "v2"), v2beta1 = sp_str_eqz(e->version, "v2beta1");
    *ret = v2 ? SP_DISCOVERY_V2 : SP_DISCOVERY_V2BETA1;
    return (v2 || v2beta1) && sp_str_eqz(e->as, "APIGroupDiscoveryList") &&
           sp_str_eqz(e->group, "apidiscovery.k8s.io");
}

sp_discovery_form sp_discovery_negotiate(sp_str accept) {
    sp_discovery_form best = SP_DISCOVERY_PLAIN, form;
    int quality = 0;
    sp_accept e;
    for (sp_str rest = accept; sp_accept_next(&rest, &e);) {
        if (e.quality <= quality || !is_form(&e, &form)) continue;
        best = form;
        quality = e.quality;
    }
    return best;
}

const char *sp_discovery_content_type(sp_discovery_form form) {
    static const char *const types[] = {
        [SP_DISCOVERY_PLAIN] = "application/json",
        [SP_DISCOVERY_V2] = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        [SP_DISCOVERY_V2BETA1] =
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"};
    return types[form];
}
