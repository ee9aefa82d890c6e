/* Memory of one request (or one object), freed whole. Not thread-safe. */
#pragma once
#include "base/str.h"

typedef struct sp_arena sp_arena;

sp_arena *sp_arena_new(void);
sp_arena *sp_arena_free(sp_arena *a); /* takes NULL, returns NULL */
void sp_arena_reset(sp_arena *a);     /* everything handed out is gone; one block is kept */
SP_DEFINE_CLEANUP_PTR(sp_arena, sp_arena_free)

void *sp_arena_alloc(sp_arena *a, size_t size);     /* zeroed, aligned for any type */
void *sp_arena_alloc_raw(sp_arena *a, size_t size); /* not zeroed */
#define SP_NEW(arena, type) ((type *)sp_arena_alloc((arena), sizeof(type)))

/* Copies live as long as the arena and end in NUL beyond n. */
sp_str sp_arena_str(sp_arena *a, sp_str s);
char *sp_arena_strz(sp_arena *a, sp_str s);
sp_str sp_arena_printf(sp_arena *a, const char *fmt, ...) SP_PRINTF(2, 3);
