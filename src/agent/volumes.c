#include "agent/volumes.h"

#include "agent/inside.h"
#include "base/file.h"
#include "data/base64.h"
#include "data/quantity.h"
#include "kube/object.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEFAULT_MODE = 0644 };

typedef struct maker {
    const sp_volume_input *in;
    sp_arena *a;
    int64_t gid; /* fsGroup, -1 = none */
} maker;

static bool is_secret(const sp_json *volume) {
    if (sp_json_get(volume, "secret")) return true;
    sp_json_each(sp_json_dig(volume, "projected", "sources", NULL), s) {
        if (sp_json_get(s, "secret")) return true;
    }
    return false;
}

static bool in_memory(const sp_json *volume) {
    const char *medium = sp_json_z(sp_json_dig(volume, "emptyDir", "medium", NULL));
    return is_secret(volume) || strcmp(medium, "Memory") == 0;
}

static sp_str dir_of(sp_arena *a, const sp_volume_input *in, const sp_json *volume) {
    sp_str host = sp_json_str(sp_json_dig(volume, "hostPath", "path", NULL));
    if (host.n) return host;
    const char *name = sp_json_get_z(volume, "name");
    if (in_memory(volume)) return sp_arena_printf(a, "%s/%s", in->mem_dir, name);
    return sp_arena_printf(a, "%s/volumes/%s", in->pod_dir, name);
}

/* ---------- files from objects ---------- */

static bool add_key(maker *m, sp_payload *out, bool secret, const sp_json *value, bool binary,
                    sp_str path, unsigned mode, sp_err *err) {
    sp_str bytes = sp_json_str(value);
    if (secret || binary) {
        sp_auto(sp_buf) plain = {0};
        if (!sp_base64_decode(&plain, bytes))
            return sp_fail(err, SP_INVALID, "key \"%.*s\" is no base64", SP_ARG(value->key));
        bytes = sp_arena_str(m->a, sp_buf_str(&plain));
    }
    sp_vec_push(out, (sp_payload_file){path, bytes, mode});
    return true;
}

static unsigned mode_of(const sp_json *item, unsigned fallback) {
    int64_t mode = sp_json_int(sp_json_get(item, "mode"), fallback);
    return mode < 0 || mode > 0777 ? fallback : (unsigned)mode;
}

static bool add_items(maker *m, sp_payload *out, const char *kind, const sp_json *obj,
                      const sp_json *items, unsigned mode, bool optional, sp_err *err) {
    bool secret = strcmp(kind, "Secret") == 0;
    sp_json_each(items, item) {
        sp_str key = sp_json_str(sp_json_get(item, "key"));
        sp_str path = sp_json_str(sp_json_get(item, "path"));
        const sp_json *v = sp_json_get_str(sp_json_get(obj, "data"), key);
        const sp_json *bin = v ? NULL : sp_json_get_str(sp_json_get(obj, "binaryData"), key);
        if (!v && !bin && optional) continue;
        if (!v && !bin)
            return sp_fail(err, SP_NOT_FOUND, "%s \"%.*s\" has no key \"%.*s\"", kind,
                           SP_ARG(sp_obj_name(obj)), SP_ARG(key));
        if (!add_key(m, out, secret, v ? v : bin, bin != NULL, path, mode_of(item, mode), err))
            return false;
    }
    return true;
}

static bool add_object(maker *m, sp_payload *out, const char *kind, sp_str name,
                       const sp_json *source, unsigned mode, sp_err *err) {
    bool optional = sp_json_bool(sp_json_get(source, "optional"), false);
    const sp_json *items = sp_json_get(source, "items");
    const sp_json *obj = m->in->source->object(m->in->source->ctx, kind, name);
    if (!obj && optional) return true;
    if (!obj) return sp_fail(err, SP_NOT_FOUND, "%s \"%.*s\" does not exist", kind, SP_ARG(name));
    if (items && items->count) return add_items(m, out, kind, obj, items, mode, optional, err);
    static const char *const maps[] = {"data", "binaryData"};
    for (int binary = 0; binary < 2; binary++) {
        sp_json_each(sp_json_get(obj, maps[binary]), v) {
            if (!add_key(m, out, strcmp(kind, "Secret") == 0, v, binary, v->key, mode, err))
                return false;
        }
    }
    return true;
}

