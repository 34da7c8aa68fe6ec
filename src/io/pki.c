/* SPDX-License-Identifier: Apache-2.0 */
#include "io/pki.h"

#include <arpa/inet.h>
#include <assert.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/str.h"
#include "io/clock.h"
#include "io/file.h"

#define HOST_URI "mortar://host/"
#define SERIAL_BYTES 16
#define SKEW_S ((time_t)24 * 3600) /* clocks of hosts that are not synchronised yet */
#define DAY_S ((time_t)24 * 3600)
#define NAMES_MAX 64

static void crt_donep(gnutls_x509_crt_t *c)
{
    gnutls_x509_crt_deinit(*c);
}
static void key_donep(gnutls_x509_privkey_t *k)
{
    gnutls_x509_privkey_deinit(*k);
}
static void csr_donep(gnutls_x509_crq_t *r)
{
    gnutls_x509_crq_deinit(*r);
}
#define _cleanup_crt_ _cleanup_(crt_donep)
#define _cleanup_key_ _cleanup_(key_donep)
#define _cleanup_csr_ _cleanup_(csr_donep)

#define TLS_ERR(e, r, what) ERR_SET(e, TLS, "%s: %s", what, gnutls_strerror(r))

static gnutls_datum_t datum_of(const char *text)
{
    return (gnutls_datum_t){(unsigned char *)text, (unsigned)strlen(text)};
}

/* A copy of GnuTLS's memory in ours. */
static char *text_of(gnutls_datum_t *d)
{
    char *s = str_printf("%.*s", (int)d->size, (const char *)d->data);
    gnutls_free(d->data);
    return s;
}

static int read_pem(const char *path, char **ret, struct err *e)
{
    return file_read(path, PKI_PEM_LIMIT_BYTES, ret, NULL, e);
}

static int load_key(const char *path, gnutls_x509_privkey_t *ret, struct err *e)
{
    _cleanup_free_ char *pem = NULL;
    int r = read_pem(path, &pem, e);
    if (r < 0) {
        return r;
    }
    gnutls_x509_privkey_t key;
    gnutls_datum_t d = datum_of(pem);
    (void)gnutls_x509_privkey_init(&key); /* fails only for want of memory; import tells then */
    r = gnutls_x509_privkey_import(key, &d, GNUTLS_X509_FMT_PEM);
    explicit_bzero(pem, strlen(pem));
    if (r < 0) {
        gnutls_x509_privkey_deinit(key);
        return ERR_SET(e, TLS, "the key in %s cannot be used: %s", path, gnutls_strerror(r));
    }
    *ret = key;
    return 0;
}

static int parse_cert(const char *pem, gnutls_x509_crt_t *ret, struct err *e)
{
    gnutls_x509_crt_t cert;
    gnutls_datum_t d = datum_of(pem);
    (void)gnutls_x509_crt_init(&cert);
    int r = gnutls_x509_crt_import(cert, &d, GNUTLS_X509_FMT_PEM);
    if (r < 0) {
        gnutls_x509_crt_deinit(cert);
        return ERR_SET(e, INVALID, "this is not a certificate: %s", gnutls_strerror(r));
    }
    *ret = cert;
    return 0;
}

int pki_make_key(const char *path, struct err *e)
{
    if (file_exists(path)) {
        return 0;
    }
    _cleanup_key_ gnutls_x509_privkey_t key = NULL;
    gnutls_datum_t pem = {0};
    int r = gnutls_x509_privkey_init(&key);
    r = r < 0 ? r
              : gnutls_x509_privkey_generate(
                    key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    r = r < 0 ? r : gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem);
    if (r < 0) {
        return TLS_ERR(e, r, "cannot make a key");
    }
    r = file_replace(path, pem.data, pem.size, 0600, e);
    explicit_bzero(pem.data, pem.size);
    gnutls_free(pem.data);
    return r;
}

int pki_make_csr(const char *key_path, char **ret_pem, struct err *e)
{
    _cleanup_key_ gnutls_x509_privkey_t key = NULL;
    _cleanup_csr_ gnutls_x509_crq_t csr = NULL;
    gnutls_datum_t pem;
    int r = load_key(key_path, &key, e);
    if (r < 0) {
        return r;
    }
    r = gnutls_x509_crq_init(&csr);
    r = r < 0 ? r : gnutls_x509_crq_set_version(csr, 1);
    r = r < 0 ? r : gnutls_x509_crq_set_key(csr, key);
    r = r < 0 ? r : gnutls_x509_crq_sign2(csr, key, GNUTLS_DIG_SHA256, 0);
    r = r < 0 ? r : gnutls_x509_crq_export2(csr, GNUTLS_X509_FMT_PEM, &pem);
    if (r < 0) {
        return TLS_ERR(e, r, "cannot make a certificate request");
    }
    *ret_pem = text_of(&pem);
    return 0;
}

