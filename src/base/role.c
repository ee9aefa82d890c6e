#include "base/role.h"

#include "base/log.h"

#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void notify_systemd(const char *path) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n >= sizeof to.sun_path) return;
    memcpy(to.sun_path, path, n);
    if (path[0] == '@') to.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    char text[64]; /* the process may be another than the one that was started (an upgrade) */
    int text_n = snprintf(text, sizeof text, "READY=1\nMAINPID=%d", (int)getpid());
    (void)!sendto(fd, text, (size_t)text_n, MSG_NOSIGNAL, (struct sockaddr *)&to, len);
    close(fd);
}

static bool ready_fd(int *ret) {
    uint64_t fd;
    if (!sp_str_u64(sp_str_z(getenv("SAMPAN_READY_FD")), &fd) || fd > 1024) return false;
    *ret = (int)fd;
    return true;
}

/* Segments that nothing may write are as in their files: what is wanted again comes from there. */
static int unmap_unwritten(struct dl_phdr_info *object, size_t size, void *ctx) {
    (void)size, (void)ctx;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &object->dlpi_phdr[i];
        if (h->p_type != PT_LOAD || (h->p_flags & PF_W)) continue;
        uintptr_t from = (object->dlpi_addr + h->p_vaddr) & ~(page - 1);
        uintptr_t to = (object->dlpi_addr + h->p_vaddr + h->p_memsz) & ~(page - 1);
        if (to > from)
            madvise((void *)from, to - from, MADV_DONTNEED); /* NOLINT: an address it is */
    }
    return 0;
}

void sp_role_settle(void) {
    malloc_trim(0);
    dl_iterate_phdr(unmap_unwritten, NULL);
}

void sp_role_ready(void) {
    int fd;
    sp_role_settle();
    if (ready_fd(&fd)) {
        (void)!write(fd, "READY=1\n", 8);
        close(fd);
        unsetenv("SAMPAN_READY_FD");
    }
    const char *socket_path = getenv("NOTIFY_SOCKET");
    if (socket_path && *socket_path) notify_systemd(socket_path);
}

static pid_t supervisor; /* 0 = none */

bool sp_role_ask_replacement(void) {
    return supervisor && !sp_role_orphaned() && getenv("SAMPAN_REPLACES_ON_USR2") &&
           kill(supervisor, SIGUSR2) == 0;
}

bool sp_role_orphaned(void) {
    return supervisor && getppid() != supervisor;
}

void sp_role_begin(const char *name) {
    int fd;
    sp_log_set_role(name);
    signal(SIGPIPE, SIG_IGN);
    if (!ready_fd(&fd)) return;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    supervisor = getppid();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == 1) raise(SIGTERM); /* it died before we asked */
}