static bool add_downward(maker *m, sp_payload *out, const sp_json *source, unsigned mode,
                         sp_err *err) {
    sp_json_each(sp_json_get(source, "items"), item) {
        const sp_json *field = sp_json_get(item, "fieldRef");
        const sp_json *resource = sp_json_get(item, "resourceFieldRef");
        sp_str value = {0};
        bool ok = field ? sp_env_field(m->a, m->in->pod, m->in->source,
                                       sp_json_str(sp_json_get(field, "fieldPath")), &value, err)
                        : sp_env_resource(m->a, m->in->pod, NULL, resource, &value, err);
        if (!ok) return false;
        sp_vec_push(out, (sp_payload_file){sp_json_str(sp_json_get(item, "path")), value,
                                           mode_of(item, mode)});
    }
    return true;
}

static bool add_source(maker *m, sp_payload *out, const sp_json *s, unsigned mode, sp_err *err) {
    const sp_json *v;
    if ((v = sp_json_get(s, "configMap")))
        return add_object(m, out, "ConfigMap", sp_json_str(sp_json_get(v, "name")), v, mode, err);
    if ((v = sp_json_get(s, "secret"))) {
        const sp_json *name = sp_json_get(v, "secretName");
        return add_object(m, out, "Secret", sp_json_str(name ? name : sp_json_get(v, "name")), v,
                          mode, err);
    }
    if ((v = sp_json_get(s, "downwardAPI"))) return add_downward(m, out, v, mode, err);
    return sp_fail(err, SP_INVALID, "source \"%.40s\" is not supported by this agent",
                   s->first ? s->first->key.p : "");
}

static unsigned default_mode(const sp_json *source) {
    int64_t mode = sp_json_int(sp_json_get(source, "defaultMode"), DEFAULT_MODE);
    return mode < 0 || mode > 0777 ? DEFAULT_MODE : (unsigned)mode;
}

static bool make_files(maker *m, const sp_json *volume, const char *dir, sp_err *err) {
    sp_payload files = {0};
    const sp_json *projected = sp_json_get(volume, "projected");
    bool ok = true;
    if (projected) {
        sp_json_each(sp_json_get(projected, "sources"), s) {
            ok = ok && add_source(m, &files, s, default_mode(projected), err);
        }
    } else {
        sp_json_each(volume, v) {
            if (v->type == SP_JSON_OBJECT) ok = add_source(m, &files, volume, default_mode(v), err);
        }
    }
    ok = ok && sp_mkdir_all(dir, 0755, err) && sp_payload_write(dir, &files, m->gid, err);
    sp_vec_free(&files);
    return ok;
}

/* ---------- directories ---------- */

static bool make_empty(maker *m, const sp_json *volume, const char *dir, sp_err *err) {
    const sp_json *e = sp_json_get(volume, "emptyDir");
    if (sp_file_exists(dir)) return true;
    if (!sp_mkdir_all(dir, 0755, err)) return false;
    if (in_memory(volume)) {
        char options[64] = "mode=777";
        int64_t milli;
        const sp_json *limit = sp_json_get(e, "sizeLimit");
        if (limit && sp_quantity_milli(limit, &milli) && milli > 0)
            snprintf(options, sizeof options, "mode=777,size=%lld", (long long)(milli / 1000));
        if (mount("tmpfs", dir, "tmpfs", MS_NOSUID | MS_NODEV, options) != 0) {
            int why = errno;
            rmdir(dir); /* the next try must not take it for made */
            return sp_fail_errno(err, why, "mount a tmpfs on %s", dir);
        }
    }
    if (m->gid >= 0 && chown(dir, 0, (gid_t)m->gid) != 0)
        return sp_fail_errno(err, errno, "chown %s", dir);
    return chmod(dir, m->gid >= 0 ? 02777 : 0777) == 0 ||
           sp_fail_errno(err, errno, "chmod %s", dir);
}

