/* SPDX-License-Identifier: Apache-2.0 */
/* One thread, one poll loop, a handful of clients; a client that does not read is dropped. */
#include "tickserver.h"

#include "blockwriter.h"

#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 8
#define PERIOD_NS 100000000ULL
#define NIC "eth0" /* the kernel's name of the first NIC; nothing here renames it */

static void set_address(struct sockaddr *place, uint32_t address)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};

    memcpy(place, &in, sizeof(in));
}

static int interface_up(int fd, const char *name)
{
    struct ifreq nic = {0};

    (void)snprintf(nic.ifr_name, sizeof(nic.ifr_name), "%s", name); /* our own short names */
    if (ioctl(fd, SIOCGIFFLAGS, &nic) < 0) {
        return -errno;
    }
    nic.ifr_flags |= IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, &nic) < 0 ? -errno : 0;
}

int network_up(uint32_t address, uint32_t netmask, uint32_t gateway)
{
    struct ifreq nic = {.ifr_name = NIC};
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int r = 0;

    if (fd < 0) {
        return -errno;
    }
    set_address(&nic.ifr_addr, address);
    if (ioctl(fd, SIOCSIFADDR, &nic) < 0) {
        r = -errno;
    }
    set_address(&nic.ifr_netmask, netmask);
    if (r == 0 && ioctl(fd, SIOCSIFNETMASK, &nic) < 0) {
        r = -errno;
    }
    if (r == 0) {
        r = interface_up(fd, NIC);
    }
    set_address(&route.rt_dst, 0);
    set_address(&route.rt_genmask, 0);
    set_address(&route.rt_gateway, gateway);
    if (r == 0 && gateway != 0 && ioctl(fd, SIOCADDRT, &route) < 0) {
        r = -errno;
    }
    (void)close(fd); /* nothing was written to it */
    return r;
}

struct client {
    int fd;
    uint64_t sent;
};

static void drop(struct client *c)
{
    (void)close(c->fd); /* the peer learns of it either way */
    c->fd = -1;
}

/** All or nothing: half a line would break the count. */
static void send_bytes(struct client *c, const char *data, size_t bytes)
{
    if (send(c->fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)bytes) {
        drop(c);
    }
}

static void send_count(struct client *c)
{
    char line[96];
    int length = snprintf(line, sizeof(line), "n %" PRIu64 " mono_ns=%" PRIu64 "\n", c->sent,
                          clock_ns(CLOCK_MONOTONIC));

    c->sent++;
    send_bytes(c, line, (size_t)length);
}

static void echo(struct client *c)
{
    char data[512];
    ssize_t n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);

    if (n > 0) {
        send_bytes(c, data, (size_t)n);
    } else if (n == 0 || errno != EAGAIN) {
        drop(c);
    }
}

static void accept_client(int listener, struct client clients[CLIENTS_MAX])
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    for (size_t i = 0; fd >= 0 && i < CLIENTS_MAX; i++) {
        if (clients[i].fd < 0) {
            clients[i] = (struct client){.fd = fd};
            return;
        }
    }
    if (fd >= 0) {
        (void)close(fd); /* full house */
    }
}

static void *serve(void *arg)
{
    int listener = (int)(intptr_t)arg;
    struct client clients[CLIENTS_MAX];
    uint64_t due_ns = clock_ns(CLOCK_MONOTONIC);

    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        clients[i].fd = -1;
    }
    for (;;) {
        struct pollfd polls[CLIENTS_MAX + 1];
        uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
        bool due = now_ns >= due_ns;

        for (size_t i = 0; due && i < CLIENTS_MAX; i++) {
            if (clients[i].fd >= 0) {
                send_count(&clients[i]);
            }
        }
        due_ns = due ? now_ns + PERIOD_NS : due_ns;
        for (size_t i = 0; i < CLIENTS_MAX; i++) {
            polls[i] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
        }
        polls[CLIENTS_MAX] = (struct pollfd){.fd = listener, .events = POLLIN};
        if (poll(polls, CLIENTS_MAX + 1, (int)((due_ns - now_ns) / 1000000) + 1) <= 0) {
            continue;
        }
        for (size_t i = 0; i < CLIENTS_MAX; i++) {
            if (polls[i].revents && clients[i].fd >= 0) {
                echo(&clients[i]);
            }
        }
        if (polls[CLIENTS_MAX].revents) {
            accept_client(listener, clients);
        }
    }
    return NULL; /* not reached; gcc 12 asks for it */
}

int tickserver_start(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(TICKSERVER_PORT)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pthread_t thread;

    if (fd < 0 || bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0 || listen(fd, 4) < 0) {
        return -errno; /* the process ends or goes on without the server; the fd does no harm */
    }
    return -pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd);
}
