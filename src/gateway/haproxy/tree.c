/* Steps with conditions into rules that are tried in order. A condition is a question about atoms;
 * the walk asks for one atom after the other, and for each follows both answers: "yes" adds the
 * atom to what the rule demands, "no" adds nothing, because every request that it holds for was
 * taken by the rules before. So a negation needs no rule of its own, and each leaf of the walk is
 * one rule: what it demands, what is changed, where it goes. What is known along the way (the same
 * atom, another method, another host, the kind of listener) is not asked again.
 *
 * Client addresses are no questions for routes: a denial that depends on them becomes the rule's
 * access list. */
#include "gateway/haproxy/model.h"

#include <stdio.h>

typedef enum tri { NO, YES, OPEN } tri;

typedef struct fact {
    const sp_hap_atom *atom;
    bool holds;
} fact;

typedef struct tree {
    sp_hap *h;
    sp_hap_proxy *front;
    const sp_hap_bind *bind;
    uint16_t port;
    sp_hap_rules *out;
    SP_VEC(fact) facts;
    SP_VEC(const sp_hap_step *) edits;
    const sp_hap_step *path;
    sp_strs denied, allowed;
    size_t visits;
    bool full;
} tree;

enum { MAX_RULES = 1000, MAX_VISITS = 20000, MAX_DEPTH = 1000 };

static bool holds_name(const sp_strs *list, sp_str s) {
    sp_vec_each(list, it) {
        if (sp_str_eq(*it, s)) return true;
    }
    return false;
}

static bool only_exact(const sp_hap_atom *a) {
    sp_vec_each(&a->hosts, it) {
        if (it->p[0] == '*') return false;
    }
    return true;
}

/* Paths that begin so, and those of the other question. */
static tri conclude_path(const sp_hap_atom *f, const sp_hap_atom *a) {
    if (f->literal && a->literal) return sp_str_eq(f->value, a->value) ? YES : NO;
    if (!f->begins.n || !a->begins.n) return OPEN;
    if (a->only_begins && sp_str_starts(f->begins, a->begins)) return YES;
    bool apart = !sp_str_starts(f->begins, a->begins) && !sp_str_starts(a->begins, f->begins);
    return apart ? NO : OPEN;
}

/* What a true fact says about another atom of the same kind. */
static tri conclude(const sp_hap_atom *f, const sp_hap_atom *a) {
    if (f->kind != a->kind) return OPEN;
    if (a->kind == SP_ATOM_PATH) return conclude_path(f, a);
    if (a->kind == SP_ATOM_METHOD) return sp_str_eq(f->value, a->value) ? YES : NO;
    if (a->kind != SP_ATOM_HOST && a->kind != SP_ATOM_SNI) return OPEN;
    if (!only_exact(f) || !only_exact(a)) return OPEN;
    size_t shared = 0;
    sp_vec_each(&f->hosts, it) shared += holds_name(&a->hosts, *it);
    return !shared ? NO : shared == f->hosts.n ? YES : OPEN;
}

static tri ask_atom(const tree *t, const sp_hap_atom *a) {
    char port[8];
    if (a->kind == SP_ATOM_CONST) return a->truth ? YES : NO;
    if (a->kind == SP_ATOM_TLS) return t->bind->tls ? YES : NO;
    if (a->kind == SP_ATOM_PORT) {
        snprintf(port, sizeof port, "%u", t->port);
        return holds_name(&a->hosts, sp_str_z(port)) ? YES : NO;
    }
    sp_vec_each(&t->facts, f) {
        if (sp_str_eq(f->atom->key, a->key)) return f->holds ? YES : NO;
        tri r = f->holds ? conclude(f->atom, a) : OPEN;
        if (r != OPEN) return r;
    }
    return OPEN;
}

/* ret_next: an open atom that can be asked; kept when there is one already. */
static tri ask_acl(const tree *t, const sp_hap_proxy *p, const sp_hap_acl *acl,
                   const sp_hap_atom **ret_next) {
    tri r = NO;
    sp_vec_each(&acl->any, i) {
        const sp_hap_atom *a = &p->atoms.p[*i];
        tri one = ask_atom(t, a);
        if (one == YES) return YES;
        if (one == NO) continue;
        r = OPEN;
        if (!*ret_next && a->kind != SP_ATOM_SRC) *ret_next = a;
    }
    return r;
}

