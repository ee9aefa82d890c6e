#include "gateway/vip/keepalived_internal.h"

/* --- trackers: `name [weight N] [reverse]` on lines of their own --- */

static void read_track(sp_kreader *r, const sp_kstatement *k, sp_vip_track_kind kind, int weight,
                       bool reverse, sp_vip_track *ret) {
    *ret = (sp_vip_track){kind, k->keyword, weight, reverse};
    for (size_t i = 0; i < k->count; i++) {
        int64_t w;
        if (sp_str_eqz(k->words[i], "reverse")) {
            ret->reverse = true;
        } else if (sp_str_eqz(k->words[i], "noreverse")) {
            ret->reverse = false;
        } else if (sp_str_eqz(k->words[i], "weight") && i + 1 < k->count &&
                   sp_str_i64(k->words[i + 1], &w) && w >= -253 && w <= 253) {
            ret->weight = (int)w;
            i++;
        } else {
            sp_kread_say(r, k->line, true, "%.*s: weight -253 to 253, reverse; not %.*s",
                         SP_ARG(k->keyword), SP_ARG(k->words[i]));
        }
    }
}

/* What the definition says, where the tracker says nothing. Definitions come first in a first pass
 * over the file, so their order does not matter. */
static void inherit(const sp_kreader *r, sp_vip_track_kind kind, sp_str name, int *weight,
                    bool *reverse) {
    const sp_vip_script *s = sp_vip_find_script(r->config, name);
    const sp_vip_process *p = sp_vip_find_process(r->config, name);
    const sp_vip_file *f = sp_vip_find_file(r->config, name);
    if (kind == SP_VIP_TRACK_SCRIPT && s) *weight = s->weight, *reverse = s->reverse;
    if (kind == SP_VIP_TRACK_PROCESS && p) *weight = p->weight;
    if (kind == SP_VIP_TRACK_FILE && f) *weight = f->weight, *reverse = f->reverse;
}

static void read_tracks(sp_kreader *r, const sp_kstatement *s, sp_vip_track_kind kind) {
    for (const sp_kstatement *k = s->first; k; k = k->next) {
        sp_vip_track t;
        int weight = 0;
        bool reverse = false;
        inherit(r, kind, k->keyword, &weight, &reverse);
        read_track(r, k, kind, weight, reverse, &t);
        if (r->instance)
            sp_vec_push(&r->instance->tracks, t);
        else
            sp_vec_push(&r->group->tracks, t);
    }
}
static void on_track_script(sp_kreader *r, const sp_kstatement *s) {
    read_tracks(r, s, SP_VIP_TRACK_SCRIPT);
}
static void on_track_interface(sp_kreader *r, const sp_kstatement *s) {
    read_tracks(r, s, SP_VIP_TRACK_INTERFACE);
}
static void on_track_process(sp_kreader *r, const sp_kstatement *s) {
    read_tracks(r, s, SP_VIP_TRACK_PROCESS);
}
static void on_track_file(sp_kreader *r, const sp_kstatement *s) {
    read_tracks(r, s, SP_VIP_TRACK_FILE);
}

/* --- notify programs, of an instance or a group --- */

static sp_vip_notify *notify_of(sp_kreader *r) {
    return r->instance ? &r->instance->notify : &r->group->notify;
}
static void on_notify(sp_kreader *r, const sp_kstatement *s) {
    notify_of(r)->any = sp_kread_command(r, s);
}
static void on_notify_master(sp_kreader *r, const sp_kstatement *s) {
    notify_of(r)->master = sp_kread_command(r, s);
}
static void on_notify_backup(sp_kreader *r, const sp_kstatement *s) {
    notify_of(r)->backup = sp_kread_command(r, s);
}
static void on_notify_fault(sp_kreader *r, const sp_kstatement *s) {
    notify_of(r)->fault = sp_kread_command(r, s);
}
static void on_notify_stop(sp_kreader *r, const sp_kstatement *s) {
    notify_of(r)->stop = sp_kread_command(r, s);
}

/* --- vrrp_instance --- */

