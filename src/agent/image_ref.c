/* Splits from both ends: the digest and the tag come off the right, the registry off the left when
 * the first part looks like a host. */
#include "agent/image_ref.h"

#include "agent/digest.h"

enum { MAX_NAME = 255, MAX_TAG = 128 };

static bool is_lower_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
static bool is_upper(char c) {
    return c >= 'A' && c <= 'Z';
}

/* Lower-case letters and digits, joined by one '.', one or two '_', or any number of '-'. */
static bool path_part_ok(sp_str s) {
    if (!s.n || !is_lower_alnum(s.p[0]) || !is_lower_alnum(s.p[s.n - 1])) return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (is_lower_alnum(c) || c == '-') continue;
        if (c != '.' && c != '_') return false;
        size_t run = 1;
        while (i + run < s.n && s.p[i + run] == c) run++;
        if (run > (c == '_' ? 2u : 1u) || !is_lower_alnum(s.p[i + run])) return false;
        i += run - 1;
    }
    return true;
}

static bool host_ok(sp_str s) {
    ptrdiff_t colon = sp_str_rchr(s, ':');
    uint64_t port;
    if (colon >= 0) {
        if (!sp_str_u64(sp_str_from(s, (size_t)colon + 1), &port) || port > 65535) return false;
        s.n = (size_t)colon;
    }
    if (!s.n || s.p[0] == '.' || s.p[0] == '-' || s.p[s.n - 1] == '.') return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_lower_alnum(s.p[i]) && !is_upper(s.p[i]) && s.p[i] != '.' && s.p[i] != '-')
            return false;
    return true;
}

static bool tag_ok(sp_str s) {
    if (!s.n || s.n > MAX_TAG || s.p[0] == '.' || s.p[0] == '-') return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_lower_alnum(s.p[i]) && !is_upper(s.p[i]) && (!s.p[i] || !strchr("_.-", s.p[i])))
            return false;
    return true;
}

static bool looks_like_host(sp_str first) {
    if (sp_str_eq(first, SP_STR("localhost"))) return true;
    for (size_t i = 0; i < first.n; i++)
        if (first.p[i] == '.' || first.p[i] == ':' || is_upper(first.p[i])) return true;
    return false;
}

static bool refuse(sp_err *err, sp_str text, const char *why) {
    return sp_fail(err, SP_INVALID, "\"%.*s\" is no image reference: %s", SP_ARG(text), why);
}

static bool cut_digest(sp_str *rest, sp_str *ret, const char **why) {
    ptrdiff_t at = sp_str_chr(*rest, '@');
    if (at < 0) return true;
    *ret = sp_str_from(*rest, (size_t)at + 1);
    rest->n = (size_t)at;
    if (sp_digest_valid(*ret)) return true;
    *why = "after '@' comes sha256: and 64 lower-case hex digits";
    return false;
}

static bool cut_tag(sp_str *rest, sp_str *ret, const char **why) {
    ptrdiff_t colon = sp_str_rchr(*rest, ':');
    if (colon < 0 || sp_str_rchr(*rest, '/') > colon) return true;
    *ret = sp_str_from(*rest, (size_t)colon + 1);
    rest->n = (size_t)colon;
    if (tag_ok(*ret)) return true;
    *why = "a tag has up to 128 letters, digits, '_', '.', '-'";
    return false;
}

static bool split_name(sp_str rest, sp_str *ret_host, sp_str *ret_path, const char **why) {
    ptrdiff_t slash = sp_str_chr(rest, '/');
    sp_str first = slash < 0 ? rest : sp_str_sub(rest, 0, (size_t)slash);
    *ret_path = rest;
    if (slash >= 0 && looks_like_host(first)) {
        *ret_host = first;
        *ret_path = sp_str_from(rest, (size_t)slash + 1);
        if (!host_ok(first)) {
            *why = "the part before the first '/' is no host[:port]";
            return false;
        }
    }
    for (sp_str part, parts = *ret_path; sp_str_cut(&parts, '/', &part);)
        if (!path_part_ok(part)) {
            *why = "names are lower-case letters and digits with single '.', '_' or '-' inside, "
                   "parts joined by '/'";
            return false;
        }
    return true;
}

bool sp_image_ref_parse(sp_arena *a, sp_str text, sp_image_ref *ret, sp_err *err) {
    sp_str rest = text, digest = {0}, tag = {0}, host = SP_STR("docker.io"), path;
    const char *why = NULL;
    if (!text.n || text.n > MAX_NAME + MAX_TAG + SP_DIGEST_TEXT + 2)
        return sp_fail(err, SP_INVALID,
                       text.n ? "the image reference is too long" : "the image reference is empty");
    if (!cut_digest(&rest, &digest, &why) || !cut_tag(&rest, &tag, &why))
        return refuse(err, text, why);
    if (!rest.n || rest.n > MAX_NAME) return refuse(err, text, "the name is empty or too long");
    if (!split_name(rest, &host, &path, &why)) return refuse(err, text, why);
    bool hub = sp_str_eqz(host, "docker.io") || sp_str_eqz(host, "index.docker.io");
    if (hub) host = SP_STR("docker.io");
    bool bare = hub && sp_str_chr(path, '/') < 0;
    if (host.n + 1 + path.n + (bare ? 8 : 0) > MAX_NAME)
        return refuse(err, text, "with its registry the name is over 255 characters");
    if (digest.n)
        tag = (sp_str){0};
    else if (!tag.n)
        tag = SP_STR("latest");
    *ret = (sp_image_ref){
        .registry = sp_arena_str(a, host),
        .repository = sp_arena_printf(a, "%s%.*s", bare ? "library/" : "", SP_ARG(path)),
        .tag = sp_arena_str(a, tag),
        .digest = sp_arena_str(a, digest),
    };
    return true;
}

sp_str sp_image_ref_text(sp_arena *a, const sp_image_ref *r) {
    sp_str last = r->digest.n ? r->digest : r->tag;
    return sp_arena_printf(a, "%.*s/%.*s%c%.*s", SP_ARG(r->registry), SP_ARG(r->repository),
                           r->digest.n ? '@' : ':', SP_ARG(last));
}

sp_str sp_image_ref_familiar(sp_str text) {
    if (sp_str_starts(text, SP_STR("docker.io/library/"))) return sp_str_from(text, 18);
    if (sp_str_starts(text, SP_STR("docker.io/"))) return sp_str_from(text, 10);
    return text;
}
