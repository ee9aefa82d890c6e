/* Runs a fuzz target over every file of its corpus: yesterday's findings are today's tests. */
#include "base/file.h"

#include <dirent.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv) {
    size_t count = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (!dir) {
            perror(argv[i]);
            return 1;
        }
        for (struct dirent *e; (e = readdir(dir));) {
            if (e->d_name[0] == '.') continue;
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            sp_auto(sp_buf) b = {0};
            sp_err err;
            if (!sp_file_read(path, 64 << 20, &b, &err)) {
                fprintf(stderr, "%s\n", err.text);
                return 1;
            }
            LLVMFuzzerTestOneInput((const uint8_t *)sp_buf_z(&b), b.n);
            count++;
        }
        closedir(dir);
    }
    printf("%zu inputs replayed\n", count);
    return count ? 0 : 1;
}
