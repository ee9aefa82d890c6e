/* The control socket: commands to a running gateway over a unix socket that only its own user and
 * root may use (file mode 0600, and the peer's user id is asked of the kernel).
 *
 * One JSON document per line in both directions, one answer per request, in order:
 *   {"do":"sockets"}                 →  {"ok":true,…}
 *   {"do":"drain","server":"x"}      →  {"ok":false,"error":"no server x"}
 * Answers may be large; requests are at most 64 KiB. Who adds a command registers a verb. Lines may
 * carry descriptors (SCM_RIGHTS); {"more":true} in an answer says that another line with further
 * descriptors follows. Loop thread only, but for the client's half. */
#pragma once
#include "data/json.h"
#include "gateway/sockets.h"

#include <uv.h>

typedef struct sp_admin sp_admin;
typedef struct sp_admin_call sp_admin_call; /* one request; answered exactly once, now or later */
/* request: lent until the answer. */
typedef void sp_admin_fn(void *ctx, sp_admin_call *call, const sp_json *request);

sp_admin *sp_admin_new(uv_loop_t *loop);
/* Takes the place of a file that nobody serves any more, and of a socket whose owner is about to
 * hand over; anybody else there is an error. path is copied. */
SP_MUST_USE bool sp_admin_listen(sp_admin *a, const char *path, bool replace, sp_err *err);
void sp_admin_serve(sp_admin *a, int fd); /* one connection more; taken */
/* Nobody new comes in at the path, whose file is left to a successor; connections go on. */
void sp_admin_close_door(sp_admin *a);
void sp_admin_on(sp_admin *a, const char *verb, sp_admin_fn *fn, void *ctx); /* verb: borrowed */
/* Closes everything; the file stays when keep_file says that it is another's by now. Takes NULL,
 * returns NULL. */
sp_admin *sp_admin_free(sp_admin *a, bool keep_file);

sp_arena *sp_admin_arena(sp_admin_call *c); /* for the answer; lives until it is given */
/* "ok": true is put in front. NULL: nothing else. */
void sp_admin_answer(sp_admin_call *c, sp_json *answer);
void sp_admin_answer_fds(sp_admin_call *c, sp_json *answer, const int *fds,
                         size_t n); /* borrowed */
void sp_admin_fail(sp_admin_call *c, const char *fmt, ...) SP_PRINTF(2, 3);
/* Called once when the connection of this call is gone, whenever that is. */
void sp_admin_on_close(sp_admin_call *c, void (*fn)(void *ctx), void *ctx);

/* --- the other side: blocking, any thread --- */
SP_MUST_USE bool sp_admin_connect(const char *path, int *ret_fd, sp_err *err);
/* An answer that says ok: false is an error with its text. fds: may be NULL; what arrives is yours.
 * Gives up after timeout_ms without a byte. */
SP_MUST_USE bool sp_admin_ask(int fd, sp_arena *a, const sp_json *request, int64_t timeout_ms,
                              sp_json **ret, sp_fds *ret_fds, sp_err *err);
