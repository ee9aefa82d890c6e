/* VirtualAddress (sampan.dev/v1alpha1): an address that one of several nodes holds at a time, kept
 * there by VRRP between their gateways. Ours alone, so without protobuf numbers. */
#include "apiserver/types/types.h"

#define RANGE(low, high)                                                               \
    SCALAR_(SP_SCHEMA_INTEGER, SP_FORMAT_INT32, .has_minimum = true, .minimum = (low), \
            .has_maximum = true, .maximum = (high))
#define TEXT(pattern_, max) \
    SCALAR_(SP_SCHEMA_STRING, SP_FORMAT_NONE, .pattern = (pattern_), .max_length = (max))
#define VIP_ADDRESS TEXT("^[0-9a-fA-F.:]+(/[0-9]{1,3})?$", 49)
#define VIP_INTERFACE TEXT("^[^ /]{1,15}$", 15)
#define VIP_TIME TEXT("^([0-9]{1,5}(\\.[0-9]+)?(m|s|ms)){1,3}$", 32)
#define VIP_LIST(of, min) \
    (&(const sp_schema){  \
        .type = SP_SCHEMA_ARRAY, .items = (of), .min_length = (min), .max_length = 32})

FIELDS(vip_secret) = {
    {"namespace", 0, STRING, "Namespace of the Secret.", REQUIRED},
    {"name", 0, STRING, "Name of the Secret.", REQUIRED},
    {"key", 0, STRING_DEFAULT("password"), "Which of its entries."},
};
TYPE(vip_secret, "virtualaddress.SecretKey", "One entry of a Secret.");

FIELDS(vip_authentication) = {
    {"type", 0, ENUM_DEFAULT("PASS"), "PASS: eight characters in clear text, version 2 only."},
    {"password", 0, TEXT(NULL, 8), "The password; rather name a Secret."},
    {"passwordFrom", 0, T(vip_secret), "Where the password is."},
};
TYPE(vip_authentication, "virtualaddress.Authentication",
     "Keeps accidents apart, not attackers: it can be read on the wire.");

FIELDS(vip_track) = {
    {"kind", 0, ENUM_DEFAULT("Gateway", "Interface", "Process", "File"),
     "Gateway: this gateway serves. Interface: its link is up. Process: one of this name runs. "
     "File: the number in it."},
    {"name", 0, STRING, "The interface, process or file."},
    {"weight", 0, RANGE(-253, 253),
     "Above 0: added to the priority while up. Below: subtracted while down. 0: down means FAULT."},
    {"reverse", 0, BOOL, "Up and down change places."},
};
TYPE(vip_track, "virtualaddress.Track", "Something that the priority depends on.");

FIELDS(vip_node) = {
    {"name", 0, STRING, "Name of the node.", REQUIRED},
    {"priority", 0, RANGE(1, 255), "In place of the common one."},
    {"interface", 0, VIP_INTERFACE, "In place of the common one."},
    {"sourceAddress", 0, VIP_ADDRESS, "Where this node sends from."},
};
TYPE(vip_node, "virtualaddress.Node", "One node that may hold the address.");

FIELDS(vip_spec) = {
    {"addresses", 0, VIP_LIST(VIP_ADDRESS, 1), "With prefix length, as 192.0.2.10/24.", REQUIRED},
    {"excludedAddresses", 0, VIP_LIST(VIP_ADDRESS, 0), "Held too, but not told in adverts."},
    {"interface", 0, VIP_INTERFACE, "The network interface, on each node."},
    {"virtualRouterID", 0, RANGE(1, 255), "Alone on its network.", REQUIRED},
    {"version", 0, RANGE(2, 3), "Of VRRP; 3 if missing."},
    {"priority", 0, RANGE(1, 255), "Who has the highest holds the address; 100 if missing."},
    {"advertInterval", 0, VIP_TIME, "How often the holder is heard; 100ms (version 2: 1s)."},
    {"initialState", 0, ENUM_DEFAULT("Backup", "Master"), "As keepalived's `state`."},
    {"preempt", 0, BOOL, "A higher priority takes the address back; true if missing.", POINTER},
    {"preemptDelay", 0, VIP_TIME, "… after so long."},
    {"startupDelay", 0, VIP_TIME, "A gateway that starts holds nothing before."},
    {"handOver", 0, BOOL, "Tell the others before leaving; true if missing.", POINTER},
    {"lease", 0, BOOL, "The kernel drops the address 3 s after the gateway stands still; true.",
     POINTER},
    {"virtualMAC", 0, BOOL, "The address has a MAC of its own, 00-00-5E-00-01-ID, that moves too."},
    {"peers", 0, VIP_LIST(VIP_ADDRESS, 0), "Unicast to these; each node leaves itself out."},
    {"sourceAddress", 0, VIP_ADDRESS, "Where adverts are sent from."},
    {"authentication", 0, T(vip_authentication), "A password, for version 2."},
    {"track", 0, VIP_LIST(T(vip_track), 0), "What the priority depends on; the gateway itself."},
    {"nodes", 0,
     (&(const sp_schema){.type = SP_SCHEMA_ARRAY,
                         .items = T(vip_node),
                         .max_length = 255,
                         .map_keys = (const char *const[]){"name"},
                         .map_key_count = 1}),
     "Only these take part, all if missing."},
};
TYPE(vip_spec, "VirtualAddressSpec", "Which address, where, and who may hold it.");

FIELDS(vip_node_status) = {
    {"state", 0, STRING, "MASTER, BACKUP, FAULT or INIT."},
    {"priority", 0, INT32, "What it is now, with all that is tracked."},
    {"transitions", 0, INT64, "Changes of state since the gateway started."},
    {"since", 0, TIME, "When it came to this state."},
    {"message", 0, STRING, "Why, or what does not work."},
};
TYPE(vip_node_status, "virtualaddress.NodeStatus", "What one node says.");

FIELDS(vip_status) = {
    {"owner", 0, STRING, "The node that holds it."},
    {"conditions", 0, LIST(T(condition)), "What was last observed, by aspect."},
    {"nodes", 0, MAP(T(vip_node_status)), "Each node's own view, by its name."},
};
TYPE(vip_status, "VirtualAddressStatus", "Who holds the address.");

FIELDS(virtual_address) = {
    TYPE_META,
    {"metadata", 0, T(object_meta), "Name, labels and other standard data."},
    {"spec", 0, T(vip_spec), "What should be.", REQUIRED},
    {"status", 0, T(vip_status), "What was last observed."},
};
TYPE(virtual_address, "VirtualAddress", "An address that moves between nodes.");

ROW(virtual_address, .group = "sampan.dev", .version = "v1alpha1", .plural = "virtualaddresses",
    .singular = "virtualaddress", .kind = "VirtualAddress", .short_names = NAMES("vip"),
    .subresources = SP_SUB_STATUS, .status_is_subresource = true, .counts_generation = true,
    .schema = T(virtual_address),
    COLUMNS(SP_COLUMN_NAME, PATH_COLUMN("Address", "The first address.", ".spec.addresses[0]"),
            PATH_COLUMN("Owner", "The node that holds it.", ".status.owner"), SP_COLUMN_AGE));
