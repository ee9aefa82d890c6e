/* What the statements mean: one table of keywords per kind of block. A keyword is carried out,
 * known to have no effect here (said as a warning), or refused. */
#include "gateway/vip/keepalived.h"
#include "base/file.h"
#include "gateway/vip/keepalived_tree.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct reader {
    sp_arena *arena;
    sp_vip_config *config;
    sp_vip_problems *problems;
    const sp_keepalived_options *options;
    /* global_defs that are defaults of every instance */
    sp_vip_instance defaults;
    uint8_t version; /* 0 = not named */
    int64_t garp_delay_us;
    /* the block at hand */
    sp_vip_instance *instance;
    sp_vip_script *script;
    sp_vip_process *process;
    sp_vip_file *file;
    sp_vip_group *group;
    bool asked_nopreempt;
} reader;

typedef void handler(reader *r, const sp_kstatement *s);

typedef struct keyword {
    const char *name;
    handler *fn;      /* NULL: no effect here, `why` says so */
    uint8_t min, max; /* words */
    const char *why;
} keyword;

static void say(reader *r, uint32_t line, bool fatal, const char *fmt, ...) SP_PRINTF(4, 5);
static void say(reader *r, uint32_t line, bool fatal, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    sp_vec_push(r->problems, {line, sp_arena_str(r->arena, sp_str_z(text)), fatal});
}

static void bad_value(reader *r, const sp_kstatement *s, const char *wanted) {
    sp_str v = s->count ? s->words[0] : (sp_str){0};
    say(r, s->line, true, "%.*s %.*s: %s", SP_ARG(s->keyword), SP_ARG(v), wanted);
}

/* --- values --- */

static bool whole(reader *r, const sp_kstatement *s, int64_t min, int64_t max, int64_t *ret) {
    int64_t v;
    if (!sp_str_i64(s->words[0], &v) || v < min || v > max) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "a whole number from %lld to %lld", (long long)min,
                 (long long)max);
        bad_value(r, s, wanted);
        return false;
    }
    *ret = v;
    return true;
}

/* "1", "0.25": seconds, as microseconds. */
static bool parse_seconds(sp_str text, int64_t *ret_us) {
    uint64_t whole_part = 0, part = 0;
    sp_str left = text, right = {0};
    ptrdiff_t dot = sp_str_chr(text, '.');
    if (dot >= 0) {
        left = sp_str_sub(text, 0, (size_t)dot);
        right = sp_str_from(text, (size_t)dot + 1);
        if (right.n == 0 || right.n > 6 || !sp_str_u64(right, &part)) return false;
        for (size_t n = right.n; n < 6; n++) part *= 10;
    }
    if (left.n && !sp_str_u64(left, &whole_part)) return false;
    if ((left.n == 0 && right.n == 0) || whole_part > 1000000) return false;
    *ret_us = (int64_t)(whole_part * 1000000 + part);
    return true;
}

static bool seconds(reader *r, const sp_kstatement *s, int64_t min_us, int64_t *ret_us) {
    int64_t us;
    if (!parse_seconds(s->words[0], &us) || us < min_us) {
        bad_value(r, s, min_us ? "seconds, more than 0, as 1 or 0.1" : "seconds, as 1 or 0.5");
        return false;
    }
    *ret_us = us;
    return true;
}

static bool flag(reader *r, const sp_kstatement *s, bool *ret) {
    static const char *const yes[] = {"true", "on", "yes"}, *const no[] = {"false", "off", "no"};
    if (s->count == 0) return *ret = true;
    for (size_t i = 0; i < 3; i++) {
        if (sp_str_eqz(s->words[0], yes[i])) return *ret = true;
        if (sp_str_eqz(s->words[0], no[i])) {
            *ret = false;
            return true;
        }
    }
    bad_value(r, s, "true or false");
    return false;
}

static bool address(reader *r, const sp_kstatement *s, sp_str text, sp_addr *ret) {
    if (sp_addr_parse(text, 0, ret)) return true;
    say(r, s->line, true, "%.*s: not an IP address", SP_ARG(text));
    return false;
}

