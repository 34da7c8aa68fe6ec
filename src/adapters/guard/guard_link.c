/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/guard/guard_link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"

struct guard_link {
    int fd;
    char buf[GUARD_STATUS_LIMIT_BYTES];
};

int guard_link_open(const char *path, struct guard_link **ret, struct err *e)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path)) {
        return ERR_SET(e, INVALID, "the path of the guard's socket is too long");
    }
    memcpy(addr.sun_path, path, strlen(path));
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        return ERR_SYS(e, UNAVAILABLE, errno, "mortar-guard does not answer");
    }
    struct guard_link *g = xcalloc(1, sizeof(*g));
    g->fd = fd;
    fd = -1;
    *ret = g;
    return 0;
}

void guard_link_close(struct guard_link *g)
{
    if (g) {
        (void)close(g->fd); /* nothing is buffered in it */
        free(g);
    }
}

int guard_link_send(struct guard_link *g, const char *text, struct err *e)
{
    size_t len = strlen(text);
    if (send(g->fd, text, len, MSG_NOSIGNAL) != (ssize_t)len) {
        return ERR_SYS(e, UNAVAILABLE, errno, "mortar-guard does not take a command");
    }
    return 0;
}

int guard_link_next(struct guard_link *g, uint64_t timeout_us, json_t **ret, struct err *e)
{
    struct pollfd p = {.fd = g->fd, .events = POLLIN};
    int n = poll(&p, 1, (int)(timeout_us / USEC_PER_MSEC));
    if (n == 0 || (n < 0 && errno == EINTR)) {
        return ERR_SET(e, TIMEOUT, "mortar-guard said nothing");
    }
    ssize_t len = n < 0 ? -1 : recv(g->fd, g->buf, sizeof(g->buf), 0);
    if (len <= 0) {
        return ERR_SYS(e, UNAVAILABLE, len < 0 ? errno : 0, "mortar-guard has gone");
    }
    return parse_guard_status(g->buf, (size_t)len, ret, e);
}
