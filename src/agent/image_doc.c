/* Reads only the fields that running an image needs; whatever else is there stays in the blob. */
#include "agent/image_doc.h"

#include "agent/digest.h"

#include <sys/utsname.h>

void sp_image_manifest_free(sp_image_manifest *m) {
    sp_vec_free(&m->layers);
}

sp_image_platform sp_image_platform_host(void) {
#if defined(__x86_64__)
    return (sp_image_platform){"linux", "amd64", ""};
#elif defined(__aarch64__)
    return (sp_image_platform){"linux", "arm64", "v8"};
#elif defined(__riscv) && __riscv_xlen == 64
    return (sp_image_platform){"linux", "riscv64", ""};
#elif defined(__powerpc64__)
    return (sp_image_platform){"linux", "ppc64le", ""};
#elif defined(__s390x__)
    return (sp_image_platform){"linux", "s390x", ""};
#else
    return (sp_image_platform){"linux", "unknown", ""};
#endif
}

bool sp_image_desc_parse(const sp_json *j, const char *what, sp_image_desc *ret, sp_err *err) {
    sp_str digest = sp_json_str(sp_json_get(j, "digest"));
    int64_t size = sp_json_int(sp_json_get(j, "size"), -1);
    if (!sp_digest_valid(digest))
        return sp_fail(err, SP_INVALID,
                       "%s: \"digest\" must be sha256: and 64 hex digits, not \"%.100s\"", what,
                       digest.p);
    if (size < 0) return sp_fail(err, SP_INVALID, "%s: \"size\" is missing or negative", what);
    *ret = (sp_image_desc){sp_json_str(sp_json_get(j, "mediaType")), digest, size};
    return true;
}

bool sp_image_is_index(const sp_json *doc) {
    return sp_json_is(sp_json_get(doc, "manifests"), SP_JSON_ARRAY);
}

bool sp_image_manifest_parse(sp_arena *a, sp_str text, sp_image_manifest *ret, sp_err *err) {
    sp_json *doc = NULL;
    if (!sp_json_parse(a, text, &doc, err)) return sp_err_wrap(err, "image manifest");
    if (sp_json_int(sp_json_get(doc, "schemaVersion"), 0) == 1)
        return sp_fail(err, SP_INVALID,
                       "the image has the old schema 1 manifest; push it again "
                       "with a current tool");
    const sp_json *layers = sp_json_get(doc, "layers");
    if (!sp_json_is(layers, SP_JSON_ARRAY))
        return sp_fail(err, SP_INVALID, "image manifest: \"layers\" must be an array");
    if (layers->count > SP_IMAGE_MAX_LAYERS)
        return sp_fail(err, SP_TOO_LARGE, "image manifest: %zu layers; at most %d can be mounted",
                       layers->count, SP_IMAGE_MAX_LAYERS);
    sp_image_manifest m = {0};
    if (!sp_image_desc_parse(sp_json_get(doc, "config"), "image manifest: config", &m.config, err))
        return false;
    sp_json_each(layers, l) {
        sp_image_desc d;
        if (!sp_image_desc_parse(l, "image manifest: layer", &d, err)) {
            sp_image_manifest_free(&m);
            return false;
        }
        sp_vec_push(&m.layers, d);
    }
    *ret = m;
    return true;
}

bool sp_image_config_parse(sp_arena *a, sp_str text, sp_image_config *ret, sp_err *err) {
    sp_json *doc = NULL;
    if (!sp_json_parse(a, text, &doc, err)) return sp_err_wrap(err, "image configuration");
    const sp_json *ids = sp_json_dig(doc, "rootfs", "diff_ids", NULL);
    if (!sp_json_is(ids, SP_JSON_ARRAY))
        return sp_fail(err, SP_INVALID, "image configuration: rootfs.diff_ids must be an array");
    sp_json_each(ids, id) {
        if (!sp_digest_valid(sp_json_str(id)))
            return sp_fail(err, SP_INVALID, "image configuration: a diff_id is no sha256 digest");
    }
    *ret = (sp_image_config){doc, sp_json_get(doc, "config"), ids};
    return true;
}

static bool platform_fits(const sp_json *manifest, sp_image_platform p) {
    const sp_json *have = sp_json_get(manifest, "platform");
    if (!have) return true;
    const char *variant = sp_json_get_z(have, "variant");
    return strcmp(sp_json_get_z(have, "os"), p.os) == 0 &&
           strcmp(sp_json_get_z(have, "architecture"), p.arch) == 0 &&
           (!*variant || !*p.variant || strcmp(variant, p.variant) == 0);
}

static void list_platforms(const sp_json *manifests, sp_buf *b) {
    sp_json_each(manifests, m) {
        const sp_json *p = sp_json_get(m, "platform");
        if (!p || strcmp(sp_json_get_z(p, "os"), "unknown") == 0 || b->n > 300) continue;
        sp_buf_printf(b, "%s%.20s/%.20s", b->n ? ", " : "", sp_json_get_z(p, "os"),
                      sp_json_get_z(p, "architecture"));
    }
}

bool sp_image_index_pick(const sp_json *index, sp_image_platform p, sp_image_desc *ret,
                         sp_err *err) {
    const sp_json *manifests = sp_json_get(index, "manifests");
    sp_json_each(manifests, m) {
        if (platform_fits(m, p)) return sp_image_desc_parse(m, "image index", ret, err);
    }
    sp_auto(sp_buf) have = {0};
    list_platforms(manifests, &have);
    return sp_fail(err, SP_NOT_FOUND, "the image has no variant for %s/%s; it has: %s", p.os,
                   p.arch, have.n ? have.p : "nothing");
}
