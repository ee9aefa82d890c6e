/* See route.h. Entries are sorted once by precedence and grouped by host name in a map; a search
 * looks up the host, then its wildcards from the longest to the shortest, then the entries without
 * a host, and takes the first entry that matches. */
#include "gateway/route.h"
#include "data/regex.h"

typedef struct group {
    const sp_route_entry *first;
    size_t n;
} group;

struct sp_route_table {
    sp_route_entry *entries; /* sorted: grouped by host, by precedence inside a host */
    size_t n;
    sp_route_entry *ranked; /* sorted by rank, object, order */
    size_t ranked_count;
    group *groups;
    /* Open addressing by hash of the host; index into groups + 1. In the arena, unlike sp_map. */
    uint32_t *slots;
    size_t mask;
};

static int longer_first(size_t a, size_t b) {
    return a > b ? -1 : a < b;
}

static int by_precedence(const void *pa, const void *pb) {
    const sp_route_entry *a = pa, *b = pb;
    int d = sp_str_cmp(a->host, b->host);
    if (d) return d;
    if ((d = (int)a->last_resort - (int)b->last_resort)) return d;
    if ((d = (int)b->path_kind - (int)a->path_kind)) return d;
    if ((d = longer_first(a->path.n, b->path.n))) return d;
    if ((d = longer_first(a->method.n > 0, b->method.n > 0))) return d;
    if ((d = longer_first(a->header_count, b->header_count))) return d;
    if ((d = longer_first(a->query_count, b->query_count))) return d;
    if (a->created_ms != b->created_ms) return a->created_ms < b->created_ms ? -1 : 1;
    if ((d = sp_str_cmp(a->object, b->object))) return d;
    return a->order < b->order ? -1 : a->order > b->order;
}

static void insert_group(sp_route_table *t, size_t index) {
    size_t at = sp_str_hash(t->groups[index].first->host) & t->mask;
    while (t->slots[at]) at = (at + 1) & t->mask;
    t->slots[at] = (uint32_t)index + 1;
}

static const group *find_group(const sp_route_table *t, sp_str host) {
    if (!t->n) return NULL;
    for (size_t at = sp_str_hash(host) & t->mask; t->slots[at]; at = (at + 1) & t->mask) {
        const group *g = &t->groups[t->slots[at] - 1];
        if (sp_str_eq(g->first->host, host)) return g;
    }
    return NULL;
}

static size_t count_hosts(const sp_route_table *t) {
    size_t hosts = t->n > 0;
    for (size_t i = 1; i < t->n; i++)
        hosts += !sp_str_eq(t->entries[i].host, t->entries[i - 1].host);
    return hosts;
}

static int by_rank(const void *pa, const void *pb) {
    const sp_route_entry *a = pa, *b = pb;
    if (a->rank != b->rank) return a->rank < b->rank ? -1 : 1;
    int d = sp_str_cmp(a->object, b->object);
    return d ? d : a->order < b->order ? -1 : a->order > b->order;
}

/* Ranked ones apart from those that specificity sorts. */
static void split_entries(sp_arena *a, sp_route_table *t, const sp_route_entry *from, size_t n) {
    t->entries = sp_arena_alloc(a, (n + 1) * sizeof *from);
    t->ranked = sp_arena_alloc(a, (n + 1) * sizeof *from);
    for (size_t i = 0; i < n; i++) {
        if (from[i].rank)
            t->ranked[t->ranked_count++] = from[i];
        else
            t->entries[t->n++] = from[i];
    }
    if (t->n) qsort(t->entries, t->n, sizeof *from, by_precedence);
    if (t->ranked_count) qsort(t->ranked, t->ranked_count, sizeof *from, by_rank);
}