static void on_state(sp_kreader *r, const sp_kstatement *s) {
    bool master = sp_str_eqz(s->words[0], "MASTER");
    if (!master && !sp_str_eqz(s->words[0], "BACKUP")) sp_kread_bad_value(r, s, "MASTER or BACKUP");
    r->instance->options.starts_master = master;
}
static void on_interface(sp_kreader *r, const sp_kstatement *s) {
    r->instance->interface = s->words[0];
}
static void on_vrid(sp_kreader *r, const sp_kstatement *s) {
    int64_t v;
    if (sp_kread_whole(r, s, 1, 255, &v)) r->instance->vrid = (uint8_t)v;
}
static void on_priority(sp_kreader *r, const sp_kstatement *s) {
    int64_t v;
    if (sp_kread_whole(r, s, 1, 255, &v)) r->instance->priority = (uint8_t)v;
}
static void on_advert_int(sp_kreader *r, const sp_kstatement *s) {
    int64_t us;
    if (!sp_kread_seconds(r, s, 10000, &us)) return;
    if (us > 255000000)
        sp_kread_bad_value(r, s, "at most 255 seconds");
    else
        r->instance->options.advert_us = us / 10000 * 10000;
}
static void on_version(sp_kreader *r, const sp_kstatement *s) {
    int64_t v;
    if (sp_kread_whole(r, s, 2, 3, &v)) r->instance->options.version = (uint8_t)v;
}
static void on_nopreempt(sp_kreader *r, const sp_kstatement *s) {
    bool on;
    if (sp_kread_flag(r, s, &on)) r->asked_nopreempt = on;
}
static void on_preempt(sp_kreader *r, const sp_kstatement *s) {
    bool on;
    if (sp_kread_flag(r, s, &on)) r->asked_nopreempt = !on;
}
static void on_preempt_delay(sp_kreader *r, const sp_kstatement *s) {
    sp_kread_seconds(r, s, 0, &r->instance->options.preempt_delay_us);
}
static void on_source(sp_kreader *r, const sp_kstatement *s) {
    sp_kread_address(r, s, s->words[0], &r->instance->source);
}
static void on_ttl(sp_kreader *r, const sp_kstatement *s) {
    int64_t v;
    if (sp_kread_whole(r, s, 1, 255, &v)) r->instance->ttl = (uint8_t)v;
}

static void on_unicast_peer(sp_kreader *r, const sp_kstatement *s) {
    if (!s->first)
        sp_kread_say(
            r, s->line, false,
            "unicast_peer is empty: adverts go to the multicast address, as with keepalived; name "
            "the other nodes where multicast does not pass");
    for (const sp_kstatement *k = s->first; k; k = k->next) {
        sp_addr a;
        if (k->count) sp_kread_say(r, k->line, true, "%.*s: not supported", SP_ARG(k->words[0]));
        if (sp_kread_address(r, k, k->keyword, &a)) sp_vec_push(&r->instance->peers, a);
    }
}

static bool read_virtual(sp_kreader *r, const sp_kstatement *k, sp_vip_address *ret) {
    sp_cidr net;
    *ret = (sp_vip_address){0};
    if (sp_str_chr(k->keyword, '/') >= 0) {
        if (!sp_cidr_parse(k->keyword, &net)) {
            sp_kread_say(r, k->line, true, "%.*s: not an address with a prefix length",
                         SP_ARG(k->keyword));
            return false;
        }
        sp_str ip = sp_str_sub(k->keyword, 0, (size_t)sp_str_chr(k->keyword, '/'));
        ret->bits = net.bits;
        return sp_kread_address(r, k, ip, &ret->ip); /* net has lost the host's bits */
    }
    if (!sp_kread_address(r, k, k->keyword, &ret->ip)) return false;
    ret->bits = ret->ip.family == AF_INET ? 32 : 128;
    return true;
}

/* `dev NAME`, `label NAME`; the broadcast address and global scope are what we do anyway. */
static void read_virtual_words(sp_kreader *r, const sp_kstatement *k, sp_vip_address *a) {
    for (size_t i = 0; i < k->count; i += 2) {
        sp_str value = i + 1 < k->count ? k->words[i + 1] : (sp_str){0};
        if (sp_str_eqz(k->words[i], "dev") && value.n && value.n < 16)
            a->dev = value;
        else if (sp_str_eqz(k->words[i], "label") && value.n && value.n < 16)
            a->label = value;
        else if (!(sp_str_eqz(k->words[i], "scope") && sp_str_eqz(value, "global")) &&
                 !(sp_str_eqz(k->words[i], "brd") && value.n))
            sp_kread_say(r, k->line, true,
                         "%.*s %.*s: only dev, label, brd and scope global are supported",
                         SP_ARG(k->keyword), SP_ARG(k->words[i]));
    }
}

