/* Objects are copied in the order of their last changes, so resourceVersions keep their order.
 *
 * Catching up: of the source in that order, a first part has not changed since the earlier state
 * was taken; it lies in the target in the same order, and stays. Everything from the first
 * difference on is written again, behind it, in its order. So the order holds whatever has changed,
 * and what is written is what has changed. That the target is an earlier state of the same, and not
 * somebody else's, is seen by the UID of the namespace kube-system, which is made once. */
#include "cli/migrate.h"

#include "base/map.h"
#include "data/json.h"

static const char home[] = "/registry/core/namespaces/kube-system";

static bool same_value(const sp_store_value *a, const sp_store_value *b) {
    sp_str x = sp_blob_str(a->bytes), y = sp_blob_str(b->bytes);
    return a->rev_at == b->rev_at &&
           sp_str_eq(sp_str_sub(x, 0, a->rev_at), sp_str_sub(y, 0, b->rev_at)) &&
           sp_str_eq(sp_str_from(x, a->rev_at + a->rev_len),
                     sp_str_from(y, b->rev_at + b->rev_len));
}

/* --- what is to be done --- */

typedef struct state {
    sp_store_entries from, to;
    sp_map there;  /* key → sp_store_entry of `to` */
    sp_map wanted; /* key → sp_store_entry of `from` */
    size_t kept;   /* of `from`, so many are there already */
} state;

static void index_both(state *s) {
    sp_vec_each(&s->to, e) sp_map_put(&s->there, sp_str_z(e->key), e);
    sp_vec_each(&s->from, f) sp_map_put(&s->wanted, sp_str_z(f->key), f);
}

static void free_state(state *s) {
    sp_map_free(&s->there);
    sp_map_free(&s->wanted);
    sp_store_entries_free(&s->from);
    sp_store_entries_free(&s->to);
}

static void find_kept(state *s) {
    uint64_t last = 0;
    for (; s->kept < s->from.n; s->kept++) {
        const sp_store_entry *f = &s->from.p[s->kept], *t = sp_map_get(&s->there, sp_str_z(f->key));
        if (!t || !same_value(f->value, t->value) || t->value->rev <= last) return;
        last = t->value->rev;
    }
}

static sp_str uid_of(sp_arena *a, const sp_map *entries) {
    const sp_store_entry *e = sp_map_get(entries, sp_str_z(home));
    sp_json *j = NULL;
    if (!e || !sp_json_parse(a, sp_blob_str(e->value->bytes), &j, NULL)) return (sp_str){0};
    return sp_json_str(sp_json_dig(j, "metadata", "uid", NULL));
}

static bool check_target(const sp_migration *m, const state *s, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str from = uid_of(a, &s->wanted), to = uid_of(a, &s->there);
    if (!s->to.n) return true;
    if (!m->catch_up)
        return sp_fail(
            err, SP_CONFLICT,
            "%s holds %zu objects already: restore into an empty store, or --catch-up if "
            "it is an earlier state of the same",
            m->to, s->to.n);
    return (from.n && sp_str_eq(from, to)) ||
           sp_fail(err, SP_CONFLICT,
                   "%s is not an earlier state of %s: the UID of the namespace kube-system is "
                   "\"%.*s\" there and \"%.*s\" here",
                   m->to, m->from, SP_ARG(to), SP_ARG(from));
}

/* --- doing it --- */

static bool remove_rest(sp_migration *m, const state *s, sp_store_filler *f, sp_err *err) {
    sp_vec_each(&s->to, e) {
        sp_str key = sp_str_z(e->key);
        if (sp_map_get(&s->wanted, key)) continue;
        if (!sp_store_filler_remove(f, key, e->value->rev, err)) return false;
        m->removed++;
    }
    return true;
}

static bool put_one(const state *s, const sp_store_entry *e, sp_store_filler *f, sp_err *err) {
    const sp_store_entry *old = sp_map_get(&s->there, sp_str_z(e->key));
    const sp_store_value *v = e->value;
    sp_str bytes = sp_blob_str(v->bytes);
    sp_auto(sp_buf) bare = {0};
    sp_buf_add(&bare, sp_str_sub(bytes, 0, v->rev_at));
    sp_buf_add(&bare, sp_str_from(bytes, v->rev_at + v->rev_len));
    return sp_store_filler_put(f, sp_str_z(e->key), sp_buf_str(&bare), v->rev_at,
                               old ? old->value->rev : SP_STORE_ABSENT, err);
}

static bool write_all(sp_migration *m, const state *s, sp_store_at *to, sp_err *err) {
    sp_store_filler *f = sp_store_filler_new(to);
    bool ok = remove_rest(m, s, f, err);
    size_t of = s->from.n - s->kept;
    for (size_t i = s->kept; ok && i < s->from.n; i++) {
        ok = put_one(s, &s->from.p[i], f, err);
        m->written++;
        if (m->progress) m->progress("copied", m->written, of, m->written == of);
    }
    return sp_store_filler_finish(f, ok ? err : NULL) && ok;
}

/* Object by object, and in the same order. */
static bool compare_all(const sp_store_entries *from, sp_store *store, sp_err *err) {
    sp_store_entries to = {0};
    sp_store_entries_read(store, &to);
    bool ok = from->n == to.n ||
              sp_fail(err, SP_INTERNAL, "%zu objects were copied, %zu are there", from->n, to.n);
    for (size_t i = 0; ok && i < from->n; i++) {
        if (strcmp(from->p[i].key, to.p[i].key) != 0)
            ok = sp_fail(err, SP_INTERNAL, "%s is not where %s was", to.p[i].key, from->p[i].key);
        else if (!same_value(from->p[i].value, to.p[i].value))
            ok = sp_fail(err, SP_INTERNAL, "%s is not what it was", from->p[i].key);
    }
    sp_store_entries_free(&to);
    return ok;
}

static bool move(sp_migration *m, sp_store_at *from, sp_store_at *to, sp_err *err) {
    state s = {0};
    sp_store_entries_read(from->store, &s.from);
    sp_store_entries_read(to->store, &s.to);
    index_both(&s);
    m->objects = s.from.n;
    bool ok = check_target(m, &s, err);
    if (ok) find_kept(&s);
    ok = ok && write_all(m, &s, to, err) && compare_all(&s.from, to->store, err);
    free_state(&s);
    return ok;
}

bool sp_migrate(sp_migration *m, sp_err *err) {
    const sp_store_wish source = {.url = m->from, .login = m->login};
    sp_store_wish target = {.url = m->to, .login = m->login, .fill = true};
    sp_store_at from = {0}, to = {0};
    bool ok = sp_store_at_open(&from, &source, err);
    if (ok) {
        target.first_revision = SP_MAX(sp_store_revision(from.store), 1);
        ok = sp_store_at_open(&to, &target, err) && move(m, &from, &to, err);
        sp_store_at_close(&to);
    }
    sp_store_at_close(&from);
    return ok;
}
