/* SPDX-License-Identifier: Apache-2.0
 * The cluster's own certificate authority: keys (EC P-256), requests, certificates, and the secrets
 * of join tokens. GnuTLS is behind it.
 *
 * A host's identity is the URI "mortar://host/NAME" among the alternative names of its certificate;
 * only that counts for authorisation. DNS names and addresses serve the client's check of a server.
 * The subject is "O=Mortar": without CN, because etcd's gateway trips over one
 * (facts/probes.md 1.1); not empty, because QEMU and libvirt refuse certificates without a
 * distinguished name.
 *
 * Layout of a directory (mode 0700): ca.crt and, on hosts that issue, ca.key; host.crt, host.key.
 * Keys have mode 0600. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

#define PKI_CA_DAYS 3650
#define PKI_PEM_LIMIT_BYTES (16 * KIB)
#define PKI_FINGERPRINT_LEN 64 /* hex digits of SHA-256 */
#define PKI_SECRET_LEN 32      /* hex digits of 128 bits */

/**
 * pki_make_ca - make DIR/ca.key and DIR/ca.crt, valid PKI_CA_DAYS
 * @dir: made with mode 0700 when absent        @name: of the cluster, for people
 * What is there already is kept, so a call that was cut off may be repeated.
 * Return: 0, -ERR_IO, -ERR_TLS
 */
int pki_make_ca(const char *dir, const char *name, struct err *e);

/** pki_make_key - a new private key at @path unless there is one. Return: 0, -ERR_IO or -ERR_TLS */
int pki_make_key(const char *path, struct err *e);

/**
 * pki_make_csr - a request that proves possession of the key; names are the signer's business
 * @ret_pem: caller frees
 * Return: 0, -ERR_NOT_FOUND, -ERR_IO or -ERR_TLS
 */
int pki_make_csr(const char *key_path, char **ret_pem, struct err *e);

/* What a certificate is to say. */
struct pki_names {
    const char *host;       /* identity: a legal object name */
    const char *const *ips; /* addresses as text, ended by NULL; may be NULL */
    const char *const *dns; /* further names besides @host itself, ended by NULL; may be NULL */
    unsigned days;          /* validity from now; cut at the end of the CA's */
};

/**
 * pki_sign_csr - issue a certificate for server and client use
 * @ca_dir: with ca.crt and ca.key        @csr_pem: only its key is used, its signature is checked
 * @ret_pem: caller frees
 * Return: 0; -ERR_INVALID for bad names or request; -ERR_NOT_FOUND without CA; -ERR_IO; -ERR_TLS
 */
int pki_sign_csr(const char *ca_dir, const char *csr_pem, const struct pki_names *names,
                 char **ret_pem, struct err *e);

/** pki_fingerprint - SHA-256 of the certificate (DER), lower-case hex. Return: 0, -ERR_INVALID */
int pki_fingerprint(const char *cert_pem, char ret[PKI_FINGERPRINT_LEN + 1], struct err *e);

/**
 * pki_check_cert - is @cert_pem issued by @ca_pem, valid now, and made for the key at @key_path?
 * @key_path: NULL to leave that out
 * Return: 0; -ERR_INVALID with the reason; -ERR_NOT_FOUND, -ERR_IO from reading the key
 */
int pki_check_cert(const char *cert_pem, const char *ca_pem, const char *key_path, struct err *e);

/**
 * pki_host_of_cert - the host name a certificate stands for. Whether it is valid is not checked.
 * @ret: caller frees
 * Return: 0, or -ERR_INVALID when it is damaged or names no host, or several
 */
int pki_host_of_cert(const char *cert_pem, char **ret, struct err *e);

/** pki_make_secret - a new random secret of a join token, hex. Return: 0 or -ERR_TLS */
int pki_make_secret(char ret[PKI_SECRET_LEN + 1], struct err *e);
/** pki_hash_secret - what is stored in place of a secret: its SHA-256, hex */
void pki_hash_secret(const char *secret, char ret[PKI_FINGERPRINT_LEN + 1]);
/** pki_secret_matches - does @secret have @hash? Takes as long for any secret of one length */
bool pki_secret_matches(const char *secret, const char *hash);
