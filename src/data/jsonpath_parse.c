/* A recursive descent over the text. `in_filter` makes operators and parentheses end a name. */
#include "data/jsonpath_parse.h"

enum { MAX_TEXT = 16384, MAX_STEPS = 200, MAX_NESTING = 20 };

typedef struct parser {
    sp_arena *a;
    sp_str text;
    size_t at;
    int nesting;   /* of filters and ranges */
    int in_filter; /* open filters */
    size_t steps;
    sp_err *err;
} parser;

static bool refuse(parser *p, const char *what) {
    return sp_fail(p->err, SP_INVALID, "jsonpath, character %zu: %s", p->at + 1, what);
}

static char peek(const parser *p) {
    return p->at < p->text.n ? p->text.p[p->at] : 0;
}

static bool take(parser *p, const char *token) {
    sp_str rest = sp_str_from(p->text, p->at);
    if (!sp_str_starts(rest, sp_str_z(token))) return false;
    p->at += strlen(token);
    return true;
}

static void skip_blanks(parser *p) {
    while (p->at < p->text.n && strchr(" \t\r\n", p->text.p[p->at]) && p->text.p[p->at]) p->at++;
}

static bool parse_steps(parser *p, const step **ret);

/* ---------- literals ---------- */

/* The escapes of Go and JavaScript strings that make sense in a template. In a path a backslash
 * only takes away what the next character means: ['app\.example/name'] is how kubectl's manual
 * writes it. */
static bool unescape(parser *p, bool in_path, sp_buf *b) {
    static const char from[] = "ntrbf\\\"'/", to[] = "\n\t\r\b\f\\\"'/";
    char c = peek(p);
    const char *at = c ? strchr(from, c) : NULL;
    if (!c || (!at && !in_path)) return refuse(p, "an unknown escape");
    sp_buf_addc(b, at && !in_path ? to[at - from] : c);
    p->at++;
    return true;
}

static bool parse_quoted(parser *p, bool in_path, sp_str *ret) {
    char quote = p->text.p[p->at++];
    sp_buf b = {0};
    bool ok = true;
    while (ok && p->at < p->text.n && peek(p) != quote) {
        char c = p->text.p[p->at++];
        if (c == '\\')
            ok = unescape(p, in_path, &b);
        else
            sp_buf_addc(&b, c);
    }
    if (ok && p->at == p->text.n) ok = refuse(p, "the quoted text does not end");
    if (ok) {
        p->at++;
        *ret = sp_arena_str(p->a, sp_buf_str(&b));
    }
    sp_buf_free(&b);
    return ok;
}

static bool parse_int(parser *p, int64_t *ret) {
    size_t from = p->at;
    if (peek(p) == '-' || peek(p) == '+') p->at++;
    while (peek(p) >= '0' && peek(p) <= '9') p->at++;
    sp_str digits = sp_str_sub(p->text, from, p->at - from);
    if (digits.n && digits.p[0] == '+') digits = sp_str_from(digits, 1);
    if (digits.n <= 10 && sp_str_i64(digits, ret)) return true;
    p->at = from;
    return refuse(p, "a whole number is expected here");
}

/* ---------- names and brackets ---------- */

static bool ends_name(const parser *p, char c) {
    if (!c || strchr(" \t\r\n.,[]$@{}", c)) return true;
    return p->in_filter && strchr("=!<>()&|\"'", c);
}

static bool parse_name(parser *p, sp_str *ret) {
    sp_buf b = {0};
    while (p->at < p->text.n) {
        char c = peek(p);
        if (c == '\\' && p->at + 1 < p->text.n)
            c = p->text.p[++p->at];
        else if (ends_name(p, c))
            break;
        sp_buf_addc(&b, c);
        p->at++;
    }
    bool ok = b.n || refuse(p, "a field name is expected here");
    if (ok) *ret = sp_arena_str(p->a, sp_buf_str(&b));
    sp_buf_free(&b);
    return ok;
}

/* 3, 1:3, :-1, ::2 */
static bool parse_slice(parser *p, step *s) {
    s->kind = STEP_SLICE;
    s->stride = 1;
    s->has_start = peek(p) != ':';
    if (s->has_start && !parse_int(p, &s->start)) return false;
    if (!take(p, ":")) {
        s->single = true;
        return true;
    }
    s->has_end = peek(p) != ':' && peek(p) != ']' && peek(p) != ',';
    if (s->has_end && !parse_int(p, &s->end)) return false;
    if (!take(p, ":") || peek(p) == ']' || peek(p) == ',') return true;
    if (!parse_int(p, &s->stride)) return false;
    return s->stride > 0 || refuse(p, "the stride must be greater than 0");
}

static bool parse_alternative(parser *p, step *s) {
    skip_blanks(p);
    if (take(p, "*")) {
        s->kind = STEP_ALL;
        return true;
    }
    if (peek(p) != '\'' && peek(p) != '"') return parse_slice(p, s);
    s->kind = STEP_FIELD;
    return parse_quoted(p, true, &s->name);
}

