/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/upgrade.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/str.h"
#include "cli/client.h"
#include "io/clock.h"

enum { HEAD_LIMIT_BYTES = 8192, BODY_LIMIT_BYTES = 65536 };
#define ANSWER_TIMEOUT_US (30 * USEC_PER_SEC)
/* A guest that reads no keys must not hold the terminal for ever. */
#define SEND_TIMEOUT_S 10

static int connect_to(const char *path, int *ret_fd, struct err *e)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path)) {
        return ERR_SET(e, INVALID, "the socket's path is longer than %zu bytes",
                       sizeof(addr.sun_path) - 1);
    }
    memcpy(addr.sun_path, path, strlen(path));
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return ERR_SYS(e, IO, errno, "cannot make a socket");
    }
    if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
        return client_no_agent(path, e);
    }
    const struct timeval limit = {.tv_sec = SEND_TIMEOUT_S};
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)); /* only a safeguard */
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* Add what comes next, at most @max bytes, to @b: what follows the head is the stream's. */
static int receive(int fd, size_t max, uint64_t deadline_us, struct sbuf *b, struct err *e)
{
    char buf[1024];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int ready = poll(&p, 1, clock_left_ms(deadline_us));
    if (ready < 0 && errno == EINTR) {
        return 0;
    }
    if (ready == 0) {
        return ERR_SET(e, TIMEOUT, "the agent gives no answer about the console");
    }
    ssize_t n = ready < 0 ? -1 : read(fd, buf, max < sizeof(buf) ? max : sizeof(buf));
    if (n <= 0) {
        return ERR_SET(e, NO_AGENT, "the agent closed the connection");
    }
    return sbuf_add(b, buf, (size_t)n) < 0 ? ERR_SET(e, LIMIT, "the agent's answer is too large")
                                           : 0;
}

static size_t content_length(const char *head)
{
    uint64_t n = 0;
    const char *field = strcasestr(head, "\r\nContent-Length:");
    const char *digits = field ? field + strlen("\r\nContent-Length:") : "";
    digits += strspn(digits, " ");
    _cleanup_free_ char *text = str_printf("%.*s", (int)strcspn(digits, "\r"), digits);
    return str_parse_u64(text, BODY_LIMIT_BYTES, &n, NULL) == 0 ? (size_t)n : 0;
}

static int refused(int fd, const char *head, int status, uint64_t deadline_us, struct err *e)
{
    _cleanup_sbuf_ struct sbuf body = {.limit = BODY_LIMIT_BYTES};
    _cleanup_(json_decrefpp) json_t *nothing = NULL;
    size_t want = content_length(head);
    int r = 0;
    while (r == 0 && body.len < want) {
        r = receive(fd, want - body.len, deadline_us, &body, e);
    }
    if (r == 0) {
        r = client_reply(status, body.data, body.len, &nothing, e);
    }
    return r < 0 ? r : ERR_SET(e, BUG, "the agent answered with HTTP status %d", status);
}

static int read_answer(int fd, struct err *e)
{
    _cleanup_sbuf_ struct sbuf head = {.limit = HEAD_LIMIT_BYTES};
    uint64_t deadline_us = clock_boottime_us() + ANSWER_TIMEOUT_US;
    int status = 0;
    while (!str_ends(head.data, "\r\n\r\n")) {
        int r = receive(fd, 1, deadline_us, &head, e);
        if (r < 0) {
            return r;
        }
    }
    if (sscanf(head.data, "HTTP/1.1 %3d ", &status) != 1) {
        return ERR_SET(e, BUG, "the agent's answer is not HTTP");
    }
    return status == 101 ? 0 : refused(fd, head.data, status, deadline_us, e);
}

int upgrade_open(const char *socket_path, const char *path, const char *protocol, int *ret_fd,
                 struct err *e)
{
    _cleanup_close_ int fd = -1;
    _cleanup_free_ char *request = str_printf("GET %s HTTP/1.1\r\nHost: localhost\r\n"
                                              "Connection: Upgrade\r\nUpgrade: %s\r\n\r\n",
                                              path, protocol);
    int r = connect_to(socket_path, &fd, e);
    if (r < 0) {
        return r;
    }
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request)) {
        return ERR_SET(e, NO_AGENT, "the agent closed the connection");
    }
    r = read_answer(fd, e);
    if (r < 0) {
        return r;
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}
