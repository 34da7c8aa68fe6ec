/* SPDX-License-Identifier: Apache-2.0
 * The guard's descriptors: UDP, the agent's socket, signals, timer, systemd's notifications.
 * Nothing blocks. */
#pragma once

#include <netinet/in.h>
#include <sys/types.h>

#include "guard/guard.h"

/* What epoll says; below are the clients' places. */
enum sock_tag { SOCK_TAG_LISTEN = 100, SOCK_TAG_SIGNAL, SOCK_TAG_TIMER, SOCK_TAG_UDP };

/** sock_open_all - all of @g's descriptors, waited for by its epoll. Return: 0 or -ERR_IO */
int sock_open_all(struct guard *g, const struct guard_opts *opts, struct err *e);

/** sock_read_file - a small file. Return: bytes, at most @size, or -errno */
ssize_t sock_read_file(const char *path, void *buf, size_t size);
/** sock_random - random bytes of the kernel. Return: 0 or -ERR_IO */
int sock_random(void *buf, size_t len, struct err *e);

/**
 * sock_send_udp - @addr in network, @port in host order; what cannot be sent now is lost, as on the
 * way
 */
void sock_send_udp(int fd, uint32_t addr, uint16_t port, const void *data, size_t len);
/** sock_recv_udp - the next datagram. Return: bytes, at most @size, or -1 when there is none */
ssize_t sock_recv_udp(int fd, void *data, size_t size, struct sockaddr_in *ret_from);

/**
 * sock_accept - a new client into a free place of @clients; root only. Without a place it is closed
 */
void sock_accept(int epoll_fd, int listen_fd, int *clients, unsigned max);
/** sock_recv_client - the next datagram. Return: bytes, 0 when it is gone, or -errno */
ssize_t sock_recv_client(int fd, void *buf, size_t size);
/** sock_send_client - dropped when the client does not read; @fd may be -1 */
void sock_send_client(int fd, const void *data, size_t len);
/** sock_notify - tell systemd; @fd may be -1 */
void sock_notify(int fd, const char *text);
