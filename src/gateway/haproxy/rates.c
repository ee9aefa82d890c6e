/* Rates of requests: a stick-table that stores http_req_rate, a line that tracks the client's
 * address (or a header) in it, and "http-request deny if { sc_http_req_rate(0) gt N }" become
 * rateLimits of the frontend's TrafficPolicies (manual, sections 4.2, 7.3.3 and 11). */
#include "gateway/haproxy/objects.h"

#include "net/http.h"

enum { MAX_RATES = 8 }; /* of one TrafficPolicy */

/* --- stick-table … store --- */

/* http_req_rate(10s),conn_cur */
void sp_hap_table_store(sp_hap *h, sp_hap_proxy *p, unsigned line, sp_str items) {
    const sp_str rate = SP_STR("http_req_rate(");
    for (sp_str item, rest = items; sp_str_cut(&rest, ',', &item);) {
        if (sp_str_starts(item, rate) && sp_str_ends(item, SP_STR(")")))
            sp_hap_time(h, line, sp_str_sub(item, rate.n, item.n - rate.n - 1), &p->table_rate_ms);
        else
            sp_hap_note(h, line, "stick-table store %.*s: of counters http_req_rate(TIME) is kept",
                        SP_ARG(item));
    }
}

/* --- track-sc0 --- */

static bool read_tracked(sp_hap *h, const sp_hap_line *l, sp_str what, sp_hap_track *ret) {
    static const char *const headers[] = {"hdr(", "req.hdr(", "req.fhdr("};
    if (sp_str_eqz(what, "src")) return true;
    for (size_t i = 0; i < SP_COUNT(headers); i++) {
        size_t n = strlen(headers[i]);
        if (!sp_str_starts(what, sp_str_z(headers[i])) || !sp_str_ends(what, SP_STR(")"))) continue;
        ret->header = sp_str_sub(what, n, what.n - n - 1);
        if (sp_http_is_token(ret->header)) return true;
    }
    sp_hap_error(h, l->number, "%.*s %.*s: requests are counted by src or hdr(NAME)",
                 SP_ARG(l->words[0]), SP_ARG(what));
    return false;
}

void sp_hap_track_line(sp_hap *h, sp_hap_proxy *p, const sp_hap_line *l, size_t at) {
    sp_hap_track t = {.line = l->number};
    sp_str word = l->words[at - 1], what;
    unsigned counter = (unsigned)(uint8_t)word.p[word.n - 1] - '0';
    if (counter >= SP_HAP_COUNTERS || !sp_str_starts(word, SP_STR("track-sc")) ||
        word.n != strlen("track-sc0")) {
        sp_hap_error(h, l->number, "%.*s is not supported: track-sc0, track-sc1 and track-sc2 are",
                     SP_ARG(word));
        return;
    }
    if (!p->http) {
        sp_hap_error(h, l->number,
                     "%.*s: only requests are counted, which are not seen in mode tcp; new "
                     "connections per client are a TrafficPolicy's connectionRate",
                     SP_ARG(word));
        return;
    }
    if (!sp_hap_word(h, l, at, "what is tracked", &what) || !read_tracked(h, l, what, &t)) return;
    at++;
    if (at < l->n && sp_str_eqz(l->words[at], "table")) {
        if (!sp_hap_word(h, l, at + 1, "the table", &t.table)) return;
        at += 2;
    }
    if (at < l->n)
        sp_hap_error(h, l->number,
                     "%.*s: \"%.*s\": all requests are counted; rates of some routes are a "
                     "TrafficPolicy of these",
                     SP_ARG(word), SP_ARG(l->words[at]));
    else if (!p->tracks[counter].line) /* the first one wins, as in haproxy */
        p->tracks[counter] = t;
}

/* --- the rule --- */

/* "gt 100" or "ge 100". */
static bool read_limit(const sp_strs *words, uint32_t *ret) {
    uint64_t n;
    bool greater = words->n == 2 && sp_str_eqz(words->p[0], "gt");
    bool at_least = words->n == 2 && sp_str_eqz(words->p[0], "ge");
    if ((!greater && !at_least) || !sp_str_u64(words->p[1], &n)) return false;
    n -= at_least && n;
    *ret = (uint32_t)n;
    return n && n <= INT32_MAX;
}

