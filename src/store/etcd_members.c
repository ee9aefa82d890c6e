/* The list is asked first, of whichever endpoint answers; then each member for its status, and the
 * quorum for the alarms, which at the same time tells whether there is one. Clients are freed in
 * the turn after the last answer, never from inside one of their own calls. */
#include "store/etcd_members.h"

#include "net/loop.h"
#include "store/etcd.pb-c.h"

#include <inttypes.h>

enum { LIST_TIMEOUT_MS = 3000, STATUS_TIMEOUT_MS = 2500, CHANGE_TIMEOUT_MS = 7000 };

/* --- looking --- */

typedef struct probe { /* of one member */
    sp_etcd_look *look;
    size_t index;
    sp_etcd *etcd;
} probe;

struct sp_etcd_look {
    uv_loop_t *loop;
    const sp_etcd_config *config;
    sp_arena *arena;
    sp_etcd *etcd;
    probe *probes;
    sp_etcd_survey survey;
    size_t flying;
    bool has_list;
    sp_err err;
    sp_turn *turn;
    sp_task end;
    sp_etcd_look_done *done;
    void *ctx;
};

static void free_look(sp_etcd_look *l) {
    sp_task_cancel(&l->end);
    sp_etcd_free(l->etcd);
    for (size_t i = 0; l->probes && i < l->survey.members.n; i++) sp_etcd_free(l->probes[i].etcd);
    sp_vec_free(&l->survey.members);
    sp_turn_unref(l->turn);
    free(l->probes);
    free(l);
}

void sp_etcd_look_cancel(sp_etcd_look *l) {
    free_look(l);
}

static void on_end(sp_task *task) {
    sp_etcd_look *l = SP_CONTAINER(task, sp_etcd_look, end);
    l->done(l->ctx, l->has_list ? &l->survey : NULL, l->has_list ? NULL : &l->err);
    free_look(l);
}

static void landed(sp_etcd_look *l) {
    if (--l->flying == 0) sp_task_defer(l->turn, &l->end);
}

static sp_strs copy_urls(sp_arena *a, size_t n, char *const *urls) {
    sp_strs list = {.p = sp_arena_alloc(a, (n + 1) * sizeof(sp_str)), .n = n, .cap = n + 1};
    for (size_t i = 0; i < n; i++) list.p[i] = sp_arena_str(a, sp_str_z(urls[i]));
    return list;
}

static void on_status(void *ctx, const ProtobufCMessage *answer, const sp_err *err) {
    probe *p = ctx;
    sp_etcd_look *l = p->look;
    sp_etcd_member *m = &l->survey.members.p[p->index];
    const Etcd__StatusResponse *r = (const Etcd__StatusResponse *)(const void *)answer;
    if (err) {
        m->why = sp_arena_str(l->arena, sp_str_z(err->text));
    } else {
        m->answers = true;
        m->latency_us = sp_etcd_took_us(p->etcd);
        m->version = sp_arena_str(l->arena, sp_str_z(r->version));
        m->leader = r->leader;
        m->db_bytes = r->db_size;
        m->db_used_bytes = r->db_size_in_use;
    }
    landed(l);
}

static void start_probe(sp_etcd_look *l, size_t index) {
    sp_etcd_member *m = &l->survey.members.p[index];
    probe *p = &l->probes[index];
    sp_etcd_config c = *l->config;
    Etcd__StatusRequest q = ETCD__STATUS_REQUEST__INIT;
    sp_err err;
    *p = (probe){.look = l, .index = index};
    c.endpoints = (sp_strs){.p = m->clients.p, .n = 1};
    if (!m->clients.n) {
        m->why = SP_STR("it has not started yet");
    } else if (!sp_etcd_new(l->loop, &c, &p->etcd, &err)) {
        m->why = sp_arena_str(l->arena, sp_str_z(err.text));
    } else {
        l->flying++;
        sp_etcd_call_start(p->etcd, "/etcdserverpb.Maintenance/Status", &q.base,
                           &etcd__status_response__descriptor, SP_ETCD_SAFE, STATUS_TIMEOUT_MS,
                           on_status, p);
    }
}

