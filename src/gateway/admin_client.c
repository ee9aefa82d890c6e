/* The asking half of admin.h: blocking, with a limit on silence. */
#include "gateway/admin.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_ANSWER = 256 * 1024 * 1024, MOST_FDS = 253 };

bool sp_admin_connect(const char *path, int *ret_fd, sp_err *err) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof at.sun_path)
        return sp_fail(err, SP_BAD_REQUEST, "%s: too long for a socket's path", path);
    memcpy(at.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return sp_fail_errno(err, errno, "socket");
    if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0) {
        int error = errno;
        close(fd);
        return sp_fail_errno(err, error, "no gateway answers at %s", path);
    }
    *ret_fd = fd;
    return true;
}

static bool send_all(int fd, sp_str bytes, sp_err *err) {
    while (bytes.n) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return sp_fail_errno(err, errno, "asking the gateway");
        bytes = sp_str_from(bytes, (size_t)n);
    }
    return true;
}

static void take_fds(struct msghdr *m, sp_fds *ret) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (ret)
                sp_vec_push(ret, fd);
            else
                close(fd);
        }
    }
}

static bool receive(int fd, sp_buf *to, sp_fds *fds, sp_err *err) {
    char piece[16 * 1024];
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(MOST_FDS * sizeof(int))];
    } control;
    struct iovec iov = {piece, sizeof piece};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof control};
    ssize_t n;
    do n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0) return sp_fail_errno(err, errno, "the gateway does not answer");
    if (n == 0) return sp_fail(err, SP_INTERNAL, "the gateway closed the connection");
    take_fds(&m, fds);
    sp_buf_add(to, (sp_str){piece, (size_t)n});
    return to->n <= MAX_ANSWER || sp_fail(err, SP_INTERNAL, "the answer is too large");
}

/* One line; what is behind it stays in `have`. */
static bool read_line(int fd, sp_arena *a, sp_buf *have, sp_fds *fds, sp_json **ret, sp_err *err) {
    ptrdiff_t end;
    while ((end = sp_str_chr(sp_buf_str(have), '\n')) < 0)
        if (!receive(fd, have, fds, err)) return false;
    bool ok = sp_json_parse(a, sp_str_sub(sp_buf_str(have), 0, (size_t)end), ret, err);
    sp_buf_drop(have, (size_t)end + 1);
    return ok;
}

bool sp_admin_ask(int fd, sp_arena *a, const sp_json *request, int64_t timeout_ms, sp_json **ret,
                  sp_fds *ret_fds, sp_err *err) {
    sp_auto(sp_buf) line = {0}, have = {0};
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    sp_json *answer = NULL;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sp_json_write(&line, request);
    sp_buf_addc(&line, '\n');
    if (!send_all(fd, sp_buf_str(&line), err)) return false;
    do
        if (!read_line(fd, a, &have, ret_fds, &answer, err)) return false;
    while (sp_json_bool(sp_json_get(answer, "more"), false));
    if (!sp_json_bool(sp_json_get(answer, "ok"), false))
        return sp_fail(err, SP_BAD_REQUEST, "%s", sp_json_get_z(answer, "error"));
    *ret = answer;
    return true;
}
