#include "gateway/tls_default.h"

#include "base/file.h"
#include "net/tls.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

enum { DAYS = 397, RENEW_DAYS = 30, FILE_MAX = 64 * 1024 };

static struct {
    pthread_mutex_t lock;
    sp_buf cert, key;
    bool made;
} it = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The CA's key is forgotten at once: nobody can sign anything else by it. */
static bool make(sp_err *err) {
    sp_auto(sp_buf) ca = {0};
    sp_auto(sp_buf) ca_key = {0};
    char host[256] = "";
    const char *names[] = {"localhost", "sampan.local", host, NULL};
    const char *ips[] = {"127.0.0.1", "::1", NULL};
    if (gethostname(host, sizeof host - 1) != 0 || !host[0]) names[2] = NULL;
    sp_cert_request r = {.common_name = "sampan default certificate",
                         .dns_names = names,
                         .ips = ips,
                         .server = true,
                         .life_s = DAYS * SP_DAY_S};
    if (!sp_cert_make_ca("sampan default CA", DAYS * SP_DAY_S, &ca, &ca_key, err) ||
        !sp_cert_issue(sp_buf_str(&ca), sp_buf_str(&ca_key), &r, &it.cert, &it.key, err))
        return false;
    sp_buf_add(&it.cert, sp_buf_str(&ca));
    return true;
}

/* What was kept, unless it is damaged or nearly over. Key first, then the chain. */
static bool load(const char *path) {
    sp_auto(sp_buf) b = {0};
    if (!sp_file_read(path, FILE_MAX, &b, NULL)) return false;
    ptrdiff_t at = sp_str_find(sp_buf_str(&b), SP_STR("-----BEGIN CERTIFICATE-----"));
    if (at < 0) return false;
    sp_str key = sp_str_sub(sp_buf_str(&b), 0, (size_t)at),
           cert = sp_str_from(sp_buf_str(&b), (size_t)at);
    sp_tls_pair p = {.cert_pem = cert, .key_pem = key};
    int days = 0;
    if (!sp_tls_check_pair(&p, NULL) || !sp_cert_days_left(cert, &days, NULL)) return false;
    if (days < RENEW_DAYS) return false;
    sp_buf_add(&it.key, key);
    sp_buf_add(&it.cert, cert);
    return true;
}

static bool make_and_keep(const char *path, sp_err *err) {
    sp_auto(sp_buf) both = {0};
    if (!make(err)) return false;
    sp_buf_add(&both, sp_buf_str(&it.key));
    sp_buf_add(&both, sp_buf_str(&it.cert));
    return sp_file_write(path, sp_buf_str(&both), 0600, err);
}

static bool get(const char *dir, sp_err *err) {
    char path[4096];
    if (!dir || !*dir) return make(err);
    snprintf(path, sizeof path, "%s/sampan-default.pem", dir);
    return load(path) || (sp_mkdir_all(dir, 0700, err) && make_and_keep(path, err));
}

bool sp_tls_default_cert(const char *dir, sp_tls_cert *ret, sp_err *err) {
    pthread_mutex_lock(&it.lock);
    if (!it.made) it.made = get(dir, err);
    bool ok = it.made;
    if (!ok) {
        sp_buf_free(&it.cert);
        sp_buf_free(&it.key);
    }
    pthread_mutex_unlock(&it.lock);
    if (!ok) return sp_err_wrap(err, "the default certificate");
    *ret = (sp_tls_cert){.cert_pem = sp_buf_str(&it.cert),
                         .key_pem = sp_buf_str(&it.key),
                         .source = SP_STR("the default certificate")};
    return true;
}
