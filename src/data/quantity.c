/* A quantity is m * 10^e10 * 2^e2 with at most 19 significant digits in m: what lies beyond cannot
 * change the result but by rounding, which is away from zero, as in Kubernetes. */
#include "data/quantity.h"

typedef struct quantity {
    bool negative;
    bool inexact; /* digits other than 0 were dropped from m */
    uint64_t m;
    int e10, e2;
} quantity;

static const struct {
    sp_str name;
    int e10, e2;
} suffixes[] = {
    {SP_STR_INIT(""), 0, 0},    {SP_STR_INIT("n"), -9, 0},  {SP_STR_INIT("u"), -6, 0},
    {SP_STR_INIT("m"), -3, 0},  {SP_STR_INIT("k"), 3, 0},   {SP_STR_INIT("M"), 6, 0},
    {SP_STR_INIT("G"), 9, 0},   {SP_STR_INIT("T"), 12, 0},  {SP_STR_INIT("P"), 15, 0},
    {SP_STR_INIT("E"), 18, 0},  {SP_STR_INIT("Ki"), 0, 10}, {SP_STR_INIT("Mi"), 0, 20},
    {SP_STR_INIT("Gi"), 0, 30}, {SP_STR_INIT("Ti"), 0, 40}, {SP_STR_INIT("Pi"), 0, 50},
    {SP_STR_INIT("Ei"), 0, 60},
};

/* Exponents past this make every number zero or too large; it also bounds the loops. */
enum { MAX_EXPONENT = 1000, MAX_TEXT = 128 };

static void add_digit(quantity *q, char c, bool fraction) {
    if (q->m < UINT64_C(1000000000000000000)) {
        q->m = q->m * 10 + (uint64_t)(c - '0');
        if (fraction) q->e10--;
        return;
    }
    if (c != '0') q->inexact = true;
    if (!fraction) q->e10++;
}

static bool take_number(sp_str *s, quantity *q) {
    bool fraction = false;
    size_t digits = 0;
    if (s->n && (s->p[0] == '-' || s->p[0] == '+')) {
        q->negative = s->p[0] == '-';
        *s = sp_str_from(*s, 1);
    }
    for (; s->n; *s = sp_str_from(*s, 1)) {
        char c = s->p[0];
        if (c >= '0' && c <= '9')
            add_digit(q, c, fraction), digits++;
        else if (c == '.' && !fraction)
            fraction = true;
        else
            break;
    }
    return digits > 0;
}

static bool take_suffix(sp_str s, quantity *q) {
    if (s.n > 1 && (s.p[0] == 'e' || s.p[0] == 'E') && s.p[1] != 'i') {
        int64_t exponent;
        s = sp_str_from(s, 1);
        if (s.p[0] == '+') {
            s = sp_str_from(s, 1);
            if (s.n && s.p[0] == '-') return false;
        }
        if (!sp_str_i64(s, &exponent)) return false;
        q->e10 += (int)SP_MAX(SP_MIN(exponent, MAX_EXPONENT), -MAX_EXPONENT);
        return true;
    }
    for (size_t i = 0; i < SP_COUNT(suffixes); i++)
        if (sp_str_eq(s, suffixes[i].name)) {
            q->e10 += suffixes[i].e10;
            q->e2 = suffixes[i].e2;
            return true;
        }
    return false;
}

static bool parse(sp_str s, quantity *ret) {
    *ret = (quantity){0};
    return s.n <= MAX_TEXT && take_number(&s, ret) && take_suffix(s, ret);
}

static bool to_milli(const quantity *q, int64_t *ret) {
    unsigned __int128 v = (unsigned __int128)q->m << q->e2; /* 64 + 60 bits at most */
    bool inexact = q->inexact;
    int e10 = q->e10 + 3;
    for (; v && e10 > 0; e10--)
        if (__builtin_mul_overflow(v, 10u, &v)) return false;
    for (; v && e10 < 0; e10++) {
        if (v % 10) inexact = true;
        v /= 10;
    }
    v += inexact;
    if (v > (unsigned __int128)INT64_MAX) return false;
    *ret = q->negative ? -(int64_t)v : (int64_t)v;
    return true;
}

bool sp_quantity_parse_milli(sp_str s, int64_t *ret) {
    quantity q;
    return parse(s, &q) && to_milli(&q, ret);
}

bool sp_quantity_milli(const sp_json *j, int64_t *ret) {
    return (sp_json_is(j, SP_JSON_STRING) || sp_json_is(j, SP_JSON_NUMBER)) &&
           sp_quantity_parse_milli(j->text, ret);
}

bool sp_quantity_check(const sp_json *j) {
    quantity q;
    return (sp_json_is(j, SP_JSON_STRING) || sp_json_is(j, SP_JSON_NUMBER)) && parse(j->text, &q);
}
