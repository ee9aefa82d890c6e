/* libarchive, loaded when an archive is opened: the long-running roles and the shims of containers
 * never unpack anything, and its own libraries would cost each of them start time and memory. */
#pragma once
#include "base/err.h"

#include <archive.h>
#include <archive_entry.h>

#define SP_ARCHIVE_FUNCTIONS(X)          \
    X(archive_read_new)                  \
    X(archive_read_free)                 \
    X(archive_read_support_filter_all)   \
    X(archive_read_support_filter_gzip)  \
    X(archive_read_support_filter_zstd)  \
    X(archive_read_support_format_tar)   \
    X(archive_read_support_format_raw)   \
    X(archive_read_support_format_empty) \
    X(archive_read_open_filename)        \
    X(archive_read_open)                 \
    X(archive_read_next_header)          \
    X(archive_read_data_block)           \
    X(archive_filter_bytes)              \
    X(archive_error_string)              \
    X(archive_set_error)                 \
    X(archive_write_disk_new)            \
    X(archive_write_disk_set_options)    \
    X(archive_write_header)              \
    X(archive_write_data_block)          \
    X(archive_write_finish_entry)        \
    X(archive_write_close)               \
    X(archive_write_free)                \
    X(archive_entry_pathname)            \
    X(archive_entry_set_pathname)        \
    X(archive_entry_hardlink)            \
    X(archive_entry_set_hardlink)        \
    X(archive_entry_symlink)             \
    X(archive_entry_filetype)            \
    X(archive_entry_size)                \
    X(archive_entry_xattr_reset)         \
    X(archive_entry_xattr_next)          \
    X(archive_entry_xattr_clear)         \
    X(archive_entry_xattr_add_entry)     \
    X(archive_entry_set_fflags)

typedef struct sp_archive_lib {
#define X(name) __typeof__(&name) name;
    SP_ARCHIVE_FUNCTIONS(X)
#undef X
} sp_archive_lib;

/* NULL with the reason when the library is not there. */
const sp_archive_lib *sp_archive_lib_load(sp_err *err);
