#include "agent/oci_caps.h"

/* In the kernel's order (linux/capability.h): the index is the number. */
static const char *const names[] = {"CHOWN",
                                    "DAC_OVERRIDE",
                                    "DAC_READ_SEARCH",
                                    "FOWNER",
                                    "FSETID",
                                    "KILL",
                                    "SETGID",
                                    "SETUID",
                                    "SETPCAP",
                                    "LINUX_IMMUTABLE",
                                    "NET_BIND_SERVICE",
                                    "NET_BROADCAST",
                                    "NET_ADMIN",
                                    "NET_RAW",
                                    "IPC_LOCK",
                                    "IPC_OWNER",
                                    "SYS_MODULE",
                                    "SYS_RAWIO",
                                    "SYS_CHROOT",
                                    "SYS_PTRACE",
                                    "SYS_PACCT",
                                    "SYS_ADMIN",
                                    "SYS_BOOT",
                                    "SYS_NICE",
                                    "SYS_RESOURCE",
                                    "SYS_TIME",
                                    "SYS_TTY_CONFIG",
                                    "MKNOD",
                                    "LEASE",
                                    "AUDIT_WRITE",
                                    "AUDIT_CONTROL",
                                    "SETFCAP",
                                    "MAC_OVERRIDE",
                                    "MAC_ADMIN",
                                    "SYSLOG",
                                    "WAKE_ALARM",
                                    "BLOCK_SUSPEND",
                                    "AUDIT_READ",
                                    "PERFMON",
                                    "BPF",
                                    "CHECKPOINT_RESTORE"};

bool sp_caps_find(sp_str name, uint64_t *ret) {
    if (name.n > 4 && sp_str_ieq(sp_str_sub(name, 0, 4), SP_STR("CAP_")))
        name = sp_str_from(name, 4);
    if (sp_str_ieq(name, SP_STR("ALL"))) {
        *ret = ~0ull;
        return true;
    }
    for (size_t i = 0; i < SP_COUNT(names); i++) {
        if (!sp_str_ieq(name, sp_str_z(names[i]))) continue;
        *ret = 1ull << i;
        return true;
    }
    return false;
}

uint64_t sp_caps_default(void) {
    static const char *const given[] = {
        "CHOWN",   "DAC_OVERRIDE",     "FOWNER",  "FSETID",     "KILL",  "SETGID",  "SETUID",
        "SETPCAP", "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD", "SETFCAP", "AUDIT_WRITE"};
    uint64_t all = 0, one;
    for (size_t i = 0; i < SP_COUNT(given); i++)
        if (sp_caps_find(sp_str_z(given[i]), &one)) all |= one;
    return all;
}

sp_json *sp_caps_list(sp_arena *a, uint64_t caps) {
    sp_json *list = sp_json_array(a);
    for (size_t i = 0; i < SP_COUNT(names); i++)
        if (caps >> i & 1) sp_json_push(list, sp_json_printf(a, "CAP_%s", names[i]));
    return list;
}
