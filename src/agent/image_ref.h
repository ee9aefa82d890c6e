/* Image references as people write them: nginx, nginx:1.25, localhost:5000/team/app@sha256:…
 * Grammar: github.com/distribution/reference; defaults docker.io, library/, latest. */
#pragma once
#include "base/arena.h"
#include "base/err.h"

typedef struct sp_image_ref {
    sp_str registry;   /* "docker.io", "localhost:5000" */
    sp_str repository; /* "library/nginx" */
    sp_str tag;        /* "" when a digest is given */
    sp_str digest;     /* "sha256:…" or "" */
} sp_image_ref;

/* Parts are copied into the arena. A tag beside a digest is checked, then dropped: the digest
 * already says which image it is. */
SP_MUST_USE bool sp_image_ref_parse(sp_arena *a, sp_str text, sp_image_ref *ret, sp_err *err);
/* registry/repository:tag or registry/repository@digest: the name images are stored under. */
sp_str sp_image_ref_text(sp_arena *a, const sp_image_ref *ref);
/* The same as people write it: docker.io/library/nginx:1 becomes nginx:1. */
sp_str sp_image_ref_familiar(sp_str text);
