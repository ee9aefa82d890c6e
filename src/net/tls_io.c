/* OpenSSL over a BIO of our own that reads from a lent slice and writes to the owner's buffer: no
 * memory BIOs, so an idle connection holds no buffer at all.
 *
 * A lightened connection has given its OpenSSL object back: the two traffic secrets of TLS 1.3
 * (which OpenSSL tells by its key log callback) and the count of records already sealed are all
 * that the record layer needs, and what was agreed on is copied. Beside data, a client may then
 * still send KeyUpdate and alerts, which is little enough to be done here. */
#include "net/tls_io.h"

#include "net/tls_internal.h"
#include "net/tls_record.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>

enum { CHATTER_MAX = 32, SECRET_MAX = 48 };
enum {
    ALERT_CLOSE_NOTIFY = 0,
    ALERT_UNEXPECTED = 10,
    ALERT_BAD_RECORD = 20,
    ALERT_OVERFLOW = 22,
    ALERT_CANCELED = 90
};
enum { FINISHED = 20, KEY_UPDATE = 24 };

/* What only a handshake needs. */
typedef struct secrets {
    uint8_t client[SECRET_MAX], server[SECRET_MAX];
    size_t client_n, server_n;
    uint64_t sealed; /* records since the client's Finished: under the server's secret */
} secrets;

/* What a lightened connection keeps of its handshake. */
typedef struct facts {
    char *alpn, *sni; /* owned; NULL = none */
    bool resumed;
} facts;

struct sp_tls_io {
    sp_tls_ctx *ctx;
    SSL *ssl;
    sp_str in; /* not yet read by OpenSSL */
    sp_buf *wire;
    secrets *secrets;      /* until lightened; NULL where that is not wanted */
    sp_tls_record *record; /* lightened: ssl and ctx are NULL */
    facts *facts;
    bool server, looked, open, said_goodbye;
    bool update_due;  /* lightened: a KeyUpdate was asked for; it goes ahead of our next data */
    unsigned chatter; /* handshake messages that came beside the data */
    sp_tls_session **slot; /* clients; of the owner */
    sp_arena *arena;       /* of the peer; NULL without a certificate */
    sp_tls_peer *peer;
};

static int bio_write(BIO *b, const char *p, int n) {
    sp_tls_io *t = BIO_get_data(b);
    if (n > 0) sp_buf_add(t->wire, (sp_str){p, (size_t)n});
    return n;
}

static int bio_read(BIO *b, char *p, int n) {
    sp_tls_io *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (t->in.n == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    size_t take = SP_MIN((size_t)n, t->in.n);
    memcpy(p, t->in.p, take);
    t->in = sp_str_from(t->in, take);
    return (int)take;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr) {
    (void)b, (void)num, (void)ptr;
    return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;

static void make_method(void) {
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sampan");
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_ctrl(method, bio_ctrl);
}

static BIO *new_bio(sp_tls_io *t) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    BIO *b = BIO_new(method);
    sp_assert(b);
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    return b;
}

/* After the handshake TLS allows few messages of its own (session tickets, KeyUpdate; a
 * renegotiation is refused). Each costs us work and the other side nothing, so they must not come
 * for nothing. */
static void on_message(int write_p, int version, int type, const void *buf, size_t n, SSL *ssl,
                       void *arg) {
    (void)version, (void)ssl;
    sp_tls_io *t = arg;
    if (!write_p && type == SSL3_RT_HANDSHAKE && t->open) t->chatter++;
    if (!t->secrets) return;
    if (write_p && type == SSL3_RT_HEADER) t->secrets->sealed++;
    if (!write_p && type == SSL3_RT_HANDSHAKE && n && *(const uint8_t *)buf == FINISHED)
        t->secrets->sealed = 0;
}

int sp_tls_io_on_session(SSL *ssl, SSL_SESSION *s) {
    sp_tls_io *t = BIO_get_data(SSL_get_rbio(ssl));
    if (!t->slot) return 0;
    SSL_SESSION_free(*t->slot);
    *t->slot = s;
    return 1;
}

void sp_tls_io_remember(sp_tls_io *t, sp_tls_session **slot) {
    t->slot = slot;
    if (*slot && SSL_SESSION_is_resumable(*slot)) SSL_set_session(t->ssl, *slot);
}

sp_tls_session *sp_tls_session_free(sp_tls_session *s) {
    SSL_SESSION_free(s);
    return NULL;
}

static bool is_address(const char *s) {
    unsigned char bytes[16];
    return inet_pton(AF_INET, s, bytes) == 1 || inet_pton(AF_INET6, s, bytes) == 1;
}

static void expect_name(SSL *ssl, const char *name) {
    if (is_address(name)) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name);
        return;
    }
    SSL_set_tlsext_host_name(ssl, name);
    SSL_set1_host(ssl, name);
}

