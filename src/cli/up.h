/* Inside of `sampan up`, shared by its files only: up.c runs the roles, up_options.c reads what is
 * wanted. */
#pragma once
#include "base/log.h"
#include "cli/member.h"
#include "cli/supervisor.h"
#include "net/loop.h"

#include <limits.h>
#include <net/if.h>

enum { SP_UP_STORE_FLAGS = 7 };
#define SP_UP_FILE_STORE "apiserver/state.db"                  /* below the data directory */
extern const char *const sp_up_store_flags[SP_UP_STORE_FLAGS]; /* passed on to the API server */

typedef struct sp_up {
    const char *store[SP_UP_STORE_FLAGS], *api_servers, *ca_dir;
    const char *join, *token, *token_file;
    bool cluster_init, reset, renew;
    const char *data_dir, *bind, *node_name, *node_ip, *roles, *pod_cidr, *bridge, *goaway_chance,
        *lost_address_reset;
    sp_log_level level;
    uint16_t api_port, gateway_port, gateway_tls_port, agent_port, etcd_port;
    bool verbose, stop_containers;
    char node_name_buffer[HOST_NAME_MAX + 1], node_ip_buffer[46], dir_buffer[PATH_MAX];
    char found_on[IF_NAMESIZE]; /* the interface of node_ip; "" when that was told */

    bool is_member, becomes_member; /* of a cluster whose etcd we run */
    bool moves;                     /* what was in the file goes into etcd first */
    sp_member member;

    sp_arena *arena;
    uv_loop_t loop;
    sp_signal *interrupt, *term, *replace;
    sp_supervisor *supervisor;
    size_t next_role; /* of role_table, not started yet */
    sp_timer *patience;
    int64_t began_ms;
    bool said_ready, said_gone, stopping;
    bool watches;             /* others */
    bool moving;              /* its objects, just now */
    uv_fs_poll_t others;      /* who else is a member */
    sp_timer *others_again;   /* what our roles could not be told yet */
    const char *known_others; /* their API servers, as our roles know them */
    int exit_code;
} sp_up;

/* Flags, then what was left out: from the data directory and the machine. SP_FLAGS_GO_ON, or the
 * exit code (told already). */
int sp_up_read(sp_up *u, int argc, char **argv);
/* What contradicts itself. */
SP_MUST_USE bool sp_up_check(const sp_up *u, sp_err *err);
bool sp_up_wants(const sp_up *u, const char *role);
