/* What a supervised process owes its supervisor (`sampan up`, systemd): say when it is ready, end
 * when the supervisor is gone. */
#pragma once
#include "base/util.h"

/* Once, when the role serves: writes to the descriptor in SAMPAN_READY_FD and, in the way of
 * sd_notify(3), to NOTIFY_SOCKET, where these are set. And sp_role_settle. */
void sp_role_ready(void);
/* Most code runs only at the start: the linker, the parsers of configuration, OpenSSL's tables.
 * Gives back to the system what is not needed now: free heap, and the pages of code, which come
 * back from their files as they are used. Once more when the first work is done, SP_ROLE_SETTLE_MS
 * after that. */
#define SP_ROLE_SETTLE_MS 5000
void sp_role_settle(void);
/* At the start of a role: its name on each log line, SIGPIPE ignored, and, if SAMPAN_READY_FD says
 * that there is a supervisor, SIGTERM from the kernel when that dies. name is borrowed for ever. */
void sp_role_begin(const char *name);
/* Asks a supervisor that can do it (`sampan up`) to start a successor of this role beside it. False
 * when there is none. */
bool sp_role_ask_replacement(void);
/* What the supervisor says in the environment to tell that it can. */
#define SP_ROLE_REPLACES "SAMPAN_REPLACES_ON_USR2=1"
/* The supervisor is gone: the SIGTERM that arrives then is no wish of the administrator's. */
bool sp_role_orphaned(void);
