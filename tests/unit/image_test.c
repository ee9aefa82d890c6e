/* References, documents, and archives made here: good ones become images, bad ones are refused and
 * leave nothing outside their layer. */
#include "agent/digest.h"
#include "agent/image_store.h"
#include "agent/registry_auth.h"
#include "base/file.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

/* ---------- references ---------- */

static void references_are_normalised(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"nginx", "docker.io/library/nginx:latest"},
        {"nginx:1.25", "docker.io/library/nginx:1.25"},
        {"team/app", "docker.io/team/app:latest"},
        {"docker.io/nginx", "docker.io/library/nginx:latest"},
        {"index.docker.io/a/b:c", "docker.io/a/b:c"},
        {"localhost/x", "localhost/x:latest"},
        {"localhost:5000/x:y", "localhost:5000/x:y"},
        {"quay.io/a/b/c:v1.2-3", "quay.io/a/b/c:v1.2-3"},
        {"a/b__c.d-e---f", "docker.io/a/b__c.d-e---f:latest"},
        {"x:t@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
         "docker.io/library/"
         "x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_image_ref r;
        sp_err err = {0};
        assert_true(sp_image_ref_parse(a, sp_str_z(rows[i][0]), &r, &err));
        assert_string_equal(sp_image_ref_text(a, &r).p, rows[i][1]);
    }
}

static void bad_references_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",    "Nginx",        "a//b",    "a:",           ":a",        "a@sha256:12",
        "a b", "-a",           "a/",      "a:b:c/d/../e", "a___b",     "a..b",
        "a@",  "host:99999/x", "../../x", "a:-x",         "http://a/b"};
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        sp_auto_ptr(sp_arena) a = sp_arena_new();
        sp_image_ref r;
        sp_err err = {0};
        if (sp_image_ref_parse(a, sp_str_z(bad[i]), &r, &err)) fail_msg("taken: \"%s\"", bad[i]);
        assert_true(err.text[0]);
    }
}

static void an_index_is_searched_by_platform(void **state) {
    (void)state;
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_json *index = NULL;
    sp_image_desc d;
    sp_err err = {0};
#define HEX(c) c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
    assert_true(sp_json_parse(
        a,
        SP_STR(
            "{\"manifests\":["
            "{\"digest\":\"sha256:" HEX(
                "11") "\",\"size\":1,\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\"}},"
                      "{\"digest\":\"sha256:" HEX("22") "\",\"size\":2,\"platform\":{\"os\":"
                                                        "\"linux\",\"architecture\":\"amd64\"}}]}"),
        &index, &err));
    assert_true(sp_image_index_pick(index, (sp_image_platform){"linux", "amd64", ""}, &d, &err));
    assert_int_equal(d.size, 2);
    assert_false(sp_image_index_pick(index, (sp_image_platform){"linux", "riscv64", ""}, &d, &err));
    assert_non_null(strstr(err.text, "linux/arm64, linux/amd64"));
}

static void tokens_are_asked_for_where_the_registry_says(void **state) {
    (void)state;
    sp_err err = {0};
    sp_auto(sp_buf) url = {0};
    assert_true(sp_registry_token_url(
        SP_STR("Bearer realm=\"https://auth.example/t\",service=\"reg \\\"x\\\"\",scope=\"a,b\""),
        SP_STR("a/b"), true, &url, &err));
    assert_string_equal(
        url.p, "https://auth.example/t?scope=repository%3Aa%2Fb%3Apull&service=reg%20%22x%22");
    static const char *const bad[] = {"Basic realm=\"x\"", "Bearer", "Bearer service=\"x\"",
                                      "Bearer realm=\"file:///etc/passwd\"",
                                      "Bearer realm=\"http://a b\""};
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        sp_buf_clear(&url);
        assert_false(sp_registry_token_url(sp_str_z(bad[i]), SP_STR("a"), false, &url, &err));
    }
    sp_str plain = SP_STR("Bearer realm=\"http://auth.example/t\"");
    sp_buf_clear(&url);
    assert_true(sp_registry_token_url(plain, SP_STR("a"), false, &url, &err));
    assert_false(sp_registry_token_url(plain, SP_STR("a"), true, &url, &err));
    assert_non_null(strstr(err.text, "without TLS"));
}

