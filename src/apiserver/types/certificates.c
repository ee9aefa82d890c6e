/* Certificates as cert-manager.io/v1 declares them: who issues (Issuer, ClusterIssuer), what is
 * wanted (Certificate), and the proof that a name is ours (acme.cert-manager.io/v1 Challenge),
 * which the gateways answer. Of the issuers: acme, ca and selfSigned. Custom resources upstream, so
 * without protobuf numbers. */
#include "apiserver/types/types.h"
#include "data/time.h"

FIELDS(secret_key_selector) = {
    {"name", 0, STRING, "Name of the Secret.", REQUIRED},
    {"key", 0, STRING, "Key in its data."},
};
TYPE(secret_key_selector, "cert-manager.SecretKeySelector", NULL);

/* --- issuers --- */

FIELDS(acme_selector) = {
    {"dnsNames", 0, STRINGS, "Names this solver is for."},
    {"dnsZones", 0, STRINGS, "Zones this solver is for."},
    {"matchLabels", 0, STRING_MAP},
};
TYPE(acme_selector, "acme.CertificateDNSNameSelector", NULL);

FIELDS(acme_solver) = {
    {"selector", 0, T(acme_selector), "Certificates it is for; all if missing."},
    {"http01", 0, ANY_OBJECT, "A file on port 80, served by the gateways themselves."},
    {"tlsALPN01", 0, ANY_OBJECT, "A certificate on port 443, served by the gateways themselves."},
};
TYPE(acme_solver, "acme.ACMEChallengeSolver", "How it is proved that a name is ours.");

FIELDS(acme_issuer) = {
    {"server", 0, STRING, "URL of the ACME directory.", REQUIRED},
    {"email", 0, STRING, "Where the certificate authority may write to."},
    {"privateKeySecretRef", 0, T(secret_key_selector),
     "Secret with the account's key; made if missing.", REQUIRED},
    {"caBundle", 0, BYTES, "PEM of the CA that signed the server's own certificate."},
    {"skipTLSVerify", 0, BOOL, "Do not verify the server."},
    {"solvers", 0, LIST(T(acme_solver)), "How names are proved; http01 if missing."},
    {"preferredChain", 0, STRING},
    {"disableAccountKeyGeneration", 0, BOOL, "An account key that is missing is an error."},
};
TYPE(acme_issuer, "acme.ACMEIssuer", "An ACME server, as Let's Encrypt (RFC 8555).");

FIELDS(ca_issuer) = {
    {"secretName", 0, STRING, "Secret with tls.crt and tls.key of the CA.", REQUIRED},
};
TYPE(ca_issuer, "cert-manager.CAIssuer", "A CA whose key is in a Secret.");

FIELDS(issuer_spec) = {
    {"acme", 0, T(acme_issuer), "Ask an ACME server."},
    {"ca", 0, T(ca_issuer), "Sign with a CA of our own."},
    {"selfSigned", 0, ANY_OBJECT, "Each certificate signs itself."},
};
TYPE(issuer_spec, "cert-manager.IssuerSpec", "Exactly one of acme, ca and selfSigned.");

FIELDS(issuer_status) = {
    {"conditions", 0, LIST(T(condition))},
    {"acme", 0, ANY_OBJECT},
};
TYPE(issuer_status, "cert-manager.IssuerStatus", NULL);

FIELDS(issuer) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(issuer_spec), "Who signs.", REQUIRED},
    {"status", 0, T(issuer_status), "What was last observed."},
};
SHARED_TYPE(issuer, "Issuer", "Who signs certificates in its namespace.");

FIELDS(cluster_issuer) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(issuer_spec), "Who signs.", REQUIRED},
    {"status", 0, T(issuer_status), "What was last observed."},
};
TYPE(cluster_issuer, "ClusterIssuer", "Who signs certificates in every namespace.");

/* --- certificates --- */

FIELDS(issuer_ref) = {
    {"name", 0, STRING, "Name of the issuer.", REQUIRED},
    {"kind", 0, STRING_DEFAULT("Issuer"), "Issuer or ClusterIssuer."},
    {"group", 0, STRING_DEFAULT("cert-manager.io")},
};
TYPE(issuer_ref, "cert-manager.ObjectReference", NULL);

