/* The tracked things that must be asked: scripts run as children (never two of one script at a
 * time, killed at their timeout), processes counted in /proc, files read. And the programs told of
 * a transition. Loop thread only. */
#pragma once
#include "gateway/vip/config.h"
#include "gateway/vip/track.h"

#include <uv.h>

typedef struct sp_vip_checks sp_vip_checks;

/* changed: some answer is another than before. config must live as long as the checks. */
sp_vip_checks *sp_vip_checks_new(uv_loop_t *loop, const sp_vip_config *config,
                                 void (*changed)(void *ctx), void *ctx);
/* Children under way end by themselves and are not listened to. Takes NULL, returns NULL. */
sp_vip_checks *sp_vip_checks_free(sp_vip_checks *c);
/* Fills in known, up and value of a script, process or file; false when it is not to be counted (a
 * script that must not be run). */
bool sp_vip_checks_read(const sp_vip_checks *c, const sp_vip_track *t, sp_vip_tracked *ret);

/* Runs argv with up to four words behind it (NULL ends them), as keepalived does: type, name,
 * state, priority. Nobody waits for it; what it says on failure is logged. */
void sp_vip_tell_program(uv_loop_t *loop, const sp_vip_config *config, const char *const *argv,
                         const char *const words[5]);
/* Root must not run what somebody else could have written: every directory on the way and the file
 * belong to root and nobody else may write there. Empty text: it may be run. */
bool sp_vip_program_is_safe(const char *path, sp_err *err);
