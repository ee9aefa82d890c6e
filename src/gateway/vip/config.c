#include "gateway/vip/config.h"

sp_vip_config *sp_vip_config_new(void) {
    sp_vip_config *c = sp_zalloc(1, sizeof *c);
    c->arena = sp_arena_new();
    return c;
}

sp_vip_config *sp_vip_config_free(sp_vip_config *c) {
    if (!c) return NULL;
    sp_vec_each(&c->instances, i) {
        sp_vec_free(&i->addresses);
        sp_vec_free(&i->excluded);
        sp_vec_free(&i->peers);
        sp_vec_free(&i->tracks);
    }
    sp_vec_each(&c->groups, g) {
        sp_vec_free(&g->members);
        sp_vec_free(&g->tracks);
    }
    sp_vec_free(&c->instances);
    sp_vec_free(&c->groups);
    sp_vec_free(&c->scripts);
    sp_vec_free(&c->processes);
    sp_vec_free(&c->files);
    sp_arena_free(c->arena);
    free(c);
    return NULL;
}

sp_vip_instance *sp_vip_instance_add(sp_vip_config *c, sp_str name) {
    sp_vip_instance i = {.name = sp_arena_str(c->arena, name),
                         .priority = 100,
                         .family = AF_INET,
                         .options = sp_vrrp_defaults(),
                         .ttl = SP_VRRP_HOPS,
                         .lease = true,
                         .announce_repeat = 1};
    sp_vec_push(&c->instances, i);
    return &c->instances.p[c->instances.n - 1];
}

#define DEFINE_FIND(type, list, fn)                       \
    const type *fn(const sp_vip_config *c, sp_str name) { \
        sp_vec_each(&c->list, it) {                       \
            if (sp_str_eq(it->name, name)) return it;     \
        }                                                 \
        return NULL;                                      \
    }
DEFINE_FIND(sp_vip_script, scripts, sp_vip_find_script)
DEFINE_FIND(sp_vip_process, processes, sp_vip_find_process)
DEFINE_FIND(sp_vip_file, files, sp_vip_find_file)
DEFINE_FIND(sp_vip_instance, instances, sp_vip_find_instance)

/* --- a program's words --- */

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* One word from *at on; false when a quote does not end. */
static bool read_word(sp_str text, size_t *at, sp_buf *word) {
    char quote = 0;
    for (; *at < text.n; ++*at) {
        char c = text.p[*at];
        if (!quote && is_blank(c)) return true;
        if (c == quote) {
            quote = 0;
        } else if (!quote && (c == '\'' || c == '"')) {
            quote = c;
        } else {
            if (c == '\\' && quote != '\'' && *at + 1 < text.n) c = text.p[++*at];
            sp_buf_addc(word, c);
        }
    }
    return quote == 0;
}

const char *const *sp_vip_split_command(sp_arena *a, sp_str text, sp_err *err) {
    SP_VEC(const char *) words = {0};
    bool ok = true;
    for (size_t at = 0; ok;) {
        while (at < text.n && is_blank(text.p[at])) at++;
        if (at == text.n) break;
        sp_auto(sp_buf) word = {0};
        ok = read_word(text, &at, &word);
        if (ok) sp_vec_push(&words, sp_arena_strz(a, sp_buf_str(&word)));
    }
    const char **argv = NULL;
    if (!ok) {
        sp_err_set(err, SP_BAD_REQUEST, "a quote in the command does not end");
    } else if (words.n == 0 || !words.p[0][0]) {
        sp_err_set(err, SP_BAD_REQUEST, "an empty command");
    } else {
        argv = sp_arena_alloc(a, (words.n + 1) * sizeof *argv);
        memcpy(argv, words.p, words.n * sizeof *argv);
    }
    sp_vec_free(&words);
    return argv;
}
