/* SPDX-License-Identifier: Apache-2.0
 * Runs a fuzz target over all files of the directories given, where libFuzzer is not linked: so the
 * corpora are ordinary tests on each build. */
#include <dirent.h>
#include <stdio.h>

#include "base/str.h"
#include "io/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Return: files run, or -1 when one cannot be read */
static int run_directory(const char *path)
{
    struct dirent **names = NULL;
    int runs = 0;
    int n = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        _cleanup_free_ char *file = str_printf("%s/%s", path, names[i]->d_name);
        _cleanup_free_ char *data = NULL;
        size_t len = 0;
        struct err e = {0};
        if (names[i]->d_type == DT_REG && runs >= 0) {
            if (file_read(file, 16 * MIB, &data, &len, &e) == 0) {
                (void)LLVMFuzzerTestOneInput((const uint8_t *)data, len); /* 0 by definition */
                runs++;
            } else {
                (void)fprintf(stderr, "%s: %s\n", file, e.msg);
                runs = -1;
            }
        }
        free(names[i]);
    }
    free(names);
    return n < 0 ? -1 : runs;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int runs = run_directory(argv[i]);
        if (runs <= 0) {
            (void)fprintf(stderr, "%s: no corpus\n", argv[i]);
            return 1;
        }
        total += runs;
    }
    (void)printf("%d inputs\n", total);
    return total > 0 ? 0 : 1;
}