sp_tls_io *sp_tls_io_new(sp_tls_ctx *c, bool server, const char *server_name, sp_buf *wire) {
    sp_tls_io *t = sp_zalloc(1, sizeof *t);
    t->ctx = sp_tls_ctx_ref(c);
    t->ssl = SSL_new(sp_tls_ctx_native(c));
    sp_assert(t->ssl);
    t->wire = wire;
    t->server = server;
    BIO *b = new_bio(t);
    SSL_set_bio(t->ssl, b, b);
    if (server)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    if (!server && server_name) expect_name(t->ssl, server_name);
    SSL_set_msg_callback(t->ssl, on_message);
    SSL_set_msg_callback_arg(t->ssl, t);
    return t;
}

static void free_secrets(sp_tls_io *t) {
    if (t->secrets) OPENSSL_cleanse(t->secrets, sizeof *t->secrets);
    free(t->secrets);
    t->secrets = NULL;
}

static void free_facts(facts *f) {
    if (!f) return;
    free(f->alpn);
    free(f->sni);
    free(f);
}

sp_tls_io *sp_tls_io_free(sp_tls_io *t) {
    if (!t) return NULL;
    SSL_free(t->ssl);
    sp_tls_ctx_unref(t->ctx);
    sp_arena_free(t->arena);
    free_secrets(t);
    free_facts(t->facts);
    sp_tls_record_free(t->record);
    free(t);
    return NULL;
}

void sp_tls_io_feed(sp_tls_io *t, sp_str bytes) {
    t->in = bytes;
}

sp_str sp_tls_io_unread(const sp_tls_io *t) {
    return t->in;
}

bool sp_tls_io_ready(const sp_tls_io *t) {
    if (t->record) return sp_tls_record_is_whole(t->in);
    return t->in.n > 0 || SSL_pending(t->ssl) > 0;
}

static sp_tls_result outcome(sp_tls_io *t, int rc, const char *what, sp_err *err) {
    int e = SSL_get_error(t->ssl, rc);
    if (e == SSL_ERROR_WANT_READ) return SP_TLS_MORE;
    if (e == SSL_ERROR_ZERO_RETURN) return SP_TLS_CLOSED;
    long verify = SSL_get_verify_result(t->ssl);
    if (!t->server && verify != X509_V_OK) {
        ERR_clear_error();
        sp_fail(err, SP_CONNECTION, "the certificate of the server is not accepted: %s",
                X509_verify_cert_error_string(verify));
    } else {
        sp_tls_fail(err, SP_CONNECTION, what);
    }
    return SP_TLS_FAILED;
}

sp_tls_result sp_tls_io_handshake(sp_tls_io *t, sp_err *err) {
    ERR_clear_error();
    int rc = SSL_do_handshake(t->ssl);
    t->open = rc == 1;
    return rc == 1 ? SP_TLS_OK : outcome(t, rc, "TLS handshake", err);
}

/* --- lightened --- */

static void read_secret(const char *hex, uint8_t ret[SECRET_MAX], size_t *ret_n) {
    size_t n = 0;
    long bytes = 0;
    const char *last = strrchr(hex, ' ');
    uint8_t *secret = last ? OPENSSL_hexstr2buf(last + 1, &bytes) : NULL;
    if (secret && bytes <= SECRET_MAX) n = (size_t)bytes;
    if (n) memcpy(ret, secret, n);
    *ret_n = n;
    OPENSSL_clear_free(secret, (size_t)SP_MAX(bytes, 0));
}

void sp_tls_io_on_secret(const SSL *ssl, const char *line) {
    sp_tls_io *t = BIO_get_data(SSL_get_rbio(ssl));
    sp_str s = sp_str_z(line);
    if (!t->server) return;
    if (!t->secrets) t->secrets = sp_zalloc(1, sizeof *t->secrets);
    if (sp_str_starts(s, SP_STR("CLIENT_TRAFFIC_SECRET_0 ")))
        read_secret(line, t->secrets->client, &t->secrets->client_n);
    else if (sp_str_starts(s, SP_STR("SERVER_TRAFFIC_SECRET_0 ")))
        read_secret(line, t->secrets->server, &t->secrets->server_n);
}

static char *dup_or_null(sp_str s) {
    return s.n ? sp_str_dup(s) : NULL;
}

static facts *take_facts(const sp_tls_io *t) {
    facts *f = sp_zalloc(1, sizeof *f);
    sp_tls_io_peer(t);
    f->alpn = dup_or_null(sp_tls_io_alpn(t));
    f->sni = dup_or_null(sp_tls_io_sni(t));
    f->resumed = sp_tls_io_resumed(t);
    return f;
}