sp_route_table *sp_route_table_build(sp_arena *a, const sp_route_entry *entries, size_t count) {
    sp_route_table *t = SP_NEW(a, sp_route_table);
    split_entries(a, t, entries, count);
    size_t n = t->n;
    if (!n) return t;
    size_t hosts = count_hosts(t), cap = 2;
    while (cap < hosts * 2) cap *= 2;
    t->mask = cap - 1;
    t->slots = sp_arena_alloc(a, cap * sizeof *t->slots);
    t->groups = sp_arena_alloc(a, hosts * sizeof *t->groups);
    for (size_t i = 0, at = 0; i < n; i++) {
        bool same = i && sp_str_eq(t->entries[i].host, t->entries[i - 1].host);
        if (!same) t->groups[at++] = (group){.first = &t->entries[i]};
        t->groups[at - 1].n++;
    }
    for (size_t i = 0; i < hosts; i++) insert_group(t, i);
    return t;
}

static bool prefix_matches(sp_str path, sp_str prefix) {
    while (prefix.n && prefix.p[prefix.n - 1] == '/') prefix.n--;
    return sp_str_starts(path, prefix) && (path.n == prefix.n || path.p[prefix.n] == '/');
}

/* A pattern whose limits were reached does not match: better no route than a stuck loop. */
static bool value_matches(const sp_route_match *m, sp_str value) {
    if (m->regex) return sp_regex_match(m->regex, value, NULL, 0) == SP_REGEX_YES;
    return sp_str_eq(value, m->value);
}

static bool path_matches(const sp_route_entry *e, sp_str path) {
    switch (e->path_kind) {
    case SP_PATH_EXACT: return sp_str_eq(path, e->path);
    case SP_PATH_REGEX: return sp_regex_match(e->regex, path, NULL, 0) == SP_REGEX_YES;
    case SP_PATH_PREFIX: break;
    }
    return prefix_matches(path, e->path);
}

static bool headers_match(const sp_route_entry *e, const sp_route_request *r) {
    for (size_t i = 0; i < e->header_count; i++) {
        bool found = false;
        for (size_t k = 0; k < r->header_count && !found; k++)
            found = sp_str_eq(r->headers[k].name, e->headers[i].name) &&
                    value_matches(&e->headers[i], r->headers[k].value);
        if (!found) return false;
    }
    return true;
}

/* The first parameter of that name counts; compared as sent. */
static bool query_matches(sp_str query, const sp_route_match *want) {
    for (sp_str part, rest = query; sp_str_cut(&rest, '&', &part);) {
        ptrdiff_t eq = sp_str_chr(part, '=');
        sp_str name = eq < 0 ? part : sp_str_sub(part, 0, (size_t)eq);
        if (!sp_str_eq(name, want->name)) continue;
        return value_matches(want, eq < 0 ? SP_STR("") : sp_str_from(part, (size_t)eq + 1));
    }
    return false;
}

bool sp_route_host_within(sp_str host, sp_str wildcard) {
    if (!wildcard.n) return true;
    return wildcard.n > 1 && wildcard.p[0] == '*' && host.n >= wildcard.n &&
           sp_str_ends(host, sp_str_from(wildcard, 1));
}

static bool is_excepted(const sp_route_entry *e, sp_str host) {
    for (size_t i = 0; i < e->except_count; i++)
        if (sp_str_eq(host, e->except[i]) || sp_route_host_within(host, e->except[i])) return true;
    return false;
}

static bool entry_matches(const sp_route_entry *e, const sp_route_request *r) {
    if (e->method.n && !sp_str_eq(e->method, r->method)) return false;
    if (!path_matches(e, r->path) || !headers_match(e, r)) return false;
    for (size_t i = 0; i < e->query_count; i++)
        if (!query_matches(r->query, &e->queries[i])) return false;
    return !e->except_count || !is_excepted(e, r->host);
}

static const sp_route_entry *search(const sp_route_table *t, sp_str host, bool many_labels,
                                    const sp_route_request *r) {
    const group *g = find_group(t, host);
    for (size_t i = 0; g && i < g->n; i++) {
        const sp_route_entry *e = &g->first[i];
        if (!(many_labels && e->single_label) && entry_matches(e, r)) return e;
    }
    return NULL;
}