static time_t wall_s(void)
{
    return (time_t)(clock_wall_us() / USEC_PER_SEC);
}

/* What all our certificates have: version, a random serial, the time from which they hold. */
static int start_cert(gnutls_x509_crt_t cert)
{
    unsigned char serial[SERIAL_BYTES];
    int r = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));
    serial[0] = (unsigned char)((serial[0] & 0x7f) | 0x40); /* positive, and of full length */
    r = r < 0 ? r : gnutls_x509_crt_set_version(cert, 3);
    r = r < 0 ? r : gnutls_x509_crt_set_serial(cert, serial, sizeof(serial));
    return r < 0 ? r : gnutls_x509_crt_set_activation_time(cert, wall_s() - SKEW_S);
}

/* The key's identifier, by which a certificate is found. */
static int set_key_id(gnutls_x509_crt_t cert)
{
    unsigned char id[64];
    size_t len = sizeof(id);
    int r = gnutls_x509_crt_get_key_id(cert, 0, id, &len);
    return r < 0 ? r : gnutls_x509_crt_set_subject_key_id(cert, id, len);
}

static int set_dn(gnutls_x509_crt_t cert, const char *oid, const char *value)
{
    return gnutls_x509_crt_set_dn_by_oid(cert, oid, 0, value, (unsigned)strlen(value));
}

static int fill_ca(gnutls_x509_crt_t cert, gnutls_x509_privkey_t key, const char *name)
{
    _cleanup_free_ char *cn = str_printf("Mortar CA of %s", name);
    int r = start_cert(cert);
    r = r < 0 ? r : gnutls_x509_crt_set_expiration_time(cert, wall_s() + PKI_CA_DAYS * DAY_S);
    r = r < 0 ? r : set_dn(cert, GNUTLS_OID_X520_ORGANIZATION_NAME, "Mortar");
    r = r < 0 ? r : set_dn(cert, GNUTLS_OID_X520_COMMON_NAME, cn);
    r = r < 0 ? r : gnutls_x509_crt_set_key(cert, key);
    r = r < 0 ? r : gnutls_x509_crt_set_basic_constraints(cert, 1, 0);
    r = r < 0 ? r
              : gnutls_x509_crt_set_key_usage(cert, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
    r = r < 0 ? r : set_key_id(cert);
    return r < 0 ? r : gnutls_x509_crt_sign2(cert, cert, key, GNUTLS_DIG_SHA256, 0);
}

int pki_make_ca(const char *dir, const char *name, struct err *e)
{
    _cleanup_free_ char *key_path = str_printf("%s/ca.key", dir);
    _cleanup_free_ char *cert_path = str_printf("%s/ca.crt", dir);
    _cleanup_key_ gnutls_x509_privkey_t key = NULL;
    _cleanup_crt_ gnutls_x509_crt_t cert = NULL;
    gnutls_datum_t pem = {0};
    int r = file_mkdirs(dir, 0700, e);
    r = r < 0 ? r : pki_make_key(key_path, e);
    r = r < 0 ? r : load_key(key_path, &key, e);
    if (r < 0 || file_exists(cert_path)) {
        return r;
    }
    r = gnutls_x509_crt_init(&cert);
    r = r < 0 ? r : fill_ca(cert, key, name);
    r = r < 0 ? r : gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &pem);
    if (r < 0) {
        return TLS_ERR(e, r, "cannot make the certificate authority");
    }
    r = file_replace(cert_path, pem.data, pem.size, 0644, e);
    gnutls_free(pem.data);
    return r;
}

static int add_name(gnutls_x509_crt_t cert, gnutls_x509_subject_alt_name_t type, const void *data,
                    size_t len)
{
    return gnutls_x509_crt_set_subject_alt_name(cert, type, data, (unsigned)len,
                                                GNUTLS_FSAN_APPEND);
}

