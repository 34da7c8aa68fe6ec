/* SPDX-License-Identifier: Apache-2.0 */
/* mkdisk FILE BYTES: a sparse raw image with the header without which the guest writes nothing. */
#include "blockrec.h"
#include "bootopts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct ring_super s;
    uint64_t bytes = 0;
    int fd;

    if (argc != 3 || !parse_u64(argv[2], 1ULL << 40, &bytes) ||
        bytes < (RING_START_BLOCK + RING_BLOCKS_MIN) * BLOCK_BYTES) {
        fprintf(stderr, "usage: mkdisk FILE BYTES\n");
        return 2;
    }
    super_format(&s);
    fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
        pwrite(fd, &s, sizeof(s), (off_t)(s.generation % SUPER_SLOTS * BLOCK_BYTES)) != sizeof(s) ||
        close(fd) < 0) {
        fprintf(stderr, "mkdisk: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    return 0;
}
