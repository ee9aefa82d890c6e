/* The listening sockets of all loops. A port's sockets (one per loop, SO_REUSEPORT) are bound
 * together, closed together and handed over together, because the kernel spreads connections over
 * them: closing one alone would reset the connections that wait in its queue.
 *
 * Thread-safe by a lock, which is taken only when a configuration changes. */
#pragma once
#include "base/vec.h"
#include "gateway/addr.h"

typedef struct sp_sockets sp_sockets;
typedef SP_VEC(int) sp_fds;

enum { SP_SOCKETS_ERROR = 200 };

/* The sockets of one address, as many as loops or, after a hand-over from more loops, more. */
typedef struct sp_port {
    sp_addr asked, addr; /* differ where port 0 was asked for */
    sp_fds fds;          /* constant while somebody holds the port */
    size_t which;
    uint32_t holders;
} sp_port;

sp_sockets *sp_sockets_new(size_t loops);
/* Closes what is open; nobody may hold a port. Takes NULL, returns NULL. */
sp_sockets *sp_sockets_free(sp_sockets *s);
/* Binds the address unless it is bound already. which: counts those who ask for the same address
 * (port 0). NULL, and a text for people: "port 80 is already used by nginx (pid 12)". */
sp_port *sp_sockets_hold(sp_sockets *s, const sp_addr *asked, size_t which,
                         char ret_error[SP_SOCKETS_ERROR]);
void sp_sockets_drop(sp_sockets *s, sp_port *p); /* the last holder's drop closes */

/* --- hand-over --- */
/* Takes listening sockets of another process; whoever asks for their address gets them. Taken. */
void sp_sockets_adopt(sp_sockets *s, const int *fds, size_t n);
/* Closes what was adopted and nobody holds. */
void sp_sockets_drop_unused(sp_sockets *s);
/* All that are open, borrowed. */
void sp_sockets_list(sp_sockets *s, sp_fds *ret);
