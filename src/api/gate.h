/* SPDX-License-Identifier: Apache-2.0
 * What a request from the network may do: pure, so that the whole policy is one table and one
 * function. The agent decides again; this is the outer door. */
#pragma once

#include "base/err.h"

enum gate_way {
    GATE_PING,    /* answered here */
    GATE_CA,      /* answered here: the CA's certificate, to be checked against the token */
    GATE_FORWARD, /* to the agent */
};

/* A request as far as the policy looks at it; borrowed. */
struct gate_request {
    const char *method;
    const char *path;         /* decoded */
    const char *target;       /* as sent */
    const char *content_type; /* NULL when absent */
    const char *upgrade;      /* NULL when absent */
    const char *request_id;   /* NULL when absent */
    const char *host;         /* proved identity of the caller, NULL for a stranger */
};

/**
 * gate_decide - where a request goes
 * @ret: set on success
 * Return: 0; -ERR_DENIED for strangers outside of what is public; -ERR_USAGE for what could not be
 *         forwarded word for word (odd method, control characters, absolute targets)
 */
int gate_decide(const struct gate_request *q, enum gate_way *ret, struct err *e);
