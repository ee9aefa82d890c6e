#include "gateway/vip/keepalived.h"
#include "gateway/vip/keepalived_expand.h"
#include "gateway/vip/vmac.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* The article's file, as it is printed. */
static const char printed[] =
    "global_defs {\n   script_user root \n   enable_script_security\n\n}\n\n"
    "vrrp_script chk_haproxy {\n"
    "    script \"/bin/bash -c 'if [[ $(netstat -nlp | grep 9443) ]]; then exit 0; else exit 1; "
    "fi'\""
    "  # haproxy \xe6\xa3\x80\xe6\xb5\x8b\n"
    "    interval 2  # \xe6\xaf\x8f 2\n    weight 11 # x\n}\n\n"
    "vrrp_instance VI_1 {\n  interface eth0\n\n  state MASTER # BACKUP\n"
    "  virtual_router_id 51 # id\n  priority 100 #\nnopreempt #\n\n  unicast_peer {\n\n  }\n\n"
    "  virtual_ipaddress {\n    10.53.61.200  # vip\n  }\n\n"
    "  authentication {\n    auth_type PASS\n    auth_pass password\n  }\n\n"
    "  track_script {\n      chk_haproxy\n  }\n\n"
    "  notify \"/container/service/keepalived/assets/notify.sh\"\n}\n";

typedef struct parsed {
    sp_vip_config *c;
    sp_vip_problems problems;
} parsed;

static parsed parse(const char *text) {
    parsed p = {0};
    p.c = sp_keepalived_conf_parse(sp_str_z(text), "k.conf", NULL, &p.problems);
    return p;
}
static void done(parsed *p) {
    sp_vec_free(&p->problems);
    sp_vip_config_free(p->c);
}

static const sp_vip_problem *problem(const parsed *p, const char *words) {
    sp_vec_each(&p->problems, it) {
        if (sp_str_find(it->text, sp_str_z(words)) >= 0) return it;
    }
    return NULL;
}
static const sp_vip_problem *fatal(const parsed *p) {
    sp_vec_each(&p->problems, it) {
        if (it->fatal) return it;
    }
    return NULL;
}

static void test_the_printed_file(void **state) {
    (void)state;
    parsed p = parse(printed);
    if (fatal(&p)) fail_msg("line %u: %.*s", fatal(&p)->line, SP_ARG(fatal(&p)->text));
    assert_int_equal(p.c->instances.n, 1);
    const sp_vip_instance *i = &p.c->instances.p[0];
    assert_true(sp_str_eqz(i->name, "VI_1") && sp_str_eqz(i->interface, "eth0"));
    assert_int_equal(i->vrid, 51);
    assert_int_equal(i->priority, 100);
    assert_int_equal(i->options.version, 2);
    assert_true(i->options.starts_master && !i->options.nopreempt && i->options.hand_over);
    assert_true(i->has_pass && memcmp(i->pass, "password", 8) == 0);
    assert_int_equal(i->addresses.n, 1);
    assert_int_equal(i->addresses.p[0].bits, 32);
    assert_int_equal(i->peers.n, 0);
    assert_int_equal(i->tracks.n, 1);
    assert_int_equal(i->tracks.p[0].weight, 11);
    assert_string_equal(i->notify.any[0], "/container/service/keepalived/assets/notify.sh");
    const sp_vip_script *s = sp_vip_find_script(p.c, SP_STR("chk_haproxy"));
    assert_non_null(s);
    assert_string_equal(s->argv[0], "/bin/bash");
    assert_string_equal(s->argv[1], "-c");
    assert_string_equal(s->argv[2],
                        "if [[ $(netstat -nlp | grep 9443) ]]; then exit 0; else exit 1; fi");
    assert_null(s->argv[3]);
    assert_int_equal(s->interval_ms, 2000);
    assert_true(p.c->script_security);
    assert_non_null(problem(&p, "nopreempt needs state BACKUP"));
    assert_int_equal(problem(&p, "unicast_peer is empty")->line, 21);
    done(&p);
}

