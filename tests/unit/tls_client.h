/* SPDX-License-Identifier: Apache-2.0
 * A blocking TLS client for tests, and certificates for it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct tls_client;

/** make_certs - DIR with a CA and host.crt/host.key for @host, good for 127.0.0.1; temporary */
void make_certs(const char *dir, const char *host);

/** tcp_dial - connect to 127.0.0.1; reads time out after 5 s */
int tcp_dial(uint16_t port);

/**
 * tls_dial - connect and make the handshake
 * @dir: with host.crt and host.key to present, or NULL
 * Return: the client, or NULL when the handshake failed
 */
struct tls_client *tls_dial(uint16_t port, const char *dir);
void tls_hang_up(struct tls_client *c);
/** tls_say - Return: whether all was sent */
bool tls_say(struct tls_client *c, const void *data, size_t len);
/** tls_hear - Return: bytes, 0 at the end, -EAGAIN when it stayed silent, else negative */
ssize_t tls_hear(struct tls_client *c, void *data, size_t len);
