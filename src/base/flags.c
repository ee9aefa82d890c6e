#include "base/flags.h"

#include <stdarg.h>
#include <stdio.h>

static int complain(const sp_usage *u, const char *fmt, ...) SP_PRINTF(2, 3);
static int complain(const sp_usage *u, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%s: ", u->command);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, " (%s --help tells more)\n", u->command);
    va_end(ap);
    return 2;
}

static void print_flag(const sp_flag *f) {
    char left[64];
    if (f->type == SP_FLAG_HEAD) {
        printf("\n%s:\n", f->help);
        return;
    }
    int n = f->letter ? snprintf(left, sizeof left, "-%c, ", f->letter)
                      : snprintf(left, sizeof left, "    ");
    snprintf(left + n, sizeof left - (size_t)n, "--%s%s%s", f->name, f->value ? " " : "",
             f->value ? f->value : "");
    if (strlen(left) > 27)
        printf("  %s\n  %-28s", left, "");
    else
        printf("  %-28s", left);
    for (const char *c = f->help; *c; c++) {
        putchar(*c);
        if (*c == '\n') printf("  %-28s", "");
    }
    putchar('\n');
}

static void print_help(const sp_usage *u) {
    printf("Usage: %s %s\n\n%s\n", u->command, u->synopsis, u->about);
    if (u->examples) printf("\nExamples:\n%s", u->examples);
    if (!u->flag_count || u->flags[0].type != SP_FLAG_HEAD) printf("\nFlags:\n");
    for (size_t i = 0; i < u->flag_count; i++)
        if (u->flags[i].help) print_flag(&u->flags[i]);
    printf("  %-28s%s\n", "-h, --help", "this text");
}

static bool set(const sp_flag *f, const char *value) {
    sp_str s = sp_str_z(value);
    uint64_t u;
    switch (f->type) {
    case SP_FLAG_STR: *(const char **)f->to = value; return true;
    case SP_FLAG_INT: return sp_str_i64(s, f->to);
    case SP_FLAG_PORT:
        if (!sp_str_u64(s, &u) || u > 65535) return false;
        *(uint16_t *)f->to = (uint16_t)u;
        return true;
    case SP_FLAG_BOOL:
        if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0) return false;
        *(bool *)f->to = value[0] == 't';
        return true;
    case SP_FLAG_LEVEL: return sp_log_level_parse(s, f->to);
    case SP_FLAG_LIST: sp_vec_push((sp_strs *)f->to, s); return true;
    case SP_FLAG_HEAD: break;
    }
    return false;
}

static const char *wanted(const sp_flag *f) {
    switch (f->type) {
    case SP_FLAG_INT: return "a whole number";
    case SP_FLAG_PORT: return "a port from 0 to 65535";
    case SP_FLAG_BOOL: return "true or false";
    case SP_FLAG_LEVEL: return "debug, info, warn or error";
    case SP_FLAG_STR:
    case SP_FLAG_LIST:
    case SP_FLAG_HEAD: break;
    }
    return "a value";
}

static const sp_flag *find_long(const sp_usage *u, sp_str name) {
    for (size_t i = 0; i < u->flag_count; i++)
        if (name.n && sp_str_eqz(name, u->flags[i].name)) return &u->flags[i];
    return NULL;
}

static const sp_flag *find_letter(const sp_usage *u, char letter) {
    for (size_t i = 0; i < u->flag_count; i++)
        if (u->flags[i].letter == letter) return &u->flags[i];
    return NULL;
}

/* "-it": several letters that take no value. */
static bool take_letters(const sp_usage *u, const char *letters) {
    for (const char *c = letters; *c; c++) {
        const sp_flag *f = find_letter(u, *c);
        if (!f || f->type != SP_FLAG_BOOL) return false;
    }
    for (const char *c = letters; *c; c++) set(find_letter(u, *c), "true");
    return true;
}

/* One argument that starts with a dash; *at moves on when the value is the next one. */
static int take_flag(const sp_usage *u, int argc, char **argv, int *at) {
    const char *arg = argv[*at];
    bool is_long = arg[1] == '-';
    const char *value = NULL;
    const sp_flag *f;
    if (is_long) {
        const char *eq = strchr(arg, '=');
        f = find_long(u, (sp_str){arg + 2, eq ? (size_t)(eq - arg) - 2 : strlen(arg + 2)});
        value = eq ? eq + 1 : NULL;
    } else {
        if (take_letters(u, arg + 1)) return SP_FLAGS_GO_ON;
        f = find_letter(u, arg[1]);
        value = arg[2] == '=' ? arg + 3 : arg[2] ? arg + 2 : NULL;
    }
    if (!f) return complain(u, "unknown flag %s", arg);
    if (!value && f->type == SP_FLAG_BOOL) value = "true";
    if (!value && ++*at < argc) value = argv[*at];
    if (!value) return complain(u, "%s needs %s", arg, wanted(f));
    if (!set(f, value)) return complain(u, "%s is not %s for --%s", value, wanted(f), f->name);
    return SP_FLAGS_GO_ON;
}

int sp_flags_parse(const sp_usage *u, int *argc, char **argv) {
    int words = 1;
    bool only_words = false;
    for (int i = 1; i < *argc; i++) {
        char *arg = argv[i];
        if (only_words || arg[0] != '-' || !arg[1]) {
            argv[words++] = arg;
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            only_words = true;
            continue;
        }
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            print_help(u);
            return 0;
        }
        int rc = take_flag(u, *argc, argv, &i);
        if (rc != SP_FLAGS_GO_ON) return rc;
    }
    *argc = words;
    if (u->only_flags && words > 1) return complain(u, "unexpected argument \"%s\"", argv[1]);
    return SP_FLAGS_GO_ON;
}

bool sp_flag_is_among(const char *names, const char *name) {
    sp_str rest = sp_str_z(names);
    for (sp_str one; sp_str_cut(&rest, ' ', &one);)
        if (one.n && sp_str_eqz(one, name)) return true;
    return false;
}
