/* Joining a cluster: tokens, who may come and go, how etcd is called, what a member remembers. */
#include "cli/cluster_view.h"
#include "cli/member.h"
#include "cli/status_view.h"
#include "data/time.h"
#include "iam/join_token.h"
#include "net/tls.h"
#include "store/etcd_members.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SECRET "abcdefghijklmnopqrstuvwxyz01"

/* ---------- tokens ---------- */

static void tokens_are_read_as_printed(void **state) {
    (void)state;
    sp_join_token t, back;
    char text[SP_JOIN_TOKEN_MAX];
    sp_join_token_make(HASH, &t);
    sp_join_token_print(&t, text);
    assert_int_equal(strlen(text), SP_JOIN_ID + SP_JOIN_SECRET + SP_JOIN_HASH + 2);
    assert_true(sp_join_token_parse(sp_str_z(text), &back, NULL));
    assert_memory_equal(&t, &back, sizeof t);
    sp_join_token other;
    sp_join_token_make(HASH, &other);
    assert_string_not_equal(t.secret, other.secret);
    assert_true(sp_join_token_parse(SP_STR(" abc123." SECRET "\n"), &back, NULL));
    assert_string_equal(back.ca_hash, "");
}

static void what_is_no_token(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "abc123",
                                      "abc123.",
                                      "abc12." SECRET,
                                      "abc123." SECRET "x",
                                      "abc123." SECRET ".",
                                      "ABC123." SECRET,
                                      "abc123." SECRET "." HASH "0",
                                      "abc123." SECRET ".g123456789abcdef0123456789abcdef0123456789"
                                      "abcdef0123456789abcdef",
                                      "abc123." SECRET "." HASH ".x",
                                      "../../." SECRET};
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        sp_join_token t;
        sp_err err = {0};
        assert_false(sp_join_token_parse(sp_str_z(bad[i]), &t, &err));
        assert_int_equal(err.code, SP_INVALID);
    }
}

static void a_token_is_good_until_it_expires(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_join_token t, other;
    sp_err err = {0};
    sp_join_token_make(HASH, &t);
    const int64_t end = 1800000000000;
    sp_json *o = sp_join_token_object(a, &t, end);
    assert_true(sp_join_token_check(o, &t, end - 1, &err));
    assert_false(sp_join_token_check(o, &t, end, &err));
    assert_non_null(strstr(err.text, "expired (2027-01-15T08:00:00Z)"));
    /* The hash is for the holder; the cluster compares the rest. */
    other = t;
    other.ca_hash[0] = 0;
    assert_true(sp_join_token_check(o, &other, end - 1, &err));
    other.secret[3] ^= 1;
    assert_false(sp_join_token_check(o, &other, end - 1, &err));
    assert_int_equal(err.code, SP_UNAUTHORIZED);
    assert_false(sp_join_token_check(NULL, &t, end - 1, &err));
    /* The secret is not in the object, and another Secret is no token. */
    sp_auto(sp_buf) text = {0};
    sp_json_write(&text, o);
    assert_true(sp_str_find(sp_buf_str(&text), sp_str_z(t.secret)) < 0);
    sp_json_set_z(a, o, "type", "Opaque");
    assert_false(sp_join_token_check(o, &t, end - 1, &err));
}

static void the_hash_is_of_the_key(void **state) {
    (void)state;
    char one[SP_JOIN_HASH + 1], two[SP_JOIN_HASH + 1];
    sp_auto(sp_buf) cert = {0}, key = {0}, other = {0}, other_key = {0};
    assert_true(sp_cert_make_ca("a", 1 * SP_DAY_S, &cert, &key, NULL));
    assert_true(sp_cert_make_ca("a", 1 * SP_DAY_S, &other, &other_key, NULL));
    assert_true(sp_join_ca_hash(sp_buf_str(&cert), one, NULL));
    assert_true(sp_join_ca_hash(sp_buf_str(&other), two, NULL));
    assert_int_equal(strlen(one), SP_JOIN_HASH);
    assert_string_not_equal(one, two);
    assert_false(sp_join_ca_hash(SP_STR("no certificate"), two, NULL));
}

