/* The challenge of a registry: WWW-Authenticate: Bearer realm="…",service="…",scope="…". */
#pragma once
#include "base/err.h"
#include "base/str.h"

/* Where to ask for a token that may pull this repository; appended to *url. tls: the registry was
 * reached over TLS, so its tokens must be, too. */
SP_MUST_USE bool sp_registry_token_url(sp_str challenge, sp_str repository, bool tls, sp_buf *url,
                                       sp_err *err);