static void test_a_rich_file(void **state) {
    (void)state;
    parsed p = parse("global_defs { vrrp_version 3\n vrrp_garp_master_refresh 60\n"
                     " vrrp_mcast_group4 224.0.0.18\n vrrp_mcast_group6 FF02:0::12\n }\n"
                     "vrrp_instance A\n{\n interface eth1\n virtual_router_id 7\n priority 255\n"
                     " advert_int 0.1\n state BACKUP\n nopreempt\n garp_master_delay 10\n"
                     " unicast_src_ip 192.0.2.1\n unicast_peer { 192.0.2.2\n192.0.2.3 }\n"
                     " virtual_ipaddress {\n 192.0.2.9/24 dev eth2 label eth2:v\n }\n"
                     " virtual_ipaddress_excluded {\n 2001:db8::9/64\n }\n"
                     " track_interface {\n eth2 weight -20\n }\n"
                     " track_process { p }\n track_file { f weight 3 reverse }\n}\n"
                     "vrrp_track_process p { process nginx\n weight 5\n quorum 2\n }\n"
                     "vrrp_track_file f {\n file /tmp/x\n }\n"
                     "vrrp_sync_group G { group { A\n }\n notify_master /bin/true\n }\n");
    if (fatal(&p)) fail_msg("line %u: %.*s", fatal(&p)->line, SP_ARG(fatal(&p)->text));
    const sp_vip_instance *i = &p.c->instances.p[0];
    assert_int_equal(i->options.version, 3);
    assert_int_equal(i->options.advert_us, 100000);
    assert_true(i->options.nopreempt);
    assert_int_equal(i->options.refresh_us, 60000000);
    assert_int_equal(i->options.announce_us[4], 10000000);
    assert_int_equal(i->peers.n, 2);
    assert_int_equal(i->addresses.p[0].bits, 24);
    assert_int_equal(i->addresses.p[0].ip.ip[3], 9);
    assert_true(sp_str_eqz(i->addresses.p[0].dev, "eth2"));
    assert_int_equal(i->excluded.p[0].ip.family, AF_INET6);
    assert_int_equal(i->tracks.n, 3);
    assert_int_equal(i->tracks.p[0].weight, -20);
    assert_int_equal(i->tracks.p[1].weight, 5);
    assert_true(i->tracks.p[2].weight == 3 && i->tracks.p[2].reverse);
    assert_true(sp_str_eqz(i->group, "G"));
    assert_string_equal(p.c->groups.p[0].notify.master[0], "/bin/true");
    done(&p);
}

/* What changes nothing here is a warning with its line. */
static void test_words_without_effect(void **state) {
    (void)state;
    static const char *const words[] = {"vrrp_iptables",
                                        "nftables filter",
                                        "nftables_priority -1",
                                        "max_auto_priority 9",
                                        "log_unknown_vrids",
                                        "vrrp_min_garp",
                                        "no_email_faults",
                                        "smtp_alert_checker",
                                        "enable_dbus",
                                        "dbus_service_name a.b",
                                        "enable_snmp_rfc",
                                        "snmp_socket udp:127.0.0.1:705",
                                        "umask 022",
                                        "vrrp_rx_bufs_policy MTU",
                                        "vrrp_rx_bufs_multiplier 3",
                                        "lvs_sync_daemon eth0 VI",
                                        "default_interface eth0",
                                        "vrrp_process_name k",
                                        "random_seed 3"};
    for (size_t i = 0; i < SP_COUNT(words); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_str text = sp_arena_printf(
            a,
            "global_defs {\n%s\n}\nvrrp_instance A {\ninterface e\nvirtual_router_id 1\n"
            "strict_mode off\nlinkbeat_use_polling\nvirtual_ipaddress { 1.2.3.4\n}\n}\n",
            words[i]);
        parsed p = parse(text.p);
        sp_str name = sp_str_z(words[i]);
        if (sp_str_chr(name, ' ') > 0) name.n = (size_t)sp_str_chr(name, ' ');
        const sp_vip_problem *found = problem(&p, sp_arena_strz(a, name));
        if (!found || fatal(&p) || found->line != 2) fail_msg("%s", words[i]);
        assert_int_equal(problem(&p, "strict_mode")->line, 7);
        assert_int_equal(problem(&p, "linkbeat_use_polling")->line, 8);
        done(&p);
    }
}