/* ---------- members ---------- */

typedef struct world {
    sp_etcd_survey s;
    sp_str urls[8];
} world;

static void put(world *w, uint64_t id, const char *name, const char *peer, bool learner,
                bool answers) {
    size_t i = w->s.members.n;
    w->urls[i] = sp_str_z(peer);
    sp_etcd_member m = {.id = id,
                        .name = sp_str_z(name),
                        .peers = {&w->urls[i], 1, 1},
                        .learner = learner,
                        .answers = answers,
                        .leader = answers ? 1 : 0};
    sp_vec_push(&w->s.members, m);
    w->s.quorum = true;
}

/* "ab-": a and b answer, the third does not. */
static void fill(world *w, const char *voters) {
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    static const char *const peers[] = {"https://1:2380", "https://2:2380", "https://3:2380",
                                        "https://4:2380", "https://5:2380"};
    *w = (world){0};
    for (size_t i = 0; voters[i]; i++)
        put(w, 0x10 + i, names[i], peers[i], false, voters[i] != '-');
}

static void who_may_go(void **state) {
    (void)state;
    static const struct {
        const char *voters, *name;
        sp_code code;
    } rows[] = {
        {"abc", "a", SP_OK},         {"abc", "c", SP_OK},       {"ab-", "c", SP_OK},
        {"ab-", "a", SP_CONFLICT},   {"ab-", "b", SP_CONFLICT}, {"ab", "a", SP_OK},
        {"a-", "b", SP_OK},          {"a-", "a", SP_CONFLICT},  {"a", "a", SP_CONFLICT},
        {"abc", "x", SP_NOT_FOUND},  {"abcde", "e", SP_OK},     {"abc--", "d", SP_OK},
        {"abc--", "a", SP_CONFLICT}, {"abcd-", "a", SP_OK},     {"abc", "11", SP_OK},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        world w;
        sp_err err = {0};
        const sp_etcd_member *m = NULL;
        fill(&w, rows[i].voters);
        bool ok = sp_etcd_may_remove(&w.s, sp_str_z(rows[i].name), &m, &err);
        assert_int_equal(err.code, rows[i].code);
        assert_int_equal(ok, m != NULL);
        sp_vec_free(&w.s.members);
    }
}

static void learners_do_not_count(void **state) {
    (void)state;
    world w;
    sp_err err = {0};
    const sp_etcd_member *m;
    fill(&w, "a");
    put(&w, 0x77, "", "https://9:2380", true, false);
    assert_true(sp_etcd_may_remove(&w.s, SP_STR("77"), &m, &err));
    assert_int_equal(m->id, 0x77);
    assert_false(sp_etcd_may_remove(&w.s, SP_STR("a"), &m, &err));
    assert_null(sp_etcd_member_find(&w.s, SP_STR("")));
    w.s.quorum = false;
    assert_false(sp_etcd_may_remove(&w.s, SP_STR("77"), &m, &err));
    assert_int_equal(err.code, SP_UNAVAILABLE);
    sp_vec_free(&w.s.members);
}

static void who_may_come(void **state) {
    (void)state;
    world w;
    sp_err err = {0};
    bool there;
    fill(&w, "ab");
    sp_str nine = SP_STR("https://9:2380");
    assert_true(sp_etcd_may_join(&w.s, SP_STR("c"), nine, &there, &err));
    assert_false(there);
    assert_false(sp_etcd_may_join(&w.s, SP_STR("b"), nine, &there, &err));
    assert_int_equal(err.code, SP_ALREADY_EXISTS);
    assert_non_null(strstr(err.text, "sampan cluster remove b"));
    assert_false(sp_etcd_may_join(&w.s, SP_STR("c"), SP_STR("https://2:2380"), &there, &err));
    assert_int_equal(err.code, SP_ALREADY_EXISTS);
    /* Added before, then lost the answer: the same again. Another one waits. */
    put(&w, 0x77, "", "https://9:2380", true, false);
    assert_true(sp_etcd_may_join(&w.s, SP_STR("c"), nine, &there, &err));
    assert_true(there);
    assert_false(sp_etcd_may_join(&w.s, SP_STR("d"), SP_STR("https://8:2380"), &there, &err));
    assert_int_equal(err.code, SP_TOO_MANY);
    assert_non_null(strstr(err.text, "sampan cluster remove 77"));
    w.s.quorum = false;
    assert_false(sp_etcd_may_join(&w.s, SP_STR("c"), nine, &there, &err));
    assert_int_equal(err.code, SP_UNAVAILABLE);
    sp_vec_free(&w.s.members);
}

