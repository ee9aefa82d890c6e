/* They carry SO_REUSEPORT, because there is one per loop, and because a service's virtual address
 * and "any address" may share a port (Linux prefers the more specific one). The option would also
 * let a second gateway of the same user share our ports in silence, so /proc is asked first who
 * listens there (ports.c). */
#include "gateway/sockets.h"

#include "base/clock.h"
#include "gateway/datapath.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

typedef SP_VEC(uint64_t) inodes;

enum { BACKLOG = 4096, SAME_ANSWER_MS = 200 };

struct sp_sockets {
    pthread_mutex_t lock;
    size_t loops;
    SP_VEC(sp_port *) ports;
    /* The last refusal: all loops ask at about the same time. */
    sp_addr refused;
    int64_t refused_at_ms;
    char error[SP_SOCKETS_ERROR];
};

sp_sockets *sp_sockets_new(size_t loops) {
    sp_sockets *s = sp_zalloc(1, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    s->loops = loops;
    return s;
}

static void close_port(sp_port *p) {
    sp_vec_each(&p->fds, fd) close(*fd);
    sp_vec_free(&p->fds);
    free(p);
}

sp_sockets *sp_sockets_free(sp_sockets *s) {
    if (!s) return NULL;
    sp_vec_each(&s->ports, p) close_port(*p);
    sp_vec_free(&s->ports);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

/* --- binding --- */

static void own_inodes(const sp_sockets *s, const sp_port *also, inodes *ret) {
    struct stat st;
    sp_vec_each(&s->ports, p) {
        sp_vec_each(&(*p)->fds, fd) if (fstat(*fd, &st) == 0) sp_vec_push(ret, st.st_ino);
    }
    sp_vec_each(&also->fds, fd) if (fstat(*fd, &st) == 0) sp_vec_push(ret, st.st_ino);
}

static bool taken_by_other(sp_sockets *s, const sp_port *p) {
    char owner[128];
    inodes own = {0};
    if (!p->addr.port) return false;
    own_inodes(s, p, &own);
    bool taken = sp_port_owner(&p->addr, own.p, own.n, owner, sizeof owner);
    sp_vec_free(&own);
    if (taken)
        snprintf(s->error, sizeof s->error, "port %u is already used by %s", p->addr.port, owner);
    return taken;
}

static void explain(sp_sockets *s, const sp_addr *addr, int error) {
    char at[SP_ADDR_MAX];
    sp_addr_format(addr, at);
    if (error == EADDRNOTAVAIL)
        snprintf(s->error, sizeof s->error, "%s is not an address of this machine", at);
    else if (error == EACCES)
        snprintf(s->error, sizeof s->error,
                 "port %u needs root or CAP_NET_BIND_SERVICE; choose one above 1023", addr->port);
    else
        snprintf(s->error, sizeof s->error, "cannot listen on %s: %s", at, strerror(error));
}

static bool listen_on(int fd, sp_addr *addr) {
    int one = 1;
    struct sockaddr_storage ss;
    socklen_t len = sp_addr_to_sock(addr, &ss);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    sp_sock_tune(fd); /* inherited by what it accepts */
    sp_sock_probe(fd);
    if (addr->family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&ss, len) < 0 || listen(fd, BACKLOG) < 0) return false;
    len = sizeof ss;
    if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0) *addr = sp_addr_from_sock(&ss);
    return true;
}

/* Until there is a socket for each loop. */
static bool fill(sp_sockets *s, sp_port *p) {
    if (p->fds.n < s->loops && taken_by_other(s, p)) return false;
    while (p->fds.n < s->loops) {
        int fd = socket(p->addr.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0 || !listen_on(fd, &p->addr)) {
            explain(s, &p->addr, errno);
            if (fd >= 0) close(fd);
            return false;
        }
        sp_vec_push(&p->fds, fd);
    }
    return true;
}

static sp_port *find(sp_sockets *s, const sp_addr *asked, size_t which) {
    sp_vec_each(&s->ports, p) {
        if ((*p)->which == which && sp_addr_eq(&(*p)->asked, asked)) return *p;
    }
    return NULL;
}

static bool just_refused(const sp_sockets *s, const sp_addr *asked) {
    return sp_addr_eq(&s->refused, asked) && sp_clock_mono_ms() - s->refused_at_ms < SAME_ANSWER_MS;
}

static sp_port *open_port(sp_sockets *s, const sp_addr *asked, size_t which) {
    if (just_refused(s, asked)) return NULL;
    sp_port *p = sp_zalloc(1, sizeof *p);
    p->asked = p->addr = *asked;
    p->which = which;
    if (fill(s, p)) {
        sp_vec_push(&s->ports, p);
        return p;
    }
    s->refused = *asked;
    s->refused_at_ms = sp_clock_mono_ms();
    close_port(p);
    return NULL;
}

sp_port *sp_sockets_hold(sp_sockets *s, const sp_addr *asked, size_t which,
                         char ret_error[SP_SOCKETS_ERROR]) {
    pthread_mutex_lock(&s->lock);
    sp_port *p = find(s, asked, which);
    if (!p) p = open_port(s, asked, which);
    /* Fewer were handed over than there are loops: more, if they can be had; else some loops have
     * none of this port. */
    if (p && !p->holders) (void)!fill(s, p);
    if (p)
        p->holders++;
    else
        snprintf(ret_error, SP_SOCKETS_ERROR, "%s", s->error);
    pthread_mutex_unlock(&s->lock);
    return p;
}

static void forget(sp_sockets *s, size_t i) {
    close_port(s->ports.p[i]);
    sp_vec_remove(&s->ports, i);
}

void sp_sockets_drop(sp_sockets *s, sp_port *p) {
    pthread_mutex_lock(&s->lock);
    p->holders--;
    for (size_t i = s->ports.n; i-- > 0;)
        if (s->ports.p[i] == p && !p->holders) forget(s, i);
    pthread_mutex_unlock(&s->lock);
}

/* --- hand-over --- */

static void adopt(sp_sockets *s, int fd) {
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    sp_addr at = {0};
    if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0) at = sp_addr_from_sock(&ss);
    if (!at.family) {
        close(fd);
        return;
    }
    sp_sock_tune(fd); /* the other binary may have thought otherwise */
    sp_sock_probe(fd);
    sp_port *p = find(s, &at, 0);
    if (!p) {
        p = sp_zalloc(1, sizeof *p);
        p->asked = p->addr = at;
        sp_vec_push(&s->ports, p);
    }
    sp_vec_push(&p->fds, fd);
}

void sp_sockets_adopt(sp_sockets *s, const int *fds, size_t n) {
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n; i++) adopt(s, fds[i]);
    pthread_mutex_unlock(&s->lock);
}

void sp_sockets_drop_unused(sp_sockets *s) {
    pthread_mutex_lock(&s->lock);
    for (size_t i = s->ports.n; i-- > 0;)
        if (!s->ports.p[i]->holders) forget(s, i);
    pthread_mutex_unlock(&s->lock);
}

void sp_sockets_list(sp_sockets *s, sp_fds *ret) {
    pthread_mutex_lock(&s->lock);
    sp_vec_each(&s->ports, p) {
        sp_vec_each(&(*p)->fds, fd) sp_vec_push(ret, *fd);
    }
    pthread_mutex_unlock(&s->lock);
}