static void on_virtual(sp_kreader *r, const sp_kstatement *s) {
    sp_vip_instance *i = r->instance;
    for (const sp_kstatement *k = s->first; k; k = k->next) {
        sp_vip_address a;
        if (!read_virtual(r, k, &a)) continue;
        read_virtual_words(r, k, &a);
        if (i->addresses.n == 0) i->family = a.ip.family;
        sp_vec_push(&i->addresses, a);
    }
}
static void on_excluded(sp_kreader *r, const sp_kstatement *s) {
    for (const sp_kstatement *k = s->first; k; k = k->next) {
        sp_vip_address a;
        if (!read_virtual(r, k, &a)) continue;
        read_virtual_words(r, k, &a);
        sp_vec_push(&r->instance->excluded, a);
    }
}

static void on_auth_type(sp_kreader *r, const sp_kstatement *s) {
    if (sp_str_eqz(s->words[0], "AH"))
        sp_kread_bad_value(r, s, "only PASS is supported");
    else if (!sp_str_eqz(s->words[0], "PASS"))
        sp_kread_bad_value(r, s, "PASS");
}
static void on_auth_pass(sp_kreader *r, const sp_kstatement *s) {
    size_t n = s->words[0].n;
    if (n > SP_VRRP_PASS_MAX)
        sp_kread_say(r, s->line, false,
                     "auth_pass: the protocol carries 8 characters, the rest is cut off");
    r->instance->has_pass = true;
    memset(r->instance->pass, 0, SP_VRRP_PASS_MAX);
    memcpy(r->instance->pass, s->words[0].p, SP_MIN(n, (size_t)SP_VRRP_PASS_MAX));
}
static void on_authentication(sp_kreader *r, const sp_kstatement *s) {
    static const sp_keyword table[] = {
        {"auth_type", on_auth_type, 1, 1, NULL}, {"auth_pass", on_auth_pass, 1, 1, NULL}, {0}};
    sp_kread_block(r, table, s, "authentication");
}

/* --- announcements: ours are 0, 0.1, 1 and 3 s; keepalived's second burst is one more --- */

void sp_kread_garp_delay(sp_kreader *r, const sp_kstatement *s) {
    sp_kread_seconds(r, s, 0, &r->garp_delay_us);
}
void sp_kread_garp_repeat(sp_kreader *r, const sp_kstatement *s) {
    int64_t v;
    if (sp_kread_whole(r, s, 1, 100, &v)) r->instance->announce_repeat = (uint8_t)v;
}
void sp_kread_garp_refresh(sp_kreader *r, const sp_kstatement *s) {
    sp_kread_seconds(r, s, 0, &r->instance->options.refresh_us);
}
void sp_kread_lower_prio_no_advert(sp_kreader *r, const sp_kstatement *s) {
    sp_kread_flag(r, s, &r->instance->options.lower_prio_no_advert);
}
void sp_kread_higher_prio_advert(sp_kreader *r, const sp_kstatement *s) {
    sp_kread_flag(r, s, &r->instance->options.higher_prio_advert);
}
void sp_kread_down_adverts(sp_kreader *r, const sp_kstatement *s) {
    int64_t v;
    if (sp_kread_whole(r, s, 1, 100, &v)) r->instance->options.down_adverts = (uint8_t)v;
}
static void on_dont_track_primary(sp_kreader *r, const sp_kstatement *s) {
    sp_kread_flag(r, s, &r->instance->dont_track_primary);
}
void sp_kread_checksum_as_v2(sp_kreader *r, const sp_kstatement *s) {
    bool on;
    if (sp_kread_flag(r, s, &on)) r->instance->sum = on ? SP_VRRP_SUM_AS_V2 : SP_VRRP_SUM_RFC;
}
static void on_old_checksum(sp_kreader *r, const sp_kstatement *s) {
    if (s->count && sp_str_eqz(s->words[0], "never"))
        r->instance->sum = SP_VRRP_SUM_RFC;
    else
        r->instance->sum = SP_VRRP_SUM_MULTICAST;
}
void sp_kread_skip_check(sp_kreader *r, const sp_kstatement *s) {
    sp_kread_flag(r, s, &r->instance->skip_address_check);
}
void sp_kread_nothing(sp_kreader *r, const sp_kstatement *s) {
    (void)r, (void)s;
}