static bool parse_path(parser *p, const sp_jsonpath **ret);

static bool parse_number(parser *p, sp_json *j) {
    size_t from = p->at;
    while (peek(p) && strchr("+-.0123456789eE", peek(p))) p->at++;
    sp_json *number;
    if (!sp_json_parse(p->a, sp_str_sub(p->text, from, p->at - from), &number, NULL) ||
        number->type != SP_JSON_NUMBER)
        return refuse(p, "a number is expected here");
    *j = *number;
    return true;
}

static bool parse_operand(parser *p, operand *ret) {
    char c = peek(p);
    if (c == '@' || c == '$' || c == '.' || c == '[') return parse_path(p, &ret->path);
    sp_json *j = SP_NEW(p->a, sp_json);
    ret->value = j;
    if (c == '"' || c == '\'') {
        j->type = SP_JSON_STRING;
        return parse_quoted(p, false, &j->text);
    }
    if ((c >= '0' && c <= '9') || c == '-') return parse_number(p, j);
    j->type = SP_JSON_BOOL;
    j->boolean = true;
    if (take(p, "true")) return true;
    j->boolean = false;
    if (take(p, "false")) return true;
    j->type = SP_JSON_NULL;
    return take(p, "null") ||
           refuse(p, "@, a quoted text, a number, true or false is expected here");
}

static bool parse_operator(parser *p, compare *ret) {
    static const struct {
        const char *text;
        compare op;
    } operators[] = {
        {"==", COMPARE_EQ}, {"!=", COMPARE_NE}, {"<=", COMPARE_LE},
        {">=", COMPARE_GE}, {"<", COMPARE_LT},  {">", COMPARE_GT},
    };
    for (size_t i = 0; i < SP_COUNT(operators); i++)
        if (take(p, operators[i].text)) {
            *ret = operators[i].op;
            return true;
        }
    return refuse(p, "==, !=, <, <=, > or >= is expected here");
}

/* Behind "?(". */
static bool parse_condition(parser *p, step *s) {
    skip_blanks(p);
    if (!parse_operand(p, &s->left)) return false;
    skip_blanks(p);
    s->op = COMPARE_EXISTS;
    if (peek(p) == ')') return true;
    if (!parse_operator(p, &s->op)) return false;
    skip_blanks(p);
    if (!parse_operand(p, &s->right)) return false;
    skip_blanks(p);
    return true;
}

static bool parse_filter(parser *p, step *s) {
    s->kind = STEP_FILTER;
    if (++p->nesting > MAX_NESTING) return refuse(p, "filters are nested too deeply");
    p->in_filter++;
    if (!parse_condition(p, s)) return false;
    p->in_filter--;
    p->nesting--;
    return take(p, ")") || refuse(p, "')' is expected here");
}

static bool parse_bracket(parser *p, step *s) {
    p->at++;
    skip_blanks(p);
    bool ok = take(p, "?(") ? parse_filter(p, s) : parse_alternative(p, s);
    if (!ok) return false;
    skip_blanks(p);
    if (peek(p) == ',' && s->kind != STEP_FILTER) {
        step *last = SP_NEW(p->a, step);
        *last = *s;
        *s = (step){.kind = STEP_UNION, .alternatives = last};
        while (take(p, ",")) {
            step *more = SP_NEW(p->a, step);
            if (++p->steps > MAX_STEPS) return refuse(p, "the path has too many steps");
            if (!parse_alternative(p, more)) return false;
            last->next = more;
            last = more;
            skip_blanks(p);
        }
    }
    return take(p, "]") || refuse(p, "',' or ']' is expected here");
}

/* ---------- paths ---------- */

static bool parse_dotted(parser *p, step *s) {
    p->at++;
    if (take(p, ".")) {
        s->kind = STEP_DESCEND;
        if (ends_name(p, peek(p)) && peek(p) != '[')
            return refuse(p, "a field name or '[' must follow '..'");
        return true;
    }
    s->kind = STEP_ALL;
    if (take(p, "*")) return true;
    s->kind = STEP_FIELD;
    return parse_name(p, &s->name);
}

/* A name without its dot: at the start of a path, and behind "..". */
static bool parse_bare(parser *p, step *s) {
    s->kind = STEP_ALL;
    if (take(p, "*")) return true;
    s->kind = STEP_FIELD;
    return parse_name(p, &s->name);
}

static bool parse_steps(parser *p, const step **ret) {
    const step **link = ret;
    bool bare = !ends_name(p, peek(p));
    *ret = NULL;
    while (bare || peek(p) == '.' || peek(p) == '[') {
        if (!bare && peek(p) == '.' && p->at + 1 < p->text.n && p->text.p[p->at + 1] == '[')
            p->at++;
        step *s = SP_NEW(p->a, step);
        if (++p->steps > MAX_STEPS) return refuse(p, "the path has too many steps");
        bool ok = bare             ? parse_bare(p, s)
                  : peek(p) == '[' ? parse_bracket(p, s)
                                   : parse_dotted(p, s);
        if (!ok) return false;
        bare = s->kind == STEP_DESCEND && peek(p) != '[';
        *link = s;
        link = &s->next;
    }
    return true;
}