enum { HOST_MAX = 253 };

/* "a.b.c" asks for "*.b.c", then "*.c". */
static const sp_route_entry *search_wildcards(const sp_route_table *t, const sp_route_request *r) {
    char star[HOST_MAX + 2] = "*";
    bool many_labels = false;
    if (r->host.n > HOST_MAX) return NULL;
    for (ptrdiff_t dot = sp_str_chr(r->host, '.'); dot >= 0;) {
        sp_str tail = sp_str_from(r->host, (size_t)dot);
        memcpy(star + 1, tail.p, tail.n);
        const sp_route_entry *e = search(t, (sp_str){star, tail.n + 1}, many_labels, r);
        if (e) return e;
        ptrdiff_t next = sp_str_chr(sp_str_from(tail, 1), '.');
        dot = next < 0 ? -1 : dot + 1 + next;
        many_labels = true;
    }
    return NULL;
}

static bool host_matches(const sp_route_entry *e, sp_str host) {
    if (!e->host.n || sp_str_eq(e->host, host)) return true;
    if (e->host.p[0] != '*' || host.n < e->host.n) return false;
    sp_str label = sp_str_sub(host, 0, host.n - (e->host.n - 1));
    return sp_str_ends(host, sp_str_from(e->host, 1)) &&
           !(e->single_label && sp_str_chr(label, '.') >= 0);
}

static const sp_route_entry *search_ranked(const sp_route_table *t, const sp_route_request *r) {
    for (size_t i = 0; i < t->ranked_count; i++) {
        const sp_route_entry *e = &t->ranked[i];
        if (host_matches(e, r->host) && entry_matches(e, r)) return e;
    }
    return NULL;
}

const sp_route_entry *sp_route_find(const sp_route_table *t, const sp_route_request *r) {
    if (!t) return NULL;
    const sp_route_entry *e = search_ranked(t, r);
    if (e || !t->n) return e;
    if (r->host.n) e = search(t, r->host, false, r);
    if (!e) e = search_wildcards(t, r);
    return e ? e : search(t, SP_STR(""), false, r);
}

/* SIZE_MAX when all weights are zero. */
static size_t draw(const sp_targets *t, uint64_t random) {
    if (!t->weight_sum) return SIZE_MAX;
    uint64_t at = random % t->weight_sum;
    for (size_t i = 0; i < t->n; i++) {
        if (at < t->list[i].weight) return i;
        at -= t->list[i].weight;
    }
    return SIZE_MAX;
}

uint32_t sp_route_draw(const sp_targets *t, uint64_t random) {
    size_t i = draw(t, random);
    return i == SIZE_MAX ? SP_NO_POOL : t->list[i].pool;
}

const sp_route_entry *sp_route_choose(const sp_route_entry *e, uint64_t random) {
    if (!e || !e->action->variants) return e;
    size_t i = draw(&e->action->targets, random);
    return i == SIZE_MAX ? e : e->action->variants[i];
}

/* --- normal forms --- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool is_unreserved(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

/* Decodes %XX of unreserved characters, spells the others in upper case. */
static bool decode_unreserved(sp_str in, char *out, size_t cap, size_t *ret_n) {
    size_t n = 0;
    if (in.n > cap) return false;
    for (size_t i = 0; i < in.n; i++) {
        unsigned char c = (unsigned char)in.p[i];
        if (c <= ' ' || c == 0x7f) return false;
        if (c != '%') {
            out[n++] = (char)c;
            continue;
        }
        int hi = i + 2 < in.n ? hex_digit(in.p[i + 1]) : -1;
        int lo = i + 2 < in.n ? hex_digit(in.p[i + 2]) : -1;
        if (hi < 0 || lo < 0 || (hi == 0 && lo == 0)) return false;
        unsigned char decoded = (unsigned char)(hi * 16 + lo);
        if (is_unreserved(decoded)) {
            out[n++] = (char)decoded;
        } else {
            static const char digits[] = "0123456789ABCDEF";
            out[n++] = '%', out[n++] = digits[hi], out[n++] = digits[lo];
        }
        i += 2;
    }
    *ret_n = n;
    return true;
}

