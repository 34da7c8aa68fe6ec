/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP on port 7: echoes every byte it gets and sends "n N mono_ns=…" ten times a second, N counting
 * from 0 per connection without a hole, so that a client can tell whether its session survived.
 */
#pragma once

#include <stdint.h>

#define TICKSERVER_PORT 7

/**
 * network_up - give the first NIC its address
 * @address: host byte order    @netmask: host byte order
 * @gateway: host byte order, 0 = none
 * Return: 0, or a negative errno
 */
int network_up(uint32_t address, uint32_t netmask, uint32_t gateway);

/**
 * tickserver_start - listen, in a thread of its own
 * Return: 0, or a negative errno
 */
int tickserver_start(void);
