/* Request bodies of type application/vnd.kubernetes.protobuf, which kubectl >= 1.32 and typed
 * clients send for built-in kinds: the magic "k8s\0", then runtime.Unknown{typeMeta, raw}. The raw
 * message is turned into the JSON document the same client would have sent as JSON, driven by the
 * field numbers of sp_schema. Pure function of its arguments; any thread.
 *
 * Wire facts: Go writes every field that is not a pointer, so a zero there means "not set" and is
 * left out; a pointer is written only when set, so its zero is kept (sp_field.pointer). Unknown
 * field numbers are skipped, as protobuf asks. Answers stay JSON: these clients accept it. */
#pragma once
#include "data/schema.h"

#define SP_PROTOBUF_MEDIA_TYPE "application/vnd.kubernetes.protobuf"

/* A field of an inlined struct (VolumeSource in Volume): the wire has it one message deeper than
 * JSON. outer is the number of the message, inner the number in it. */
#define SP_PROTOBUF_VIA(outer, inner) ((uint32_t)(outer) << 16 | (uint32_t)(inner))

typedef const sp_schema *sp_protobuf_lookup(void *ctx, sp_str api_version, sp_str kind);

/* lookup is usually sp_builtin_schema (registry.h). The document starts with apiVersion and kind
 * and belongs to the arena. Errors: SP_BAD_REQUEST with what is wrong and where (byte offset), or
 * SP_UNSUPPORTED_MEDIA when lookup knows no schema for the kind. */
SP_MUST_USE bool sp_protobuf_decode(sp_arena *a, sp_str body, sp_protobuf_lookup *lookup, void *ctx,
                                    sp_json **ret, sp_err *err);
