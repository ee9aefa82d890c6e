#include "iam/authn.h"

#include "base/map.h"

struct sp_authn {
    sp_arena *arena; /* users and their strings */
    sp_map tokens;   /* token → sp_user */
};

enum { MAX_GROUPS = 64 };

/* Takes one CSV field off *line: plain, or quoted with "" for a quote. */
static bool take_field(sp_arena *a, sp_str *line, sp_str *ret) {
    if (!line->n || line->p[0] != '"') {
        sp_str part;
        if (!sp_str_cut(line, ',', &part)) return false;
        *ret = sp_arena_str(a, sp_str_trim(part));
        return true;
    }
    char *out = sp_arena_alloc(a, line->n + 1);
    size_t n = 0, i = 1;
    for (; i < line->n; i++) {
        if (line->p[i] == '"' && (i + 1 == line->n || line->p[i + 1] != '"')) break;
        if (line->p[i] == '"') i++;
        out[n++] = line->p[i];
    }
    if (i == line->n) return false;
    sp_str rest = sp_str_trim(sp_str_from(*line, i + 1));
    if (rest.n && rest.p[0] != ',') return false;
    *line = rest.n ? sp_str_from(rest, 1) : (sp_str){0};
    *ret = (sp_str){out, n};
    return true;
}

static void split_groups(sp_arena *a, sp_str text, sp_user *u) {
    sp_str *groups = sp_arena_alloc(a, MAX_GROUPS * sizeof *groups);
    sp_str part;
    while (u->group_count < MAX_GROUPS && sp_str_cut(&text, ',', &part)) {
        part = sp_str_trim(part);
        if (part.n) groups[u->group_count++] = part;
    }
    u->groups = groups;
}

static bool add_line(sp_authn *a, sp_str line, size_t number, sp_err *err) {
    sp_user *u = SP_NEW(a->arena, sp_user);
    u->kind = SP_USER_TOKEN;
    sp_str token = {0}, groups = {0};
    if (!take_field(a->arena, &line, &token) || !take_field(a->arena, &line, &u->name) ||
        !take_field(a->arena, &line, &u->uid) || !token.n || !u->name.n)
        return sp_fail(err, SP_INVALID,
                       "line %zu of the token file: token,user,uid[,\"group1,group2\"] is expected",
                       number);
    if (line.p && !take_field(a->arena, &line, &groups))
        return sp_fail(err, SP_INVALID, "line %zu of the token file: a quote is not closed",
                       number);
    split_groups(a->arena, groups, u);
    if (sp_map_put(&a->tokens, token, u))
        return sp_fail(err, SP_INVALID, "line %zu of the token file: this token was there already",
                       number);
    return true;
}

bool sp_authn_new(sp_str tokens, sp_authn **ret, sp_err *err) {
    sp_authn *a = sp_zalloc(1, sizeof *a);
    a->arena = sp_arena_new();
    size_t number = 0;
    for (sp_str line; sp_str_cut(&tokens, '\n', &line);) {
        number++;
        line = sp_str_trim(line);
        if (!line.n || line.p[0] == '#') continue;
        if (!add_line(a, line, number, err)) {
            sp_authn_free(a);
            return false;
        }
    }
    *ret = a;
    return true;
}

bool sp_user_is_master(const sp_user *u) {
    for (size_t i = 0; i < u->group_count; i++)
        if (sp_str_eqz(u->groups[i], "system:masters")) return true;
    return false;
}

sp_authn *sp_authn_free(sp_authn *a) {
    if (!a) return NULL;
    sp_map_free(&a->tokens);
    sp_arena_free(a->arena);
    free(a);
    return NULL;
}

static bool by_token(const sp_authn *a, sp_str authorization, sp_user *ret, sp_err *err) {
    sp_str scheme, rest = authorization;
    if (!sp_str_cut(&rest, ' ', &scheme) || !sp_str_ieq(scheme, SP_STR("bearer")))
        return sp_fail(err, SP_UNAUTHORIZED, "Unauthorized");
    const sp_user *u = sp_map_get(&a->tokens, sp_str_trim(rest));
    if (!u) return sp_fail(err, SP_UNAUTHORIZED, "Unauthorized");
    *ret = *u;
    return true;
}

bool sp_authn_identify(const sp_authn *a, sp_str common_name, const sp_strs *orgs,
                       sp_str authorization, sp_user *ret, sp_err *err) {
    if (authorization.n) return by_token(a, authorization, ret, err);
    if (common_name.n) {
        *ret = (sp_user){.kind = SP_USER_CERTIFICATE,
                         .name = common_name,
                         .groups = orgs ? orgs->p : NULL,
                         .group_count = orgs ? orgs->n : 0};
        return true;
    }
    *ret = (sp_user){.kind = SP_USER_ANONYMOUS, .name = SP_STR("system:anonymous")};
    return true;
}