static void the_first_cluster_names_everybody(void **state) {
    (void)state;
    world w;
    sp_auto(sp_buf) b = {0}, again = {0};
    fill(&w, "ab");
    sp_etcd_initial_cluster(&w.s, SP_STR("c"), SP_STR("https://9:2380"), &b);
    assert_string_equal(sp_buf_z(&b), "a=https://1:2380,b=https://2:2380,c=https://9:2380");
    put(&w, 0x77, "", "https://9:2380", true, false);
    sp_etcd_initial_cluster(&w.s, SP_STR("c"), SP_STR("https://9:2380"), &again);
    assert_string_equal(sp_buf_z(&again), sp_buf_z(&b));
    sp_vec_free(&w.s.members);
}

/* ---------- what a machine knows of itself ---------- */

static bool has_word(const char *const *argv, const char *word) {
    for (; *argv; argv++)
        if (strcmp(*argv, word) == 0) return true;
    return false;
}

static void etcd_is_called_with_tls_only(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    const sp_member m = {.name = "b",
                         .ip = "fd00::2",
                         .client_port = 2379,
                         .peer_port = 2380,
                         .initial_cluster = "a=x",
                         .cluster_token = "",
                         .joins = true};
    const char *const *argv = sp_member_etcd_argv(a, "/d", &m);
    assert_string_equal(argv[0], "etcd");
    assert_true(has_word(argv, "--listen-peer-urls=https://[fd00::2]:2380"));
    assert_true(
        has_word(argv, "--listen-client-urls=https://127.0.0.1:2379,https://[fd00::2]:2379"));
    assert_true(has_word(argv, "--initial-cluster-state=existing"));
    assert_true(has_word(argv, "--client-cert-auth=true"));
    assert_true(has_word(argv, "--peer-client-cert-auth=true"));
    assert_true(has_word(argv, "--backend-batch-limit=500"));
    assert_true(has_word(argv, "--trusted-ca-file=/d/pki/etcd-ca.crt"));
    for (; *argv; argv++) assert_null(strstr(*argv, "http://"));
}

static void a_member_remembers(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    char dir[] = "/tmp/sampan-member-XXXXXX";
    bool found = true;
    sp_member back;
    assert_non_null(mkdtemp(dir));
    assert_true(sp_member_load(a, dir, &back, &found, NULL));
    assert_false(found);
    sp_str others[] = {SP_STR("https://10.0.0.1:2379"), SP_STR("https://[fd00::3]:2379")};
    const sp_member m = {.name = "b",
                         .ip = "10.0.0.2",
                         .client_port = 2379,
                         .peer_port = 2380,
                         .api_port = 6443,
                         .initial_cluster = "a=x",
                         .cluster_token = "",
                         .joins = true,
                         .others = {others, 2, 2}};
    assert_true(sp_member_save(dir, &m, NULL));
    assert_true(sp_member_load(a, dir, &back, &found, NULL));
    assert_true(found && back.joins && back.api_port == 6443 && back.peer_port == 2380);
    assert_string_equal(back.name, "b");
    assert_string_equal(sp_member_etcd_servers(a, &back),
                        "https://127.0.0.1:2379,https://10.0.0.1:2379,https://[fd00::3]:2379");
    assert_string_equal(sp_member_api_servers(a, &back),
                        "https://10.0.0.1:6443,https://[fd00::3]:6443");
    char path[64];
    snprintf(path, sizeof path, "%s/etcd/member.json", dir);
    FILE *f = fopen(path, "w");
    fputs("{\"name\":\"b\"}", f);
    fclose(f);
    sp_err err = {0};
    assert_false(sp_member_load(a, dir, &back, &found, &err));
    assert_non_null(strstr(err.text, "member.json"));
    snprintf(path, sizeof path, "rm -r %s", dir);
    assert_int_equal(system(path), 0);
}

