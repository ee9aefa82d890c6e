/* What no name and no container uses is removed. Runs under the exclusive lock, so nothing is being
 * added meanwhile; containers say which layers they stand on in the "layers" file beside their
 * bundle (DATA/pods/UID/containers/NAME/N/layers, one diffID a line). */
#include "agent/digest.h"
#include "agent/image_store.h"
#include "base/file.h"
#include "base/map.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct used {
    sp_image_store *store;
    sp_map digests; /* "sha256:…" of blobs and of layers: both are content hashes */
} used;

static char mark; /* any non-NULL value for the set */

static void add_image(used *u, const sp_image *image) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) text = {0};
    sp_image_manifest m = {0};
    sp_map_put(&u->digests, image->digest, &mark);
    sp_json_each(image->config.diff_ids, id) sp_map_put(&u->digests, sp_json_str(id), &mark);
    if (!sp_image_blob_read(u->store, image->digest, &text, NULL) ||
        !sp_image_manifest_parse(a, sp_buf_str(&text), &m, NULL))
        return;
    sp_map_put(&u->digests, m.config.digest, &mark);
    sp_vec_each(&m.layers, l) sp_map_put(&u->digests, l->digest, &mark);
    sp_image_manifest_free(&m);
}

static void add_containers(used *u) {
    char pattern[PATH_MAX];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/../pods/*/containers/*/*/layers",
             sp_image_store_dir(u->store));
    if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0) return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        sp_auto(sp_buf) text = {0};
        if (!sp_file_read(found.gl_pathv[i], 65536, &text, NULL)) continue;
        for (sp_str line, rest = sp_buf_str(&text); sp_str_cut(&rest, '\n', &line);)
            if (line.n) sp_map_put(&u->digests, line, &mark);
    }
    globfree(&found);
}

static int64_t blob_size(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

static bool sweep(used *u, const char *sub, size_t *ret_count, int64_t *ret_bytes, sp_err *err) {
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s/%s", sp_image_store_dir(u->store), sub);
    DIR *d = opendir(dir);
    if (!d) return sp_fail_errno(err, errno, "open %s", dir);
    bool ok = true;
    for (struct dirent *e; ok && (e = readdir(d));) {
        char path[PATH_MAX + NAME_MAX + 2], digest[NAME_MAX + 8];
        if (e->d_name[0] == '.') continue;
        snprintf(digest, sizeof digest, "sha256:%s", e->d_name);
        if (sp_map_has(&u->digests, sp_str_z(digest))) continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        *ret_bytes += ret_bytes ? blob_size(path) : 0;
        ok = sp_remove_all(path, err);
        ++*ret_count;
    }
    closedir(d);
    return ok;
}

bool sp_image_gc(sp_image_store *s, sp_image_gc_result *ret, sp_err *err) {
    int lock = sp_image_store_lock(s, true, err);
    if (lock < 0) return false;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_images images = {0};
    used u = {.store = s};
    sp_image_gc_result r = {0};
    size_t leftovers = 0;
    int64_t ignored = 0;
    bool ok = sp_image_list(s, a, &images, err);
    sp_vec_each(&images, i) add_image(&u, i);
    add_containers(&u);
    ok = ok && sweep(&u, "blobs/sha256", &r.blobs, &r.bytes, err) &&
         sweep(&u, "layers", &r.layers, &ignored, err) &&
         sweep(&u, "tmp", &leftovers, &ignored, err);
    sp_vec_free(&images);
    sp_map_free(&u.digests);
    close(lock);
    if (ok) *ret = r;
    return ok;
}