static const char *const *command(reader *r, const sp_kstatement *s) {
    sp_auto(sp_buf) text = {0};
    for (size_t i = 0; i < s->count; i++) {
        if (i) sp_buf_addc(&text, ' ');
        sp_buf_add(&text, s->words[i]);
    }
    sp_err err = {0};
    const char *const *argv = sp_vip_split_command(r->arena, sp_buf_str(&text), &err);
    if (!argv) say(r, s->line, true, "%.*s: %s", SP_ARG(s->keyword), err.text);
    return argv;
}

/* --- what each table shares --- */

static void run_keyword(reader *r, const keyword *table, const sp_kstatement *s,
                        const char *block) {
    const keyword *k = table;
    while (k->name && !sp_str_eqz(s->keyword, k->name)) k++;
    if (!k->name) {
        say(r, s->line, true, "%.*s in %s is not supported", SP_ARG(s->keyword), block);
    } else if (!k->fn) {
        say(r, s->line, false, "%.*s has no effect here: %s", SP_ARG(s->keyword), k->why);
    } else if (s->count < k->min) {
        say(r, s->line, true, "%.*s: a value is missing", SP_ARG(s->keyword));
    } else if (s->count > k->max) {
        say(r, s->line, true, "%.*s: %.*s is too much", SP_ARG(s->keyword),
            SP_ARG(s->words[k->max]));
    } else {
        k->fn(r, s);
    }
}

static void run_block(reader *r, const keyword *table, const sp_kstatement *s, const char *block) {
    if (!s->has_block) {
        say(r, s->line, true, "%.*s: braces are missing", SP_ARG(s->keyword));
        return;
    }
    for (const sp_kstatement *k = s->first; k; k = k->next) run_keyword(r, table, k, block);
}

/* --- trackers: `name [weight N] [reverse]` on lines of their own --- */

static void read_track(reader *r, const sp_kstatement *k, sp_vip_track_kind kind, int weight,
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
            say(r, k->line, true, "%.*s: weight -253 to 253, reverse; not %.*s", SP_ARG(k->keyword),
                SP_ARG(k->words[i]));
        }
    }
}

/* What the definition says, where the tracker says nothing. Definitions come first in a first pass
 * over the file, so their order does not matter. */
static void inherit(const reader *r, sp_vip_track_kind kind, sp_str name, int *weight,
                    bool *reverse) {
    const sp_vip_script *s = sp_vip_find_script(r->config, name);
    const sp_vip_process *p = sp_vip_find_process(r->config, name);
    const sp_vip_file *f = sp_vip_find_file(r->config, name);
    if (kind == SP_VIP_TRACK_SCRIPT && s) *weight = s->weight, *reverse = s->reverse;
    if (kind == SP_VIP_TRACK_PROCESS && p) *weight = p->weight;
    if (kind == SP_VIP_TRACK_FILE && f) *weight = f->weight, *reverse = f->reverse;
}

