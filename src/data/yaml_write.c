/* Block style, the way kubectl prints: lists at the indentation of their field, text of several
 * lines as a literal block, quotes only where reading back would give something else. */
#include "data/yaml.h"

#include "data/yaml_scalar.h"

/* YAML wants an explicit "? key" beyond this many bytes. */
enum { MAX_SIMPLE_KEY = 120 };

/* ---------- scalars ---------- */

/* Bytes of a character at s.p[i] that only double quotes can show (as an escape), 0 if it is fine
 * anywhere but in a name: C0 and C1 controls, NEL, line and paragraph separator, byte order mark.
 */
static size_t special_at(sp_str s, size_t i) {
    const unsigned char *p = (const unsigned char *)s.p + i;
    if ((p[0] < 0x20 && p[0] != '\n' && p[0] != '\t') || p[0] == 0x7f) return 1;
    if (s.n - i >= 2 && p[0] == 0xc2 && p[1] < 0xa0) return 2;
    if (s.n - i < 3) return 0;
    if (p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9)) return 3;
    if (p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf) return 3;
    if (p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe) return 3;
    return 0;
}

static bool has_special(sp_str s) {
    for (size_t i = 0; i < s.n; i++)
        if (special_at(s, i)) return true;
    return false;
}

static unsigned code_point(sp_str s, size_t i, size_t n) {
    const unsigned char *p = (const unsigned char *)s.p + i;
    if (n == 1) return p[0];
    if (n == 2) return (unsigned)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    return (unsigned)(p[0] & 0x0f) << 12 | (unsigned)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
}

static void double_quoted(sp_buf *b, sp_str s) {
    sp_buf_addc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        static const char from[] = "\n\t\r\"\\", to[] = "ntr\"\\";
        const char *at = s.p[i] ? strchr(from, s.p[i]) : NULL;
        size_t special = special_at(s, i);
        if (at) {
            sp_buf_addc(b, '\\');
            sp_buf_addc(b, to[at - from]);
        } else if (special) {
            unsigned c = code_point(s, i, special);
            sp_buf_printf(b, c < 0x100 ? "\\x%02X" : "\\u%04X", c);
            i += special - 1;
        } else {
            sp_buf_addc(b, s.p[i]);
        }
    }
    sp_buf_addc(b, '"');
}

static void single_quoted(sp_buf *b, sp_str s) {
    sp_buf_addc(b, '\'');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\'') sp_buf_addc(b, '\'');
        sp_buf_addc(b, s.p[i]);
    }
    sp_buf_addc(b, '\'');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* 2026-11-22, alone or before a time. */
static bool is_date(sp_str s) {
    if (s.n < 8 || s.p[4] != '-') return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_digit(s.p[i]) && (i < 4 || !strchr("-+:.TtZz ", s.p[i]) || !s.p[i])) return false;
    return true;
}

/* Words that other readers (YAML 1.1 in full, Go) take for something else: y, n, dates, 1:30. */
static bool others_misread(sp_str s) {
    if (s.n == 1 && strchr("yYnN=", s.p[0])) return true;
    if (sp_str_eqz(s, "<<")) return true;
    if (is_date(s)) return true;
    bool colon = false, sign = s.n && (s.p[0] == '-' || s.p[0] == '+');
    for (size_t i = sign; i < s.n; i++) {
        if (s.p[i] == ':')
            colon = true;
        else if (!is_digit(s.p[i]) && s.p[i] != '.' && s.p[i] != '_')
            return false;
    }
    return colon;
}

/* The characters of a plain scalar, at the start and inside (YAML 1.1, block context). */
static bool plain_allowed(sp_str s) {
    if (!s.n || s.p[0] == ' ' || s.p[s.n - 1] == ' ') return false;
    if (strchr(",[]{}#&*!|>'\"%@`", s.p[0])) return false;
    if (strchr("-?:", s.p[0]) && (s.n == 1 || s.p[1] == ' ')) return false;
    if (sp_str_starts(s, SP_STR("---")) || sp_str_starts(s, SP_STR("..."))) return false;
    if (s.p[s.n - 1] == ':') return false;
    return sp_str_find(s, SP_STR(": ")) < 0 && sp_str_find(s, SP_STR(" #")) < 0;
}

