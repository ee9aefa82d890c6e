/* The namespaces a pod's containers share: network, IPC, host name. They are named by bind mounts
 * (DATA/run/ns/UID/{net,ipc,uts}), so no process has to hold them open. Blocking; the create and
 * remove functions may run on any worker thread. */
#pragma once
#include "base/err.h"
#include "base/str.h"

/* The pod network of this node. */
typedef struct sp_podnet {
    char bridge[16];
    uint32_t net, gateway; /* host byte order; the gateway is the bridge's own address */
    uint8_t prefix;
    unsigned bridge_index;
} sp_podnet;

SP_MUST_USE bool sp_podnet_parse(const char *cidr, sp_podnet *ret, sp_err *err);
/* Bridge, its addresses (the MAC too stays while pods come and go), forwarding. */
SP_MUST_USE bool sp_podnet_set_up(sp_podnet *n, sp_err *err);
void sp_podnet_tear_down(const sp_podnet *n);
/* "table ip …" for `nft -f -`: replaces our table, masquerades what leaves the pod network. */
void sp_podnet_firewall(const sp_podnet *n, sp_buf *ret);
void sp_ipv4_print(uint32_t host_order, char ret[16]);

typedef struct sp_sandbox_spec {
    const char *dir; /* DATA/run/ns/UID */
    const char *hostname;
    const sp_podnet *net; /* NULL: the host's network */
    uint32_t ip;          /* host byte order */
    const char *veth;     /* name of the host's end */
} sp_sandbox_spec;

/* DATA/run: a tmpfs, so that a reboot empties it, and a shared mount, so that what is unmounted in
 * it goes away in the shims' mount namespaces too. */
SP_MUST_USE bool sp_sandbox_prepare(const char *run_dir, sp_err *err);
SP_MUST_USE bool sp_sandbox_create(const sp_sandbox_spec *s, sp_err *err);
void sp_sandbox_remove(const char *dir, const char *veth);