static void sizes_are_short(void **state) {
    (void)state;
    static const struct {
        int64_t bytes;
        const char *text;
    } rows[] = {{0, "0 B"},         {999, "999 B"},        {1000, "1.0 kB"},      {20480, "20 kB"},
                {999600, "1.0 MB"}, {123456789, "123 MB"}, {2147483648, "2.1 GB"}};
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        char text[24];
        sp_cluster_print_size(rows[i].bytes, text);
        assert_string_equal(text, rows[i].text);
    }
}

/* ---------- the health of the whole ---------- */

#define NOW "2027-01-15T08:00:20Z"
#define LEASE(name, holder, renewed)                                               \
    "{\"metadata\":{\"name\":\"" name "\"},\"spec\":{\"holderIdentity\":\"" holder \
    "\",\"leaseDurationSeconds\":12,\"renewTime\":\"2027-01-15T08:00:" renewed ".000000Z\"}}"
#define LIST(...) "{\"items\":[" __VA_ARGS__ "]}"
#define MEMBER(name, ip, more) \
    "{\"name\":\"" name "\",\"clientURLs\":[\"https://" ip ":2379\"],\"learner\":false" more "}"
#define WELL ",\"healthy\":true"
#define ILL ",\"healthy\":false,\"error\":\"gone\""
#define ETCD(quorum, ...) \
    "{\"store\":\"etcd\",\"managed\":true,\"quorum\":" quorum ",\"members\":[" __VA_ARGS__ "]}"
#define SQLITE "{\"store\":\"sqlite\",\"file\":\"/d/state.db\",\"writable\":true,\"dbBytes\":1}"
#define NODE(name, ready)                                                                    \
    "{\"metadata\":{\"name\":\"" name "\"},\"status\":{\"conditions\":[{\"type\":\"Ready\"," \
    "\"status\":\"" ready "\",\"message\":\"kubelet\"}]}}"
#define VIP(owner)                                                                               \
    "{\"metadata\":{\"name\":\"entry\"},\"spec\":{\"addresses\":[\"192.0.2.9/24\"]},\"status\":" \
    "{\"owner\":\"" owner "\"}}"
#define LEADER LEASE("sampan-controllers", "a_1", "15")

static sp_json *json(sp_arena *a, const char *text) {
    sp_json *j = NULL;
    assert_true(sp_json_parse(a, sp_str_z(text), &j, NULL));
    return j;
}

