/* What the statements mean: one table of keywords per kind of block. A keyword is carried out,
 * known to have no effect here (said as a warning), or refused. */
#include "base/file.h"
#include "gateway/vip/keepalived_expand.h"
#include "gateway/vip/keepalived_internal.h"

/* --- vrrp_script, vrrp_track_process, vrrp_track_file --- */

static void on_script(sp_kreader *r, const sp_kstatement *s) {
    r->script->argv = sp_kread_command(r, s);
}
static void on_interval(sp_kreader *r, const sp_kstatement *s) {
    int64_t us;
    if (sp_kread_seconds(r, s, 1000, &us)) r->script->interval_ms = (uint32_t)(us / 1000);
}
static void on_timeout(sp_kreader *r, const sp_kstatement *s) {
    int64_t us;
    if (sp_kread_seconds(r, s, 1000, &us)) r->script->timeout_ms = (uint32_t)(us / 1000);
}
/* Reads `weight N [reverse]` of a definition. */
static void read_weight(sp_kreader *r, const sp_kstatement *s, int *ret, bool *ret_reverse) {
    int64_t v;
    if (!sp_kread_whole(r, s, -253, 253, &v)) return;
    *ret = (int)v;
    if (s->count < 2) return;
    if (sp_str_eqz(s->words[1], "reverse") && ret_reverse)
        *ret_reverse = true;
    else
        sp_kread_say(r, s->line, true, "weight: %.*s is not supported", SP_ARG(s->words[1]));
}
static void on_script_weight(sp_kreader *r, const sp_kstatement *s) {
    read_weight(r, s, &r->script->weight, &r->script->reverse);
}
static void on_rise(sp_kreader *r, const sp_kstatement *s) {
    int64_t v;
    if (sp_kread_whole(r, s, 1, 1000000, &v)) r->script->rise = (int)v;
}
static void on_fall(sp_kreader *r, const sp_kstatement *s) {
    int64_t v;
    if (sp_kread_whole(r, s, 1, 1000000, &v)) r->script->fall = (int)v;
}
static void on_user(sp_kreader *r, const sp_kstatement *s) {
    r->script->user = s->words[0];
    if (s->count > 1) sp_kread_say(r, s->line, false, "user: the group is that of the user");
}
static void on_init_fail(sp_kreader *r, const sp_kstatement *s) {
    sp_kread_flag(r, s, &r->script->init_fail);
}
static const sp_keyword script_words[] = {{"script", on_script, 1, 64, NULL},
                                          {"interval", on_interval, 1, 1, NULL},
                                          {"timeout", on_timeout, 1, 1, NULL},
                                          {"weight", on_script_weight, 1, 2, NULL},
                                          {"rise", on_rise, 1, 1, NULL},
                                          {"fall", on_fall, 1, 1, NULL},
                                          {"user", on_user, 1, 2, NULL},
                                          {"init_fail", on_init_fail, 0, 1, NULL},
                                          {0}};

static void on_script_block(sp_kreader *r, const sp_kstatement *s) {
    sp_vip_script script = {.name = s->words[0], .interval_ms = 1000, .rise = 1, .fall = 1};
    r->script = &script;
    sp_kread_block(r, script_words, s, "vrrp_script");
    r->script = NULL;
    if (!script.timeout_ms) script.timeout_ms = script.interval_ms;
    if (script.user.n == 0) script.user = r->config->script_user;
    if (sp_vip_find_script(r->config, script.name))
        sp_kread_say(r, s->line, true, "vrrp_script %.*s is there twice", SP_ARG(script.name));
    else if (!script.argv)
        sp_kread_say(r, s->line, true, "vrrp_script %.*s: no script", SP_ARG(script.name));
    else
        sp_vec_push(&r->config->scripts, script);
}