static int add_ip(gnutls_x509_crt_t cert, const char *text, struct err *e)
{
    unsigned char raw[16];
    size_t len = inet_pton(AF_INET, text, raw) == 1 ? 4 : 0;
    len = !len && inet_pton(AF_INET6, text, raw) == 1 ? 16 : len;
    if (!len) {
        return ERR_SET(e, INVALID, "'%s' is not an IP address", text);
    }
    int r = add_name(cert, GNUTLS_SAN_IPADDRESS, raw, len);
    return r < 0 ? TLS_ERR(e, r, "cannot add an address") : 0;
}

static bool is_dns_name(const char *s)
{
    return *s && strlen(s) < 254 &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") ==
               strlen(s);
}

static int add_dns(gnutls_x509_crt_t cert, const char *name, struct err *e)
{
    if (!is_dns_name(name)) {
        return ERR_SET(e, INVALID, "'%s' is not a DNS name", name);
    }
    int r = add_name(cert, GNUTLS_SAN_DNSNAME, name, strlen(name));
    return r < 0 ? TLS_ERR(e, r, "cannot add a name") : 0;
}

static int add_names(gnutls_x509_crt_t cert, const struct pki_names *names, struct err *e)
{
    if (!str_is_name(names->host)) {
        return ERR_SET(e, INVALID, "'%s' is not a legal host name", names->host);
    }
    _cleanup_free_ char *uri = str_printf(HOST_URI "%s", names->host);
    int r = add_name(cert, GNUTLS_SAN_URI, uri, strlen(uri));
    r = r < 0 ? TLS_ERR(e, r, "cannot add the identity") : add_dns(cert, names->host, e);
    for (size_t i = 0; r == 0 && names->ips && names->ips[i]; i++) {
        r = i < NAMES_MAX ? add_ip(cert, names->ips[i], e)
                          : ERR_SET(e, INVALID, "too many addresses");
    }
    for (size_t i = 0; r == 0 && names->dns && names->dns[i]; i++) {
        r = i < NAMES_MAX ? add_dns(cert, names->dns[i], e) : ERR_SET(e, INVALID, "too many names");
    }
    return r;
}

/* GnuTLS has no setter for a critical alternative name: take the extension and put it back so. */
static int make_names_critical(gnutls_x509_crt_t cert)
{
    static const char oid[] = "2.5.29.17";
    gnutls_datum_t ext = {0};
    int r = gnutls_x509_crt_get_extension_by_oid2(cert, oid, 0, &ext, NULL);
    r = r < 0 ? r : gnutls_x509_crt_set_extension_by_oid(cert, oid, ext.data, ext.size, 1);
    gnutls_free(ext.data);
    return r;
}

/* The key alone: gnutls_x509_crt_set_crq() would take the subject along. */
static int set_key_of_csr(gnutls_x509_crt_t cert, gnutls_x509_crq_t csr)
{
    gnutls_pubkey_t key;
    int r = gnutls_pubkey_init(&key);
    if (r < 0) {
        return r;
    }
    r = gnutls_pubkey_import_x509_crq(key, csr, 0);
    r = r < 0 ? r : gnutls_x509_crt_set_pubkey(cert, key);
    gnutls_pubkey_deinit(key);
    return r;
}

static int fill_host(gnutls_x509_crt_t cert, gnutls_x509_crq_t csr, gnutls_x509_crt_t ca,
                     unsigned days)
{
    unsigned char ca_id[64];
    size_t ca_id_len = sizeof(ca_id);
    time_t end = wall_s() + (time_t)days * DAY_S;
    time_t ca_end = gnutls_x509_crt_get_expiration_time(ca);
    int r = start_cert(cert);
    r = r < 0 ? r : gnutls_x509_crt_set_expiration_time(cert, end < ca_end ? end : ca_end);
    r = r < 0 ? r : set_dn(cert, GNUTLS_OID_X520_ORGANIZATION_NAME, "Mortar");
    r = r < 0 ? r : set_key_of_csr(cert, csr);
    r = r < 0 ? r : gnutls_x509_crt_set_basic_constraints(cert, 0, -1);
    /* libvirt 9.0 refuses a certificate without key encipherment, also for a key on a curve, which
     * cannot encipher ("usage does not permit key encipherment", seen 2026-11-22). */
    r = r < 0 ? r : gnutls_x509_crt_set_key_usage(
                        cert, GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_KEY_ENCIPHERMENT);
    r = r < 0 ? r : gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_SERVER, 0);
    r = r < 0 ? r : gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_CLIENT, 0);
    r = r < 0 ? r : set_key_id(cert);
    r = r < 0 ? r : gnutls_x509_crt_get_subject_key_id(ca, ca_id, &ca_id_len, NULL);
    r = r < 0 ? r : gnutls_x509_crt_set_authority_key_id(cert, ca_id, ca_id_len);
    return r < 0 ? r : make_names_critical(cert);
}