/* Each mistake is named with its line, and is fatal. */
static void test_mistakes(void **state) {
    (void)state;
#define HEAD "vrrp_instance A {\ninterface e\nvirtual_router_id 1\nvirtual_ipaddress { 1.2.3.4\n}\n"
    static const struct {
        const char *text, *words;
        uint32_t line;
    } rows[] = {
        {HEAD "frobnicate 3\n}\n", "frobnicate in vrrp_instance is not supported", 6},
        {HEAD "virtual_routes {\n 1.2.3.0/24 via 1.2.3.1\n}\n}\n", "virtual_routes", 6},
        {"global_defs {\nvrrp_mcast_group4 224.0.0.19\n}\n", "group of the protocol", 2},
        {"global_defs {\nvrrp_mcast_group6 ff02::13\n}\n", "group of the protocol", 2},
        {"global_defs {\nvrrp_notify_fifo /x\n}\n", "vrrp_notify_fifo", 2},
        {HEAD "priority 256\n}\n", "a whole number from 1 to 255", 6},
        {HEAD "priority\n}\n", "a value is missing", 6},
        {HEAD "priority 1 2\n}\n", "2 is too much", 6},
        {HEAD "advert_int 0\n}\n", "seconds", 6},
        {HEAD "advert_int 0.5\n}\n", "needs version 3", 0},
        {HEAD "authentication { auth_type AH\n }\n}\n", "only PASS", 6},
        {HEAD "track_script { nobody\n }\n}\n", "not defined", 0},
        {HEAD "notify \"a 'b\"\n}\n", "does not end", 6},
        {HEAD "notify \"a b\n}\n", "does not end on its line", 6},
        {HEAD, "not closed", 1},
        {HEAD "}\n}\n", "} without {", 7},
        {HEAD "}\ninclude other.conf\n", "put the other file's text here", 7},
        {HEAD "}\n@node1 x\n", "must be written out", 7},
        {HEAD "}\nvirtual_server 1.2.3.4 80 {\n protocol TCP\n}\n", "the gateway balances", 7},
        {HEAD "}\n" HEAD "}\n", "two instances are called A", 0},
        {"vrrp_instance A {\n}\n", "no interface", 0},
        {"# nothing\n", "no vrrp_instance", 0},
        {"vrrp_sync_group G { group { Z\n }\n }\n", "no instance Z", 0},
        {HEAD "unicast_peer { 300.1.1.1\n }\n}\n", "not an IP address", 6},
        {HEAD "unicast_peer { ::1\n }\n}\n", "other IP version", 0},
        {HEAD "use_vmac a_name_that_is_too_long\n}\n", "at most 15 characters", 6},
        {HEAD "use_vmac\n}\nvrrp_instance B {\ninterface f\nuse_vmac\nvirtual_router_id 1\n"
              "virtual_ipaddress { 1.2.3.5\n}\n}\n",
         "both make the interface vrrp.1", 0},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        parsed p = parse(rows[i].text);
        const sp_vip_problem *found = problem(&p, rows[i].words);
        if (!found || !found->fatal || found->line != rows[i].line) {
            sp_vec_each(&p.problems, it) print_message("%u: %.*s\n", it->line, SP_ARG(it->text));
            fail_msg("row %zu: %s", i, rows[i].words);
        }
        done(&p);
    }
}