static void on_alarms(void *ctx, const ProtobufCMessage *answer, const sp_err *err) {
    sp_etcd_look *l = ctx;
    const Etcd__AlarmResponse *r = (const Etcd__AlarmResponse *)(const void *)answer;
    l->survey.quorum = !err;
    if (err) l->survey.trouble = sp_arena_str(l->arena, sp_str_z(err->text));
    for (size_t i = 0; r && i < r->n_alarms; i++) sp_vec_each(&l->survey.members, m) {
            if (m->id != r->alarms[i]->memberid) continue;
            m->alarm = r->alarms[i]->alarm == ETCD__ALARM_TYPE__NOSPACE ? SP_STR("NOSPACE")
                                                                        : SP_STR("CORRUPT");
        }
    landed(l);
}

static int by_name(const void *a, const void *b) {
    const sp_etcd_member *x = a, *y = b;
    int order = sp_str_cmp(x->name, y->name);
    return order ? order : x->id < y->id ? -1 : x->id > y->id;
}

static void take_members(sp_etcd_look *l, const Etcd__MemberListResponse *r) {
    for (size_t i = 0; i < r->n_members; i++) {
        const Etcd__Member *m = r->members[i];
        sp_etcd_member one = {.id = m->id,
                              .name = sp_arena_str(l->arena, sp_str_z(m->name)),
                              .peers = copy_urls(l->arena, m->n_peerurls, m->peerurls),
                              .clients = copy_urls(l->arena, m->n_clienturls, m->clienturls),
                              .learner = m->islearner};
        sp_vec_push(&l->survey.members, one);
    }
    if (r->n_members) qsort(l->survey.members.p, r->n_members, sizeof(sp_etcd_member), by_name);
}

static void on_list(void *ctx, const ProtobufCMessage *answer, const sp_err *err) {
    sp_etcd_look *l = ctx;
    if (err) {
        l->err = *err;
        landed(l);
        return;
    }
    l->has_list = true;
    take_members(l, (const Etcd__MemberListResponse *)(const void *)answer);
    l->probes = sp_zalloc(l->survey.members.n + 1, sizeof *l->probes);
    for (size_t i = 0; i < l->survey.members.n; i++) start_probe(l, i);
    Etcd__AlarmRequest q = ETCD__ALARM_REQUEST__INIT;
    l->flying++;
    sp_etcd_call_start(l->etcd, "/etcdserverpb.Maintenance/Alarm", &q.base,
                       &etcd__alarm_response__descriptor, SP_ETCD_SAFE, STATUS_TIMEOUT_MS,
                       on_alarms, l);
    landed(l);
}

sp_etcd_look *sp_etcd_look_start(uv_loop_t *loop, const sp_etcd_config *c, sp_arena *a,
                                 sp_etcd_look_done *done, void *ctx) {
    sp_etcd_look *l = sp_zalloc(1, sizeof *l);
    Etcd__MemberListRequest q = ETCD__MEMBER_LIST_REQUEST__INIT;
    *l = (sp_etcd_look){
        .loop = loop, .config = c, .arena = a, .flying = 1, .done = done, .ctx = ctx};
    l->turn = sp_turn_ref(loop);
    sp_task_init(&l->end, on_end);
    if (!sp_etcd_new(loop, c, &l->etcd, &l->err))
        landed(l);
    else
        sp_etcd_call_start(l->etcd, "/etcdserverpb.Cluster/MemberList", &q.base,
                           &etcd__member_list_response__descriptor, SP_ETCD_SAFE, LIST_TIMEOUT_MS,
                           on_list, l);
    return l;
}

/* --- changing --- */

struct sp_etcd_change {
    sp_etcd *etcd;
    bool failed;
    sp_err err;
    sp_turn *turn;
    sp_task end;
    sp_etcd_change_done *done;
    void *ctx;
};