static tri negate(tri r, bool negated) {
    return r == OPEN || !negated ? r : r == YES ? NO : YES;
}

static tri ask_term(const tree *t, const sp_hap_proxy *p, const sp_hap_term *term,
                    const sp_hap_atom **ret_next) {
    tri all = YES;
    const sp_hap_atom *next = NULL;
    sp_vec_each(term, l) {
        tri r = negate(ask_acl(t, p, &p->acls.p[l->acl], &next), l->negated);
        if (r == NO) return NO;
        if (r == OPEN) all = OPEN;
    }
    if (!*ret_next) *ret_next = next;
    return all;
}

static tri ask_cond(const tree *t, const sp_hap_proxy *p, const sp_hap_cond *c,
                    const sp_hap_atom **ret_next) {
    tri any = c->given ? NO : YES;
    const sp_hap_atom *next = NULL;
    sp_vec_each(&c->terms, term) {
        tri r = ask_term(t, p, term, &next);
        if (r == YES) return negate(YES, c->unless);
        if (r == OPEN) any = OPEN;
    }
    if (any == OPEN && !*ret_next) *ret_next = next;
    return negate(any, c->unless);
}

static tri ask_step(const tree *t, const sp_hap_proxy *p, const sp_hap_step *s,
                    const sp_hap_atom **ret_next) {
    tri one = ask_cond(t, p, &s->cond, ret_next);
    tri other = one == NO ? NO : ask_cond(t, p, &s->also, ret_next);
    if (one == NO || other == NO) return NO;
    return one == YES && other == YES ? YES : OPEN;
}

/* --- client addresses --- */

static void add_sources(const tree *t, const sp_hap_proxy *p, const sp_hap_acl *acl, sp_strs *to) {
    sp_vec_each(&acl->any, i) {
        const sp_hap_atom *a = &p->atoms.p[*i];
        if (a->kind != SP_ATOM_SRC || ask_atom(t, a) != OPEN) continue;
        sp_vec_each(&a->hosts, net) sp_vec_push(to, *net);
    }
}

/* One term of "if": a network that is denied, or networks outside of which all are. */
static bool guard_term(tree *t, const sp_hap_proxy *p, const sp_hap_term *term, bool *allows) {
    const sp_hap_atom *next = NULL;
    size_t in = 0, out = 0;
    sp_vec_each(term, l) {
        if (ask_acl(t, p, &p->acls.p[l->acl], &next) != OPEN) continue;
        in += !l->negated, out += l->negated;
    }
    if ((in && out) || in > 1 || (out && (*allows || t->allowed.n))) return false;
    *allows |= out > 0;
    sp_vec_each(term, l) {
        const sp_hap_acl *acl = &p->acls.p[l->acl];
        if (ask_acl(t, p, acl, &next) == OPEN)
            add_sources(t, p, acl, l->negated ? &t->allowed : &t->denied);
    }
    return true;
}

/* "unless" turned round: each term must be one question. */
static bool guard_unless(tree *t, const sp_hap_proxy *p, const sp_hap_cond *c) {
    const sp_hap_atom *next = NULL;
    size_t open = 0, had = t->allowed.n;
    sp_vec_each(&c->terms, term) open += ask_term(t, p, term, &next) == OPEN;
    sp_vec_each(&c->terms, term) {
        if (ask_term(t, p, term, &next) != OPEN) continue;
        const sp_hap_literal *only = NULL;
        sp_vec_each(term, l) {
            if (ask_acl(t, p, &p->acls.p[l->acl], &next) != OPEN) continue;
            if (only) return false;
            only = l;
        }
        if (!only || (only->negated ? open > 1 : had > 0)) return false;
        add_sources(t, p, &p->acls.p[only->acl], only->negated ? &t->denied : &t->allowed);
    }
    return true;
}