static void read_tracks(reader *r, const sp_kstatement *s, sp_vip_track_kind kind) {
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
static void on_track_script(reader *r, const sp_kstatement *s) {
    read_tracks(r, s, SP_VIP_TRACK_SCRIPT);
}
static void on_track_interface(reader *r, const sp_kstatement *s) {
    read_tracks(r, s, SP_VIP_TRACK_INTERFACE);
}
static void on_track_process(reader *r, const sp_kstatement *s) {
    read_tracks(r, s, SP_VIP_TRACK_PROCESS);
}
static void on_track_file(reader *r, const sp_kstatement *s) {
    read_tracks(r, s, SP_VIP_TRACK_FILE);
}

/* --- notify programs, of an instance or a group --- */

static sp_vip_notify *notify_of(reader *r) {
    return r->instance ? &r->instance->notify : &r->group->notify;
}
static void on_notify(reader *r, const sp_kstatement *s) {
    notify_of(r)->any = command(r, s);
}
static void on_notify_master(reader *r, const sp_kstatement *s) {
    notify_of(r)->master = command(r, s);
}
static void on_notify_backup(reader *r, const sp_kstatement *s) {
    notify_of(r)->backup = command(r, s);
}
static void on_notify_fault(reader *r, const sp_kstatement *s) {
    notify_of(r)->fault = command(r, s);
}
static void on_notify_stop(reader *r, const sp_kstatement *s) {
    notify_of(r)->stop = command(r, s);
}

/* --- vrrp_instance --- */

static void on_state(reader *r, const sp_kstatement *s) {
    bool master = sp_str_eqz(s->words[0], "MASTER");
    if (!master && !sp_str_eqz(s->words[0], "BACKUP")) bad_value(r, s, "MASTER or BACKUP");
    r->instance->options.starts_master = master;
}
static void on_interface(reader *r, const sp_kstatement *s) {
    r->instance->interface = s->words[0];
}
static void on_vrid(reader *r, const sp_kstatement *s) {
    int64_t v;
    if (whole(r, s, 1, 255, &v)) r->instance->vrid = (uint8_t)v;
}
static void on_priority(reader *r, const sp_kstatement *s) {
    int64_t v;
    if (whole(r, s, 1, 255, &v)) r->instance->priority = (uint8_t)v;
}
static void on_advert_int(reader *r, const sp_kstatement *s) {
    int64_t us;
    if (!seconds(r, s, 10000, &us)) return;
    if (us > 40950000)
        bad_value(r, s, "at most 40.95 seconds");
    else
        r->instance->options.advert_us = us / 10000 * 10000;
}
static void on_version(reader *r, const sp_kstatement *s) {
    int64_t v;
    if (whole(r, s, 2, 3, &v)) r->instance->options.version = (uint8_t)v;
}
static void on_nopreempt(reader *r, const sp_kstatement *s) {
    bool on;
    if (flag(r, s, &on)) r->asked_nopreempt = on;
}
static void on_preempt(reader *r, const sp_kstatement *s) {
    bool on;
    if (flag(r, s, &on)) r->asked_nopreempt = !on;
}
static void on_preempt_delay(reader *r, const sp_kstatement *s) {
    seconds(r, s, 0, &r->instance->options.preempt_delay_us);
}
static void on_source(reader *r, const sp_kstatement *s) {
    address(r, s, s->words[0], &r->instance->source);
}
static void on_ttl(reader *r, const sp_kstatement *s) {
    int64_t v;
    if (whole(r, s, 1, 255, &v)) r->instance->ttl = (uint8_t)v;
}

static void on_unicast_peer(reader *r, const sp_kstatement *s) {
    if (!s->first)
        say(r, s->line, false,
            "unicast_peer is empty: adverts go to the multicast address, as with keepalived; name "
            "the other nodes where multicast does not pass");
    for (const sp_kstatement *k = s->first; k; k = k->next) {
        sp_addr a;
        if (k->count) say(r, k->line, true, "%.*s: not supported", SP_ARG(k->words[0]));
        if (address(r, k, k->keyword, &a)) sp_vec_push(&r->instance->peers, a);
    }
}

static bool read_virtual(reader *r, const sp_kstatement *k, sp_vip_address *ret) {
    sp_cidr net;
    *ret = (sp_vip_address){0};
    if (sp_str_chr(k->keyword, '/') >= 0) {
        if (!sp_cidr_parse(k->keyword, &net)) {
            say(r, k->line, true, "%.*s: not an address with a prefix length", SP_ARG(k->keyword));
            return false;
        }
        sp_str ip = sp_str_sub(k->keyword, 0, (size_t)sp_str_chr(k->keyword, '/'));
        ret->bits = net.bits;
        return address(r, k, ip, &ret->ip); /* net has lost the host's bits */
    }
    if (!address(r, k, k->keyword, &ret->ip)) return false;
    ret->bits = ret->ip.family == AF_INET ? 32 : 128;
    return true;
}

/* `dev NAME`, `label NAME`; the broadcast address and global scope are what we do anyway. */
static void read_virtual_words(reader *r, const sp_kstatement *k, sp_vip_address *a) {
    for (size_t i = 0; i < k->count; i += 2) {
        sp_str value = i + 1 < k->count ? k->words[i + 1] : (sp_str){0};
        if (sp_str_eqz(k->words[i], "dev") && value.n && value.n < 16)
            a->dev = value;
        else if (sp_str_eqz(k->words[i], "label") && value.n && value.n < 16)
            a->label = value;
        else if (!(sp_str_eqz(k->words[i], "scope") && sp_str_eqz(value, "global")) &&
                 !(sp_str_eqz(k->words[i], "brd") && value.n))
            say(r, k->line, true, "%.*s %.*s: only dev, label, brd and scope global are supported",
                SP_ARG(k->keyword), SP_ARG(k->words[i]));
    }
}

static void on_virtual(reader *r, const sp_kstatement *s) {
    sp_vip_instance *i = r->instance;
    for (const sp_kstatement *k = s->first; k; k = k->next) {
        sp_vip_address a;
        if (!read_virtual(r, k, &a)) continue;
        read_virtual_words(r, k, &a);
        if (i->addresses.n == 0) i->family = a.ip.family;
        sp_vec_push(&i->addresses, a);
    }
}
static void on_excluded(reader *r, const sp_kstatement *s) {
    for (const sp_kstatement *k = s->first; k; k = k->next) {
        sp_vip_address a;
        if (!read_virtual(r, k, &a)) continue;
        read_virtual_words(r, k, &a);
        sp_vec_push(&r->instance->excluded, a);
    }
}

static void on_auth_type(reader *r, const sp_kstatement *s) {
    if (sp_str_eqz(s->words[0], "AH"))
        bad_value(r, s, "only PASS is supported");
    else if (!sp_str_eqz(s->words[0], "PASS"))
        bad_value(r, s, "PASS");
}
static void on_auth_pass(reader *r, const sp_kstatement *s) {
    size_t n = s->words[0].n;
    if (n > SP_VRRP_PASS_MAX)
        say(r, s->line, false, "auth_pass: the protocol carries 8 characters, the rest is cut off");
    r->instance->has_pass = true;
    memset(r->instance->pass, 0, SP_VRRP_PASS_MAX);
    memcpy(r->instance->pass, s->words[0].p, SP_MIN(n, (size_t)SP_VRRP_PASS_MAX));
}
static void on_authentication(reader *r, const sp_kstatement *s) {
    static const keyword table[] = {
        {"auth_type", on_auth_type, 1, 1, NULL}, {"auth_pass", on_auth_pass, 1, 1, NULL}, {0}};
    run_block(r, table, s, "authentication");
}

/* --- announcements: ours are 0, 0.1, 1 and 3 s; keepalived's second burst is one more --- */

static void on_garp_delay(reader *r, const sp_kstatement *s) {
    seconds(r, s, 0, &r->garp_delay_us);
}
static void on_garp_repeat(reader *r, const sp_kstatement *s) {
    int64_t v;
    if (whole(r, s, 1, 100, &v)) r->instance->announce_repeat = (uint8_t)v;
}
static void on_garp_refresh(reader *r, const sp_kstatement *s) {
    seconds(r, s, 0, &r->instance->options.refresh_us);
}
static void on_lower_prio_no_advert(reader *r, const sp_kstatement *s) {
    flag(r, s, &r->instance->options.lower_prio_no_advert);
}
static void on_higher_prio_advert(reader *r, const sp_kstatement *s) {
    flag(r, s, &r->instance->options.higher_prio_advert);
}
static void on_down_adverts(reader *r, const sp_kstatement *s) {
    int64_t v;
    if (whole(r, s, 1, 100, &v)) r->instance->options.down_adverts = (uint8_t)v;
}
static void on_dont_track_primary(reader *r, const sp_kstatement *s) {
    flag(r, s, &r->instance->dont_track_primary);
}
static void on_checksum_as_v2(reader *r, const sp_kstatement *s) {
    bool on;
    if (flag(r, s, &on)) r->instance->sum = on ? SP_VRRP_SUM_AS_V2 : SP_VRRP_SUM_RFC;
}
static void on_old_checksum(reader *r, const sp_kstatement *s) {
    if (s->count && sp_str_eqz(s->words[0], "never"))
        r->instance->sum = SP_VRRP_SUM_RFC;
    else
        r->instance->sum = SP_VRRP_SUM_MULTICAST;
}
static void on_skip_check(reader *r, const sp_kstatement *s) {
    flag(r, s, &r->instance->skip_address_check);
}
static void on_nothing(reader *r, const sp_kstatement *s) {
    (void)r, (void)s;
}

static const char log_here[] = "transitions are in our log and in metrics";
static const char own_thread[] = "the virtual address has its own thread";
static const char no_mail[] = "there is no mail; use notify";

static const keyword instance_words[] = {
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
    {"check_unicast_src", on_nothing, 0, 1, NULL}, /* always */
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
    {"garp_master_delay", on_garp_delay, 1, 1, NULL},
    {"garp_master_repeat", on_garp_repeat, 1, 1, NULL},
    {"garp_master_refresh", on_garp_refresh, 1, 1, NULL},
    {"garp_master_refresh_repeat", NULL, 0, 9, "garp_master_repeat counts for all"},
    {"garp_lower_prio_delay", NULL, 0, 9, "the series starts anew at each sign of another master"},
    {"garp_lower_prio_repeat", NULL, 0, 9, "garp_master_repeat counts for all"},
    {"lower_prio_no_advert", on_lower_prio_no_advert, 0, 1, NULL},
    {"higher_prio_send_advert", on_higher_prio_advert, 0, 1, NULL},
    {"down_timer_adverts", on_down_adverts, 1, 1, NULL},
    {"dont_track_primary", on_dont_track_primary, 0, 1, NULL},
    {"v3_checksum_as_v2", on_checksum_as_v2, 0, 1, NULL},
    {"old_unicast_checksum", on_old_checksum, 0, 1, NULL},
    {"skip_check_adv_addr", on_skip_check, 0, 1, NULL},
    {"accept", on_nothing, 0, 1, NULL}, /* always */
    {"native_ipv6", on_nothing, 0, 1, NULL},
    {"smtp_alert", NULL, 0, 9, no_mail},
    {"debug", NULL, 0, 9, log_here},
    {"kernel_rx_buf_size", NULL, 0, 9, own_thread},
    {"promote_secondaries", NULL, 0, 9, "only our own addresses are removed"},
    {0}};

/* Preempting needs a start as BACKUP, as with keepalived. */
static void settle_instance(reader *r, const sp_kstatement *s) {
    sp_vip_instance *i = r->instance;
    i->options.nopreempt = r->asked_nopreempt;
    if (i->options.nopreempt && i->options.starts_master) {
        i->options.nopreempt = false;
        say(r, s->line, false,
            "%.*s: nopreempt needs state BACKUP; with state MASTER it is "
            "cleared, as keepalived does",
            SP_ARG(i->name));
    }
    if (i->options.nopreempt && i->options.preempt_delay_us) {
        i->options.preempt_delay_us = 0;
        say(r, s->line, false, "%.*s: preempt_delay does nothing beside nopreempt",
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

static void on_instance(reader *r, const sp_kstatement *s) {
    int64_t delay = r->garp_delay_us;
    sp_vip_instance *i = sp_vip_instance_add(r->config, s->words[0]);
    sp_str name = i->name;
    *i = r->defaults;
    i->name = name;
    i->options.version = r->version;
    r->instance = i;
    r->asked_nopreempt = false;
    run_block(r, instance_words, s, "vrrp_instance");
    settle_instance(r, s);
    r->instance = NULL;
    r->garp_delay_us = delay;
}

/* --- vrrp_script, vrrp_track_process, vrrp_track_file --- */

static void on_script(reader *r, const sp_kstatement *s) {
    r->script->argv = command(r, s);
}
static void on_interval(reader *r, const sp_kstatement *s) {
    int64_t us;
    if (seconds(r, s, 1000, &us)) r->script->interval_ms = (uint32_t)(us / 1000);
}
static void on_timeout(reader *r, const sp_kstatement *s) {
    int64_t us;
    if (seconds(r, s, 1000, &us)) r->script->timeout_ms = (uint32_t)(us / 1000);
}
/* Reads `weight N [reverse]` of a definition. */
static void read_weight(reader *r, const sp_kstatement *s, int *ret, bool *ret_reverse) {
    int64_t v;
    if (!whole(r, s, -253, 253, &v)) return;
    *ret = (int)v;
    if (s->count < 2) return;
    if (sp_str_eqz(s->words[1], "reverse") && ret_reverse)
        *ret_reverse = true;
    else
        say(r, s->line, true, "weight: %.*s is not supported", SP_ARG(s->words[1]));
}
static void on_script_weight(reader *r, const sp_kstatement *s) {
    read_weight(r, s, &r->script->weight, &r->script->reverse);
}
static void on_rise(reader *r, const sp_kstatement *s) {
    int64_t v;
    if (whole(r, s, 1, 1000000, &v)) r->script->rise = (int)v;
}
static void on_fall(reader *r, const sp_kstatement *s) {
    int64_t v;
    if (whole(r, s, 1, 1000000, &v)) r->script->fall = (int)v;
}
static void on_user(reader *r, const sp_kstatement *s) {
    r->script->user = s->words[0];
    if (s->count > 1) say(r, s->line, false, "user: the group is that of the user");
}
static void on_init_fail(reader *r, const sp_kstatement *s) {
    flag(r, s, &r->script->init_fail);
}
static const keyword script_words[] = {{"script", on_script, 1, 64, NULL},
                                       {"interval", on_interval, 1, 1, NULL},
                                       {"timeout", on_timeout, 1, 1, NULL},
                                       {"weight", on_script_weight, 1, 2, NULL},
                                       {"rise", on_rise, 1, 1, NULL},
                                       {"fall", on_fall, 1, 1, NULL},
                                       {"user", on_user, 1, 2, NULL},
                                       {"init_fail", on_init_fail, 0, 1, NULL},
                                       {0}};

static void on_script_block(reader *r, const sp_kstatement *s) {
    sp_vip_script script = {.name = s->words[0], .interval_ms = 1000, .rise = 1, .fall = 1};
    r->script = &script;
    run_block(r, script_words, s, "vrrp_script");
    r->script = NULL;
    if (!script.timeout_ms) script.timeout_ms = script.interval_ms;
    if (script.user.n == 0) script.user = r->config->script_user;
    if (sp_vip_find_script(r->config, script.name))
        say(r, s->line, true, "vrrp_script %.*s is there twice", SP_ARG(script.name));
    else if (!script.argv)
        say(r, s->line, true, "vrrp_script %.*s: no script", SP_ARG(script.name));
    else
        sp_vec_push(&r->config->scripts, script);
}

static void on_process_name(reader *r, const sp_kstatement *s) {
    r->process->command = s->words[0];
    if (s->count > 1) say(r, s->line, true, "process: only a name is supported, no arguments");
}
static void on_process_weight(reader *r, const sp_kstatement *s) {
    read_weight(r, s, &r->process->weight, NULL);
}
static void on_quorum(reader *r, const sp_kstatement *s) {
    int64_t v;
    if (whole(r, s, 1, 65535, &v)) r->process->quorum = (int)v;
}
static void on_delay(reader *r, const sp_kstatement *s) {
    int64_t us;
    if (seconds(r, s, 0, &us)) r->process->delay_ms = (uint32_t)(us / 1000);
}
static const keyword process_words[] = {{"process", on_process_name, 1, 64, NULL},
                                        {"weight", on_process_weight, 1, 2, NULL},
                                        {"quorum", on_quorum, 1, 1, NULL},
                                        {"delay", on_delay, 1, 1, NULL},
                                        {0}};

static void on_process_block(reader *r, const sp_kstatement *s) {
    sp_vip_process process = {.name = s->words[0], .weight = 1, .quorum = 1};
    r->process = &process;
    run_block(r, process_words, s, "vrrp_track_process");
    r->process = NULL;
    if (process.command.n == 0)
        say(r, s->line, true, "vrrp_track_process %.*s: no process", SP_ARG(process.name));
    sp_vec_push(&r->config->processes, process);
}

static void on_file_path(reader *r, const sp_kstatement *s) {
    r->file->path = s->words[0];
}
static void on_file_weight(reader *r, const sp_kstatement *s) {
    read_weight(r, s, &r->file->weight, &r->file->reverse);
}
static const keyword file_words[] = {{"file", on_file_path, 1, 1, NULL},
                                     {"weight", on_file_weight, 1, 2, NULL},
                                     {"init_file", NULL, 0, 3, "a file that is not there counts 0"},
                                     {0}};

static void on_file_block(reader *r, const sp_kstatement *s) {
    sp_vip_file file = {.name = s->words[0], .weight = 1};
    r->file = &file;
    run_block(r, file_words, s, "vrrp_track_file");
    r->file = NULL;
    if (file.path.n == 0) say(r, s->line, true, "vrrp_track_file %.*s: no file", SP_ARG(file.name));
    sp_vec_push(&r->config->files, file);
}

/* --- vrrp_sync_group --- */

static void on_members(reader *r, const sp_kstatement *s) {
    for (const sp_kstatement *k = s->first; k; k = k->next) {
        sp_vec_push(&r->group->members, k->keyword);
        for (size_t i = 0; i < k->count; i++) sp_vec_push(&r->group->members, k->words[i]);
    }
}
static const keyword group_words[] = {
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
    {"smtp_alert", NULL, 0, 9, no_mail},
    {0}};

static void on_group_block(reader *r, const sp_kstatement *s) {
    sp_vip_group group = {.name = s->words[0]};
    sp_vec_push(&r->config->groups, group);
    r->group = &r->config->groups.p[r->config->groups.n - 1];
    run_block(r, group_words, s, "vrrp_sync_group");
    r->group = NULL;
}

/* --- global_defs --- */

static void on_script_user(reader *r, const sp_kstatement *s) {
    r->config->script_user = s->words[0];
    if (s->count > 1) say(r, s->line, false, "script_user: the group is that of the user");
}
static void on_script_security(reader *r, const sp_kstatement *s) {
    flag(r, s, &r->config->script_security);
}
static void on_global_version(reader *r, const sp_kstatement *s) {
    int64_t v;
    if (whole(r, s, 2, 3, &v)) r->version = (uint8_t)v;
}
static void on_startup_delay(reader *r, const sp_kstatement *s) {
    seconds(r, s, 0, &r->defaults.options.startup_delay_us);
}

static const char elsewhere[] = "that half of keepalived is the gateway's other side";
static const keyword global_words[] = {
    {"router_id", on_nothing, 1, 1, NULL}, /* for mails and SNMP only */
    {"script_user", on_script_user, 1, 2, NULL},
    {"enable_script_security", on_script_security, 0, 1, NULL},
    {"vrrp_version", on_global_version, 1, 1, NULL},
    {"vrrp_startup_delay", on_startup_delay, 1, 1, NULL},
    {"vrrp_garp_master_delay", on_garp_delay, 1, 1, NULL},
    {"vrrp_garp_master_repeat", on_garp_repeat, 1, 1, NULL},
    {"vrrp_garp_master_refresh", on_garp_refresh, 1, 1, NULL},
    {"vrrp_garp_master_refresh_repeat", NULL, 0, 9, "vrrp_garp_master_repeat counts for all"},
    {"vrrp_garp_lower_prio_delay", NULL, 0, 9, "the series starts anew by itself"},
    {"vrrp_garp_lower_prio_repeat", NULL, 0, 9, "vrrp_garp_master_repeat counts for all"},
    {"vrrp_garp_interval", NULL, 0, 9, "announcements are few and far between"},
    {"vrrp_gna_interval", NULL, 0, 9, "announcements are few and far between"},
    {"vrrp_down_timer_adverts", on_down_adverts, 1, 1, NULL},
    {"vrrp_lower_prio_no_advert", on_lower_prio_no_advert, 0, 1, NULL},
    {"vrrp_higher_prio_send_advert", on_higher_prio_advert, 0, 1, NULL},
    {"vrrp_check_unicast_src", on_nothing, 0, 1, NULL},
    {"vrrp_skip_check_adv_addr", on_skip_check, 0, 1, NULL},
    {"v3_checksum_as_v2", on_checksum_as_v2, 0, 1, NULL},
    {"vrrp_strict", NULL, 0, 1, "this is stricter than the default and nothing depends on it"},
    {"vrrp_priority", NULL, 0, 9, own_thread},
    {"vrrp_rt_priority", NULL, 0, 9, own_thread},
    {"vrrp_no_swap", NULL, 0, 9, own_thread},
    {"vrrp_cpu_affinity", NULL, 0, 9, own_thread},
    {"vrrp_rlimit_rttime", NULL, 0, 9, own_thread},
    {"dynamic_interfaces", on_nothing, 0, 1, NULL}, /* always */
    {"process_names", NULL, 0, 1, log_here},
    {"notification_email", NULL, 0, 9, no_mail},
    {"notification_email_from", NULL, 0, 9, no_mail},
    {"smtp_server", NULL, 0, 9, no_mail},
    {"smtp_helo_name", NULL, 0, 9, no_mail},
    {"smtp_connect_timeout", NULL, 0, 9, no_mail},
    {"smtp_alert", NULL, 0, 9, no_mail},
    {"smtp_alert_vrrp", NULL, 0, 9, no_mail},
    {"enable_snmp_vrrp", NULL, 0, 9, log_here},
    {"enable_snmp_keepalived", NULL, 0, 9, log_here},
    {"enable_traps", NULL, 0, 9, log_here},
    {"lvs_flush", NULL, 0, 9, elsewhere},
    {"checker_priority", NULL, 0, 9, elsewhere},
    {0}};

static void on_globals(reader *r, const sp_kstatement *s) {
    r->instance = &r->defaults;
    run_block(r, global_words, s, "global_defs");
    r->instance = NULL;
}

/* --- the file --- */

/* Definitions before those who use them. */
static const keyword first_pass[] = {{"global_defs", on_globals, 0, 0, NULL}, {0}};
static const keyword second_pass[] = {{"vrrp_script", on_script_block, 1, 1, NULL},
                                      {"vrrp_track_process", on_process_block, 1, 1, NULL},
                                      {"vrrp_track_file", on_file_block, 1, 1, NULL},
                                      {"track_file", on_file_block, 1, 1, NULL},
                                      {0}};
static const keyword third_pass[] = {{"vrrp_instance", on_instance, 1, 1, NULL},
                                     {"vrrp_sync_group", on_group_block, 1, 1, NULL},
                                     {0}};
static const keyword *const passes[] = {first_pass, second_pass, third_pass};

static bool has_keyword(const keyword *table, sp_str name) {
    for (; table->name; table++)
        if (sp_str_eqz(name, table->name)) return true;
    return false;
}

static void refuse(reader *r, const sp_kstatement *s) {
    sp_str k = s->keyword;
    const char *why = "is not supported";
    if (sp_str_eqz(k, "include") || sp_str_starts(k, SP_STR("include")))
        why = "is not supported: put the other file's text here";
    else if (k.n && (k.p[0] == '@' || k.p[0] == '$' || k.p[0] == '~'))
        why = "is not supported: conditions, variables and repetitions must be written out";
    else if (sp_str_starts(k, SP_STR("virtual_server")))
        why = "is not supported: the gateway balances itself, by haproxy.cfg or by Services";
    say(r, s->line, true, "%.*s %s", SP_ARG(k), why);
}

static void run_file(reader *r, const sp_kstatement *root) {
    for (size_t p = 0; p < SP_COUNT(passes); p++) {
        for (const sp_kstatement *s = root->first; s; s = s->next) {
            if (has_keyword(passes[p], s->keyword)) run_keyword(r, passes[p], s, "the file");
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
    d.options.refresh_us = 0;
    return d;
}

sp_vip_config *sp_keepalived_conf_parse(sp_str text, const char *path,
                                        const sp_keepalived_options *o, sp_vip_problems *ret) {
    static const sp_keepalived_options standard;
    sp_vip_config *c = sp_vip_config_new();
    reader r = {.arena = c->arena, .config = c, .problems = ret, .options = o ? o : &standard};
    sp_vip_problem problem;
    (void)path;
    r.defaults = keepalived_defaults(r.options);
    r.garp_delay_us = 5000000;
    const sp_kstatement *root = sp_kstatement_parse(c->arena, text, &problem);
    if (!root) {
        sp_vec_push(ret, problem);
        return c;
    }
    run_file(&r, root);
    spread_groups(c);
    if (c->instances.n == 0) say(&r, 0, true, "there is no vrrp_instance");
    sp_vip_lint(c, ret);
    return c;
}

bool sp_keepalived_conf_load(const char *path, const sp_keepalived_options *o, sp_vip_config **ret,
                             sp_vip_problems *ret_problems, sp_err *err) {
    enum { MOST = 1024 * 1024 };
    sp_auto(sp_buf) text = {0};
    if (!sp_file_read(path, MOST, &text, err)) return sp_err_wrap(err, "--keepalived-conf");
    *ret = sp_keepalived_conf_parse(sp_buf_str(&text), path, o, ret_problems);
    return true;
}