static void on_use_vmac(sp_kreader *r, const sp_kstatement *s) {
    r->instance->vmac = true;
    if (s->count && s->words[0].n > 15)
        sp_kread_bad_value(r, s, "an interface's name of at most 15 characters");
    else if (s->count)
        r->instance->vmac_name = s->words[0];
}
static void on_vmac_xmit_base(sp_kreader *r, const sp_kstatement *s) {
    sp_kread_flag(r, s, &r->instance->vmac_xmit_base);
}

static const sp_keyword instance_words[] = {
    {"state", on_state, 1, 1, NULL},
    {"interface", on_interface, 1, 1, NULL},
    {"virtual_router_id", on_vrid, 1, 1, NULL},
    {"priority", on_priority, 1, 1, NULL},
    {"advert_int", on_advert_int, 1, 1, NULL},
    {"version", on_version, 1, 1, NULL},
    {"nopreempt", on_nopreempt, 0, 1, NULL},
    {"preempt", on_preempt, 0, 1, NULL},
    {"preempt_delay", on_preempt_delay, 1, 1, NULL},
    {"unicast_src_ip", on_source, 1, 1, NULL},
    {"mcast_src_ip", on_source, 1, 1, NULL},
    {"unicast_ttl", on_ttl, 1, 1, NULL},
    {"unicast_peer", on_unicast_peer, 0, 0, NULL},
    {"check_unicast_src", sp_kread_nothing, 0, 1, NULL}, /* always */
    {"virtual_ipaddress", on_virtual, 0, 0, NULL},
    {"virtual_ipaddress_excluded", on_excluded, 0, 0, NULL},
    {"authentication", on_authentication, 0, 0, NULL},
    {"track_script", on_track_script, 0, 0, NULL},
    {"track_interface", on_track_interface, 0, 0, NULL},
    {"track_process", on_track_process, 0, 0, NULL},
    {"track_file", on_track_file, 0, 0, NULL},
    {"notify", on_notify, 1, 32, NULL},
    {"notify_master", on_notify_master, 1, 32, NULL},
    {"notify_backup", on_notify_backup, 1, 32, NULL},
    {"notify_fault", on_notify_fault, 1, 32, NULL},
    {"notify_stop", on_notify_stop, 1, 32, NULL},
    {"garp_master_delay", sp_kread_garp_delay, 1, 1, NULL},
    {"garp_master_repeat", sp_kread_garp_repeat, 1, 1, NULL},
    {"garp_master_refresh", sp_kread_garp_refresh, 1, 1, NULL},
    {"garp_master_refresh_repeat", NULL, 0, 9, "garp_master_repeat counts for all"},
    {"garp_lower_prio_delay", NULL, 0, 9, "the series starts anew at each sign of another master"},
    {"garp_lower_prio_repeat", NULL, 0, 9, "garp_master_repeat counts for all"},
    {"lower_prio_no_advert", sp_kread_lower_prio_no_advert, 0, 1, NULL},
    {"higher_prio_send_advert", sp_kread_higher_prio_advert, 0, 1, NULL},
    {"down_timer_adverts", sp_kread_down_adverts, 1, 1, NULL},
    {"dont_track_primary", on_dont_track_primary, 0, 1, NULL},
    {"use_vmac", on_use_vmac, 0, 1, NULL},
    {"vmac_xmit_base", on_vmac_xmit_base, 0, 1, NULL},
    {"v3_checksum_as_v2", sp_kread_checksum_as_v2, 0, 1, NULL},
    {"old_unicast_checksum", on_old_checksum, 0, 1, NULL},
    {"skip_check_adv_addr", sp_kread_skip_check, 0, 1, NULL},
    {"accept", sp_kread_nothing, 0, 1, NULL}, /* always */
    {"native_ipv6", sp_kread_nothing, 0, 1, NULL},
    {"smtp_alert", NULL, 0, 9, SP_KNOTE_MAIL},
    {"debug", NULL, 0, 9, SP_KNOTE_LOG},
    {"linkbeat_use_polling", NULL, 0, 9, SP_KNOTE_LINKS},
    {"strict_mode", NULL, 0, 1, "this is stricter than the default and nothing depends on it"},
    {"lvs_sync_daemon_interface", NULL, 0, 9, "there is no LVS here"},
    {"kernel_rx_buf_size", NULL, 0, 9, SP_KNOTE_THREAD},
    {"promote_secondaries", NULL, 0, 9, "only our own addresses are removed"},
    {0}};

