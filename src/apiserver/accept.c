#include "apiserver/accept.h"

static int parse_quality(sp_str s) {
    int q = 0, digit = 100;
    if (!s.n || (s.p[0] != '0' && s.p[0] != '1')) return 1000;
    if (s.p[0] == '1') return 1000;
    for (size_t i = 2; i < s.n && digit; i++, digit /= 10) {
        if (s.p[i] < '0' || s.p[i] > '9') break;
        q += (s.p[i] - '0') * digit;
    }
    return q;
}

static sp_str unquote(sp_str s) {
    return s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"' ? sp_str_sub(s, 1, s.n - 2) : s;
}

static void take_parameter(sp_accept *e, sp_str p) {
    ptrdiff_t eq = sp_str_chr(p, '=');
    if (eq < 0) return;
    sp_str name = sp_str_trim(sp_str_sub(p, 0, (size_t)eq));
    sp_str value = unquote(sp_str_trim(sp_str_from(p, (size_t)eq + 1)));
    if (sp_str_ieq(name, SP_STR("as")))
        e->as = value;
    else if (sp_str_ieq(name, SP_STR("g")))
        e->group = value;
    else if (sp_str_ieq(name, SP_STR("v")))
        e->version = value;
    else if (sp_str_ieq(name, SP_STR("q")))
        e->quality = parse_quality(value);
}

bool sp_accept_next(sp_str *rest, sp_accept *ret) {
    for (sp_str element; sp_str_cut(rest, ',', &element);) {
        sp_str type;
        if (!sp_str_cut(&element, ';', &type)) continue;
        *ret = (sp_accept){.type = sp_str_trim(type), .quality = 1000};
        if (!ret->type.n) continue;
        for (sp_str p; sp_str_cut(&element, ';', &p);) take_parameter(ret, p);
        return true;
    }
    return false;
}
