/* Tables of what GET /sampan/v1/cluster says (apiserver/cluster.h). */
#pragma once
#include "data/json.h"

#include <stdio.h>

/* A row per member of etcd. */
void sp_cluster_print_members(const sp_json *cluster, FILE *out, const char *indent);
/* "20 MB", "1.5 GB": powers of 1,000. */
void sp_cluster_print_size(int64_t bytes, char ret[24]);