static bool guard(tree *t, const sp_hap_proxy *p, const sp_hap_cond *c) {
    bool allows = false;
    const sp_hap_atom *next = NULL;
    if (c->unless) return guard_unless(t, p, c);
    sp_vec_each(&c->terms, term) {
        if (ask_term(t, p, term, &next) == OPEN && !guard_term(t, p, term, &allows)) return false;
    }
    return true;
}

/* --- leaves --- */

static void *copy(const tree *t, const void *p, size_t n, size_t size) {
    void *to = sp_arena_alloc(t->h->arena, n * size + 1);
    if (n) memcpy(to, p, n * size);
    return to;
}

static void copy_strs(const tree *t, const sp_strs *from, sp_strs *to) {
    to->n = to->cap = from->n;
    to->p = copy(t, from->p, from->n, sizeof *from->p);
}

static void leaf(tree *t, sp_hap_rule r) {
    if (t->out->n >= MAX_RULES) {
        t->full = true;
        return;
    }
    r.atoms = sp_arena_alloc(t->h->arena, (t->facts.n + 1) * sizeof *r.atoms);
    sp_vec_each(&t->facts, f) {
        if (f->holds) r.atoms[r.atom_count++] = f->atom;
    }
    r.edits = copy(t, t->edits.p, t->edits.n, sizeof *t->edits.p);
    r.edit_count = t->edits.n;
    r.path = t->path;
    copy_strs(t, &t->denied, &r.denied);
    copy_strs(t, &t->allowed, &r.allowed);
    sp_vec_push(t->out, r);
}

/* --- the walk --- */

typedef enum stage { STEPS, REDIRECTS, SWITCHES, END } stage;

static const sp_hap_steps *list_of(const sp_hap_proxy *p, stage s) {
    return s == STEPS ? &p->steps : s == REDIRECTS ? &p->redirects : &p->switches;
}

static void walk(tree *t, const sp_hap_proxy *p, stage s, size_t i);

/* A backend's word, which is kept per port here: nobody's connections end before their time. */
static void follow_tunnel(tree *t, const sp_hap_proxy *b) {
    uint32_t theirs = b->timeouts.tunnel, ours = t->front->timeouts.tunnel;
    if (theirs && ours && theirs != ours)
        sp_hap_note(t->h, b->line,
                    "timeout tunnel of \"%.*s\": the longest of the frontend's backends holds",
                    SP_ARG(b->name));
    t->front->timeouts.tunnel = SP_MAX(theirs, ours);
}

static void enter_backend(tree *t, sp_str name, unsigned line) {
    sp_hap_proxy *b = sp_hap_find(t->h, name, SP_HAP_BACKEND | SP_HAP_LISTEN);
    if (!b) {
        sp_hap_error(t->h, line, "there is no backend \"%.*s\"", SP_ARG(name));
        leaf(t, (sp_hap_rule){0});
        return;
    }
    b->used = true;
    follow_tunnel(t, b);
    if (b->http != t->front->http)
        sp_hap_error(t->h, line,
                     "backend \"%.*s\" is in mode %s, the frontend in mode %s: both must "
                     "be the same",
                     SP_ARG(name), b->http ? "http" : "tcp", t->front->http ? "http" : "tcp");
    if (!b->http && b->timeouts.server && b->timeouts.server != t->front->timeouts.client)
        sp_hap_note(t->h, b->line,
                    "timeout server of \"%.*s\": in mode tcp an idle connection has the "
                    "frontend's timeout client",
                    SP_ARG(b->name));
    if (b == t->front)
        leaf(t, (sp_hap_rule){.backend = b});
    else
        walk(t, b, STEPS, 0);
}

/* All steps of a proxy are done. */
static void end(tree *t, const sp_hap_proxy *p) {
    if (p != t->front)
        leaf(t, (sp_hap_rule){.backend = p});
    else if (p->default_backend.n)
        enter_backend(t, p->default_backend, p->default_backend_line);
    else if (p->kind == SP_HAP_LISTEN)
        enter_backend(t, p->name, p->line);
    else
        leaf(t, (sp_hap_rule){0});
}