static int load_csr(const char *pem, gnutls_x509_crq_t *ret, struct err *e)
{
    gnutls_x509_crq_t csr;
    gnutls_datum_t d = datum_of(pem);
    unsigned bits = 0;
    (void)gnutls_x509_crq_init(&csr);
    int r = d.size > PKI_PEM_LIMIT_BYTES ? GNUTLS_E_LARGE_PACKET
                                         : gnutls_x509_crq_import(csr, &d, GNUTLS_X509_FMT_PEM);
    r = r < 0 ? r : gnutls_x509_crq_verify(csr, 0);
    r = r < 0 ? r : gnutls_x509_crq_get_pk_algorithm(csr, &bits);
    if (r >= 0 && (r != GNUTLS_PK_ECDSA || bits < 256)) {
        r = GNUTLS_E_UNSUPPORTED_SIGNATURE_ALGORITHM;
    }
    if (r < 0) {
        gnutls_x509_crq_deinit(csr);
        return ERR_SET(e, INVALID, "the certificate request is not acceptable: %s",
                       gnutls_strerror(r));
    }
    *ret = csr;
    return 0;
}

static int load_ca(const char *dir, gnutls_x509_crt_t *ret_cert, gnutls_x509_privkey_t *ret_key,
                   struct err *e)
{
    _cleanup_free_ char *key_path = str_printf("%s/ca.key", dir);
    _cleanup_free_ char *cert_path = str_printf("%s/ca.crt", dir);
    _cleanup_free_ char *pem = NULL;
    int r = load_key(key_path, ret_key, e);
    r = r < 0 ? r : read_pem(cert_path, &pem, e);
    return r < 0 ? r : parse_cert(pem, ret_cert, e);
}

int pki_sign_csr(const char *ca_dir, const char *csr_pem, const struct pki_names *names,
                 char **ret_pem, struct err *e)
{
    _cleanup_key_ gnutls_x509_privkey_t ca_key = NULL;
    _cleanup_crt_ gnutls_x509_crt_t ca = NULL;
    _cleanup_csr_ gnutls_x509_crq_t csr = NULL;
    _cleanup_crt_ gnutls_x509_crt_t cert = NULL;
    gnutls_datum_t pem;
    int r = load_csr(csr_pem, &csr, e);
    r = r < 0 ? r : load_ca(ca_dir, &ca, &ca_key, e);
    if (r < 0) {
        return r;
    }
    r = gnutls_x509_crt_init(&cert);
    if (r < 0) {
        return TLS_ERR(e, r, "cannot make a certificate");
    }
    r = add_names(cert, names, e);
    if (r < 0) {
        return r;
    }
    r = fill_host(cert, csr, ca, names->days);
    r = r < 0 ? r : gnutls_x509_crt_sign2(cert, ca, ca_key, GNUTLS_DIG_SHA256, 0);
    r = r < 0 ? r : gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &pem);
    if (r < 0) {
        return TLS_ERR(e, r, "cannot make a certificate");
    }
    *ret_pem = text_of(&pem);
    return 0;
}

int pki_fingerprint(const char *cert_pem, char ret[PKI_FINGERPRINT_LEN + 1], struct err *e)
{
    _cleanup_crt_ gnutls_x509_crt_t cert = NULL;
    unsigned char raw[PKI_FINGERPRINT_LEN / 2];
    size_t len = sizeof(raw);
    int r = parse_cert(cert_pem, &cert, e);
    if (r < 0) {
        return r;
    }
    r = gnutls_x509_crt_get_fingerprint(cert, GNUTLS_DIG_SHA256, raw, &len);
    if (r < 0) {
        return ERR_SET(e, INVALID, "the certificate has no fingerprint: %s", gnutls_strerror(r));
    }
    hex_format(raw, len, ret);
    return 0;
}