/* RFC 3986 5.2.4 in place; p starts with '/'. */
static size_t remove_dot_segments(char *p, size_t n) {
    size_t out = 0;
    for (size_t i = 0; i < n;) { /* p[i] is '/' */
        size_t end = i + 1;
        while (end < n && p[end] != '/') end++;
        sp_str segment = {p + i + 1, end - i - 1};
        bool last = end >= n;
        if (sp_str_eq(segment, SP_STR(".."))) {
            while (out && p[--out] != '/') {
            }
            if (last) p[out++] = '/';
        } else if (sp_str_eq(segment, SP_STR("."))) {
            if (last) p[out++] = '/';
        } else {
            memmove(p + out, p + i, end - i);
            out += end - i;
        }
        i = end;
    }
    if (!out) p[out++] = '/';
    return out;
}

static size_t merge_slashes(char *p, size_t n) {
    size_t out = 0;
    for (size_t i = 0; i < n; i++)
        if (p[i] != '/' || !out || p[out - 1] != '/') p[out++] = p[i];
    return out;
}

/* How many bytes at the start of s some servers take for a slash, or for the start of a segment's
 * parameters; 0 = they are part of a name. Escapes are in upper case. */
static size_t boundary(sp_str s, bool *ret_parameters) {
    bool escape = s.p[0] == '%' && s.n >= 3;
    *ret_parameters = s.p[0] == ';' || (escape && s.p[1] == '3' && s.p[2] == 'B');
    if (s.p[0] == '/' || s.p[0] == '\\' || s.p[0] == ';') return 1;
    bool slash = escape && ((s.p[1] == '2' && s.p[2] == 'F') || (s.p[1] == '5' && s.p[2] == 'C'));
    return slash || *ret_parameters ? 3 : 0;
}

/* Of a path without dot segments: somebody else could still see some. */
static bool hides_dots(sp_str path) {
    size_t dots = 0;
    bool named = false, parameters = false; /* the segment has another character; is over */
    for (size_t i = 0; i < path.n;) {
        bool begins;
        size_t n = boundary(sp_str_from(path, i), &begins);
        if (n && !parameters && !named && (dots == 1 || dots == 2)) return true;
        if (n && !begins)
            dots = 0, named = parameters = false;
        else if (n)
            parameters = true;
        else if (path.p[i] == '.')
            dots++;
        else
            named = true;
        i += n ? n : 1;
    }
    return !parameters && !named && (dots == 1 || dots == 2);
}

bool sp_route_path_has_dots(sp_str path) {
    for (sp_str segment; sp_str_cut(&path, '/', &segment);) {
        size_t dots = 0;
        while (segment.n) {
            bool plain = segment.p[0] == '.';
            if (!plain && !sp_str_ieq(sp_str_sub(segment, 0, 3), SP_STR("%2e"))) break;
            segment = sp_str_from(segment, plain ? 1 : 3);
            dots++;
        }
        if (!segment.n && (dots == 1 || dots == 2)) return true;
    }
    return false;
}

static bool is_plain(sp_str path) {
    for (size_t i = 0; i < path.n; i++) {
        unsigned char c = (unsigned char)path.p[i];
        if (c <= ' ' || c == 0x7f || c == '%' || c == '\\') return false;
        if ((c == '.' || c == '/') && i && path.p[i - 1] == '/') return false;
    }
    return true;
}

