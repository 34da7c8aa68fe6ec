/* SPDX-License-Identifier: Apache-2.0 */
#include "guard/guard_sock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#define UDP_BUFFER_BYTES (256 * 1024)

void guard_log(int level, const char *fmt, ...)
{
    char line[512];
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    va_list ap;
    int head = getenv("JOURNAL_STREAM") ? snprintf(line, sizeof(line), "<%d>", level)
                                        : snprintf(line, sizeof(line), "mortar-guard: ");
    va_start(ap, fmt);
    int n = head + vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fmt, ap);
    va_end(ap);
    n = n < (int)sizeof(line) - 1 ? n : (int)sizeof(line) - 2;
    line[n] = '\n';
    /* A pipe or socket with room takes a line whole; without room the line is lost. */
    if (poll(&out, 1, 0) == 1 && out.revents & POLLOUT) {
        (void)!write(STDERR_FILENO, line, (size_t)n + 1);
    }
}

ssize_t sock_read_file(const char *path, void *buf, size_t size)
{
    size_t len = 0;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (ssize_t n = 1; fd >= 0 && len < size && n > 0; len += (size_t)n) {
        n = read(fd, (char *)buf + len, size - len);
        if (n < 0) {
            return -errno;
        }
    }
    return fd < 0 ? -errno : (ssize_t)len;
}

int sock_random(void *buf, size_t len, struct err *e)
{
    return getrandom(buf, len, 0) == (ssize_t)len
               ? 0
               : ERR_SYS(e, IO, errno, "cannot get random bytes");
}

static int set_address(struct sockaddr_un *to, const char *path, socklen_t *ret_len)
{
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(to->sun_path)) {
        return -ENAMETOOLONG;
    }
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(to->sun_path, path, len);
    *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (path[0] == '@') {
        to->sun_path[0] = '\0';
    }
    return 0;
}

static int open_udp(uint16_t port)
{
    const struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    const int bytes = UDP_BUFFER_BYTES;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes,
                     sizeof(bytes)); /* else the system's default */
    if (fd >= 0 && bind(fd, (const void *)&any, sizeof(any)) < 0) {
        close_fdp(&fd);
        return -1;
    }
    return fd;
}

static int open_listener(const char *path)
{
    struct sockaddr_un to;
    socklen_t len = 0;
    if (set_address(&to, path, &len) < 0) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)unlink(path); /* of the last guard; bind() says what is wrong */
    mode_t mask = umask(0177);
    if (fd >= 0 && (bind(fd, (const void *)&to, len) < 0 || listen(fd, GUARD_CLIENTS_MAX) < 0)) {
        close_fdp(&fd);
        fd = -1;
    }
    (void)umask(mask);
    return fd;
}

static int open_signals(void)
{
    sigset_t ends;
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigaddset(&ends, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &ends, NULL); /* its arguments are right */
    (void)signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int open_notify(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to;
    socklen_t len = 0;
    if (!path || set_address(&to, path, &len) < 0) {
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const void *)&to, len) < 0) {
        close_fdp(&fd);
        return -1;
    }
    return fd;
}

static bool watch(int epoll_fd, int fd, uint32_t tag)
{
    struct epoll_event what = {.events = EPOLLIN, .data.u32 = tag};
    return fd >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &what) == 0;
}

int sock_open_all(struct guard *g, const struct guard_opts *opts, struct err *e)
{
    for (unsigned i = 0; i < GUARD_CLIENTS_MAX; i++) {
        g->clients[i] = -1;
    }
    g->notify_fd = open_notify();
    g->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    g->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    g->signal_fd = open_signals();
    if (!watch(g->epoll_fd, g->timer_fd, SOCK_TAG_TIMER) ||
        !watch(g->epoll_fd, g->signal_fd, SOCK_TAG_SIGNAL)) {
        return ERR_SYS(e, IO, errno, "cannot make the loop");
    }
    g->udp_fd = open_udp(opts->port);
    if (!watch(g->epoll_fd, g->udp_fd, SOCK_TAG_UDP)) {
        return ERR_SYS(e, IO, errno, "cannot take UDP port %u", (unsigned)opts->port);
    }
    g->listen_fd = open_listener(opts->socket);
    if (!watch(g->epoll_fd, g->listen_fd, SOCK_TAG_LISTEN)) {
        return ERR_SYS(e, IO, errno, "cannot listen at '%s'", opts->socket);
    }
    return 0;
}

void sock_send_udp(int fd, uint32_t addr, uint16_t port, const void *data, size_t len)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = addr};
    (void)sendto(fd, data, len, MSG_DONTWAIT, (const void *)&to, sizeof(to));
}

ssize_t sock_recv_udp(int fd, void *data, size_t size, struct sockaddr_in *ret_from)
{
    for (int i = 0; i < 16; i++) {
        socklen_t len = sizeof(*ret_from);
        ssize_t n = recvfrom(fd, data, size, MSG_DONTWAIT, (void *)ret_from, &len);
        if (n >= 0 || errno == EAGAIN) {
            return n;
        }
        /* the error of something sent before, for example that nobody listens there */
    }
    return -1;
}

void sock_accept(int epoll_fd, int listen_fd, int *clients, unsigned max)
{
    struct ucred who = {.uid = (uid_t)-1};
    socklen_t len = sizeof(who);
    unsigned i = 0;
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    while (i < max && clients[i] >= 0) {
        i++;
    }
    if (fd >= 0 && i < max && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 &&
        who.uid == 0 && watch(epoll_fd, fd, i)) {
        clients[i] = fd;
    } else {
        close_fdp(&fd);
    }
}

ssize_t sock_recv_client(int fd, void *buf, size_t size)
{
    ssize_t n = recv(fd, buf, size, MSG_DONTWAIT | MSG_TRUNC);
    return n < 0 ? -errno
                 : n; /* longer than size is longer than any command: on_command() refuses it */
}

void sock_send_client(int fd, const void *data, size_t len)
{
    if (fd >= 0) {
        (void)send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

void sock_notify(int fd, const char *text)
{
    sock_send_client(fd, text, strlen(text));
}
