/* A tail is found by counting line ends backwards through the files, newest first; then everything
 * from there is read forwards. */
#include "agent/log_read.h"

#include "agent/cri_log.h"
#include "base/vec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_ROTATED = 20, CHUNK = 65536, TURN = 262144 };

struct sp_log_reader {
    char path[PATH_MAX];
    sp_log_options o;
    SP_VEC(int) files; /* open, oldest first; the last one is still written to */
    size_t at;         /* which of them */
    off_t offset;
    sp_buf rest; /* a line whose end has not come */
    int64_t written;
    bool partial; /* the last entry was a piece of a line */
};

static void open_files(sp_log_reader *r) {
    for (int i = MAX_ROTATED; i >= 0; i--) {
        char path[PATH_MAX + 16];
        if (i)
            snprintf(path, sizeof path, "%s.%d", r->path, i);
        else
            snprintf(path, sizeof path, "%s", r->path);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) sp_vec_push(&r->files, fd);
    }
}

/* Moves `at` and `offset` to the begin of the last `lines` lines. */
static void seek_tail(sp_log_reader *r, int64_t lines) {
    char bytes[CHUNK];
    int64_t seen = 0;
    for (size_t f = r->files.n; f-- > 0;) {
        off_t end = lseek(r->files.p[f], 0, SEEK_END);
        for (off_t pos = end; pos > 0;) {
            size_t n = (size_t)SP_MIN(pos, (off_t)CHUNK);
            pos -= (off_t)n;
            if (pread(r->files.p[f], bytes, n, pos) != (ssize_t)n) break;
            for (size_t i = n; i-- > 0;) {
                if (bytes[i] != '\n' || pos + (off_t)i + 1 == end) continue;
                if (++seen < lines) continue;
                r->at = f;
                r->offset = pos + (off_t)i + 1;
                return;
            }
        }
        if (end > 0 && ++seen >= lines) {
            r->at = f;
            r->offset = 0;
            return;
        }
    }
    r->at = 0;
    r->offset = 0;
}

bool sp_log_reader_open(const char *path, const sp_log_options *o, sp_log_reader **ret,
                        sp_err *err) {
    sp_log_reader *r = sp_zalloc(1, sizeof *r);
    snprintf(r->path, sizeof r->path, "%s", path);
    r->o = *o;
    open_files(r);
    if (!r->files.n) {
        sp_log_reader_free(r);
        return sp_fail(err, SP_NOT_FOUND, "there is no log yet");
    }
    if (o->tail_lines == 0) {
        r->at = r->files.n - 1;
        r->offset = lseek(r->files.p[r->at], 0, SEEK_END);
    } else if (o->tail_lines > 0) {
        seek_tail(r, o->tail_lines);
    }
    *ret = r;
    return true;
}

sp_log_reader *sp_log_reader_free(sp_log_reader *r) {
    if (!r) return NULL;
    sp_vec_each(&r->files, fd) close(*fd);
    sp_vec_free(&r->files);
    sp_buf_free(&r->rest);
    free(r);
    return NULL;
}

bool sp_log_reader_full(const sp_log_reader *r) {
    return r->o.limit_bytes >= 0 && r->written >= r->o.limit_bytes;
}

static void put(sp_log_reader *r, sp_buf *out, sp_str s) {
    if (r->o.limit_bytes >= 0) s.n = (size_t)SP_MIN((int64_t)s.n, r->o.limit_bytes - r->written);
    sp_buf_add(out, s);
    r->written += (int64_t)s.n;
}

static void put_line(sp_log_reader *r, sp_buf *out, sp_str line) {
    sp_cri_entry e;
    if (!sp_cri_parse(line, &e) || (r->o.since_ms && e.wall_ms < r->o.since_ms)) return;
    if (r->o.stream && !sp_str_eqz(e.stream, r->o.stream)) return;
    if (r->o.timestamps && !r->partial) {
        put(r, out, e.time);
        put(r, out, SP_STR(" "));
    }
    put(r, out, e.text);
    if (!e.partial) put(r, out, SP_STR("\n"));
    r->partial = e.partial;
}

static void put_lines(sp_log_reader *r, sp_buf *out) {
    sp_str line, rest = sp_buf_str(&r->rest);
    size_t used = 0;
    for (ptrdiff_t end; (end = sp_str_chr(rest, '\n')) >= 0;) {
        line = sp_str_sub(rest, 0, (size_t)end);
        put_line(r, out, line);
        used += (size_t)end + 1;
        rest = sp_str_from(rest, (size_t)end + 1);
    }
    sp_buf_drop(&r->rest, used);
}

/* After rotation the name leads to another file: read that one next. */
static bool follow_rotation(sp_log_reader *r) {
    struct stat named, held;
    int fd = open(r->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool same = fstat(fd, &named) != 0 || fstat(r->files.p[r->at], &held) != 0 ||
                (named.st_ino == held.st_ino && named.st_dev == held.st_dev);
    if (same) {
        close(fd);
        return false;
    }
    sp_vec_push(&r->files, fd);
    return true;
}

bool sp_log_reader_next(sp_log_reader *r, sp_buf *out) {
    char bytes[CHUNK];
    for (size_t before = out->n; out->n - before < TURN;) {
        if (sp_log_reader_full(r)) return false;
        ssize_t n = pread(r->files.p[r->at], bytes, sizeof bytes, r->offset);
        if (n < 0) return false;
        if (n == 0) {
            if (r->at + 1 == r->files.n && !follow_rotation(r)) return false;
            r->at++;
            r->offset = 0;
            continue;
        }
        r->offset += n;
        sp_buf_add(&r->rest, (sp_str){bytes, (size_t)n});
        put_lines(r, out);
    }
    return true;
}