void sp_tls_io_lighten(sp_tls_io *t) {
    secrets *s = t->secrets;
    bool can = s && !t->record && t->open && s->client_n && s->client_n == s->server_n &&
               SSL_version(t->ssl) == TLS1_3_VERSION && !SSL_has_pending(t->ssl);
    if (can)
        t->record = sp_tls_record_new(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(t->ssl)),
                                      s->client, s->server, s->client_n, s->sealed);
    if (t->record) {
        sp_tls_record *record = t->record;
        t->record = NULL; /* the facts are still OpenSSL's */
        t->facts = take_facts(t);
        t->record = record;
        SSL_free(t->ssl);
        t->ssl = NULL;
        t->ctx = sp_tls_ctx_unref(t->ctx);
    }
    free_secrets(t);
}

static sp_tls_result refuse(sp_tls_io *t, int alert, const char *why, sp_err *err) {
    const char bytes[] = {2, (char)alert};
    t->said_goodbye = true;
    (void)!sp_tls_record_seal(t->record, SP_RECORD_ALERT, (sp_str){bytes, 2}, t->wire);
    sp_fail(err, SP_CONNECTION, "TLS: %s", why);
    return SP_TLS_FAILED;
}

static sp_tls_result take_alert(sp_tls_io *t, sp_str alert, sp_err *err) {
    if (alert.n != 2) return refuse(t, ALERT_UNEXPECTED, "a broken alert", err);
    if (alert.p[1] == ALERT_CLOSE_NOTIFY) return SP_TLS_CLOSED;
    if (alert.p[1] == ALERT_CANCELED) return SP_TLS_OK;
    sp_fail(err, SP_CONNECTION, "TLS: the client gave up with alert %d", alert.p[1]);
    return SP_TLS_FAILED;
}

/* However often we are asked, one answer before our next data is enough (4.6.3). To answer at once
 * would let a client that reads nothing fill our memory. */
static sp_tls_result take_message(sp_tls_io *t, sp_str m, sp_err *err) {
    static const char update[] = {KEY_UPDATE, 0, 0, 1};
    bool ok = m.n == 5 && !memcmp(m.p, update, 4) && (uint8_t)m.p[4] <= 1;
    if (!ok) return refuse(t, ALERT_UNEXPECTED, "a message that may not come now", err);
    if (!sp_tls_record_next_read(t->record)) return refuse(t, ALERT_UNEXPECTED, "no keys", err);
    t->update_due |= m.p[4] == 1;
    return SP_TLS_OK;
}

static sp_tls_result refuse_record(sp_tls_io *t, sp_record_result r, sp_err *err) {
    int alert = r == SP_RECORD_BAD    ? ALERT_BAD_RECORD
                : r == SP_RECORD_LONG ? ALERT_OVERFLOW
                                      : ALERT_UNEXPECTED;
    return refuse(t, alert, "a record is not valid", err);
}

static sp_tls_result read_light(sp_tls_io *t, char *to, size_t max, size_t *ret_n, sp_err *err) {
    while (t->chatter <= CHATTER_MAX) {
        uint8_t type = 0;
        size_t n = 0;
        sp_record_result r = sp_tls_record_open(t->record, &t->in, to, max, &type, &n);
        if (r == SP_RECORD_MORE || r == SP_RECORD_FULL) return SP_TLS_MORE;
        if (r != SP_RECORD_OK) return refuse_record(t, r, err);
        if (type == SP_RECORD_DATA && n) {
            if (t->chatter) t->chatter--;
            *ret_n = n;
            return SP_TLS_OK;
        }
        t->chatter++;
        sp_tls_result what = type == SP_RECORD_DATA    ? SP_TLS_OK
                             : type == SP_RECORD_ALERT ? take_alert(t, (sp_str){to, n}, err)
                             : type == SP_RECORD_HANDSHAKE
                                 ? take_message(t, (sp_str){to, n}, err)
                                 : refuse(t, ALERT_UNEXPECTED, "a record of unknown type", err);
        if (what != SP_TLS_OK) return what;
    }
    return refuse(t, ALERT_UNEXPECTED, "too many messages without data", err);
}

static bool write_light(sp_tls_io *t, sp_str plain, sp_err *err) {
    bool due = plain.n && (t->update_due || sp_tls_record_is_worn(t->record));
    bool ok = !due || sp_tls_record_next_write(t->record, false, t->wire);
    if (due) t->update_due = false;
    if (ok && plain.n) ok = sp_tls_record_seal(t->record, SP_RECORD_DATA, plain, t->wire);
    return ok || sp_tls_fail(err, SP_CONNECTION, "TLS write");
}