static bool check_host_path(const char *path, const char *type, sp_err *err) {
    static const struct {
        const char *type;
        mode_t kind;
        const char *what;
    } kinds[] = {{"Directory", S_IFDIR, "directory"},
                 {"DirectoryOrCreate", S_IFDIR, "directory"},
                 {"File", S_IFREG, "file"},
                 {"FileOrCreate", S_IFREG, "file"},
                 {"Socket", S_IFSOCK, "socket"},
                 {"CharDevice", S_IFCHR, "character device"},
                 {"BlockDevice", S_IFBLK, "block device"}};
    struct stat st;
    if (stat(path, &st) != 0) return sp_fail_errno(err, errno, "hostPath %s", path);
    for (size_t i = 0; i < SP_COUNT(kinds); i++)
        if (strcmp(type, kinds[i].type) == 0 && (st.st_mode & S_IFMT) != kinds[i].kind)
            return sp_fail(err, SP_INVALID, "hostPath %s is no %s", path, kinds[i].what);
    return true;
}

static bool make_host_path(const sp_json *volume, const char *path, sp_err *err) {
    const char *type = sp_json_z(sp_json_dig(volume, "hostPath", "type", NULL));
    if (path[0] != '/') return sp_fail(err, SP_INVALID, "hostPath must start with '/'");
    if (strcmp(type, "DirectoryOrCreate") == 0 && !sp_mkdir_all(path, 0755, err)) return false;
    if (strcmp(type, "FileOrCreate") == 0) {
        int fd = open(path, O_CREAT | O_RDONLY | O_CLOEXEC, 0644);
        if (fd < 0) return sp_fail_errno(err, errno, "create %s", path);
        close(fd);
    }
    return check_host_path(path, type, err);
}

static bool make_volume(maker *m, const sp_json *v, sp_err *err) {
    static const char *const files[] = {"configMap", "secret", "downwardAPI", "projected"};
    sp_str dir = dir_of(m->a, m->in, v);
    if (sp_json_get(v, "emptyDir")) return make_empty(m, v, dir.p, err);
    if (sp_json_get(v, "hostPath")) return make_host_path(v, dir.p, err);
    for (size_t i = 0; i < SP_COUNT(files); i++)
        if (sp_json_get(v, files[i])) return make_files(m, v, dir.p, err);
    const char *kind = "nothing";
    sp_json_each(v, field) {
        if (strcmp(field->key.p, "name") != 0) kind = field->key.p;
    }
    return sp_fail(err, SP_INVALID,
                   "volumes of type %.40s are not supported by this agent (emptyDir, hostPath, "
                   "configMap, secret, downwardAPI and projected are)",
                   kind);
}