void sp_etcd_change_cancel(sp_etcd_change *c) {
    sp_task_cancel(&c->end);
    sp_etcd_free(c->etcd);
    sp_turn_unref(c->turn);
    free(c);
}

static void on_change_end(sp_task *task) {
    sp_etcd_change *c = SP_CONTAINER(task, sp_etcd_change, end);
    c->done(c->ctx, c->failed ? &c->err : NULL);
    sp_etcd_change_cancel(c);
}

static void on_changed(void *ctx, const ProtobufCMessage *answer, const sp_err *err) {
    sp_etcd_change *c = ctx;
    (void)answer;
    c->failed = err != NULL;
    if (err) c->err = *err;
    sp_task_defer(c->turn, &c->end);
}

/* Each may be sent again: a second time etcd says that it is so already. */
static void call(sp_etcd_change *c, const char *path, const ProtobufCMessage *q,
                 const ProtobufCMessageDescriptor *answer) {
    sp_etcd_call_start(c->etcd, path, q, answer, SP_ETCD_SAFE, CHANGE_TIMEOUT_MS, on_changed, c);
}

static void send_change(sp_etcd_change *c, sp_etcd_change_kind kind, uint64_t id, const char *url) {
    char *urls[] = {(char *)(uintptr_t)url};
    Etcd__MemberAddRequest add = ETCD__MEMBER_ADD_REQUEST__INIT;
    Etcd__MemberPromoteRequest promote = ETCD__MEMBER_PROMOTE_REQUEST__INIT;
    Etcd__MemberRemoveRequest gone = ETCD__MEMBER_REMOVE_REQUEST__INIT;
    add.peerurls = urls;
    add.n_peerurls = 1;
    add.islearner = true;
    promote.id = gone.id = id;
    if (kind == SP_ETCD_ADD_LEARNER)
        call(c, "/etcdserverpb.Cluster/MemberAdd", &add.base,
             &etcd__member_add_response__descriptor);
    else if (kind == SP_ETCD_PROMOTE)
        call(c, "/etcdserverpb.Cluster/MemberPromote", &promote.base,
             &etcd__member_promote_response__descriptor);
    else
        call(c, "/etcdserverpb.Cluster/MemberRemove", &gone.base,
             &etcd__member_remove_response__descriptor);
}

sp_etcd_change *sp_etcd_change_start(uv_loop_t *loop, const sp_etcd_config *config,
                                     sp_etcd_change_kind kind, uint64_t id, const char *url,
                                     sp_etcd_change_done *done, void *ctx) {
    sp_etcd_change *c = sp_zalloc(1, sizeof *c);
    *c = (sp_etcd_change){.done = done, .ctx = ctx};
    c->turn = sp_turn_ref(loop);
    sp_task_init(&c->end, on_change_end);
    c->failed = !sp_etcd_new(loop, config, &c->etcd, &c->err);
    if (c->failed)
        sp_task_defer(c->turn, &c->end);
    else
        send_change(c, kind, id, url);
    return c;
}

/* --- decisions --- */

const sp_etcd_member *sp_etcd_member_find(const sp_etcd_survey *s, sp_str name) {
    char hex[20];
    if (!name.n) return NULL;
    sp_vec_each(&s->members, m) if (sp_str_eq(m->name, name)) return m;
    sp_vec_each(&s->members, m) {
        snprintf(hex, sizeof hex, "%" PRIx64, m->id);
        if (sp_str_ieq(name, sp_str_z(hex))) return m;
    }
    return NULL;
}

static bool counts(const sp_etcd_member *m, const sp_etcd_member *without) {
    return m != without && !m->learner;
}