bool sp_route_path(sp_str path, char *scratch, size_t cap, sp_str *ret) {
    if (!path.n || path.p[0] != '/') return false;
    if (is_plain(path)) {
        *ret = path;
        return true;
    }
    size_t n = 0;
    if (!decode_unreserved(path, scratch, cap, &n)) return false;
    n = merge_slashes(scratch, remove_dot_segments(scratch, n));
    *ret = (sp_str){scratch, n};
    return !hides_dots(*ret);
}

static bool is_host_char(char c) {
    return is_unreserved((unsigned char)c) && c != '~';
}

static bool port_is_valid(sp_str port) {
    uint64_t v;
    return port.n == 0 || (sp_str_u64(port, &v) && v <= 65535);
}

bool sp_route_host(sp_str host, char *scratch, size_t cap, sp_str *ret) {
    sp_str name = host, port = {0};
    if (host.n && host.p[0] == '[') {
        ptrdiff_t end = sp_str_chr(host, ']');
        if (end < 0) return false;
        name = sp_str_sub(host, 1, (size_t)end - 1);
        sp_str after = sp_str_from(host, (size_t)end + 1);
        if (after.n && after.p[0] != ':') return false;
        port = sp_str_from(after, 1);
    } else {
        ptrdiff_t colon = sp_str_chr(host, ':');
        if (colon >= 0) {
            name = sp_str_sub(host, 0, (size_t)colon);
            port = sp_str_from(host, (size_t)colon + 1);
        }
    }
    if (name.n > cap || name.n > HOST_MAX || !port_is_valid(port)) return false;
    bool bracketed = name.p != host.p;
    if (name.n > 1 && name.p[name.n - 1] == '.') name.n--;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!is_host_char(c) && !(bracketed && c == ':')) return false;
        scratch[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    *ret = (sp_str){scratch, name.n};
    return true;
}

/* /old/rest with prefix /old becomes replacement + /rest, with exactly one slash between. */
static void replace_prefix(const sp_route_entry *e, sp_str path, sp_buf *ret) {
    sp_str prefix = e->path, with = e->action->path;
    while (prefix.n && prefix.p[prefix.n - 1] == '/') prefix.n--;
    while (with.n && with.p[with.n - 1] == '/') with.n--;
    sp_str rest = sp_str_starts(path, prefix) ? sp_str_from(path, prefix.n) : path;
    sp_buf_add(ret, with);
    if (rest.n && rest.p[0] != '/') sp_buf_addc(ret, '/');
    sp_buf_add(ret, rest);
    if (!with.n && !rest.n) sp_buf_addc(ret, '/');
}

/* "/$2" with the groups that the entry's pattern finds in the path. */
static void replace_groups(const sp_route_entry *e, sp_str path, sp_buf *ret) {
    sp_str groups[SP_REGEX_GROUPS] = {{0}}, with = e->action->path;
    if (e->regex) (void)sp_regex_match(e->regex, path, groups, SP_REGEX_GROUPS);
    size_t start = ret->n;
    for (size_t i = 0; i < with.n; i++) {
        bool is_group =
            with.p[i] == '$' && i + 1 < with.n && with.p[i + 1] >= '0' && with.p[i + 1] <= '9';
        if (is_group)
            sp_buf_add(ret, groups[with.p[++i] - '0']);
        else
            sp_buf_addc(ret, with.p[i]);
    }
    if (ret->n == start) sp_buf_addc(ret, '/');
}

void sp_route_rewrite(const sp_route_entry *e, sp_str path, sp_str query, sp_buf *ret) {
    switch (e->action->path_edit) {
    case SP_PATH_KEEP: sp_buf_add(ret, path); break;
    case SP_PATH_REPLACE_ALL: sp_buf_add(ret, e->action->path); break;
    case SP_PATH_REPLACE_PREFIX: replace_prefix(e, path, ret); break;
    case SP_PATH_REPLACE_GROUPS: replace_groups(e, path, ret); break;
    }
    if (!query.p) return;
    sp_buf_addc(ret, '?');
    sp_buf_add(ret, query);
}