sp_tls_result sp_tls_io_read(sp_tls_io *t, char *to, size_t max, size_t *ret_n, sp_err *err) {
    if (t->record) return read_light(t, to, max, ret_n, err);
    ERR_clear_error();
    int rc = SSL_read_ex(t->ssl, to, max, ret_n);
    if (t->chatter > CHATTER_MAX) {
        sp_fail(err, SP_CONNECTION, "TLS: too many KeyUpdate or other messages without data");
        return SP_TLS_FAILED;
    }
    if (rc == 1 && t->chatter) t->chatter--;
    return rc == 1 ? SP_TLS_OK : outcome(t, rc, "TLS", err);
}

bool sp_tls_io_write(sp_tls_io *t, sp_str plain, sp_err *err) {
    if (t->record) return write_light(t, plain, err);
    while (plain.n) {
        size_t n = 0;
        ERR_clear_error();
        int rc = SSL_write_ex(t->ssl, plain.p, plain.n, &n);
        if (rc != 1) return sp_tls_fail(err, SP_CONNECTION, "TLS write");
        plain = sp_str_from(plain, n);
    }
    return true;
}

void sp_tls_io_goodbye(sp_tls_io *t) {
    if (t->record) {
        const char alert[] = {1, ALERT_CLOSE_NOTIFY};
        if (!t->said_goodbye)
            (void)!sp_tls_record_seal(t->record, SP_RECORD_ALERT, (sp_str){alert, 2}, t->wire);
        t->said_goodbye = true;
        return;
    }
    if (!SSL_is_init_finished(t->ssl)) return;
    ERR_clear_error();
    SSL_shutdown(t->ssl);
    ERR_clear_error();
}

sp_str sp_tls_io_alpn(const sp_tls_io *t) {
    if (t->record) return sp_str_z(t->facts->alpn);
    const unsigned char *p = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(t->ssl, &p, &n);
    return (sp_str){(const char *)p, n};
}

sp_str sp_tls_io_sni(const sp_tls_io *t) {
    if (t->record) return sp_str_z(t->facts->sni);
    return sp_str_z(SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name));
}

const char *sp_tls_io_version(const sp_tls_io *t) {
    return t->record ? "TLSv1.3" : SSL_get_version(t->ssl);
}

void sp_tls_io_offer(sp_tls_io *t, const char *alpn) {
    sp_auto(sp_buf) b = {0};
    sp_tls_alpn_list(alpn, &b);
    SSL_set_alpn_protos(t->ssl, (const unsigned char *)b.p, (unsigned)b.n);
}

bool sp_tls_io_resumed(const sp_tls_io *t) {
    return t->record ? t->facts->resumed : SSL_session_reused(t->ssl) == 1;
}

static sp_str entry_text(sp_arena *a, const X509_NAME_ENTRY *e) {
    unsigned char *utf8 = NULL;
    int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(e));
    sp_str s = n > 0 ? sp_arena_str(a, (sp_str){(char *)utf8, (size_t)n}) : (sp_str){0};
    OPENSSL_free(utf8);
    return s;
}

static void read_peer(sp_tls_io *t, X509 *x) {
    t->arena = sp_arena_new();
    t->peer = SP_NEW(t->arena, sp_tls_peer);
    X509_NAME *name = X509_get_subject_name(x);
    int count = X509_NAME_entry_count(name);
    sp_str *orgs = sp_arena_alloc(t->arena, (size_t)count * sizeof *orgs);
    size_t n = 0;
    for (int i = 0; i < count; i++) {
        X509_NAME_ENTRY *e = X509_NAME_get_entry(name, i);
        int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(e));
        if (nid == NID_commonName)
            t->peer->common_name = entry_text(t->arena, e);
        else if (nid == NID_organizationName)
            orgs[n++] = entry_text(t->arena, e);
    }
    t->peer->organizations.p = orgs;
    t->peer->organizations.n = t->peer->organizations.cap = n;
}

static bool verified(const sp_tls_io *t) {
    return (SSL_get_verify_mode(t->ssl) & SSL_VERIFY_PEER) && !SSL_get_app_data(t->ssl) &&
           SSL_get_verify_result(t->ssl) == X509_V_OK;
}

bool sp_tls_io_client_cert(const sp_tls_io *t, sp_buf *ret, const char **ret_why) {
    X509 *x = t->server && !t->record ? SSL_get0_peer_certificate(t->ssl) : NULL;
    bool ok = x && verified(t);
    if (ret_why) *ret_why = NULL;
    if (x && !ok && ret_why)
        *ret_why = X509_verify_cert_error_string(SSL_get_verify_result(t->ssl));
    if (ok) sp_tls_describe_cert(x, ret);
    ERR_clear_error();
    return ok;
}

const sp_tls_peer *sp_tls_io_peer(const sp_tls_io *t) {
    sp_tls_io *m = (sp_tls_io *)t; /* looked up once */
    if (m->looked) return m->peer;
    m->looked = true;
    X509 *x = verified(t) ? SSL_get0_peer_certificate(t->ssl) : NULL;
    if (x) read_peer(m, x);
    return m->peer;
}
