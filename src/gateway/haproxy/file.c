/* A file into sections of lines, and the reader's whole course. */
#include "gateway/haproxy/model.h"

#include <stdarg.h>
#include <stdio.h>

enum { MAX_PROBLEMS = 500, MAX_SECTIONS = 5000 };

static void add(sp_hap *h, sp_config_severity s, unsigned line, const char *fmt, va_list ap) {
    char text[900];
    vsnprintf(text, sizeof text, fmt, ap);
    sp_vec_each(&h->ret->problems, p) {
        if (p->line == line && sp_str_eqz(p->text, text)) return; /* one line, many listeners */
    }
    if (s == SP_CONFIG_ERROR) h->ret->errors++;
    if (h->ret->problems.n >= MAX_PROBLEMS) return;
    sp_config_problem p = {s, line, sp_arena_str(h->arena, sp_str_z(text))};
    sp_vec_push(&h->ret->problems, p);
}

#define PROBLEM(name, severity)                                 \
    void name(sp_hap *h, unsigned line, const char *fmt, ...) { \
        va_list ap;                                             \
        va_start(ap, fmt);                                      \
        add(h, severity, line, fmt, ap);                        \
        va_end(ap);                                             \
    }
PROBLEM(sp_hap_error, SP_CONFIG_ERROR)
PROBLEM(sp_hap_note, SP_CONFIG_NOTE)
PROBLEM(sp_hap_warn, SP_CONFIG_WARNING)

/* --- sections --- */

static const struct {
    const char *word;
    sp_hap_kind kind;
    bool named;
    const char *refused;
} kinds[] = {
    {"global", SP_HAP_GLOBAL, false, NULL},
    {"defaults", SP_HAP_DEFAULTS, false, NULL},
    {"frontend", SP_HAP_FRONTEND, true, NULL},
    {"backend", SP_HAP_BACKEND, true, NULL},
    {"listen", SP_HAP_LISTEN, true, NULL},
    {"resolvers", SP_HAP_RESOLVERS, true, NULL},
    {"peers", SP_HAP_OTHER, true,
     "tables are not sent between gateways: stickiness is by cookie or hash, which all gateways "
     "decide alike; take the section out"},
    {"userlist", SP_HAP_OTHER, true,
     "passwords are not asked here: let the backend or an identity provider ask; take the section "
     "out"},
    {"mailers", SP_HAP_OTHER, true,
     "no mail is sent: watch /metrics or the events instead; take the section out"},
    {"program", SP_HAP_OTHER, true,
     "programs are not started here: make it a Deployment or a service of the system"},
    {"http-errors", SP_HAP_OTHER, true, "error pages are the gateway's own; take the section out"},
    {"cache", SP_HAP_OTHER, true, "nothing is cached here; take the section out"},
    {"ring", SP_HAP_OTHER, true, "logs go to --access-log; take the section out"},
    {"log-forward", SP_HAP_OTHER, true, "logs are not forwarded; take the section out"},
    {"fcgi-app", SP_HAP_OTHER, true, "FastCGI is not spoken; put a web server before it"},
};

static size_t find_kind(sp_str word) {
    size_t i = 0;
    while (i < SP_COUNT(kinds) && !sp_str_eqz(word, kinds[i].word)) i++;
    return i;
}

static void start_section(sp_hap *h, size_t kind, const sp_hap_line *l) {
    sp_hap_section s = {.kind = kinds[kind].kind, .word = l->words[0], .line = l->number};
    size_t at = 1;
    if (at < l->n && !sp_str_eqz(l->words[at], "from")) s.name = l->words[at++];
    if (at + 1 < l->n && sp_str_eqz(l->words[at], "from")) s.from = l->words[at + 1], at += 2;
    if (kinds[kind].named && !s.name.n)
        sp_hap_error(h, l->number, "a %s section needs a name", kinds[kind].word);
    if (at < l->n && s.kind != SP_HAP_OTHER)
        sp_hap_error(h, l->number,
                     "\"%.*s\" after the section's name: an address goes to a bind line of its own",
                     SP_ARG(l->words[at]));
    if (kinds[kind].refused)
        sp_hap_error(h, l->number, "section %s is not supported: %s", kinds[kind].word,
                     kinds[kind].refused);
    sp_vec_push(&h->sections, s);
}

