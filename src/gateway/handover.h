/* From one gateway process to its successor, without a refused or reset connection. Both speak over
 * the control socket (admin.h) or, where the predecessor starts the successor itself, over a pair
 * of sockets: successor    {"do":"take-over"}   → all listening sockets; {"do":"tell"}   → what
 * config.tell adds; it loads its configuration and accepts connections beside the predecessor. Then
 * {"do":"taken-over"}: the predecessor stops accepting, drains and ends. Until the second request
 * the predecessor goes on as if nothing were; when the connection ends before, it says so and
 * stays. Nothing that waits in an accept queue is lost, because the queues belong to the sockets,
 * which both hold. */
#pragma once
#include "gateway/admin.h"

/* --- the predecessor --- */
typedef struct sp_handover sp_handover;

typedef struct sp_handover_config {
    uv_loop_t *loop;
    sp_admin *admin;
    sp_sockets *sockets;
    /* The successor serves: stop accepting, drain, end. Called once. */
    void (*taken)(void *ctx);
    /* Adds members, made in a, to what a successor is told: what it cannot know; may be NULL. */
    void (*tell)(void *ctx, sp_arena *a, sp_json *answer);
    void *ctx;
} sp_handover_config;

/* Remembers the program file and arguments of now, so that an upgrade finds its new file. */
sp_handover *sp_handover_new(const sp_handover_config *c);
/* After the admin; takes NULL, returns NULL. */
sp_handover *sp_handover_free(sp_handover *h);
/* Starts the program again (the file as it is now, the same arguments) as a successor. Errors and a
 * successor that ends early are logged; this one goes on then. */
void sp_handover_start(sp_handover *h);

/* --- the successor; blocking, before the loop runs --- */
/* From the predecessor that started us, else from the one that serves at path (may be NULL).
 * *ret_fd = -1, and true, when there is none. Else the sockets are adopted, and *ret_told is what
 * it tells, made in a; NULL where it tells nothing. */
SP_MUST_USE bool sp_takeover_begin(const char *path, sp_sockets *into, int *ret_fd, sp_arena *a,
                                   const sp_json **ret_told, sp_err *err);
/* From here on the predecessor accepts nothing more. Closes fd. */
SP_MUST_USE bool sp_takeover_finish(int fd, sp_err *err);