bool sp_etcd_may_remove(const sp_etcd_survey *s, sp_str name, const sp_etcd_member **ret,
                        sp_err *err) {
    const sp_etcd_member *gone = sp_etcd_member_find(s, name);
    size_t voters = 0, well = 0;
    if (!gone)
        return sp_fail(err, SP_NOT_FOUND,
                       "etcd has no member \"%.*s\" (sampan cluster members lists them)",
                       SP_ARG(name));
    sp_vec_each(&s->members, m) {
        voters += counts(m, gone);
        well += counts(m, gone) && m->answers && m->leader;
    }
    if (!voters)
        return sp_fail(err, SP_CONFLICT,
                       "\"%.*s\" is the only member that votes: without it nothing is left",
                       SP_ARG(name));
    if (!s->quorum)
        return sp_fail(err, SP_UNAVAILABLE,
                       "etcd has no quorum, so nobody can be removed: bring a lost member back "
                       "first");
    if (well < voters / 2 + 1)
        return sp_fail(err, SP_CONFLICT,
                       "without \"%.*s\" etcd would lose its quorum: of the %zu members that would "
                       "be left %zu answer%s, and %zu must; bring the others back first, or remove "
                       "those that are lost",
                       SP_ARG(name), voters, well, well == 1 ? "s" : "", voters / 2 + 1);
    *ret = gone;
    return true;
}

static bool has_peer(const sp_etcd_member *m, sp_str url) {
    sp_vec_each(&m->peers, p) if (sp_str_eq(*p, url)) return true;
    return false;
}

static bool is_taken(const sp_etcd_member *m, sp_str name, sp_err *err) {
    sp_str at = m->peers.n ? m->peers.p[0] : SP_STR("?");
    return sp_fail(err, SP_ALREADY_EXISTS,
                   "there is a member \"%.*s\" already (%.*s, which %s): choose another "
                   "--node-name, or, if that machine is lost, first: sampan cluster remove %.*s",
                   SP_ARG(name), SP_ARG(at), m->answers ? "answers" : "does not answer",
                   SP_ARG(name));
}

bool sp_etcd_may_join(const sp_etcd_survey *s, sp_str name, sp_str peer_url, bool *ret_there,
                      sp_err *err) {
    const sp_etcd_member *learner = NULL;
    *ret_there = false;
    if (!s->quorum)
        return sp_fail(err, SP_UNAVAILABLE,
                       "etcd has no quorum just now, so nobody can join: bring a lost member back");
    sp_vec_each(&s->members, m) {
        bool same_place = has_peer(m, peer_url);
        if (m->name.n && sp_str_eq(m->name, name)) return is_taken(m, name, err);
        if (same_place && m->name.n)
            return sp_fail(err, SP_ALREADY_EXISTS,
                           "the member \"%.*s\" is at %.*s already: give this machine an address "
                           "of its own (--node-ip), or remove that member first",
                           SP_ARG(m->name), SP_ARG(peer_url));
        if (same_place) *ret_there = true;
        if (!same_place && (m->learner || !m->name.n)) learner = m;
    }
    if (*ret_there || !learner) return true;
    return sp_fail(err, SP_TOO_MANY,
                   "another member (%.*s) is just joining: one at a time; when it never comes: "
                   "sampan cluster remove %" PRIx64,
                   SP_ARG(learner->peers.n ? learner->peers.p[0] : SP_STR("?")), learner->id);
}

void sp_etcd_initial_cluster(const sp_etcd_survey *s, sp_str name, sp_str peer_url, sp_buf *ret) {
    bool self = false;
    sp_vec_each(&s->members, m) {
        char hex[20];
        bool own = has_peer(m, peer_url);
        snprintf(hex, sizeof hex, "%" PRIx64, m->id);
        sp_str called = own ? name : m->name.n ? m->name : sp_str_z(hex);
        self |= own;
        sp_vec_each(&m->peers, p)
            sp_buf_printf(ret, "%s%.*s=%.*s", ret->n ? "," : "", SP_ARG(called), SP_ARG(*p));
    }
    if (!self) sp_buf_printf(ret, "%s%.*s=%.*s", ret->n ? "," : "", SP_ARG(name), SP_ARG(peer_url));
}