/* ---------- archives ---------- */

typedef struct file {
    const char *path;
    char type; /* f file, d directory, l symbolic link, h hard link, x file with a trusted attribute
                */
    const char *content;
} file;

static void put(struct archive *ar, const file *f, sp_str bytes) {
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, f->path);
    archive_entry_set_perm(e, f->type == 'd' ? 0755 : 0644);
    archive_entry_set_filetype(e, f->type == 'd' ? AE_IFDIR : f->type == 'l' ? AE_IFLNK : AE_IFREG);
    if (f->type == 'l')
        archive_entry_set_symlink(e, f->content);
    else if (f->type == 'h')
        archive_entry_set_hardlink(e, f->content);
    else if (f->type != 'd')
        archive_entry_set_size(e, (la_int64_t)bytes.n);
    if (f->type == 'x') archive_entry_xattr_add_entry(e, "trusted.overlay.redirect", "/etc", 4);
    assert_int_equal(archive_write_header(ar, e), ARCHIVE_OK);
    if (strchr("fx", f->type) && bytes.n) archive_write_data(ar, bytes.p, bytes.n);
    archive_entry_free(e);
}

typedef enum packing { PLAIN, GZIP, ZSTD } packing;

static void tar_of(const char *path, const file *files, size_t n, packing p) {
    struct archive *ar = archive_write_new();
    if (p == GZIP) archive_write_add_filter_gzip(ar);
    if (p == ZSTD) archive_write_add_filter_zstd(ar);
    archive_write_set_format_pax_restricted(ar);
    assert_int_equal(archive_write_open_filename(ar, path), ARCHIVE_OK);
    for (size_t i = 0; i < n; i++)
        put(ar, &files[i],
            sp_str_z(files[i].type == 'f' || files[i].type == 'x' ? files[i].content : ""));
    archive_write_close(ar);
    archive_write_free(ar);
}

typedef struct place {
    char dir[64];
    sp_image_store *store;
} place;

static int set_up(void **state) {
    place *p = sp_zalloc(1, sizeof *p);
    sp_err err = {0};
    snprintf(p->dir, sizeof p->dir, "/tmp/image_test.XXXXXX");
    if (!mkdtemp(p->dir) || !sp_image_store_open(p->dir, &p->store, &err)) return -1;
    *state = p;
    return 0;
}

static int tear_down(void **state) {
    place *p = *state;
    sp_image_store_free(p->store);
    (void)!sp_remove_all(p->dir, NULL);
    free(p);
    return 0;
}

static void slurp(const char *path, sp_buf *out) {
    sp_err err = {0};
    if (!sp_file_read(path, 1 << 24, out, &err)) fail_msg("%s", err.text);
}