static void edit(tree *t, const sp_hap_proxy *p, stage s, size_t i, const sp_hap_step *step) {
    const sp_hap_step *before = t->path;
    bool path = step->kind == SP_STEP_PATH || step->kind == SP_STEP_PATH_PREFIX;
    if (path)
        t->path = step;
    else
        sp_vec_push(&t->edits, step);
    walk(t, p, s, i + 1);
    t->path = before;
    if (!path) t->edits.n--;
}

/* The step's condition holds. */
static void take(tree *t, const sp_hap_proxy *p, stage s, size_t i, const sp_hap_step *step) {
    switch (step->kind) {
    case SP_STEP_ANSWER: leaf(t, (sp_hap_rule){.answer = step}); break;
    case SP_STEP_REDIRECT: leaf(t, (sp_hap_rule){.redirect = step}); break;
    case SP_STEP_ALLOW: walk(t, p, (stage)(s + 1), 0); break;
    case SP_STEP_BACKEND: enter_backend(t, step->value, step->line); break;
    case SP_STEP_SET:
    case SP_STEP_ADD:
    case SP_STEP_DEL:
    case SP_STEP_PATH:
    case SP_STEP_PATH_PREFIX: edit(t, p, s, i, step); break;
    }
}

static void take_guarded(tree *t, const sp_hap_proxy *p, stage s, size_t i,
                         const sp_hap_step *step) {
    size_t denied = t->denied.n, allowed = t->allowed.n;
    if (step->kind != SP_STEP_ANSWER || step->status != 403)
        sp_hap_error(t->h, step->line,
                     "clients' addresses (src) choose only who is denied with "
                     "status 403; make a frontend of its own for them");
    else if (!guard(t, p, &step->cond))
        sp_hap_error(t->h, step->line,
                     "this mixture of clients' addresses is not supported: "
                     "\"deny if { src … }\" or \"deny unless { src … }\"");
    walk(t, p, s, i + 1);
    t->denied.n = denied, t->allowed.n = allowed;
}

static bool may_ask(tree *t, const sp_hap_atom *a, unsigned line) {
    bool tcp = a->kind == SP_ATOM_SNI;
    if (tcp == !t->front->http) return true;
    sp_hap_error(t->h, line,
                 tcp ? "req.ssl_sni is asked in mode tcp; in mode http ask hdr(host)"
                     : "mode tcp sees no requests, only addresses and server names");
    return false;
}

static void walk(tree *t, const sp_hap_proxy *p, stage s, size_t i) {
    const sp_hap_atom *next = NULL;
    if (t->full || ++t->visits > MAX_VISITS || t->facts.n > MAX_DEPTH) {
        t->full = true;
        return;
    }
    while (s != END && i >= list_of(p, s)->n) s = (stage)(s + 1), i = 0;
    if (s == END || (s == SWITCHES && p != t->front)) {
        end(t, p);
        return;
    }
    const sp_hap_step *step = &list_of(p, s)->p[i];
    tri r = ask_step(t, p, step, &next);
    if (r == NO) {
        walk(t, p, s, i + 1);
    } else if (r == YES) {
        take(t, p, s, i, step);
    } else if (!next) {
        take_guarded(t, p, s, i, step);
    } else if (!may_ask(t, next, step->line)) {
        walk(t, p, s, i + 1);
    } else {
        sp_vec_push(&t->facts, {next, true});
        walk(t, p, s, i);
        t->facts.p[t->facts.n - 1].holds = false;
        walk(t, p, s, i);
        t->facts.n--;
    }
}

void sp_hap_compile(sp_hap *h, sp_hap_proxy *front, const sp_hap_bind *b, uint16_t port,
                    sp_hap_rules *ret) {
    tree t = {.h = h, .front = front, .bind = b, .port = port, .out = ret};
    walk(&t, front, STEPS, 0);
    if (t.full)
        sp_hap_error(h, front->line,
                     "the conditions of \"%.*s\" make more than %d rules: each "
                     "http-request line whose condition is independent of the others doubles them",
                     SP_ARG(front->name), MAX_RULES);
    sp_vec_free(&t.facts);
    sp_vec_free(&t.edits);
    sp_vec_free(&t.denied);
    sp_vec_free(&t.allowed);
}