static int check_key_of(gnutls_x509_crt_t cert, const char *key_path, struct err *e)
{
    _cleanup_key_ gnutls_x509_privkey_t key = NULL;
    unsigned char of_cert[64];
    unsigned char of_key[64];
    size_t cert_len = sizeof(of_cert);
    size_t key_len = sizeof(of_key);
    int r = load_key(key_path, &key, e);
    if (r < 0) {
        return r;
    }
    r = gnutls_x509_crt_get_key_id(cert, 0, of_cert, &cert_len);
    r = r < 0 ? r : gnutls_x509_privkey_get_key_id(key, 0, of_key, &key_len);
    if (r < 0 || cert_len != key_len || memcmp(of_cert, of_key, key_len) != 0) {
        return ERR_SET(e, INVALID, "the certificate was not made for the key in %s", key_path);
    }
    return 0;
}

int pki_check_cert(const char *cert_pem, const char *ca_pem, const char *key_path, struct err *e)
{
    _cleanup_crt_ gnutls_x509_crt_t cert = NULL;
    _cleanup_crt_ gnutls_x509_crt_t ca = NULL;
    unsigned status = 0;
    int r = parse_cert(cert_pem, &cert, e);
    r = r < 0 ? r : parse_cert(ca_pem, &ca, e);
    if (r < 0) {
        return r;
    }
    r = gnutls_x509_crt_verify(cert, &ca, 1, 0, &status);
    if (r < 0 || status) {
        gnutls_datum_t why = {0};
        (void)gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &why, 0);
        _cleanup_free_ char *text = why.data ? text_of(&why) : str_dup(gnutls_strerror(r));
        return ERR_SET(e, INVALID, "the certificate is not valid here: %s", text);
    }
    return key_path ? check_key_of(cert, key_path, e) : 0;
}

/* Return: the host named by alternative name @i, "" if that is something else, NULL at the end */
static char *host_of_name(gnutls_x509_crt_t cert, unsigned i)
{
    char name[256];
    size_t len = sizeof(name) - 1;
    int type = gnutls_x509_crt_get_subject_alt_name(cert, i, name, &len, NULL);
    if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
        return NULL;
    }
    /* another kind, too long, or hiding something */
    if (type != GNUTLS_SAN_URI || memchr(name, '\0', len)) {
        return str_dup("");
    }
    name[len] = '\0';
    const char *host = name + strlen(HOST_URI);
    return str_dup(str_starts(name, HOST_URI) && str_is_name(host) ? host : "");
}

int pki_host_of_cert(const char *cert_pem, char **ret, struct err *e)
{
    _cleanup_crt_ gnutls_x509_crt_t cert = NULL;
    _cleanup_free_ char *found = NULL;
    int r = parse_cert(cert_pem, &cert, e);
    for (unsigned i = 0; r == 0; i++) {
        _cleanup_free_ char *host = host_of_name(cert, i);
        if (!host || i > 3 * NAMES_MAX) {
            break;
        }
        if (*host && found) {
            return ERR_SET(e, INVALID, "the certificate names several hosts");
        }
        found = *host ? TAKE(host) : found;
    }
    if (r == 0 && !found) {
        return ERR_SET(e, INVALID, "the certificate names no host");
    }
    if (r == 0) {
        *ret = TAKE(found);
    }
    return r;
}

int pki_make_secret(char ret[PKI_SECRET_LEN + 1], struct err *e)
{
    unsigned char raw[PKI_SECRET_LEN / 2];
    int r = gnutls_rnd(GNUTLS_RND_KEY, raw, sizeof(raw));
    if (r < 0) {
        return TLS_ERR(e, r, "cannot make a secret");
    }
    hex_format(raw, sizeof(raw), ret);
    explicit_bzero(raw, sizeof(raw));
    return 0;
}

void pki_hash_secret(const char *secret, char ret[PKI_FINGERPRINT_LEN + 1])
{
    unsigned char raw[PKI_FINGERPRINT_LEN / 2];
    int r = gnutls_hash_fast(GNUTLS_DIG_SHA256, secret, strlen(secret), raw);
    assert(r == 0); /* SHA-256 is always there */
    (void)r;
    hex_format(raw, sizeof(raw), ret);
}

bool pki_secret_matches(const char *secret, const char *hash)
{
    char got[PKI_FINGERPRINT_LEN + 1];
    pki_hash_secret(secret, got);
    return strlen(hash) == PKI_FINGERPRINT_LEN &&
           gnutls_memcmp(got, hash, PKI_FINGERPRINT_LEN) == 0;
}
