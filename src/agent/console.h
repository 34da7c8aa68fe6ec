/* SPDX-License-Identifier: Apache-2.0
 * Serial consoles as raw streams between a client and QEMU's unix socket. */
#pragma once

#include "agent/agent.h"

/** console_open - join @req to the console of @vm on this host. Ends with either side. */
void console_open(struct agent *a, struct httpd_req *req, const char *vm);
/** console_open_remote - the VM runs elsewhere: tell the client where, so that it connects there */
void console_open_remote(struct agent *a, struct httpd_req *req, const char *vm, const char *address);