static void on_process_name(sp_kreader *r, const sp_kstatement *s) {
    r->process->command = s->words[0];
    if (s->count > 1)
        sp_kread_say(r, s->line, true, "process: only a name is supported, no arguments");
}
static void on_process_weight(sp_kreader *r, const sp_kstatement *s) {
    read_weight(r, s, &r->process->weight, NULL);
}
static void on_quorum(sp_kreader *r, const sp_kstatement *s) {
    int64_t v;
    if (sp_kread_whole(r, s, 1, 65535, &v)) r->process->quorum = (int)v;
}
static void on_delay(sp_kreader *r, const sp_kstatement *s) {
    int64_t us;
    if (sp_kread_seconds(r, s, 0, &us)) r->process->delay_ms = (uint32_t)(us / 1000);
}
static const sp_keyword process_words[] = {{"process", on_process_name, 1, 64, NULL},
                                           {"weight", on_process_weight, 1, 2, NULL},
                                           {"quorum", on_quorum, 1, 1, NULL},
                                           {"delay", on_delay, 1, 1, NULL},
                                           {0}};

static void on_process_block(sp_kreader *r, const sp_kstatement *s) {
    sp_vip_process process = {.name = s->words[0], .weight = 1, .quorum = 1};
    r->process = &process;
    sp_kread_block(r, process_words, s, "vrrp_track_process");
    r->process = NULL;
    if (process.command.n == 0)
        sp_kread_say(r, s->line, true, "vrrp_track_process %.*s: no process", SP_ARG(process.name));
    sp_vec_push(&r->config->processes, process);
}

static void on_file_path(sp_kreader *r, const sp_kstatement *s) {
    r->file->path = s->words[0];
}
static void on_file_weight(sp_kreader *r, const sp_kstatement *s) {
    read_weight(r, s, &r->file->weight, &r->file->reverse);
}
static const sp_keyword file_words[] = {
    {"file", on_file_path, 1, 1, NULL},
    {"weight", on_file_weight, 1, 2, NULL},
    {"init_file", NULL, 0, 3, "a file that is not there counts 0"},
    {0}};

static void on_file_block(sp_kreader *r, const sp_kstatement *s) {
    sp_vip_file file = {.name = s->words[0], .weight = 1};
    r->file = &file;
    sp_kread_block(r, file_words, s, "vrrp_track_file");
    r->file = NULL;
    if (file.path.n == 0)
        sp_kread_say(r, s->line, true, "vrrp_track_file %.*s: no file", SP_ARG(file.name));
    sp_vec_push(&r->config->files, file);
}

/* --- global_defs --- */

static void on_script_user(sp_kreader *r, const sp_kstatement *s) {
    r->config->script_user = s->words[0];
    if (s->count > 1) sp_kread_say(r, s->line, false, "script_user: the group is that of the user");
}
static void on_script_security(sp_kreader *r, const sp_kstatement *s) {
    sp_kread_flag(r, s, &r->config->script_security);
}
static void on_global_version(sp_kreader *r, const sp_kstatement *s) {
    int64_t v;
    if (sp_kread_whole(r, s, 2, 3, &v)) r->version = (uint8_t)v;
}
static void on_startup_delay(sp_kreader *r, const sp_kstatement *s) {
    sp_kread_seconds(r, s, 0, &r->defaults.options.startup_delay_us);
}

/* RFC 5798, section 5.1.1. Another group would not be heard by those who follow the standard. */
static void mcast_group(sp_kreader *r, const sp_kstatement *s, const char *group) {
    sp_addr said, standard;
    bool same = sp_addr_parse(s->words[0], 0, &said) &&
                sp_addr_parse(sp_str_z(group), 0, &standard) && sp_addr_eq(&said, &standard);
    if (!same)
        sp_kread_say(r, s->line, true, "%.*s %.*s: only the group of the protocol is used, %s",
                     SP_ARG(s->keyword), SP_ARG(s->words[0]), group);
}
/* Of what it forbids, only passwords would be told from without. */
static void on_strict(sp_kreader *r, const sp_kstatement *s) {
    (void)sp_kread_flag(r, s, &r->strict);
}

static void on_mcast_group4(sp_kreader *r, const sp_kstatement *s) {
    mcast_group(r, s, "224.0.0.18");
}
static void on_mcast_group6(sp_kreader *r, const sp_kstatement *s) {
    mcast_group(r, s, "ff02::12");
}

