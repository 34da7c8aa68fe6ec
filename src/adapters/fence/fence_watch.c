/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/fence/fence_watch.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include "adapters/fence/fence_watch_parse.h"
#include "base/str.h"

#define MESSAGE_MAX 65536 /* the kernel's are a page or two; what is longer is cut, and what was cut concerns us */

int fence_watch_open(int *ret_fd, struct err *e)
{
    struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = 1U << (NFNLGRP_NFTABLES - 1)};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        int errnum = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return ERR_SYS(e, IO, errnum, "cannot watch the packet filter");
    }
    *ret_fd = fd;
    return 0;
}

bool fence_watch_read(int fd)
{
    _cleanup_free_ char *buf = xcalloc(1, MESSAGE_MAX);
    bool concerns = false;
    for (;;) {
        ssize_t n = recv(fd, buf, MESSAGE_MAX, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return concerns || errno != EAGAIN; /* ENOBUFS: told too fast */
        }
        concerns = concerns || parse_fence_watch(buf, (size_t)n);
    }
}