static void add_line(sp_hap *h, const sp_hap_line *l) {
    size_t kind = find_kind(l->words[0]);
    if (kind < SP_COUNT(kinds) && h->sections.n < MAX_SECTIONS) {
        start_section(h, kind, l);
        return;
    }
    if (l->words[0].n && l->words[0].p[0] == '.') {
        sp_hap_error(h, l->number,
                     "%.*s: conditional blocks are not read; keep one file per machine, or use "
                     "\"${VARIABLE}\" in values",
                     SP_ARG(l->words[0]));
        return;
    }
    if (!h->sections.n) {
        sp_hap_error(h, l->number, "\"%.*s\" stands before any section", SP_ARG(l->words[0]));
        return;
    }
    sp_vec_push(&h->sections.p[h->sections.n - 1].lines, *l);
}

void sp_hap_read_sections(sp_hap *h, sp_str text) {
    unsigned number = 0;
    if (sp_str_starts(text, SP_STR("\xef\xbb\xbf"))) text = sp_str_from(text, 3);
    for (sp_str line, rest = text; sp_str_cut(&rest, '\n', &line);) {
        sp_hap_line l = {.number = ++number};
        sp_err err = {0};
        if (line.n && line.p[line.n - 1] == '\r') line.n--;
        if (!sp_hap_lex(h->arena, line, h->options, &l, &err)) {
            sp_hap_error(h, number, "%s", err.text);
            continue;
        }
        bool utf8 = true;
        for (size_t i = 0; i < l.n; i++) utf8 = utf8 && sp_utf8_is_valid(l.words[i]);
        if (!utf8)
            sp_hap_error(h, number, "outside of comments the file must be UTF-8");
        else if (l.n)
            add_line(h, &l);
    }
}

/* --- the course --- */

static void read_lines(sp_hap *h, const sp_hap_section *s, sp_hap_proxy *p) {
    h->section = s;
    sp_vec_each(&s->lines, l) sp_hap_keyword(h, p, l);
}

static const sp_hap_proxy *defaults_for(sp_hap *h, const sp_hap_section *s) {
    if (!s->from.n) return h->defaults.n ? h->defaults.p[h->defaults.n - 1] : NULL;
    sp_vec_each(&h->defaults, d) {
        if (sp_str_eq((*d)->name, s->from)) return *d;
    }
    sp_hap_error(h, s->line, "there is no defaults section \"%.*s\" above", SP_ARG(s->from));
    return NULL;
}

static void name_proxy(sp_hap *h, const sp_hap_section *s, sp_hap_proxy *p) {
    unsigned shared = s->kind == SP_HAP_FRONTEND ? SP_HAP_FRONTEND | SP_HAP_LISTEN
                                                 : SP_HAP_BACKEND | SP_HAP_LISTEN;
    const sp_hap_proxy *twin = sp_hap_find(h, s->name, s->kind == SP_HAP_LISTEN ? ~0U : shared);
    if (twin)
        sp_hap_error(h, s->line, "the name \"%.*s\" is taken by line %u", SP_ARG(s->name),
                     twin->line);
    p->id = sp_hap_id(h->arena, s->name);
    unsigned n = 1;
    for (bool again = true; again;) {
        again = false;
        sp_vec_each(&h->proxies, o) {
            bool same_side = ((*o)->kind | p->kind) != (SP_HAP_FRONTEND | SP_HAP_BACKEND);
            if (same_side && sp_str_eq((*o)->id, p->id)) again = true;
        }
        if (again)
            p->id = sp_arena_printf(h->arena, "%.*s-%u", SP_ARG(sp_hap_id(h->arena, s->name)), ++n);
    }
}