static const char firewall[] = "the address answers as soon as it is here; no rules are needed";
static const char elsewhere[] = "that half of keepalived is the gateway's other side";
static const sp_keyword global_words[] = {
    {"router_id", sp_kread_nothing, 1, 1, NULL}, /* for mails and SNMP only */
    {"script_user", on_script_user, 1, 2, NULL},
    {"enable_script_security", on_script_security, 0, 1, NULL},
    {"vrrp_version", on_global_version, 1, 1, NULL},
    {"vrrp_startup_delay", on_startup_delay, 1, 1, NULL},
    {"vrrp_garp_master_delay", sp_kread_garp_delay, 1, 1, NULL},
    {"vrrp_garp_master_repeat", sp_kread_garp_repeat, 1, 1, NULL},
    {"vrrp_garp_master_refresh", sp_kread_garp_refresh, 1, 1, NULL},
    {"vrrp_garp_master_refresh_repeat", NULL, 0, 9, "vrrp_garp_master_repeat counts for all"},
    {"vrrp_garp_lower_prio_delay", NULL, 0, 9, "the series starts anew by itself"},
    {"vrrp_garp_lower_prio_repeat", NULL, 0, 9, "vrrp_garp_master_repeat counts for all"},
    {"vrrp_garp_interval", NULL, 0, 9, "announcements are few and far between"},
    {"vrrp_gna_interval", NULL, 0, 9, "announcements are few and far between"},
    {"vrrp_down_timer_adverts", sp_kread_down_adverts, 1, 1, NULL},
    {"vrrp_lower_prio_no_advert", sp_kread_lower_prio_no_advert, 0, 1, NULL},
    {"vrrp_higher_prio_send_advert", sp_kread_higher_prio_advert, 0, 1, NULL},
    {"vrrp_check_unicast_src", sp_kread_nothing, 0, 1, NULL},
    {"vrrp_skip_check_adv_addr", sp_kread_skip_check, 0, 1, NULL},
    {"v3_checksum_as_v2", sp_kread_checksum_as_v2, 0, 1, NULL},
    {"vrrp_mcast_group4", on_mcast_group4, 1, 1, NULL},
    {"vrrp_mcast_group6", on_mcast_group6, 1, 1, NULL},
    {"vrrp_min_garp", NULL, 0, 1, "garp_master_repeat and garp_master_refresh say how often"},
    {"vrrp_iptables", NULL, 0, 9, firewall},
    {"vrrp_ipsets", NULL, 0, 9, firewall},
    {"nftables", NULL, 0, 9, firewall},
    {"nftables_counters", NULL, 0, 9, firewall},
    {"nftables_ifindex", NULL, 0, 9, firewall},
    {"nftables_priority", NULL, 0, 9, firewall},
    {"default_interface", NULL, 0, 9, "it is for static addresses; an instance names its own"},
    {"vrrp_strict", on_strict, 0, 1, NULL},
    {"vrrp_priority", NULL, 0, 9, SP_KNOTE_THREAD},
    {"vrrp_rt_priority", NULL, 0, 9, SP_KNOTE_THREAD},
    {"vrrp_no_swap", NULL, 0, 9, SP_KNOTE_THREAD},
    {"vrrp_cpu_affinity", NULL, 0, 9, SP_KNOTE_THREAD},
    {"vrrp_rlimit_rttime", NULL, 0, 9, SP_KNOTE_THREAD},
    {"vrrp_rx_bufs_policy", NULL, 0, 9, SP_KNOTE_THREAD},
    {"vrrp_rx_bufs_multiplier", NULL, 0, 9, SP_KNOTE_THREAD},
    {"max_auto_priority", NULL, 0, 9, SP_KNOTE_THREAD},
    {"min_auto_priority_delay", NULL, 0, 9, SP_KNOTE_THREAD},
    {"random_seed", NULL, 0, 9, "nothing that others see is drawn"},
    {"umask", NULL, 0, 9, "no files are written"},
    {"dynamic_interfaces", sp_kread_nothing, 0, 1, NULL}, /* always */
    {"process_names", NULL, 0, 1, SP_KNOTE_LOG},
    {"vrrp_process_name", NULL, 0, 9, SP_KNOTE_THREAD},
    {"bfd_process_name", NULL, 0, 9, elsewhere},
    {"checker_process_name", NULL, 0, 9, elsewhere},
    {"log_unknown_vrids", NULL, 0, 1, "routers of other ids are not looked at"},
    {"notification_email", NULL, 0, 9, SP_KNOTE_MAIL},
    {"notification_email_from", NULL, 0, 9, SP_KNOTE_MAIL},
    {"smtp_server", NULL, 0, 9, SP_KNOTE_MAIL},
    {"smtp_helo_name", NULL, 0, 9, SP_KNOTE_MAIL},
    {"smtp_connect_timeout", NULL, 0, 9, SP_KNOTE_MAIL},
    {"smtp_alert", NULL, 0, 9, SP_KNOTE_MAIL},
    {"smtp_alert_vrrp", NULL, 0, 9, SP_KNOTE_MAIL},
    {"smtp_alert_checker", NULL, 0, 9, SP_KNOTE_MAIL},
    {"no_email_faults", NULL, 0, 9, SP_KNOTE_MAIL},
    {"no_checker_emails", NULL, 0, 9, SP_KNOTE_MAIL},
    {"enable_snmp_vrrp", NULL, 0, 9, SP_KNOTE_LOG},
    {"enable_snmp_keepalived", NULL, 0, 9, SP_KNOTE_LOG},
    {"enable_snmp_checker", NULL, 0, 9, SP_KNOTE_LOG},
    {"enable_snmp_rfc", NULL, 0, 9, SP_KNOTE_LOG},
    {"enable_snmp_rfcv2", NULL, 0, 9, SP_KNOTE_LOG},
    {"enable_snmp_rfcv3", NULL, 0, 9, SP_KNOTE_LOG},
    {"snmp_socket", NULL, 0, 9, SP_KNOTE_LOG},
    {"enable_dbus", NULL, 0, 9, SP_KNOTE_LOG},
    {"dbus_service_name", NULL, 0, 9, SP_KNOTE_LOG},
    {"enable_traps", NULL, 0, 9, SP_KNOTE_LOG},
    {"lvs_flush", NULL, 0, 9, elsewhere},
    {"lvs_flush_onstop", NULL, 0, 9, elsewhere},
    {"lvs_sync_daemon", NULL, 0, 9, elsewhere},
    {"lvs_timeouts", NULL, 0, 9, elsewhere},
    {"rs_init_notifies", NULL, 0, 9, elsewhere},
    {"checker_priority", NULL, 0, 9, elsewhere},
    {0}};