static void test_virtual_mac(void **state) {
    (void)state;
    static const struct {
        const char *text, *name;
        uint8_t mac[6];
    } rows[] = {
        {HEAD "use_vmac\n}\n", "vrrp.1", {0, 0, 0x5e, 0, 1, 1}},
        {HEAD "use_vmac front\nvmac_xmit_base\n}\n", "front", {0, 0, 0x5e, 0, 1, 1}},
        {"vrrp_instance A {\ninterface e\nvirtual_router_id 200\nuse_vmac\n"
         "virtual_ipaddress { fe80::1\n}\n}\n",
         "vrrp6.200",
         {0, 0, 0x5e, 0, 2, 200}},
        {HEAD "}\n", "", {0, 0, 0x5e, 0, 1, 1}},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        parsed p = parse(rows[i].text);
        char name[16];
        uint8_t mac[6];
        sp_vip_vmac_name(&p.c->instances.p[0], name);
        sp_vip_vmac_address(&p.c->instances.p[0], mac);
        assert_string_equal(name, rows[i].name);
        assert_memory_equal(mac, rows[i].mac, 6);
        assert_int_equal(p.c->instances.p[0].vmac_xmit_base, i == 1);
        done(&p);
    }
}

static void test_exact(void **state) {
    (void)state;
    sp_keepalived_options exact = {.exact = true};
    parsed p = {0};
    p.c = sp_keepalived_conf_parse(sp_str_z(printed), "k.conf", &exact, &p.problems);
    assert_false(p.c->instances.p[0].options.hand_over || p.c->instances.p[0].lease);
    done(&p);
}

static void test_commands(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_err err = {0};
    const char *const *v = sp_vip_split_command(a, SP_STR("a 'b c' \"d \\\" e\" f\\ g"), &err);
    assert_non_null(v);
    assert_string_equal(v[1], "b c");
    assert_string_equal(v[2], "d \" e");
    assert_string_equal(v[3], "f g");
    assert_null(v[4]);
    assert_null(sp_vip_split_command(a, SP_STR("  "), &err));
}

static void put_file(const char *dir, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void variables_and_files(void **state) {
    char dir[] = "/tmp/vip_confXXXXXX", path[64];
    sp_vip_problems problems = {0};
    sp_vip_config *c = NULL;
    sp_err err = {0};
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/main.conf", dir);
    put_file(dir, "main.conf",
             "$NET=10.0.0\n$VIP=${NET}.9/24 # the one\ninclude vrrp-*.conf\nfrobnicate 2\n");
    put_file(dir, "vrrp-1.conf",
             "vrrp_script s {\n script \"/bin/sh -c 'echo $HOME $NET'\"\n}\n"
             "vrrp_instance A {\n interface eth0\n virtual_router_id 5\n"
             " virtual_ipaddress {\n  $VIP\n }\n nonsense 3\n}\n");
    assert_true(sp_keepalived_conf_load(path, NULL, &c, &problems, &err));
    assert_int_equal(c->instances.n, 1);
    assert_int_equal(c->instances.p[0].addresses.p[0].ip.ip[3], 9);
    assert_string_equal(c->scripts.p[0].argv[2], "echo $HOME 10.0.0");
    bool named = false, own = false;
    sp_vec_each(&problems, p) {
        named |= p->line == 0 && sp_str_find(p->text, SP_STR("vrrp-1.conf:10: nonsense")) >= 0;
        own |= p->line == 4 && sp_str_find(p->text, SP_STR("frobnicate")) >= 0;
    }
    assert_true(named && own);
    sp_vip_config_free(c);
    put_file(dir, "main.conf", "\ninclude main.conf\n"); /* for ever */
    assert_false(sp_keepalived_conf_load(path, NULL, &c, &problems, &err));
    assert_non_null(strstr(err.text, "main.conf:2: files include each other too deep"));
    err = (sp_err){0};
    put_file(dir, "main.conf", "include missing.conf\n");
    assert_false(sp_keepalived_conf_load(path, NULL, &c, &problems, &err));
    assert_non_null(strstr(err.text, "main.conf:1: include: there is no file"));
    sp_vec_free(&problems);
    (void)remove(path);
    snprintf(path, sizeof path, "%s/vrrp-1.conf", dir);
    (void)remove(path);
    (void)rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables_and_files), cmocka_unit_test(test_the_printed_file),
        cmocka_unit_test(test_a_rich_file),    cmocka_unit_test(test_words_without_effect),
        cmocka_unit_test(test_mistakes),       cmocka_unit_test(test_virtual_mac),
        cmocka_unit_test(test_exact),          cmocka_unit_test(test_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
