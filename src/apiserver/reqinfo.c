/* /api/VERSION/… and /apis/GROUP/VERSION/…, then one of
 *   RESOURCE[/NAME[/SUB[/REST…]]]
 *   namespaces/NS/RESOURCE[/NAME[/SUB[/REST…]]]
 *   watch/…                                     (the old form of watch=true)
 * where "namespaces/NAME" and "namespaces/NAME/status|finalize" are the namespace itself. */
#include "apiserver/reqinfo.h"

#include "net/http.h"

enum { MAX_SEGMENTS = 9 };

typedef struct segments {
    sp_str p[MAX_SEGMENTS];
    size_t n;
    sp_str rest; /* undecoded, what did not fit */
} segments;

const char *sp_req_verb_name(sp_req_verb v) {
    static const char *const names[SP_REQ_VERB_MAX] = {[SP_REQ_NONE] = "",
                                                       [SP_REQ_GET] = "get",
                                                       [SP_REQ_LIST] = "list",
                                                       [SP_REQ_WATCH] = "watch",
                                                       [SP_REQ_CREATE] = "create",
                                                       [SP_REQ_UPDATE] = "update",
                                                       [SP_REQ_PATCH] = "patch",
                                                       [SP_REQ_DELETE] = "delete",
                                                       [SP_REQ_DELETE_COLLECTION] =
                                                           "deletecollection"};
    return names[v];
}

static bool split(sp_arena *a, sp_str path, segments *s, sp_err *err) {
    path = sp_str_from(path, 1);
    if (sp_str_ends(path, SP_STR("/"))) path.n--;
    for (sp_str part; s->n < MAX_SEGMENTS && sp_str_cut(&path, '/', &part); s->n++) {
        if (sp_str_chr(part, '%') < 0)
            s->p[s->n] = part;
        else if (!sp_url_decode(a, part, false, &s->p[s->n]))
            return sp_fail(err, SP_BAD_REQUEST, "the path has a broken %% escape: %.*s",
                           SP_ARG(part));
        if (sp_str_chr(s->p[s->n], '/') >= 0 || sp_str_chr(s->p[s->n], 0) >= 0)
            return sp_fail(err, SP_BAD_REQUEST, "a path segment must not contain '/': %.*s",
                           SP_ARG(part));
    }
    s->rest = path;
    return true;
}

static sp_req_verb verb_of(sp_str method, bool collection, bool watch) {
    if (sp_str_eqz(method, "GET") || sp_str_eqz(method, "HEAD"))
        return watch ? SP_REQ_WATCH : collection ? SP_REQ_LIST : SP_REQ_GET;
    if (sp_str_eqz(method, "POST")) return SP_REQ_CREATE;
    if (sp_str_eqz(method, "PUT")) return SP_REQ_UPDATE;
    if (sp_str_eqz(method, "PATCH")) return SP_REQ_PATCH;
    if (sp_str_eqz(method, "DELETE")) return collection ? SP_REQ_DELETE_COLLECTION : SP_REQ_DELETE;
    return SP_REQ_NONE;
}

static bool is_namespace_sub(sp_str s) {
    return sp_str_eqz(s, "status") || sp_str_eqz(s, "finalize");
}

static sp_str at(const segments *s, size_t i) {
    return i < s->n ? s->p[i] : SP_STR("");
}

bool sp_reqinfo_parse(sp_arena *a, sp_str method, sp_str path, bool watch, sp_reqinfo *ret,
                      sp_err *err) {
    segments s = {0};
    sp_reqinfo r = {0};
    bool core = sp_str_starts(path, SP_STR("/api/")), named = sp_str_starts(path, SP_STR("/apis/"));
    if (!core && !named) {
        *ret = r;
        return true;
    }
    if (!split(a, path, &s, err)) return false;
    size_t i = core ? 2 : 3; /* past api/VERSION or apis/GROUP/VERSION */
    if (sp_str_eqz(at(&s, i), "watch") && i + 1 < s.n) watch = true, i++;
    if (i < s.n) {
        r.group = core ? SP_STR("") : s.p[1];
        r.version = core ? s.p[1] : s.p[2];
        bool scoped = sp_str_eqz(s.p[i], "namespaces") && i + 2 < s.n &&
                      !(core && is_namespace_sub(s.p[i + 2]) && i + 3 == s.n);
        if (scoped) r.ns = s.p[i + 1], i += 2;
        r.plural = s.p[i];
        r.name = at(&s, i + 1);
        r.sub = at(&s, i + 2);
        r.rest = i + 3 < s.n ? at(&s, i + 3) : s.rest;
        r.is_resource = r.plural.n > 0;
        r.verb = verb_of(method, r.name.n == 0, watch);
    }
    *ret = r;
    return true;
}