FIELDS(certificate_spec) = {
    {"secretName", 0, STRING, "Secret that gets tls.crt and tls.key.", REQUIRED},
    {"dnsNames", 0, STRINGS, "Names the certificate is for."},
    {"ipAddresses", 0, STRINGS, "Addresses it is for (not from ACME servers)."},
    {"commonName", 0, STRING, "One of the names, for old clients."},
    {"issuerRef", 0, T(issuer_ref), "Who signs it.", REQUIRED},
    {"duration", 0, DURATION, "How long it is valid (ca and selfSigned; 2160h, 1h at least)."},
    {"renewBefore", 0, DURATION,
     "How long before its end it is renewed (a third of its life; 5m at least)."},
    {"privateKey", 0, ANY_OBJECT, "The key is EC P-256 and new with each certificate."},
    {"usages", 0, STRINGS},
    {"secretTemplate", 0, ANY_OBJECT},
    {"revisionHistoryLimit", 0, INT32},
};
TYPE(certificate_spec, "cert-manager.CertificateSpec", "Which certificate is wanted.");

FIELDS(certificate_status) = {
    {"conditions", 0, LIST(T(condition))},
    {"notBefore", 0, TIME, "When it began to be valid."},
    {"notAfter", 0, TIME, "When it ends."},
    {"renewalTime", 0, TIME, "When it will be renewed."},
    {"revision", 0, INT64, "How often it was issued."},
    {"lastFailureTime", 0, TIME},
    {"failedIssuanceAttempts", 0, INT64},
};
TYPE(certificate_status, "cert-manager.CertificateStatus", NULL);

FIELDS(certificate) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(certificate_spec), "What should be.", REQUIRED},
    {"status", 0, T(certificate_status), "What was last observed."},
};
SHARED_TYPE(certificate, "Certificate", "A certificate that is obtained and renewed by itself.");

/* --- challenges --- */

FIELDS(tls_answer) = {
    {"certificate", 0, STRING, "PEM.", REQUIRED},
    {"privateKey", 0, STRING, "PEM; worth nothing once the challenge is over.", REQUIRED},
};
TYPE(tls_answer, "acme.TLSAnswer", "What is shown to a client of the protocol acme-tls/1.");

FIELDS(challenge_spec) = {
    {"type", 0, ENUM("HTTP-01", "TLS-ALPN-01"), "How the name is proved.", REQUIRED},
    {"dnsName", 0, STRING, "The name.", REQUIRED},
    {"token", 0, STRING, "Last part of the path that is asked for.", REQUIRED},
    {"key", 0, STRING, "What is answered there.", REQUIRED},
    {"url", 0, STRING},
    {"authorizationURL", 0, STRING},
    {"wildcard", 0, BOOL},
    {"issuerRef", 0, T(issuer_ref)},
    {"solver", 0, ANY_OBJECT},
    {"tlsAnswer", 0, T(tls_answer)},
};
TYPE(challenge_spec, "acme.ChallengeSpec", NULL);

FIELDS(challenge_status) = {
    {"presented", 0, BOOL, "A gateway answers."},
    {"processing", 0, BOOL},
    {"state", 0, STRING},
    {"reason", 0, STRING},
};
TYPE(challenge_status, "acme.ChallengeStatus", NULL);

FIELDS(challenge) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(challenge_spec), "What is to be answered.", REQUIRED},
    {"status", 0, T(challenge_status), "What was last observed."},
};
SHARED_TYPE(challenge, "Challenge", "A proof that a name is ours, asked for by an ACME server.");

/* --- what a schema cannot say --- */

static bool validate_issuer(sp_admit *a, sp_err *err) {
    static const char *const kinds[] = {"acme", "ca", "selfSigned"};
    sp_at root = sp_at_root(a);
    const sp_json *spec = sp_json_get(a->obj, "spec");
    size_t n = 0;
    if (a->subresource.n) return true;
    for (size_t i = 0; i < SP_COUNT(kinds); i++) n += sp_json_get(spec, kinds[i]) != NULL;
    if (n != 1) sp_say_required(&root, "spec", "exactly one of acme, ca and selfSigned");
    return true;
}

