/* RFC 9110, section 11: scheme, then name="value" pairs; a backslash escapes inside quotes. */
#include "agent/registry_auth.h"

#include "net/http.h"

/* Takes one name=value off; false at the end or when broken. */
static bool next_pair(sp_str *rest, sp_str *ret_name, sp_buf *ret_value) {
    while (rest->n && (rest->p[0] == ',' || rest->p[0] == ' ')) *rest = sp_str_from(*rest, 1);
    ptrdiff_t eq = sp_str_chr(*rest, '=');
    if (eq <= 0) return false;
    *ret_name = sp_str_trim(sp_str_sub(*rest, 0, (size_t)eq));
    *rest = sp_str_from(*rest, (size_t)eq + 1);
    sp_buf_clear(ret_value);
    bool quoted = rest->n && rest->p[0] == '"';
    size_t i = quoted;
    for (; i < rest->n; i++) {
        char c = rest->p[i];
        if (c == (quoted ? '"' : ',')) break;
        if (quoted && c == '\\' && i + 1 < rest->n) c = rest->p[++i];
        sp_buf_addc(ret_value, c);
    }
    if (quoted && i == rest->n) return false;
    *rest = sp_str_from(*rest, i + quoted);
    return true;
}

static bool is_url(sp_str s) {
    if (!sp_str_starts(s, SP_STR("https://")) && !sp_str_starts(s, SP_STR("http://"))) return false;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f) return false;
    return true;
}

bool sp_registry_token_url(sp_str challenge, sp_str repository, bool tls, sp_buf *url,
                           sp_err *err) {
    if (challenge.n < 7 || !sp_str_ieq(sp_str_sub(challenge, 0, 7), SP_STR("Bearer ")))
        return sp_fail(err, SP_UNAUTHORIZED,
                       "the registry wants a login (\"%.*s\"), which is not supported",
                       (int)SP_MIN(challenge.n, (size_t)40), challenge.p ? challenge.p : "");
    sp_auto(sp_buf) realm = {0};
    sp_auto(sp_buf) service = {0};
    sp_auto(sp_buf) value = {0};
    sp_str name;
    for (sp_str rest = sp_str_from(challenge, 7); next_pair(&rest, &name, &value);) {
        sp_buf *to = sp_str_ieq(name, SP_STR("realm"))     ? &realm
                     : sp_str_ieq(name, SP_STR("service")) ? &service
                                                           : NULL;
        if (!to) continue;
        sp_buf_clear(to);
        sp_buf_add(to, sp_buf_str(&value));
    }
    if (!is_url(sp_buf_str(&realm)))
        return sp_fail(err, SP_UNAUTHORIZED, "the registry does not say where tokens come from");
    if (tls && !sp_str_starts(sp_buf_str(&realm), SP_STR("https://")))
        return sp_fail(err, SP_UNAUTHORIZED,
                       "the registry wants tokens to be fetched without TLS (\"%.*s\")",
                       (int)SP_MIN(realm.n, (size_t)100), realm.p);
    sp_buf_add(url, sp_buf_str(&realm));
    sp_buf_addz(url, sp_str_chr(sp_buf_str(&realm), '?') >= 0 ? "&scope=" : "?scope=");
    sp_auto(sp_buf) scope = {0};
    sp_buf_printf(&scope, "repository:%.*s:pull", SP_ARG(repository));
    sp_url_encode(url, sp_buf_str(&scope));
    if (service.n) {
        sp_buf_addz(url, "&service=");
        sp_url_encode(url, sp_buf_str(&service));
    }
    return true;
}