static bool make_shm(const sp_volume_input *in, sp_err *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/.shm", in->mem_dir);
    if (sp_file_exists(path)) return true;
    if (!sp_mkdir_all(path, 01777, err)) return false;
    if (mount("shm", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k") != 0)
        return sp_fail_errno(err, errno, "mount %s", path);
    return true;
}

bool sp_volumes_set_up(const sp_volume_input *in, sp_err *err) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    maker m = {.in = in, .a = a};
    m.gid = sp_json_int(sp_json_dig(in->pod, "spec", "securityContext", "fsGroup", NULL), -1);
    if (!make_shm(in, err)) return false;
    sp_json_each(sp_json_dig(in->pod, "spec", "volumes", NULL), v) {
        if (!sp_name_is_label(sp_json_str(sp_json_get(v, "name"))))
            return sp_fail(err, SP_INVALID, "a volume's name is no DNS label");
        if (!make_volume(&m, v, err))
            return sp_err_wrap(err, "volume \"%s\"", sp_json_get_z(v, "name"));
    }
    return true;
}

void sp_volumes_remove(const char *mem_dir) {
    sp_auto(sp_buf) mounts = {0};
    size_t n = strlen(mem_dir);
    if (sp_file_read("/proc/self/mounts", 8 << 20, &mounts, NULL)) {
        for (sp_str line, rest = sp_buf_str(&mounts); sp_str_cut(&rest, '\n', &line);) {
            sp_str device, path;
            if (!sp_str_cut(&line, ' ', &device) || !sp_str_cut(&line, ' ', &path)) continue;
            if (path.n <= n + 1 || memcmp(path.p, mem_dir, n) != 0 || path.p[n] != '/') continue;
            char at[PATH_MAX];
            snprintf(at, sizeof at, "%.*s", SP_ARG(path));
            umount2(at, MNT_DETACH);
        }
    }
    (void)!sp_remove_all(mem_dir, NULL);
}

/* ---------- mounts ---------- */

static const sp_json *volume_named(const sp_json *pod, sp_str name) {
    sp_json_each(sp_json_dig(pod, "spec", "volumes", NULL), v) {
        if (sp_str_eq(sp_json_str(sp_json_get(v, "name")), name)) return v;
    }
    return NULL;
}

static bool make_inside(int volume, sp_str sub) {
    sp_auto(sp_buf) done = {0};
    for (sp_str part, rest = sub; sp_str_cut(&rest, '/', &part);) {
        if (!part.n) continue;
        int parent = sp_open_inside(volume, done.n ? done.p : ".", O_PATH);
        if (parent < 0) return false;
        char name[NAME_MAX + 1];
        snprintf(name, sizeof name, "%.*s", SP_ARG(part));
        int rc = mkdirat(parent, name, 0777);
        int saved = errno;
        close(parent);
        if (rc != 0 && saved != EEXIST) return false;
        if (done.n) sp_buf_addc(&done, '/');
        sp_buf_add(&done, part);
    }
    return true;
}

/* Makes the path where it is missing. What it leads to is found again, and held, by the shim: a
 * container may change it in between. */
static bool make_sub(sp_str dir, sp_str sub, sp_err *err) {
    for (sp_str part, rest = sub; sp_str_cut(&rest, '/', &part);)
        if (sp_str_eqz(part, "..") || sub.p[0] == '/')
            return sp_fail(err, SP_INVALID, "subPath \"%.*s\" leaves the volume", SP_ARG(sub));
    int volume = open(dir.p, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (volume < 0) return sp_fail_errno(err, errno, "open %s", dir.p);
    int fd = sp_open_inside(volume, sub.p, O_PATH);
    if (fd < 0 && errno == ENOENT && make_inside(volume, sub))
        fd = sp_open_inside(volume, sub.p, O_PATH);
    int saved = errno;
    close(volume);
    if (fd < 0) return sp_fail_errno(err, saved, "subPath \"%.*s\"", SP_ARG(sub));
    close(fd);
    return true;
}

static bool always_readonly(const sp_json *volume) {
    return !sp_json_get(volume, "emptyDir") && !sp_json_get(volume, "hostPath");
}

static bool add_mount(sp_arena *a, const sp_volume_input *in, const sp_json *vm, const sp_json *env,
                      sp_oci_mounts *ret, sp_err *err) {
    sp_str name = sp_json_str(sp_json_get(vm, "name"));
    sp_str to = sp_json_str(sp_json_get(vm, "mountPath"));
    sp_str sub = sp_json_str(sp_json_get(vm, "subPath"));
    const sp_json *expr = sp_json_get(vm, "subPathExpr");
    const sp_json *volume = volume_named(in->pod, name);
    if (!volume)
        return sp_fail(err, SP_INVALID, "volumeMount names volume \"%.*s\", which the pod lacks",
                       SP_ARG(name));
    if (!to.n)
        return sp_fail(err, SP_INVALID, "volumeMount \"%.*s\" has no mountPath", SP_ARG(name));
    if (to.p[0] != '/') to = sp_arena_printf(a, "/%.*s", SP_ARG(to));
    if (expr) sub = sp_env_expand(a, sp_json_str(expr), env);
    sp_str from = dir_of(a, in, volume);
    if (sub.n && !make_sub(from, sub, err))
        return sp_err_wrap(err, "volume \"%.*s\"", SP_ARG(name));
    const char *spread = sp_json_get_z(vm, "mountPropagation");
    bool readonly = sp_json_bool(sp_json_get(vm, "readOnly"), false) || always_readonly(volume);
    sp_vec_push(ret, (sp_oci_mount){.source = from,
                                    .sub = sub,
                                    .destination = to,
                                    .readonly = readonly,
                                    .propagate = *spread && strcmp(spread, "None") != 0});
    return true;
}

bool sp_volumes_mounts(sp_arena *a, const sp_volume_input *in, const sp_json *container,
                       const sp_json *env, sp_oci_mounts *ret, sp_err *err) {
    static const char *const etc[] = {"hosts", "hostname", "resolv.conf"};
    for (size_t i = 0; i < SP_COUNT(etc); i++)
        sp_vec_push(ret,
                    (sp_oci_mount){.source = sp_arena_printf(a, "%s/etc/%s", in->pod_dir, etc[i]),
                                   .destination = sp_arena_printf(a, "/etc/%s", etc[i])});
    sp_vec_push(ret, (sp_oci_mount){.source = sp_arena_printf(a, "%s/.shm", in->mem_dir),
                                    .destination = SP_STR("/dev/shm")});
    size_t ours = ret->n;
    sp_json_each(sp_json_get(container, "volumeMounts"), vm) {
        if (!add_mount(a, in, vm, env, ret, err)) return false;
    }
    for (size_t i = ours; i < ret->n; i++)
        for (size_t j = 0; j < ours; j++)
            if (sp_str_eq(ret->p[i].destination, ret->p[j].destination)) {
                sp_vec_remove(ret, j);
                ours--, i--, j--;
            }
    return true;
}

void sp_pod_refs(const sp_json *pod, sp_pod_ref_fn *fn, void *ctx) {
    static const char *const lists[] = {"containers", "initContainers"};
    static const char *const refs[][3] = {
        {"configMap", "name", "ConfigMap"}, {"secret", "secretName", "Secret"},
        {"secret", "name", "Secret"},       {"configMapKeyRef", "name", "ConfigMap"},
        {"secretKeyRef", "name", "Secret"}, {"configMapRef", "name", "ConfigMap"},
        {"secretRef", "name", "Secret"}};
    SP_VEC(const sp_json *) holders = {0};
    sp_json_each(sp_json_dig(pod, "spec", "volumes", NULL), v) {
        sp_vec_push(&holders, v);
        sp_json_each(sp_json_dig(v, "projected", "sources", NULL), s) sp_vec_push(&holders, s);
    }
    for (size_t l = 0; l < SP_COUNT(lists); l++) {
        sp_json_each(sp_json_dig(pod, "spec", lists[l], NULL), c) {
            sp_json_each(sp_json_get(c, "env"), e) {
                const sp_json *from = sp_json_get(e, "valueFrom");
                if (from) sp_vec_push(&holders, from);
            }
            sp_json_each(sp_json_get(c, "envFrom"), e) sp_vec_push(&holders, e);
        }
    }
    sp_vec_each(&holders, h) {
        for (size_t i = 0; i < SP_COUNT(refs); i++) {
            sp_str name = sp_json_str(sp_json_dig(*h, refs[i][0], refs[i][1], NULL));
            if (name.n) fn(ctx, refs[i][2], name);
        }
    }
    sp_vec_free(&holders);
}