/* "$…", "@…", "…"; a lone "." is the node itself. */
static bool parse_path(parser *p, const sp_jsonpath **ret) {
    sp_jsonpath *path = SP_NEW(p->a, sp_jsonpath);
    size_t from = p->at;
    path->from_root = take(p, "$");
    if (!path->from_root) (void)take(p, "@");
    bool alone = peek(p) == '.' && (p->at + 1 == p->text.n || strchr(" }", p->text.p[p->at + 1]));
    if (alone)
        p->at++;
    else if (!parse_steps(p, &path->first))
        return false;
    path->text = sp_arena_str(p->a, sp_str_sub(p->text, from, p->at - from));
    *ret = path;
    return true;
}

static bool begin(parser *p, sp_arena *a, sp_str text, sp_err *err) {
    *p = (parser){.a = a, .text = text, .err = err};
    return text.n <= MAX_TEXT ||
           sp_fail(err, SP_INVALID, "a jsonpath of %zu bytes; at most %d are taken", text.n,
                   MAX_TEXT);
}

bool sp_jsonpath_compile(sp_arena *a, sp_str path, const sp_jsonpath **ret, sp_err *err) {
    parser p;
    const sp_jsonpath *made;
    if (!begin(&p, a, path, err)) return false;
    skip_blanks(&p);
    bool braces = take(&p, "{");
    skip_blanks(&p);
    if (!parse_path(&p, &made)) return false;
    skip_blanks(&p);
    if (braces && !take(&p, "}")) return refuse(&p, "'}' is expected here");
    skip_blanks(&p);
    if (p.at != path.n) return refuse(&p, "this does not belong to a path");
    *ret = made;
    return true;
}

/* ---------- templates ---------- */

static bool parse_actions(parser *p, bool in_range, const action **ret);

static bool parse_range(parser *p, action *act) {
    act->kind = ACTION_RANGE;
    skip_blanks(p);
    if (!parse_path(p, &act->path)) return false;
    skip_blanks(p);
    if (!take(p, "}")) return refuse(p, "'}' is expected here");
    if (++p->nesting > MAX_NESTING) return refuse(p, "ranges are nested too deeply");
    if (!parse_actions(p, true, &act->body)) return false;
    p->nesting--;
    return true;
}

static bool is_word(const parser *p, const char *word) {
    sp_str rest = sp_str_from(p->text, p->at);
    size_t n = strlen(word);
    return sp_str_starts(rest, sp_str_z(word)) && (rest.n == n || strchr(" \t}", rest.p[n]));
}

/* Inside the braces. *ret_end: it was {end}. */
static bool parse_action(parser *p, bool in_range, action *act, bool *ret_end) {
    skip_blanks(p);
    *ret_end = is_word(p, "end");
    if (*ret_end) {
        if (!in_range) return refuse(p, "{end} without {range}");
        p->at += 3;
    } else if (is_word(p, "range")) {
        p->at += 5;
        return parse_range(p, act); /* eats its own brace */
    } else if (peek(p) == '"' || peek(p) == '\'') {
        act->kind = ACTION_TEXT;
        if (!parse_quoted(p, false, &act->text)) return false;
    } else {
        act->kind = ACTION_PATH;
        if (peek(p) == '}') return refuse(p, "nothing between the braces");
        if (!parse_path(p, &act->path)) return false;
    }
    skip_blanks(p);
    return take(p, "}") || refuse(p, "'}' is expected here");
}

static bool parse_actions(parser *p, bool in_range, const action **ret) {
    const action **link = ret;
    *ret = NULL;
    while (p->at < p->text.n) {
        action *act = SP_NEW(p->a, action);
        bool end = false;
        if (take(p, "{")) {
            if (!parse_action(p, in_range, act, &end)) return false;
            if (end) return true;
        } else {
            ptrdiff_t brace = sp_str_chr(sp_str_from(p->text, p->at), '{');
            size_t n = brace < 0 ? p->text.n - p->at : (size_t)brace;
            act->text = sp_arena_str(p->a, sp_str_sub(p->text, p->at, n));
            p->at += n;
        }
        *link = act;
        link = &act->next;
    }
    return !in_range || refuse(p, "{range} without {end}");
}

bool sp_jsonpath_template_compile(sp_arena *a, sp_str text, const sp_jsonpath_template **ret,
                                  sp_err *err) {
    parser p;
    sp_jsonpath_template *t = SP_NEW(a, sp_jsonpath_template);
    if (!begin(&p, a, text, err) || !parse_actions(&p, false, &t->first)) return false;
    *ret = t;
    return true;
}
