/* See lex.h. A machine over characters: a word grows until white space outside of quotes; a sharp
 * outside of quotes ends the line wherever it stands. A backslash before anything that is no escape
 * stays what it is, as haproxy has it (so patterns like \.jpg$ pass). */
#include "gateway/haproxy/lex.h"

typedef struct lexer {
    sp_str in;
    size_t at;
    char quote; /* ' or " or 0 */
    bool in_word;
    sp_buf word;
    sp_strs words;
    sp_arena *arena;
    const sp_haproxy_options *options;
} lexer;

static void end_word(lexer *x) {
    if (!x->in_word) return;
    sp_vec_push(&x->words, sp_arena_str(x->arena, sp_buf_str(&x->word)));
    sp_buf_clear(&x->word);
    x->in_word = false;
}

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool add_hex(lexer *x, sp_err *err) {
    int hi = x->at + 2 < x->in.n ? hex(x->in.p[x->at + 2]) : -1;
    int lo = x->at + 3 < x->in.n ? hex(x->in.p[x->at + 3]) : -1;
    if (hi < 0 || lo < 0 || (hi == 0 && lo == 0))
        return sp_fail(err, SP_INVALID, "\\x at character %zu needs two hexadecimal digits, not 00",
                       x->at + 1);
    sp_buf_addc(&x->word, (char)(hi * 16 + lo));
    x->at += 4;
    return true;
}

static bool escape(lexer *x, sp_err *err) {
    static const char from[] = " \\#\"'trn", to[] = " \\#\"'\t\r\n";
    char next = x->at + 1 < x->in.n ? x->in.p[x->at + 1] : 0;
    x->in_word = true;
    if (next == 'x') return add_hex(x, err);
    const char *found = next ? strchr(from, next) : NULL;
    if (!found && next == '$' && x->quote) {
        sp_buf_addc(&x->word, '$');
        x->at += 2;
        return true;
    }
    sp_buf_addc(&x->word, found ? to[found - from] : '\\');
    x->at += found ? 2 : 1;
    return true;
}

static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* "${NAME-otherwise}", "${NAME}" or "$NAME". */
static bool variable(lexer *x, sp_err *err) {
    size_t start = ++x->at;
    bool braces = start < x->in.n && x->in.p[start] == '{';
    if (braces) x->at = ++start;
    while (x->at < x->in.n && is_name_char(x->in.p[x->at])) x->at++;
    sp_str name = sp_str_sub(x->in, start, x->at - start), otherwise = {0};
    if (!name.n)
        return sp_fail(err, SP_INVALID,
                       "a $ in double quotes at character %zu starts no variable: "
                       "write \\$ for the character",
                       start);
    if (braces && x->at < x->in.n && x->in.p[x->at] == '-') {
        ptrdiff_t end = sp_str_chr(sp_str_from(x->in, x->at), '}');
        if (end > 0) {
            otherwise = sp_str_sub(x->in, x->at + 1, (size_t)end - 1);
            x->at += (size_t)end;
        }
    }
    if (braces && !(x->at < x->in.n && x->in.p[x->at] == '}'))
        return sp_fail(err, SP_INVALID,
                       "${%.*s at character %zu has no closing brace right after "
                       "the name",
                       SP_ARG(name), start);
    if (braces) x->at++;
    sp_str value = {0};
    if (x->options->variable) value = x->options->variable(x->options->ctx, name);
    sp_buf_add(&x->word, value.p ? value : otherwise);
    return true;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* One character; *ret_end: a comment starts here. */
static bool step(lexer *x, bool *ret_end, sp_err *err) {
    char c = x->in.p[x->at];
    if (!c) return sp_fail(err, SP_INVALID, "a zero byte at character %zu", x->at + 1);
    if (c == '\\' && x->quote != '\'') return escape(x, err);
    if (c == '$' && x->quote == '"') return variable(x, err);
    x->at++;
    if ((c == '"' || c == '\'') && (!x->quote || x->quote == c)) {
        x->quote = x->quote ? 0 : c;
        x->in_word = true; /* "" is a word */
    } else if (!x->quote && c == '#') {
        *ret_end = true;
    } else if (!x->quote && is_space(c)) {
        end_word(x);
    } else {
        x->in_word = true;
        sp_buf_addc(&x->word, c);
    }
    return true;
}

static bool run(lexer *x, sp_err *err) {
    for (bool end = false; x->at < x->in.n && !end;) {
        if (!step(x, &end, err)) return false;
        if (x->words.n > SP_HAP_MAX_WORDS)
            return sp_fail(err, SP_INVALID, "more than %d words in one line", SP_HAP_MAX_WORDS);
    }
    if (x->quote)
        return sp_fail(err, SP_INVALID, "the quote %c is not closed before the line ends",
                       x->quote);
    end_word(x);
    return true;
}

bool sp_hap_lex(sp_arena *a, sp_str line, const sp_haproxy_options *o, sp_hap_line *ret,
                sp_err *err) {
    lexer x = {.in = line, .arena = a, .options = o};
    if (line.n > SP_HAP_MAX_LINE)
        return sp_fail(err, SP_INVALID, "longer than %d bytes", SP_HAP_MAX_LINE);
    bool ok = run(&x, err);
    if (ok) {
        ret->n = x.words.n;
        ret->words = sp_arena_alloc(a, (x.words.n + 1) * sizeof *ret->words);
        if (x.words.n) memcpy(ret->words, x.words.p, x.words.n * sizeof *ret->words);
    }
    sp_vec_free(&x.words);
    sp_buf_free(&x.word);
    return ok;
}