/* A docker-archive with the layers given; diff_id NULL: the right one. */
static void docker_archive(place *p, const char *const *layer_files, size_t n, packing pack,
                           const char *diff_id, const file *const *contents, const size_t *counts,
                           char ret_path[128]) {
    sp_auto(sp_buf) config = {0};
    sp_auto(sp_buf) manifest = {0};
    sp_buf_addz(&config,
                "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"/x\"]},"
                "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[");
    sp_buf_addz(&manifest,
                "[{\"Config\":\"config.json\",\"RepoTags\":[\"made:here\"],\"Layers\":[");
    snprintf(ret_path, 128, "%s/archive.tar", p->dir);
    struct archive *ar = archive_write_new();
    archive_write_set_format_pax_restricted(ar);
    archive_write_open_filename(ar, ret_path);
    for (size_t i = 0; i < n; i++) {
        char path[128], digest[SP_DIGEST_TEXT + 1];
        sp_auto(sp_buf) bytes = {0};
        snprintf(path, sizeof path, "%s/layer", p->dir);
        tar_of(path, contents[i], counts[i], PLAIN);
        slurp(path, &bytes);
        sp_digest_of(sp_buf_str(&bytes), digest);
        tar_of(path, contents[i], counts[i], pack);
        sp_buf_clear(&bytes);
        slurp(path, &bytes);
        put(ar, &(file){layer_files[i], 'f', NULL}, sp_buf_str(&bytes));
        sp_buf_printf(&config, "%s\"%s\"", i ? "," : "", diff_id ? diff_id : digest);
        sp_buf_printf(&manifest, "%s\"%s\"", i ? "," : "", layer_files[i]);
    }
    sp_buf_addz(&config, "]}}");
    sp_buf_addz(&manifest, "]}]");
    put(ar, &(file){"config.json", 'f', NULL}, sp_buf_str(&config));
    put(ar, &(file){"manifest.json", 'f', NULL}, sp_buf_str(&manifest));
    archive_write_close(ar);
    archive_write_free(ar);
}

static bool import_one(place *p, const file *files, size_t n, packing pack, const char *diff_id,
                       sp_err *err) {
    char path[128];
    sp_auto(sp_buf) added = {0};
    docker_archive(p, (const char *const[]){"l/layer.tar"}, 1, pack, diff_id, &files, &n, path);
    return sp_image_import(p->store, path, (sp_str){0}, NULL, NULL, &added, err);
}

static void layer_dir(place *p, size_t i, char ret[256]) {
    sp_auto_ptr(sp_arena) a = sp_arena_new();
    sp_auto(sp_buf) path = {0};
    sp_image image;
    sp_err err = {0};
    if (!sp_image_find(p->store, a, SP_STR("made:here"), &image, &err)) fail_msg("%s", err.text);
    sp_image_layer_path(p->store, sp_json_str(sp_json_at(image.config.diff_ids, i)), &path);
    snprintf(ret, 256, "%s", path.p);
}

static void layers_are_unpacked_in_every_packing(void **state) {
    place *p = *state;
    const file files[] = {{"./bin/", 'd', ""},
                          {"./bin/a", 'f', "hello"},
                          {"bin/b", 'l', "/bin/a"},
                          {"/bin/c", 'h', "./bin/a"}};
    for (packing pack = PLAIN; pack <= ZSTD; pack++) {
        sp_err err = {0};
        if (!import_one(p, files, SP_COUNT(files), pack, NULL, &err)) fail_msg("%s", err.text);
        char dir[256], path[300], link[64] = "";
        struct stat a, c;
        layer_dir(p, 0, dir);
        snprintf(path, sizeof path, "%s/bin/a", dir);
        assert_int_equal(stat(path, &a), 0);
        assert_int_equal(a.st_size, 5);
        snprintf(path, sizeof path, "%s/bin/c", dir);
        assert_int_equal(stat(path, &c), 0);
        assert_int_equal(a.st_ino, c.st_ino);
        snprintf(path, sizeof path, "%s/bin/b", dir);
        assert_true(readlink(path, link, sizeof link - 1) > 0);
        assert_string_equal(link, "/bin/a");
        (void)!sp_remove_all(dir, &err);
    }
}

