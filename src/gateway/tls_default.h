/* The certificate of last resort: self-signed, for a name nobody gave one to, so that HTTPS answers
 * on a fresh installation. One per process. */
#pragma once
#include "base/err.h"
#include "gateway/config.h"

/* Made on first use. dir: where it is kept, so that it stays the same over restarts
 * ("sampan-default .pem", readable by us alone; renewed a month before its end); NULL or "" = in
 * memory only. The strings live as long as the process. Any thread; the first call may take a few
 * milliseconds. */
SP_MUST_USE bool sp_tls_default_cert(const char *dir, sp_tls_cert *ret, sp_err *err);
