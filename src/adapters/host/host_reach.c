/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/host_reach.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/str.h"
#include "base/util.h"
#include "io/clock.h"

/* Return: a socket that connects, or -1; then @ret_answers says whether it was answered at once */
static int begin(const char *addr, unsigned port, bool *ret_answers)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char service[16];
    (void)snprintf(service, sizeof(service), "%u", port);
    *ret_answers = false;
    if (!addr || getaddrinfo(addr, service, &hints, &list) != 0) {
        return -1;
    }
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int r = fd < 0 ? -1 : connect(fd, list->ai_addr, list->ai_addrlen);
    int why = errno;
    freeaddrinfo(list);
    if (fd >= 0 && r < 0 && why == EINPROGRESS) {
        return fd;
    }
    *ret_answers = fd >= 0 && (r == 0 || why == ECONNREFUSED);
    close_fdp(&fd);
    return -1;
}

static bool was_answered(int fd)
{
    int why = 0;
    socklen_t len = sizeof(why);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) == 0 &&
           (why == 0 || why == ECONNREFUSED || why == ECONNRESET);
}

void host_reach(const char *const *addrs, size_t n, unsigned port, uint64_t deadline_us, bool *ret)
{
    struct pollfd *fds = xcalloc(n + 1, sizeof(*fds));
    size_t open_n = 0;
    for (size_t i = 0; i < n; i++) {
        fds[i] = (struct pollfd){.fd = begin(addrs[i], port, &ret[i]), .events = POLLOUT};
        open_n += fds[i].fd >= 0;
    }
    for (int left_ms; open_n && (left_ms = clock_left_ms(deadline_us)) > 0;) {
        if (poll(fds, n, left_ms) <= 0 && errno != EINTR) {
            break;
        }
        for (size_t i = 0; i < n; i++) {
            if (fds[i].fd >= 0 && fds[i].revents) {
                ret[i] = was_answered(fds[i].fd);
                close_fdp(&fds[i].fd);
                fds[i].fd = -1;
                open_n--;
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        close_fdp(&fds[i].fd);
    }
    free(fds);
}
