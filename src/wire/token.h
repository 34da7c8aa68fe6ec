/* SPDX-License-Identifier: Apache-2.0
 * The join token: where the cluster is, how to know it, and a secret that lets one host in.
 *
 *     mortar1.BASE64URL(fingerprint[32] secret[16] "addr,addr" crc32[4])
 *
 * The checksum finds typing errors; it protects nothing. That a token is used once and in time is
 * the server's business. Pure. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#define TOKEN_ADDRESSES_MAX 8
#define TOKEN_LIMIT_BYTES 1024

struct token {
    struct strv addresses;   /* 1–8 of "IP", "NAME", "IP:PORT", "NAME:PORT", "[IPv6]:PORT" */
    char ca_fingerprint[65]; /* SHA-256 of the CA's certificate (DER), lower-case hex */
    char secret[33];         /* 128 bits, lower-case hex */
};
void token_done(struct token *t);
#define _cleanup_token_ _cleanup_(token_done)

/**
 * token_format - the printable token
 * @ret: caller frees
 * Return: 0, or -ERR_INVALID when an address, the fingerprint or the secret is not well formed
 */
int token_format(const struct token *t, char **ret, struct err *e);

/**
 * token_parse - what a user typed; white space around it is left out
 * @ret: zero-initialised; token_done() ends it
 * Return: 0, or -ERR_TOKEN
 */
int token_parse(const char *text, struct token *ret, struct err *e);
