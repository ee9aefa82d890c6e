/* /etc/hosts, /etc/hostname and /etc/resolv.conf of a pod. */
#include "agent/volumes.h"

#include "base/file.h"
#include "kube/object.h"

#include <limits.h>
#include <stdio.h>

static bool write_etc(const sp_volume_input *in, const char *name, const sp_buf *text,
                      sp_err *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/etc/%s", in->pod_dir, name);
    return sp_file_replace(path, sp_buf_str(text), 0644, err);
}

static void hosts(const sp_volume_input *in, const char *hostname, const char *ip, sp_buf *b) {
    sp_buf_addz(b, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    sp_str sub = sp_json_str(sp_json_dig(in->pod, "spec", "subdomain", NULL));
    if (sub.n)
        sp_buf_printf(b, "%s\t%s.%.*s %s\n", ip, hostname, SP_ARG(sub), hostname);
    else
        sp_buf_printf(b, "%s\t%s\n", ip, hostname);
}

static void host_aliases(const sp_volume_input *in, sp_buf *b) {
    sp_json_each(sp_json_dig(in->pod, "spec", "hostAliases", NULL), alias) {
        sp_buf_addz(b, sp_json_get_z(alias, "ip"));
        sp_json_each(sp_json_get(alias, "hostnames"), name) {
            sp_buf_printf(b, "\t%s", sp_json_z(name));
        }
        sp_buf_addc(b, '\n');
    }
}

/* A resolver on the host's loopback cannot be reached from a pod: systemd keeps the real ones. */
static void host_resolv(bool own_network, sp_buf *b) {
    static const char *const files[] = {"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"};
    for (size_t i = own_network ? 0 : 1; i < SP_COUNT(files); i++) {
        sp_buf_clear(b);
        if (sp_file_read(files[i], 65536, b, NULL) && b->n) return;
    }
}

static void dns_config(const sp_json *config, sp_buf *b) {
    sp_json_each(sp_json_get(config, "nameservers"), ip) {
        sp_buf_printf(b, "nameserver %s\n", sp_json_z(ip));
    }
    const sp_json *searches = sp_json_get(config, "searches");
    if (searches && searches->count) {
        sp_buf_addz(b, "search");
        sp_json_each(searches, s) sp_buf_printf(b, " %s", sp_json_z(s));
        sp_buf_addc(b, '\n');
    }
    sp_json_each(sp_json_get(config, "options"), o) {
        const char *value = sp_json_get_z(o, "value");
        sp_buf_printf(b, "options %s%s%s\n", sp_json_get_z(o, "name"), *value ? ":" : "", value);
    }
}

bool sp_volumes_write_etc(const sp_volume_input *in, const char *hostname, const char *ip,
                          sp_err *err) {
    char dir[PATH_MAX];
    sp_auto(sp_buf) text = {0};
    snprintf(dir, sizeof dir, "%s/etc", in->pod_dir);
    if (!sp_mkdir_all(dir, 0755, err)) return false;
    if (*ip)
        hosts(in, hostname, ip, &text);
    else if (!sp_file_read("/etc/hosts", 1 << 20, &text, NULL))
        hosts(in, hostname, "127.0.1.1", &text);
    host_aliases(in, &text);
    if (!write_etc(in, "hosts", &text, err)) return false;
    sp_buf_clear(&text);
    sp_buf_printf(&text, "%s\n", hostname);
    if (!write_etc(in, "hostname", &text, err)) return false;
    sp_buf_clear(&text);
    const char *policy = sp_json_z(sp_json_dig(in->pod, "spec", "dnsPolicy", NULL));
    if (strcmp(policy, "None") != 0) host_resolv(*ip, &text);
    if (text.n && text.p[text.n - 1] != '\n') sp_buf_addc(&text, '\n');
    dns_config(sp_json_dig(in->pod, "spec", "dnsConfig", NULL), &text);
    return write_etc(in, "resolv.conf", &text, err);
}