static void read_proxy(sp_hap *h, const sp_hap_section *s) {
    sp_hap_proxy *p = SP_NEW(h->arena, sp_hap_proxy);
    const sp_hap_proxy *from = s->kind == SP_HAP_DEFAULTS && !s->from.n ? NULL : defaults_for(h, s);
    if (from) *p = *from;
    p->talk.own = false;
    p->name = s->name;
    p->line = s->line;
    p->kind = s->kind;
    if (s->kind == SP_HAP_DEFAULTS) {
        sp_vec_push(&h->defaults, p);
    } else {
        name_proxy(h, s, p);
        sp_vec_push(&h->proxies, p);
    }
    read_lines(h, s, p);
}

static int by_line(const void *a, const void *b) {
    const sp_config_problem *x = a, *y = b;
    if (x->line != y->line) return x->line < y->line ? -1 : 1;
    return (int)y->severity - (int)x->severity;
}

void sp_haproxy_read(sp_arena *a, sp_str text, const sp_haproxy_options *o,
                     sp_haproxy_config *ret) {
    sp_hap h = {.arena = a, .options = o, .ret = ret};
    *ret = (sp_haproxy_config){0};
    sp_hap_read_sections(&h, text);
    for (size_t i = 0; i < h.sections.n; i++) {
        const sp_hap_section *s = &h.sections.p[i];
        if (s->kind == SP_HAP_GLOBAL) read_lines(&h, s, NULL);
        if (s->kind == SP_HAP_RESOLVERS) {
            sp_hap_resolver r = {s->name, 0};
            sp_vec_push(&h.resolvers, r);
            read_lines(&h, s, NULL);
        }
    }
    for (size_t i = 0; i < h.sections.n; i++) {
        const sp_hap_section *s = &h.sections.p[i];
        if (s->kind & (SP_HAP_DEFAULTS | SP_HAP_FRONTEND | SP_HAP_BACKEND | SP_HAP_LISTEN))
            read_proxy(&h, s);
    }
    sp_hap_objects(&h);
    if (ret->problems.n) qsort(ret->problems.p, ret->problems.n, sizeof *ret->problems.p, by_line);
    sp_hap_free(&h);
}

void sp_haproxy_config_free(sp_haproxy_config *c) {
    sp_vec_free(&c->objects);
    sp_vec_free(&c->problems);
}

void sp_hap_free_cond(sp_hap_cond *c) {
    sp_vec_each(&c->terms, t) sp_vec_free(t);
    sp_vec_free(&c->terms);
}

static void free_steps(sp_hap_steps *s) {
    sp_vec_each(s, step) {
        sp_hap_free_cond(&step->cond);
        sp_hap_free_cond(&step->also);
    }
    sp_vec_free(s);
}

static void free_proxy(sp_hap_proxy *p) {
    sp_vec_each(&p->atoms, a) sp_vec_free(&a->hosts);
    sp_vec_each(&p->acls, a) sp_vec_free(&a->any);
    sp_vec_each(&p->servers, s) sp_vec_free(&s->addresses);
    sp_vec_free(&p->rates);
    free_steps(&p->steps);
    free_steps(&p->redirects);
    free_steps(&p->switches);
    sp_vec_free(&p->atoms);
    sp_vec_free(&p->acls);
    sp_vec_free(&p->servers);
    sp_vec_free(&p->binds);
}

void sp_hap_free(sp_hap *h) {
    sp_vec_each(&h->sections, s) sp_vec_free(&s->lines);
    sp_vec_each(&h->proxies, p) free_proxy(*p);
    sp_vec_each(&h->defaults, p) free_proxy(*p);
    sp_vec_free(&h->sections);
    sp_vec_free(&h->proxies);
    sp_vec_free(&h->defaults);
    sp_vec_free(&h->resolvers);
    sp_map_free(&h->routes);
}