static void the_whole_is_judged(void **state) {
    (void)state;
    static const struct {
        const char *store, *leases, *before, *nodes, *vips;
        const char *trouble; /* of the one, NULL = all is well */
    } rows[] = {
        {SQLITE, LIST(), NULL, LIST(NODE("a", "True")), LIST(), NULL},
        {SQLITE, LIST(), NULL, LIST(NODE("a", "False")), LIST(), "node a is not ready: kubelet"},
        {ETCD("true", MEMBER("a", "10.0.0.1", WELL) "," MEMBER("b", "10.0.0.2", WELL)),
         LIST(LEASE("apiserver-1", "10.0.0.1:6443", "19") "," LEASE("apiserver-2", "10.0.0.2:6443",
                                                                    "19") "," LEADER),
         NULL, LIST(), LIST(), NULL},
        {ETCD("true", MEMBER("a", "10.0.0.1", WELL) "," MEMBER("b", "10.0.0.2", WELL)),
         LIST(LEASE("apiserver-1", "10.0.0.1:6443", "19") "," LEADER), NULL, LIST(), LIST(),
         "there is no API server on b (10.0.0.2)"},
        {ETCD("true", MEMBER("a", "10.0.0.1", ILL)),
         LIST(LEASE("apiserver-1", "10.0.0.1:6443", "19") "," LEADER), NULL, LIST(), LIST(),
         "etcd member a is not well: gone"},
        {ETCD("false", MEMBER("a", "10.0.0.1", WELL)),
         LIST(LEASE("apiserver-1", "10.0.0.1:6443", "19") "," LEADER), NULL, LIST(), LIST(),
         "no quorum"},
        {ETCD("true", MEMBER("a", "10.0.0.1", ",\"healthy\":false,\"alarm\":\"NOSPACE\"")),
         LIST(LEASE("apiserver-1", "10.0.0.1:6443", "19") "," LEADER), NULL, LIST(), LIST(),
         "is full (alarm NOSPACE)"},
        {ETCD("true", MEMBER("a", "10.0.0.1", WELL)),
         LIST(LEASE("apiserver-1", "10.0.0.1:6443", "19")), NULL, LIST(), LIST(),
         "no controllers act"},
        /* Silent for 19 s: unless it was seen to change, by whatever clock. */
        {ETCD("true", MEMBER("a", "10.0.0.1", WELL)),
         LIST(LEASE("apiserver-1", "10.0.0.1:6443", "01") "," LEADER),
         LIST(LEASE("apiserver-1", "10.0.0.1:6443", "01")), LIST(), LIST(),
         "10.0.0.1:6443 has not been heard of since"},
        {ETCD("true", MEMBER("a", "10.0.0.1", WELL)),
         LIST(LEASE("apiserver-1", "10.0.0.1:6443", "01") "," LEADER),
         LIST(LEASE("apiserver-1", "10.0.0.1:6443", "00")), LIST(), LIST(), NULL},
        {SQLITE, LIST(LEASE("sampan-gateway-a", "a", "18")), NULL, LIST(), LIST(VIP("a")), NULL},
        {SQLITE, LIST(LEASE("sampan-gateway-a", "a", "18")), NULL, LIST(), LIST(VIP("")),
         "nobody holds the virtual address entry (192.0.2.9/24)"},
        {SQLITE, LIST(LEASE("somebody-else", "a", "01")), NULL, LIST(), LIST(), NULL},
    };
    int64_t now;
    assert_true(sp_time_parse(SP_STR(NOW), &now));
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        const sp_status_input in = {.server = "https://x",
                                    .ready = true,
                                    .store = json(a, rows[i].store),
                                    .leases = json(a, rows[i].leases),
                                    .leases_before =
                                        rows[i].before ? json(a, rows[i].before) : NULL,
                                    .nodes = json(a, rows[i].nodes),
                                    .vips = json(a, rows[i].vips),
                                    .now_wall_ms = now};
        const sp_json *doc = sp_status_judge(a, &in), *all = sp_json_get(doc, "troubles");
        assert_int_equal(all->count, rows[i].trouble ? 1 : 0);
        assert_int_equal(sp_json_bool(sp_json_get(doc, "healthy"), false), !rows[i].trouble);
        if (rows[i].trouble) assert_non_null(strstr(sp_json_z(all->first), rows[i].trouble));
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        sp_status_print(doc, out);
        fclose(out);
        assert_non_null(strstr(text, rows[i].trouble ? rows[i].trouble : "All is well"));
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_read_as_printed),
        cmocka_unit_test(what_is_no_token),
        cmocka_unit_test(a_token_is_good_until_it_expires),
        cmocka_unit_test(the_hash_is_of_the_key),
        cmocka_unit_test(who_may_go),
        cmocka_unit_test(learners_do_not_count),
        cmocka_unit_test(who_may_come),
        cmocka_unit_test(the_first_cluster_names_everybody),
        cmocka_unit_test(etcd_is_called_with_tls_only),
        cmocka_unit_test(a_member_remembers),
        cmocka_unit_test(sizes_are_short),
        cmocka_unit_test(the_whole_is_judged),
    };
    return cmocka_run_group_tests_name("join", tests, NULL, NULL);
}
