/* How the store lays its keys out in etcd, and what it asks of the values there.
 *
 *   PREFIX/registry/…   objects, as clients read them but for an empty resourceVersion, which is
 * the key's mod_revision PREFIX/sampan       whose this prefix is; written again with every change,
 * so that its mod_revision is the revision of the newest change under the prefix
 *   PREFIX/sampan.compact  who compacts next (as kube-apiserver does it)
 *   PREFIX/sampan.guard/…  names that writes claim (store.h); only their revisions mean something
 */
#pragma once
#include "base/err.h"
#include "base/str.h"

#define SP_ETCD_DATA "/registry/"
#define SP_ETCD_HEAD "/sampan"
#define SP_ETCD_COMPACT "/sampan.compact"
#define SP_ETCD_MARK "{\"store\":\"sampan\",\"version\":1}"

/* Where the digits of metadata.resourceVersion belong in a document whose resourceVersion is empty.
 * False: it is not such a document. */
SP_MUST_USE bool sp_etcd_find_rev(sp_str value, uint32_t *ret);
/* The first key behind all that start with prefix. */
void sp_etcd_prefix_end(sp_str prefix, sp_buf *ret);
