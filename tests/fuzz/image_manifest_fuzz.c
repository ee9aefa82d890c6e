/* The three documents of an image: what is taken has valid digests only (they become paths). */
#include "agent/digest.h"
#include "agent/image_doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_str text = {(const char *)data, size};
    sp_image_manifest m = {0};
    sp_image_config c;
    sp_image_desc d;
    sp_json *doc = NULL;
    sp_err err = {0};
    if (sp_image_manifest_parse(a, text, &m, &err)) {
        sp_assert(sp_digest_valid(m.config.digest) && m.config.size >= 0);
        sp_vec_each(&m.layers, l) sp_assert(sp_digest_valid(l->digest) && l->size >= 0);
        sp_image_manifest_free(&m);
    }
    if (sp_image_config_parse(a, text, &c, &err)) {
        sp_json_each(c.diff_ids, id) sp_assert(sp_digest_valid(sp_json_str(id)));
    }
    if (sp_json_parse(a, text, &doc, &err) && sp_image_is_index(doc) &&
        sp_image_index_pick(doc, (sp_image_platform){"linux", "amd64", ""}, &d, &err))
        sp_assert(sp_digest_valid(d.digest));
    return 0;
}