static void on_globals(sp_kreader *r, const sp_kstatement *s) {
    r->instance = &r->defaults;
    sp_kread_block(r, global_words, s, "global_defs");
    r->instance = NULL;
}

/* --- the file --- */

/* Definitions before those who use them. */
static const sp_keyword first_pass[] = {{"global_defs", on_globals, 0, 0, NULL}, {0}};
static const sp_keyword second_pass[] = {{"vrrp_script", on_script_block, 1, 1, NULL},
                                         {"vrrp_track_process", on_process_block, 1, 1, NULL},
                                         {"vrrp_track_file", on_file_block, 1, 1, NULL},
                                         {"track_file", on_file_block, 1, 1, NULL},
                                         {0}};
static const sp_keyword third_pass[] = {{"vrrp_instance", sp_kread_instance, 1, 1, NULL},
                                        {"vrrp_sync_group", sp_kread_group, 1, 1, NULL},
                                        {0}};
static const sp_keyword *const passes[] = {first_pass, second_pass, third_pass};

static bool has_keyword(const sp_keyword *table, sp_str name) {
    for (; table->name; table++)
        if (sp_str_eqz(name, table->name)) return true;
    return false;
}

static void refuse(sp_kreader *r, const sp_kstatement *s) {
    sp_str k = s->keyword;
    const char *why = "is not supported";
    if (sp_str_eqz(k, "include") || sp_str_starts(k, SP_STR("include")))
        why = "is not supported: put the other file's text here";
    else if (k.n && k.p[0] == '$')
        why = "has no value; a definition is $NAME=value, on one line";
    else if (k.n && (k.p[0] == '@' || k.p[0] == '~'))
        why = "is not supported: conditions and repetitions must be written out";
    else if (sp_str_starts(k, SP_STR("virtual_server")))
        why = "is not supported: the gateway balances itself, by haproxy.cfg or by Services";
    sp_kread_say(r, s->line, true, "%.*s %s", SP_ARG(k), why);
}

