/* Who is asking: client certificates (common name and organizations) and bearer tokens from a file
 * in the Kubernetes format, one per line: token,user,uid,"group1,group2". Loop thread only. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/vec.h"

typedef struct sp_authn sp_authn;

typedef enum sp_user_kind {
    SP_USER_ANONYMOUS, /* no credentials were shown */
    SP_USER_CERTIFICATE,
    SP_USER_TOKEN
} sp_user_kind;

typedef struct sp_user {
    sp_user_kind kind;
    sp_str name, uid; /* borrowed from the certificate or the token table */
    const sp_str *groups;
    size_t group_count;
} sp_user;

/* Of the group system:masters: whoever keeps the cluster, not only works with it. */
bool sp_user_is_master(const sp_user *u);

/* tokens: the text of the file, may be empty. Errors name the line. */
SP_MUST_USE bool sp_authn_new(sp_str tokens, sp_authn **ret, sp_err *err);
sp_authn *sp_authn_free(sp_authn *a); /* takes NULL, returns NULL */

/* common_name is empty where there is no verified client certificate. authorization is the header's
 * value. A bearer token counts before the certificate. SP_UNAUTHORIZED when a credential was shown
 * that is not good; no credential at all is SP_USER_ANONYMOUS. */
SP_MUST_USE bool sp_authn_identify(const sp_authn *a, sp_str common_name, const sp_strs *orgs,
                                   sp_str authorization, sp_user *ret, sp_err *err);