/* sc_http_req_rate(0), sc_http_req_rate(0,table), sc0_http_req_rate, src_http_req_rate. */
bool sp_hap_rate_atom(sp_hap *h, unsigned line, sp_str fetch, sp_str argument, const sp_strs *words,
                      sp_hap_atom *ret) {
    sp_str number = sp_str_sub(fetch, 2, 1), table = argument;
    bool by_argument = sp_str_starts(fetch, SP_STR("sc_"));
    if (sp_str_starts(fetch, SP_STR("src_"))) number = SP_STR("0");
    if (by_argument) sp_str_cut(&table, ',', &number);
    *ret = (sp_hap_atom){.kind = SP_ATOM_RATE, .name = table};
    if (number.n == 1) ret->counter = (uint8_t)(number.p[0] - '0');
    if (number.n != 1 || ret->counter >= SP_HAP_COUNTERS) {
        sp_hap_error(h, line, "acl criterion %.*s: the counter is 0, 1 or 2", SP_ARG(fetch));
        return false;
    }
    if (!read_limit(words, &ret->most)) {
        sp_hap_error(h, line,
                     "acl criterion %.*s: compare it by gt or ge with one number that leaves at "
                     "least one request",
                     SP_ARG(fetch));
        return false;
    }
    ret->value = sp_arena_printf(h->arena, "%u %u", ret->counter, ret->most);
    return true;
}

static const sp_hap_atom *find_rate(const sp_hap_proxy *p, const sp_hap_cond *c) {
    sp_vec_each(&c->terms, term) {
        sp_vec_each(term, literal) {
            sp_vec_each(&p->acls.p[literal->acl].any, i) {
                if (p->atoms.p[*i].kind == SP_ATOM_RATE) return &p->atoms.p[*i];
            }
        }
    }
    return NULL;
}

static bool stands_alone(const sp_hap_proxy *p, const sp_hap_cond *c) {
    const sp_hap_term *term = &c->terms.p[0];
    return c->terms.n == 1 && term->n == 1 && term->p[0].negated == c->unless &&
           p->acls.p[term->p[0].acl].any.n == 1;
}

static unsigned line_that_allows(const sp_hap_proxy *p) {
    sp_vec_each(&p->steps, s) if (s->kind == SP_STEP_ALLOW) return s->line;
    return 0;
}

bool sp_hap_takes_rate(sp_hap *h, sp_hap_proxy *p, const sp_hap_step *s) {
    const sp_hap_atom *a = find_rate(p, &s->cond);
    if (!a) return false;
    if (s->kind != SP_STEP_ANSWER || !stands_alone(p, &s->cond))
        sp_hap_error(h, s->line,
                     "a rate stands alone in its condition, and its requests are denied: "
                     "http-request deny if { sc_http_req_rate(0) gt N }; for some routes, "
                     "TrafficPolicies limit rates");
    else if (p->kind == SP_HAP_BACKEND)
        sp_hap_error(h, s->line, "rates are limited in a frontend");
    else if (line_that_allows(p))
        sp_hap_error(h, s->line, "a rate holds for all requests, but line %u allows some before",
                     line_that_allows(p));
    else if (p->rates.n == MAX_RATES)
        sp_hap_error(h, s->line, "more than %d rates in one frontend", MAX_RATES);
    else
        sp_vec_push(&p->rates, {s->line, s->status, a->counter, a->most, a->name});
    return true;
}

/* --- what becomes of it --- */

static const sp_hap_proxy *table_of(sp_hap *h, const sp_hap_proxy *p, const sp_hap_rate *r) {
    const sp_hap_track *track = &p->tracks[r->counter];
    sp_str name = r->table.n ? r->table : track->table.n ? track->table : p->name;
    const sp_hap_proxy *t = sp_hap_find(h, name, SP_HAP_FRONTEND | SP_HAP_BACKEND | SP_HAP_LISTEN);
    if (!track->line || track->line > r->line)
        sp_hap_error(h, r->line,
                     "nothing is counted: a line \"http-request track-sc%u src\" above it",
                     r->counter);
    else if (!t || !t->table_rate_ms)
        sp_hap_error(h, r->line, "\"%.*s\" has no stick-table that stores http_req_rate(TIME)",
                     SP_ARG(name));
    else
        return t;
    return NULL;
}

/* Once for a frontend, whatever the number of its ports. */
void sp_hap_check_rates(sp_hap *h, sp_hap_proxy *p) {
    size_t kept = 0;
    for (size_t i = 0; i < p->rates.n; i++) {
        sp_hap_rate *r = &p->rates.p[i];
        const sp_hap_proxy *t = table_of(h, p, r);
        if (!t) continue;
        r->period_ms = t->table_rate_ms;
        r->header = p->tracks[r->counter].header;
        r->bucket = sp_arena_printf(h->arena, "%.*s-sc%u-%u", SP_ARG(t->id), r->counter, r->most);
        p->rates.p[kept++] = *r;
        sp_hap_note(
            h, r->line,
            "%u requests at once, and a place is free again every %u ms: a bucket, in which "
            "refused requests do not count; they are answered 429",
            r->most, SP_MAX(r->period_ms / r->most, 1U));
    }
    p->rates.n = kept;
}
