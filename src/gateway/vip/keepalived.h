/* keepalived.conf as people write it: what its VRRP half says becomes a sp_vip_config. Our own
 * parser: strict, line by line, every keyword in one table. What keepalived knows and we do not do
 * is named with its line; nothing is skipped in silence. */
#pragma once
#include "data/json.h"
#include "gateway/vip/config.h"

typedef struct sp_keepalived_options {
    /* Do only what keepalived would: no hand-over when the priority falls (the master goes on with
     * the lower priority until the others' patience ends), no lifetime of the addresses. */
    bool exact;
} sp_keepalived_options;

/* path is for the messages. Always gives a configuration (free it); it may be used when no problem
 * is fatal. Problems' texts live in the configuration's arena; the caller frees the list. */
sp_vip_config *sp_keepalived_conf_parse(sp_str text, const char *path,
                                        const sp_keepalived_options *o, sp_vip_problems *ret);
/* Reads the file and what it includes, for the parser; one step with its problems: load. */
SP_MUST_USE bool sp_keepalived_conf_read(const char *path, sp_buf *ret, sp_err *err);
SP_MUST_USE bool sp_keepalived_conf_load(const char *path, const sp_keepalived_options *o,
                                         sp_vip_config **ret, sp_vip_problems *ret_problems,
                                         sp_err *err);
/* One VirtualAddress document per instance (a JSON array), for `kubectl apply`. What an object
 * cannot say (scripts, notify programs, sync groups) is told in ret. */
sp_json *sp_vip_config_objects(sp_arena *a, const sp_vip_config *c, sp_vip_problems *ret);