static void one_line(sp_buf *b, sp_str s) {
    if (has_special(s) || (s.n && (memchr(s.p, '\n', s.n) || memchr(s.p, '\t', s.n))) ||
        !sp_yaml_plain_is_string(s) || others_misread(s))
        double_quoted(b, s);
    else if (plain_allowed(s))
        sp_buf_add(b, s);
    else
        single_quoted(b, s);
}

static void spaces(sp_buf *b, int n) {
    for (int i = 0; i < n; i++) sp_buf_addc(b, ' ');
}

/* Tabs, and blanks at the end of a line, would not be seen: such text goes into double quotes. */
static bool literal_allowed(sp_str s) {
    return s.n && memchr(s.p, '\n', s.n) && !memchr(s.p, '\t', s.n) && s.p[s.n - 1] != ' ' &&
           sp_str_find(s, SP_STR(" \n")) < 0 && !has_special(s);
}

/* Text that begins with a blank or a line end hides how deep the block is indented: the "2" says
 * it. */
static void literal(sp_buf *b, sp_str s, int indent) {
    size_t ends = 0;
    while (ends < s.n && s.p[s.n - 1 - ends] == '\n') ends++;
    sp_buf_addz(b, s.p[0] == ' ' || s.p[0] == '\n' ? "|2" : "|");
    if (ends == 0) sp_buf_addc(b, '-');
    if (ends > 1 || ends == s.n) sp_buf_addc(b, '+');
    if (ends) s.n--;
    for (sp_str line, rest = s; sp_str_cut(&rest, '\n', &line);) {
        sp_buf_addc(b, '\n');
        if (!line.n) continue;
        spaces(b, indent);
        sp_buf_add(b, line);
    }
}

/* ---------- structure ---------- */

static void block(sp_buf *b, const sp_json *j, int indent);

/* What stands on the line of its field or dash; false: the value needs lines of its own. */
static bool in_line(sp_buf *b, const sp_json *j, int indent) {
    switch (j->type) {
    case SP_JSON_NULL: sp_buf_addz(b, "null"); return true;
    case SP_JSON_BOOL: sp_buf_addz(b, j->boolean ? "true" : "false"); return true;
    case SP_JSON_NUMBER: sp_buf_add(b, j->text); return true;
    case SP_JSON_STRING:
        if (literal_allowed(j->text))
            literal(b, j->text, indent);
        else
            one_line(b, j->text);
        return true;
    case SP_JSON_ARRAY:
        if (!j->first) sp_buf_addz(b, "[]");
        return !j->first;
    case SP_JSON_OBJECT:
        if (!j->first) sp_buf_addz(b, "{}");
        return !j->first;
    }
    return true;
}

static void key(sp_buf *b, sp_str s, int indent) {
    if (s.n <= MAX_SIMPLE_KEY) {
        one_line(b, s);
        return;
    }
    sp_buf_addz(b, "? ");
    one_line(b, s);
    sp_buf_addc(b, '\n');
    spaces(b, indent);
}

static void member(sp_buf *b, const sp_json *m, int indent) {
    key(b, m->key, indent);
    sp_buf_addc(b, ':');
    size_t before = b->n;
    sp_buf_addc(b, ' ');
    if (in_line(b, m, indent + 2)) {
        sp_buf_addc(b, '\n');
        return;
    }
    b->n = before;
    sp_buf_addc(b, '\n');
    int inner = m->type == SP_JSON_ARRAY ? indent : indent + 2;
    spaces(b, inner);
    block(b, m, inner);
}

/* The first line is indented already. */
static void block(sp_buf *b, const sp_json *j, int indent) {
    sp_json_each(j, c) {
        if (c != j->first) spaces(b, indent);
        if (j->type == SP_JSON_OBJECT) {
            member(b, c, indent);
            continue;
        }
        sp_buf_addz(b, "- ");
        if (in_line(b, c, indent + 2))
            sp_buf_addc(b, '\n');
        else
            block(b, c, indent + 2);
    }
}

void sp_yaml_write(sp_buf *b, const sp_json *j) {
    if (in_line(b, j, 2))
        sp_buf_addc(b, '\n');
    else
        block(b, j, 0);
}
