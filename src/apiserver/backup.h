/* GET /sampan/v1/backup: everything at one revision, as store/dump.h writes it, while the server
 * goes on. Whoever may read it reads every Secret. */
#pragma once
#include "apiserver/server.h"

void sp_backup_serve(sp_call *c, sp_str rest);