static void whiteouts_become_what_overlayfs_reads(void **state) {
    place *p = *state;
    const file lower[] = {{"d/x", 'f', "1"}, {"d/y", 'f', "2"}, {"e/z", 'f', "3"}};
    const file upper[] = {
        {"d/.wh.x", 'f', ""}, {"e/.wh..wh..opq", 'f', ""}, {"e/n", 'f', "4"}, {"t", 'x', "5"}};
    const file *const contents[] = {lower, upper};
    const size_t counts[] = {SP_COUNT(lower), SP_COUNT(upper)};
    char path[128], dir[256], file_path[300], value[8];
    sp_auto(sp_buf) added = {0};
    sp_err err = {0};
    struct stat st;
    if (geteuid() != 0) skip();
    docker_archive(p, (const char *const[]){"a/layer.tar", "b/layer.tar"}, 2, GZIP, NULL, contents,
                   counts, path);
    if (!sp_image_import(p->store, path, (sp_str){0}, NULL, NULL, &added, &err))
        fail_msg("%s", err.text);
    layer_dir(p, 1, dir);
    snprintf(file_path, sizeof file_path, "%s/d/x", dir);
    assert_int_equal(lstat(file_path, &st), 0);
    assert_true(S_ISCHR(st.st_mode) && st.st_rdev == 0);
    snprintf(file_path, sizeof file_path, "%s/e", dir);
    assert_int_equal(getxattr(file_path, "trusted.overlay.opaque", value, sizeof value), 1);
    snprintf(file_path, sizeof file_path, "%s/t", dir); /* an archive may not steer overlayfs */
    assert_int_equal(getxattr(file_path, "trusted.overlay.redirect", value, sizeof value), -1);
    snprintf(file_path, sizeof file_path, "%s/d/.wh.x", dir);
    assert_int_equal(lstat(file_path, &st), -1);
}

static void nothing_leaves_its_layer(void **state) {
    place *p = *state;
    char outside[128], sneaky[160];
    snprintf(outside, sizeof outside, "%s/outside", p->dir);
    assert_int_equal(mkdir(outside, 0755), 0);
    snprintf(sneaky, sizeof sneaky, "%s/victim", outside);
    sp_err err = {0};
    assert_true(sp_file_write(sneaky, SP_STR("safe"), 0644, &err));
    const struct {
        file files[2];
        size_t n;
    } bad[] = {
        {{{"../../../outside/new", 'f', "x"}}, 1},
        {{{"a/../../b", 'f', "x"}}, 1},
        {{{"d", 'l', outside}, {"d/new", 'f', "x"}}, 2},
        {{{"d", 'l', outside}, {"d/victim", 'f', "x"}}, 2},
        {{{"d", 'l', outside}, {"h", 'h', "d/victim"}}, 2},
        {{{"h", 'h', "../../../outside/victim"}}, 1},
        {{{"d", 'l', outside}, {"d/.wh.victim", 'f', ""}}, 2},
        {{{"../.wh.x", 'f', ""}}, 1},
    };
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        err = (sp_err){0};
        if (import_one(p, bad[i].files, bad[i].n, PLAIN, NULL, &err))
            fail_msg("archive %zu was taken", i);
        assert_true(err.text[0]);
        sp_auto(sp_buf) text = {0};
        slurp(sneaky, &text);
        assert_string_equal(text.p, "safe");
        char made[160];
        snprintf(made, sizeof made, "%s/new", outside);
        assert_false(sp_file_exists(made));
    }
}

/* What the archive does not list is made like anywhere else, not writable for all. */
static void implied_directories_are_not_for_all_to_write(void **state) {
    place *p = *state;
    const file files[] = {{"opt/app/bin/x", 'f', "x"}, {"gone/deep/.wh.x", 'f', ""}};
    static const char *const dirs[] = {"opt", "opt/app", "opt/app/bin", "gone", "gone/deep"};
    char dir[256], path[300];
    sp_err err = {0};
    struct stat st;
    if (geteuid() != 0) skip();
    if (!import_one(p, files, SP_COUNT(files), PLAIN, NULL, &err)) fail_msg("%s", err.text);
    layer_dir(p, 0, dir);
    for (size_t i = 0; i < SP_COUNT(dirs); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, dirs[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0755);
    }
    assert_int_equal(stat(sp_image_store_dir(p->store), &st), 0);
    assert_int_equal(st.st_mode & 0077, 0); /* set-user-ID programs of images are out of reach */
}

