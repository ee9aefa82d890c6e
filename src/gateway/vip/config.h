/* What the virtual addresses of one node are to be: made from keepalived.conf (keepalived.h) or
 * from VirtualAddress objects (objects.h), carried out by vip.h. Immutable once made; everything
 * lives in its arena. */
#pragma once
#include "base/arena.h"
#include "base/vec.h"
#include "gateway/vip/machine.h"
#include "gateway/vip/packet.h"

typedef struct sp_vip_address {
    sp_addr ip;
    uint8_t bits;
    sp_str dev;   /* "" = the instance's interface */
    sp_str label; /* IPv4 only; "" = none */
} sp_vip_address;

typedef enum sp_vip_track_kind {
    SP_VIP_TRACK_SCRIPT,
    SP_VIP_TRACK_INTERFACE,
    SP_VIP_TRACK_FILE,
    SP_VIP_TRACK_PROCESS,
    SP_VIP_TRACK_HEALTH /* a name given to sp_vip_set_health: "gateway", … */
} sp_vip_track_kind;

typedef struct sp_vip_track {
    sp_vip_track_kind kind;
    sp_str name;
    int weight; /* 0: down means FAULT */
    bool reverse;
} sp_vip_track;

/* A program that answers by its exit code. */
typedef struct sp_vip_script {
    sp_str name;
    const char *const *argv;
    uint32_t interval_ms, timeout_ms;
    int weight; /* where a tracker names none */
    bool reverse;
    int rise, fall;
    bool init_fail;
    sp_str user; /* "" = as we run */
} sp_vip_script;

typedef struct sp_vip_process {
    sp_str name;
    sp_str command; /* as in /proc/PID/comm, or argv[0]'s last part */
    int weight, quorum;
    uint32_t delay_ms;
} sp_vip_process;

typedef struct sp_vip_file {
    sp_str name, path;
    int weight; /* the number in the file times this is added; 0: not zero means FAULT */
    bool reverse;
} sp_vip_file;

/* Programs told of a transition; argv NULL = none. */
typedef struct sp_vip_notify {
    const char *const *any; /* with the words INSTANCE|GROUP, name, state, priority behind */
    const char *const *master, *const *backup, *const *fault, *const *stop;
} sp_vip_notify;

typedef struct sp_vip_instance {
    sp_str name, interface;
    uint8_t vrid, priority, family;
    sp_vrrp_options options;
    SP_VEC(sp_vip_address) addresses; /* in the advertisement; memory of the arena's owner */
    SP_VEC(sp_vip_address) excluded;  /* carried without being told */
    SP_VEC(sp_addr) peers;            /* unicast; none = multicast */
    sp_addr source;                   /* family 0 = the interface's first address */
    bool has_pass;
    char pass[SP_VRRP_PASS_MAX];
    sp_vrrp_sum sum;
    uint8_t ttl;
    bool skip_address_check; /* do not compare the addresses in an advertisement with ours */
    bool dont_track_primary; /* the link of the interface does not count */
    bool lease;              /* the addresses have a lifetime in the kernel */
    bool vmac;               /* the virtual router has a MAC address of its own (vmac.h) */
    bool vmac_xmit_base;     /* … and advertisements do not come from it */
    sp_str vmac_name;        /* its interface; "" = vrrp.VRID */
    uint8_t announce_repeat; /* packets per address and announcement */
    SP_VEC(sp_vip_track) tracks;
    sp_vip_notify notify;
    sp_str group; /* sync group; "" = none */
} sp_vip_instance;

typedef struct sp_vip_group {
    sp_str name;
    sp_strs members;
    SP_VEC(sp_vip_track) tracks;
    sp_vip_notify notify;
} sp_vip_group;

typedef struct sp_vip_config {
    sp_arena *arena;
    SP_VEC(sp_vip_instance) instances;
    SP_VEC(sp_vip_group) groups;
    SP_VEC(sp_vip_script) scripts;
    SP_VEC(sp_vip_process) processes;
    SP_VEC(sp_vip_file) files;
    sp_str script_user;
    bool script_security; /* root runs nothing that others could have written */
} sp_vip_config;

typedef struct sp_vip_problem {
    uint32_t line; /* 0 = the whole file */
    sp_str text;
    bool fatal;
} sp_vip_problem;
typedef SP_VEC(sp_vip_problem) sp_vip_problems;

sp_vip_config *sp_vip_config_new(void);
sp_vip_config *sp_vip_config_free(sp_vip_config *c); /* takes NULL, returns NULL */
SP_DEFINE_CLEANUP_PTR(sp_vip_config, sp_vip_config_free)
sp_vip_instance *sp_vip_instance_add(sp_vip_config *c, sp_str name); /* with our defaults */
const sp_vip_script *sp_vip_find_script(const sp_vip_config *c, sp_str name);
const sp_vip_process *sp_vip_find_process(const sp_vip_config *c, sp_str name);
const sp_vip_file *sp_vip_find_file(const sp_vip_config *c, sp_str name);
const sp_vip_instance *sp_vip_find_instance(const sp_vip_config *c, sp_str name);

/* What is well-formed and still will not do what its author thinks: a weight that can never make
 * another node the master, two instances with one virtual router id on one interface, … Texts live
 * in c->arena. */
void sp_vip_lint(const sp_vip_config *c, sp_vip_problems *ret);
/* The program's words: blanks divide, '…' and "…" keep together, \ takes the next as it is. NULL
 * and an error when a quote does not end or nothing is there. */
const char *const *sp_vip_split_command(sp_arena *a, sp_str text, sp_err *err);
