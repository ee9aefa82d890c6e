/* What machines ask of each other, and administrators of them:
 *   GET    /sampan/v1/ca                    our CA's certificate, for everybody
 *   POST   /sampan/v1/join                  with a token (iam/join_token.h): lets a machine in
 *   GET    /sampan/v1/cluster               the store, and etcd's members with their health
 *   DELETE /sampan/v1/cluster/members/NAME  one member goes (system:masters only)
 *
 * A joiner is added to etcd as a learner and given the keys of both CAs, so that it can make its
 * own certificates and let others in: whoever holds a token can become a member of the control
 * plane, which is why tokens expire. */
#pragma once
#include "apiserver/server.h"

void sp_cluster_serve_ca(sp_call *c, sp_str rest);
void sp_cluster_serve_join(sp_call *c, sp_str rest);
void sp_cluster_serve(sp_call *c, sp_str rest);
void sp_cluster_jobs_end(sp_apiserver *s); /* what still runs, at the stop */
