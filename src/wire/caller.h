/* SPDX-License-Identifier: Apache-2.0
 * Who calls the agent: both halves of the agreement between mortar-api, which proves identities of
 * remote callers, and the agent, which knows only the uid behind its unix socket. Pure. */
#pragma once

#include <sys/types.h>

#include "base/err.h"

/* Set by mortar-api alone; it drops what comes from outside. */
#define CALLER_HEADER "X-Mortar-Peer"
#define CALLER_NAME_MAX 63

enum caller_kind {
    CALLER_ADMIN,     /* root on this host */
    CALLER_HOST,      /* a host of the cluster, proved by its certificate */
    CALLER_ANONYMOUS, /* a stranger: may join with a token, nothing else */
};

struct caller {
    enum caller_kind kind;
    char host[CALLER_NAME_MAX + 1]; /* "" unless CALLER_HOST */
};

/**
 * caller_format - the header's value for a remote caller
 * @host: proved host name, or NULL for a stranger
 * Return: text; caller frees
 */
char *caller_format(const char *host);

/**
 * caller_parse - who is behind a request on the agent's socket
 * @uid: of the peer process        @api_uid: of the user that mortar-api runs as, never 0
 * @header: value of CALLER_HEADER, or NULL
 * A header from root is believed, too: it can only lower root's rights. mortar-api without header
 * is refused, and so is every other uid.
 * Return: 0 or -ERR_DENIED
 */
int caller_parse(uid_t uid, uid_t api_uid, const char *header, struct caller *ret, struct err *e);