static void run_file(sp_kreader *r, const sp_kstatement *root) {
    for (size_t p = 0; p < SP_COUNT(passes); p++) {
        for (const sp_kstatement *s = root->first; s; s = s->next) {
            if (has_keyword(passes[p], s->keyword)) sp_kread_keyword(r, passes[p], s, "the file");
        }
    }
    for (const sp_kstatement *s = root->first; s; s = s->next) {
        bool known = false;
        for (size_t p = 0; p < SP_COUNT(passes); p++) known |= has_keyword(passes[p], s->keyword);
        if (!known) refuse(r, s);
    }
}

/* A group's trackers count for each member. */
static void spread_groups(sp_vip_config *c) {
    sp_vec_each(&c->groups, g) {
        sp_vec_each(&c->instances, i) {
            sp_vec_each(&g->members, m) {
                if (!sp_str_eq(*m, i->name)) continue;
                i->group = g->name;
                sp_vec_each(&g->tracks, t) sp_vec_push(&i->tracks, *t);
            }
        }
    }
}

static sp_vip_instance keepalived_defaults(const sp_keepalived_options *o) {
    sp_vip_instance d = {.priority = 100,
                         .family = AF_INET,
                         .options = sp_vrrp_defaults(),
                         .ttl = SP_VRRP_HOPS,
                         .lease = !o->exact,
                         .announce_repeat = 5};
    d.options.hand_over = !o->exact;
    d.options.higher_prio_advert = !o->exact;
    if (o->exact) d.options.refresh_us = 0;
    return d;
}

/* Problems of included files name them. */
static void place_problems(sp_arena *a, const char *path, sp_str text, sp_vip_problems *list,
                           size_t from) {
    sp_str file;
    for (size_t i = from; i < list->n; i++) {
        sp_vip_problem *p = &list->p[i];
        if (!p->line) continue;
        p->line = sp_keepalived_line(text, p->line, &file);
        if (!file.n || sp_str_eqz(file, path)) continue;
        p->text = sp_arena_printf(a, "%.*s:%u: %.*s", SP_ARG(file), p->line, SP_ARG(p->text));
        p->line = 0;
    }
}

static sp_vip_config *parse(sp_str text, const sp_keepalived_options *o, sp_vip_problems *ret) {
    static const sp_keepalived_options standard;
    sp_vip_config *c = sp_vip_config_new();
    sp_kreader r = {.arena = c->arena, .config = c, .problems = ret, .options = o ? o : &standard};
    sp_vip_problem problem;
    r.defaults = keepalived_defaults(r.options);
    r.garp_delay_us = 5000000;
    const sp_kstatement *root = sp_kstatement_parse(c->arena, text, &problem);
    if (!root) {
        sp_vec_push(ret, problem);
        return c;
    }
    run_file(&r, root);
    spread_groups(c);
    if (c->instances.n == 0) sp_kread_say(&r, 0, true, "there is no vrrp_instance");
    sp_vip_lint(c, ret);
    return c;
}

sp_vip_config *sp_keepalived_conf_parse(sp_str text, const char *path,
                                        const sp_keepalived_options *o, sp_vip_problems *ret) {
    size_t before = ret->n;
    sp_vip_config *c = parse(text, o, ret);
    place_problems(c->arena, path, text, ret, before);
    return c;
}

bool sp_keepalived_conf_read(const char *path, sp_buf *ret, sp_err *err) {
    sp_auto(sp_buf) text = {0};
    return (sp_file_read(path, SP_KEEPALIVED_MOST, &text, err) &&
            sp_keepalived_expand(path, sp_buf_str(&text), ret, err)) ||
           sp_err_wrap(err, "--keepalived-conf");
}

bool sp_keepalived_conf_load(const char *path, const sp_keepalived_options *o, sp_vip_config **ret,
                             sp_vip_problems *ret_problems, sp_err *err) {
    sp_auto(sp_buf) text = {0};
    if (!sp_keepalived_conf_read(path, &text, err)) return false;
    *ret = sp_keepalived_conf_parse(sp_buf_str(&text), path, o, ret_problems);
    return true;
}