/* Preempting needs a start as BACKUP, as with keepalived. */
static void settle_instance(sp_kreader *r, const sp_kstatement *s) {
    sp_vip_instance *i = r->instance;
    i->options.nopreempt = r->asked_nopreempt;
    if (i->options.nopreempt && i->options.starts_master) {
        i->options.nopreempt = false;
        sp_kread_say(r, s->line, false,
                     "%.*s: nopreempt needs state BACKUP; with state MASTER it is "
                     "cleared, as keepalived does",
                     SP_ARG(i->name));
    }
    if (i->options.nopreempt && i->options.preempt_delay_us) {
        i->options.preempt_delay_us = 0;
        sp_kread_say(r, s->line, false, "%.*s: preempt_delay does nothing beside nopreempt",
                     SP_ARG(i->name));
    }
    if (r->strict && i->has_pass) {
        i->has_pass = false;
        sp_kread_say(r, s->line, false,
                     "%.*s: vrrp_strict knows no authentication: the password is not used, as "
                     "keepalived does",
                     SP_ARG(i->name));
    }
    if (!i->options.version) i->options.version = i->family == AF_INET6 ? 3 : 2;
    size_t n = 0;
    while (n < SP_VRRP_ANNOUNCEMENTS - 1 && i->options.announce_us[n] >= 0) n++;
    if (n < SP_VRRP_ANNOUNCEMENTS - 1 && r->garp_delay_us > i->options.announce_us[n - 1]) {
        i->options.announce_us[n] = r->garp_delay_us;
        i->options.announce_us[n + 1] = -1;
    }
}

void sp_kread_instance(sp_kreader *r, const sp_kstatement *s) {
    int64_t delay = r->garp_delay_us;
    sp_vip_instance *i = sp_vip_instance_add(r->config, s->words[0]);
    sp_str name = i->name;
    *i = r->defaults;
    i->name = name;
    i->options.version = r->version;
    r->instance = i;
    r->asked_nopreempt = false;
    sp_kread_block(r, instance_words, s, "vrrp_instance");
    settle_instance(r, s);
    r->instance = NULL;
    r->garp_delay_us = delay;
}

/* --- vrrp_sync_group --- */

static void on_members(sp_kreader *r, const sp_kstatement *s) {
    for (const sp_kstatement *k = s->first; k; k = k->next) {
        sp_vec_push(&r->group->members, k->keyword);
        for (size_t i = 0; i < k->count; i++) sp_vec_push(&r->group->members, k->words[i]);
    }
}
static const sp_keyword group_words[] = {
    {"group", on_members, 0, 0, NULL},
    {"track_script", on_track_script, 0, 0, NULL},
    {"track_interface", on_track_interface, 0, 0, NULL},
    {"track_process", on_track_process, 0, 0, NULL},
    {"track_file", on_track_file, 0, 0, NULL},
    {"notify", on_notify, 1, 32, NULL},
    {"notify_master", on_notify_master, 1, 32, NULL},
    {"notify_backup", on_notify_backup, 1, 32, NULL},
    {"notify_fault", on_notify_fault, 1, 32, NULL},
    {"notify_stop", on_notify_stop, 1, 32, NULL},
    {"global_tracking", NULL, 0, 1, "trackers of a group always count for all its members"},
    {"smtp_alert", NULL, 0, 9, SP_KNOTE_MAIL},
    {0}};

void sp_kread_group(sp_kreader *r, const sp_kstatement *s) {
    sp_vip_group group = {.name = s->words[0]};
    sp_vec_push(&r->config->groups, group);
    r->group = &r->config->groups.p[r->config->groups.n - 1];
    sp_kread_block(r, group_words, s, "vrrp_sync_group");
    r->group = NULL;
}
