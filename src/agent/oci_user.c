/* Users and groups by the image's own files, never by the host's. */
#include "agent/oci.h"

enum { MAX_GROUPS = 64 };

static sp_str field(sp_str line, int n) {
    sp_str part = {0};
    for (sp_str rest = line; n >= 0; n--)
        if (!sp_str_cut(&rest, ':', &part)) return (sp_str){0};
    return part;
}

static bool number(sp_str s, int64_t *ret) {
    uint64_t v;
    if (!sp_str_u64(s, &v) || v > INT32_MAX) return false;
    *ret = (int64_t)v;
    return true;
}

/* The line whose field `at` is `key`. */
static bool find_line(sp_str file, int at, sp_str key, sp_str *ret) {
    for (sp_str line, rest = file; sp_str_cut(&rest, '\n', &line);) {
        if (!line.n || !sp_str_eq(field(line, at), key)) continue;
        *ret = line;
        return true;
    }
    return false;
}

static void add_memberships(sp_oci_user *u, sp_str name, sp_str group) {
    for (sp_str line, lines = group; name.n && sp_str_cut(&lines, '\n', &line);) {
        int64_t gid;
        if (!number(field(line, 2), &gid)) continue;
        for (sp_str member, rest = field(line, 3); sp_str_cut(&rest, ',', &member);)
            if (sp_str_eq(member, name) && u->extra.n < MAX_GROUPS) sp_vec_push(&u->extra, gid);
    }
}

static bool find_user(sp_str who, sp_str passwd, sp_oci_user *u, sp_str *ret_name, sp_err *err) {
    sp_str line = {0};
    bool numeric = number(who, &u->uid);
    bool found = find_line(passwd, numeric ? 2 : 0, who, &line);
    if (!found && !numeric)
        return sp_fail(err, SP_INVALID, "the image has no user \"%.*s\" in its /etc/passwd",
                       SP_ARG(who));
    if (!found) return true;
    if (!numeric && !number(field(line, 2), &u->uid))
        return sp_fail(err, SP_INVALID, "the image's /etc/passwd is damaged at user \"%.*s\"",
                       SP_ARG(who));
    if (!number(field(line, 3), &u->gid)) u->gid = 0;
    *ret_name = field(line, 0);
    u->home = field(line, 5);
    return true;
}

static bool find_group(sp_str which, sp_str group, sp_oci_user *u, sp_err *err) {
    sp_str line = {0};
    if (number(which, &u->gid)) return true;
    if (find_line(group, 0, which, &line) && number(field(line, 2), &u->gid)) return true;
    return sp_fail(err, SP_INVALID, "the image has no group \"%.*s\" in its /etc/group",
                   SP_ARG(which));
}

bool sp_oci_user_find(sp_str spec, sp_str passwd, sp_str group, sp_oci_user *ret, sp_err *err) {
    sp_oci_user u = {0};
    sp_str who = spec, which = {0}, name = {0};
    ptrdiff_t colon = sp_str_chr(spec, ':');
    if (colon >= 0) {
        who = sp_str_sub(spec, 0, (size_t)colon);
        which = sp_str_from(spec, (size_t)colon + 1);
    }
    if (!who.n) who = SP_STR("0");
    if (!find_user(who, passwd, &u, &name, err)) return false;
    if (which.n && !find_group(which, group, &u, err)) return false;
    if (!which.n) add_memberships(&u, name, group);
    *ret = u;
    return true;
}
