/* What the files that read keepalived.conf share. Private to src/gateway/vip.
 *
 * keepalived_lex.c       words
 * keepalived_tree.c      statements
 * keepalived_values.c    values, and the walk through a table of keywords
 * keepalived_instance.c  vrrp_instance, vrrp_sync_group, trackers, notify programs
 * keepalived.c           the file, global_defs, scripts, processes and files */
#pragma once
#include "gateway/vip/keepalived_tree.h"

typedef struct sp_kreader {
    sp_arena *arena;
    sp_vip_config *config;
    sp_vip_problems *problems;
    const sp_keepalived_options *options;
    /* global_defs that are defaults of every instance */
    sp_vip_instance defaults;
    uint8_t version; /* 0 = not named */
    bool strict;
    int64_t garp_delay_us;
    /* the block at hand */
    sp_vip_instance *instance;
    sp_vip_script *script;
    sp_vip_process *process;
    sp_vip_file *file;
    sp_vip_group *group;
    bool asked_nopreempt;
} sp_kreader;

typedef void sp_kread_fn(sp_kreader *r, const sp_kstatement *s);

typedef struct sp_keyword {
    const char *name;
    sp_kread_fn *fn;  /* NULL: no effect here, `why` says so */
    uint8_t min, max; /* words */
    const char *why;
} sp_keyword;

/* line 0: about the whole file. */
void sp_kread_say(sp_kreader *r, uint32_t line, bool fatal, const char *fmt, ...) SP_PRINTF(4, 5);
void sp_kread_bad_value(sp_kreader *r, const sp_kstatement *s, const char *wanted);
/* The first word of the statement as … ; false and said when it is none. */
bool sp_kread_whole(sp_kreader *r, const sp_kstatement *s, int64_t min, int64_t max, int64_t *ret);
bool sp_kread_seconds(sp_kreader *r, const sp_kstatement *s, int64_t min_us, int64_t *ret_us);
bool sp_kread_flag(sp_kreader *r, const sp_kstatement *s, bool *ret); /* no word: true */
bool sp_kread_address(sp_kreader *r, const sp_kstatement *s, sp_str text, sp_addr *ret);
/* All words as a program and its arguments; NULL when they are none. */
const char *const *sp_kread_command(sp_kreader *r, const sp_kstatement *s);
/* One statement by a table that ends in {0}; block names the place in messages. */
void sp_kread_keyword(sp_kreader *r, const sp_keyword *table, const sp_kstatement *s,
                      const char *block);
void sp_kread_block(sp_kreader *r, const sp_keyword *table, const sp_kstatement *s,
                    const char *block); /* all statements in the braces */

/* keepalived_instance.c */
void sp_kread_instance(sp_kreader *r, const sp_kstatement *s);
void sp_kread_group(sp_kreader *r, const sp_kstatement *s);
/* Those of vrrp_instance that are defaults in global_defs too. */
void sp_kread_garp_delay(sp_kreader *r, const sp_kstatement *s);
void sp_kread_garp_repeat(sp_kreader *r, const sp_kstatement *s);
void sp_kread_garp_refresh(sp_kreader *r, const sp_kstatement *s);
void sp_kread_lower_prio_no_advert(sp_kreader *r, const sp_kstatement *s);
void sp_kread_higher_prio_advert(sp_kreader *r, const sp_kstatement *s);
void sp_kread_down_adverts(sp_kreader *r, const sp_kstatement *s);
void sp_kread_checksum_as_v2(sp_kreader *r, const sp_kstatement *s);
void sp_kread_skip_check(sp_kreader *r, const sp_kstatement *s);
void sp_kread_nothing(sp_kreader *r, const sp_kstatement *s);

/* Why a keyword has no effect. */
#define SP_KNOTE_LOG "transitions are in our log and in metrics"
#define SP_KNOTE_THREAD "the virtual address has its own thread"
#define SP_KNOTE_LINKS "the kernel tells when a link goes or comes"
#define SP_KNOTE_MAIL "there is no mail; use notify"