static void the_disk_is_not_filled(void **state) {
    place *p = *state;
    sp_err err = {0};
    assert_true(sp_image_store_room(p->store, 0, &err));
    assert_false(sp_image_store_room(p->store, 1LL << 60, &err));
    assert_int_equal(err.code, SP_TOO_LARGE);
    assert_non_null(strstr(err.text, "no room"));
    assert_false(sp_image_store_room(p->store, INT64_MAX, &err));
}

static void damaged_archives_are_refused(void **state) {
    place *p = *state;
    const file files[] = {{"a", 'f', "x"}};
    sp_err err = {0};
    sp_auto(sp_buf) added = {0};
    char path[128];
    assert_false(import_one(p, files, 1, GZIP, "sha256:" HEX("00"), &err));
    assert_non_null(strstr(err.text, "diffID"));
    snprintf(path, sizeof path, "%s/oci.tar", p->dir);
    tar_of(path, (file[]){{"blobs/sha256/" HEX("ab"), 'f', "not that"}, {"index.json", 'f', "{}"}},
           2, PLAIN);
    assert_false(sp_image_import(p->store, path, (sp_str){0}, NULL, NULL, &added, &err));
    assert_non_null(strstr(err.text, "damaged"));
    tar_of(path, (file[]){{"readme", 'f', "hi"}}, 1, GZIP);
    assert_false(sp_image_import(p->store, path, (sp_str){0}, NULL, NULL, &added, &err));
    assert_non_null(strstr(err.text, "no image archive"));
    assert_true(sp_file_write(path, SP_STR("plain text"), 0644, &err));
    assert_false(sp_image_import(p->store, path, (sp_str){0}, NULL, NULL, &added, &err));
    assert_int_equal(added.n, 0);
}

static void what_is_not_named_is_collected(void **state) {
    place *p = *state;
    const file files[] = {{"a", 'f', "x"}};
    sp_err err = {0};
    sp_image_gc_result r;
    char dir[256];
    if (!import_one(p, files, 1, PLAIN, NULL, &err)) fail_msg("%s", err.text);
    layer_dir(p, 0, dir);
    assert_true(sp_image_gc(p->store, &r, &err));
    assert_int_equal(r.layers, 0);
    assert_true(sp_file_exists(dir));
    assert_true(sp_image_untag(p->store, SP_STR("made:here"), &err));
    assert_false(sp_image_untag(p->store, SP_STR("made:here"), &err));
    /* A container still stands on the layer. */
    char held[160];
    snprintf(held, sizeof held, "%s/pods/u/containers/c/0", p->dir);
    assert_true(sp_mkdir_all(held, 0755, &err));
    sp_auto(sp_buf) line = {0};
    sp_buf_printf(&line, "sha256:%s\n", strrchr(dir, '/') + 1);
    char layers[180];
    snprintf(layers, sizeof layers, "%s/layers", held);
    assert_true(sp_file_write(layers, sp_buf_str(&line), 0644, &err));
    assert_true(sp_image_gc(p->store, &r, &err));
    assert_int_equal(r.layers, 0);
    assert_true(sp_file_exists(dir));
    assert_int_equal(unlink(layers), 0);
    assert_true(sp_image_gc(p->store, &r, &err));
    assert_int_equal(r.layers, 1);
    assert_false(sp_file_exists(dir));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_are_normalised),
        cmocka_unit_test(bad_references_are_refused),
        cmocka_unit_test(an_index_is_searched_by_platform),
        cmocka_unit_test(tokens_are_asked_for_where_the_registry_says),
        cmocka_unit_test_setup_teardown(layers_are_unpacked_in_every_packing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(whiteouts_become_what_overlayfs_reads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_leaves_its_layer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(implied_directories_are_not_for_all_to_write, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_disk_is_not_filled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_archives_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_named_is_collected, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