/* cert-manager's bounds: an hour at least, renewed five minutes before the end at the latest. */
static void check_times(const sp_at *at, const sp_json *spec) {
    enum { MINUTE = 60 * 1000, HOUR = 60 * MINUTE, USUAL_HOURS = 2160 };
    const sp_json *life = sp_json_get(spec, "duration"), *early = sp_json_get(spec, "renewBefore");
    int64_t life_ms = (int64_t)USUAL_HOURS * HOUR, early_ms = 0;
    if (life && sp_duration_parse(sp_json_str(life), &life_ms) && life_ms < HOUR)
        sp_say_invalid(at, "duration", life, "must be at least 1h");
    if (!early || !sp_duration_parse(sp_json_str(early), &early_ms)) return;
    if (early_ms < 5 * MINUTE)
        sp_say_invalid(at, "renewBefore", early, "must be at least 5m");
    else if (early_ms >= life_ms)
        sp_say_invalid(at, "renewBefore", early,
                       "must be less than the duration (2160h if missing)");
}

static bool validate_certificate(sp_admit *a, sp_err *err) {
    sp_at root = sp_at_root(a), at = sp_at_key(&root, "spec");
    const sp_json *spec = sp_json_get(a->obj, "spec");
    const sp_json *names = sp_json_get(spec, "dnsNames"), *ips = sp_json_get(spec, "ipAddresses");
    if (a->subresource.n) return true;
    sp_check_text(&at, spec, "secretName", sp_wrong_subdomain);
    if (!(names && names->count) && !(ips && ips->count))
        sp_say_required(&at, "dnsNames", "at least one name");
    check_times(&at, spec);
    return true;
}

#define CERTIFICATES_ROW                                                              \
    .group = "cert-manager.io", .version = "v1", .categories = NAMES("cert-manager"), \
    .subresources = SP_SUB_STATUS, .status_is_subresource = true, .counts_generation = true
#define READY_COLUMN \
    PATH_COLUMN("Ready", "Whether it is.", ".status.conditions[?(@.type==\"Ready\")].status")
#define READY_TEXT \
    WIDE_PATH("Status", "In words.", ".status.conditions[?(@.type==\"Ready\")].message")

ROW(cluster_issuer, CERTIFICATES_ROW, .validate = validate_issuer, .plural = "clusterissuers",
    .singular = "clusterissuer", .kind = "ClusterIssuer", .schema = T(cluster_issuer),
    COLUMNS(SP_COLUMN_NAME, READY_COLUMN, READY_TEXT, SP_COLUMN_AGE));

ROW(issuer, CERTIFICATES_ROW, .validate = validate_issuer, .plural = "issuers",
    .singular = "issuer", .kind = "Issuer", .namespaced = true, .schema = T(issuer),
    COLUMNS(SP_COLUMN_NAME, READY_COLUMN, READY_TEXT, SP_COLUMN_AGE));

ROW(certificate, CERTIFICATES_ROW, .validate = validate_certificate, .plural = "certificates",
    .singular = "certificate", .kind = "Certificate", .short_names = NAMES("cert", "certs"),
    .namespaced = true, .schema = T(certificate),
    COLUMNS(SP_COLUMN_NAME, READY_COLUMN,
            PATH_COLUMN("Secret", "Where it is kept.", ".spec.secretName"),
            WIDE_PATH("Issuer", "Who signs it.", ".spec.issuerRef.name"), READY_TEXT,
            SP_COLUMN_AGE));

ROW(challenge, .group = "acme.cert-manager.io", .version = "v1",
    .categories = NAMES("cert-manager-acme"), .subresources = SP_SUB_STATUS,
    .status_is_subresource = true, .counts_generation = true, .plural = "challenges",
    .singular = "challenge", .kind = "Challenge", .namespaced = true, .schema = T(challenge),
    COLUMNS(SP_COLUMN_NAME, PATH_COLUMN("State", "How far it is.", ".status.state"),
            PATH_COLUMN("Domain", "The name.", ".spec.dnsName"),
            WIDE_PATH("Reason", "In words.", ".status.reason"), SP_COLUMN_AGE));
