/* SPDX-License-Identifier: Apache-2.0
 * This host's certificate where the user etcd can read it. */
#pragma once

#include "base/err.h"

#define ETCD_CERT_DIR "/etc/mortar/etcd"

/** install_etcd_certs - copies that the user etcd can read. Return: 0, -ERR_PREFLIGHT or -ERR_IO */
int install_etcd_certs(struct err *e);
/**
 * restore_etcd - end this host's member, delete its data, and give Debian's etcd.service the settings
 * and the state back that it had before; may be repeated
 */
int restore_etcd(struct err *e);
