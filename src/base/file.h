/* Whole files and directories, blocking. */
#pragma once
#include "base/err.h"
#include "base/str.h"

/* Appends the file's bytes to *out; SP_TOO_LARGE beyond max_bytes; errnum ENOENT if missing. */
SP_MUST_USE bool sp_file_read(const char *path, size_t max_bytes, sp_buf *out, sp_err *err);
/* All or nothing: a temporary file beside it, fsync, rename, fsync of the directory. */
SP_MUST_USE bool sp_file_write(const char *path, sp_str bytes, unsigned mode, sp_err *err);
/* Readers see the old bytes or the new ones; after a power cut neither is promised. No waiting for
 * the disk: for what is void after a reboot anyway. */
SP_MUST_USE bool sp_file_replace(const char *path, sp_str bytes, unsigned mode, sp_err *err);
SP_MUST_USE bool sp_mkdir_all(const char *path, unsigned mode, sp_err *err); /* mkdir -p */
/* rm -rf; a missing path is success; does not follow links nor cross mounts. */
SP_MUST_USE bool sp_remove_all(const char *path, sp_err *err);
bool sp_file_exists(const char *path);
/* fsync of the directory that holds path: a file just created stays after a power cut. */
SP_MUST_USE bool sp_sync_parent(const char *path, sp_err *err);
