/* The log file of one container run, rotated by size: 0.log is being written, 0.log.1 is the one
 * before, the highest number the oldest. */
#pragma once
#include "base/err.h"
#include "base/str.h"

typedef struct sp_cri_file {
    char *path;
    int fd; /* -1 = not open */
    int64_t size, max_size;
    int max_files; /* including the one being written */
} sp_cri_file;

/* Opens for appending. */
SP_MUST_USE bool sp_cri_file_open(sp_cri_file *f, const char *path, int64_t max_size, int max_files,
                                  sp_err *err);
/* Whole lines; rotates first when they would not fit any more. A full disk loses lines, never
 * blocks the container. */
void sp_cri_file_write(sp_cri_file *f, sp_str lines);
void sp_cri_file_close(sp_cri_file *f);
