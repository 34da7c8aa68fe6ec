/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/str.h"
#include "io/cmd.h"
#include "io/file.h"
#include "io/pki.h"

struct fixture {
    char dir[32];
    char *ca_crt;
    char *ca_key;
    char *key;
    char *crt;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/mortar-pki-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->ca_crt = str_printf("%s/ca.crt", f->dir);
    f->ca_key = str_printf("%s/ca.key", f->dir);
    f->key = str_printf("%s/host.key", f->dir);
    f->crt = str_printf("%s/host.crt", f->dir);
    assert_int_equal(pki_make_ca(f->dir, "test", NULL), 0);
    assert_int_equal(pki_make_key(f->key, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(cmd_check(CMD("rm", "-r", f->dir), NULL, NULL, NULL), 0);
    free(f->ca_crt);
    free(f->ca_key);
    free(f->key);
    free(f->crt);
    free(f);
    return 0;
}

static char *text_of_file(const char *path)
{
    char *text = NULL;
    assert_int_equal(file_read(path, PKI_PEM_LIMIT_BYTES, &text, NULL, NULL), 0);
    return text;
}

static char *issue(struct fixture *f, const struct pki_names *names)
{
    _cleanup_free_ char *csr = NULL;
    char *pem = NULL;
    assert_int_equal(pki_make_csr(f->key, &csr, NULL), 0);
    assert_int_equal(pki_sign_csr(f->dir, csr, names, &pem, NULL), 0);
    assert_int_equal(file_replace(f->crt, pem, strlen(pem), 0644, NULL), 0);
    return pem;
}

static char *issue_n1(struct fixture *f)
{
    return issue(f, &(struct pki_names){.host = "n1",
                                        .ips = (const char *[]){"10.67.0.11", "fd00::1", NULL},
                                        .dns = (const char *[]){"n1.example.org", NULL},
                                        .days = 100});
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void keys_are_for_root_only(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mode_of(f->ca_key), 0600);
    assert_int_equal(mode_of(f->key), 0600);
    assert_int_equal(mode_of(f->dir), 0700);
}

static void making_again_keeps_what_is_there(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *crt = text_of_file(f->ca_crt);
    _cleanup_free_ char *key = text_of_file(f->key);
    assert_int_equal(pki_make_ca(f->dir, "other", NULL), 0);
    assert_int_equal(pki_make_key(f->key, NULL), 0);
    _cleanup_free_ char *crt2 = text_of_file(f->ca_crt);
    _cleanup_free_ char *key2 = text_of_file(f->key);
    assert_string_equal(crt, crt2);
    assert_string_equal(key, key2);
}

static void authority_whose_making_was_cut_off_is_completed_with_its_key(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *before = text_of_file(f->ca_key);
    assert_int_equal(unlink(f->ca_crt), 0);
    assert_int_equal(pki_make_ca(f->dir, "test", NULL), 0);
    _cleanup_free_ char *after = text_of_file(f->ca_key);
    _cleanup_free_ char *pem = issue_n1(f);
    _cleanup_free_ char *ca = text_of_file(f->ca_crt);
    assert_string_equal(before, after);
    assert_int_equal(pki_check_cert(pem, ca, f->key, NULL), 0);
}

static void openssl_accepts_a_certificate_for_both_uses(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    _cleanup_free_ char *pem = issue_n1(f);
    _cleanup_free_ char *text = NULL;
    const char *const uses[] = {"sslserver", "sslclient"};
    for (size_t i = 0; i < ELEMENTS(uses); i++) {
        assert_int_equal(cmd_check(CMD("openssl", "verify", "-x509_strict", "-CAfile", f->ca_crt,
                                       "-purpose", uses[i], "-verify_ip", "10.67.0.11", f->crt),
                                   NULL, NULL, &e),
                         0);
    }
    assert_int_equal(
        cmd_check(CMD("openssl", "x509", "-in", f->crt, "-noout", "-text"), NULL, &text, NULL), 0);
    assert_non_null(strstr(text, "Subject: O = Mortar\n"));
    assert_non_null(strstr(text, "Subject Alternative Name: critical\n"));
    assert_non_null(strstr(text, "URI:mortar://host/n1"));
    assert_non_null(strstr(text, "DNS:n1.example.org"));
    assert_non_null(strstr(text, "IP Address:FD00:0:0:0:0:0:0:1"));
    assert_non_null(strstr(text, "TLS Web Server Authentication, TLS Web Client Authentication"));
    assert_non_null(
        strstr(text, "Key Usage: critical\n                Digital Signature, Key Encipherment\n"));
    assert_non_null(strstr(text, "NIST CURVE: P-256"));
}

static void fingerprint_is_that_of_openssl(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *ca = text_of_file(f->ca_crt);
    _cleanup_free_ char *theirs = NULL;
    _cleanup_sbuf_ struct sbuf digits = {0};
    char ours[PKI_FINGERPRINT_LEN + 1];
    assert_int_equal(pki_fingerprint(ca, ours, NULL), 0);
    assert_int_equal(cmd_check(CMD("openssl", "x509", "-in", f->ca_crt, "-noout", "-fingerprint",
                                   "-sha256"),
                               NULL, &theirs, NULL),
                     0);
    for (const char *c = strchr(theirs, '='); *c; c++) {
        if (strchr("0123456789ABCDEF", *c)) {
            sbuf_printf(&digits, "%c", *c >= 'A' ? *c - 'A' + 'a' : *c);
        }
    }
    assert_string_equal(ours, digits.data);
}

static void certificate_names_its_host_and_fits_its_key(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    _cleanup_free_ char *other = str_printf("%s/other.key", f->dir);
    _cleanup_free_ char *pem = issue_n1(f);
    _cleanup_free_ char *ca = text_of_file(f->ca_crt);
    _cleanup_free_ char *host = NULL;
    assert_int_equal(pki_host_of_cert(pem, &host, NULL), 0);
    assert_string_equal(host, "n1");
    assert_int_equal(pki_check_cert(pem, ca, f->key, NULL), 0);
    assert_int_equal(pki_make_key(other, NULL), 0);
    assert_int_equal(pki_check_cert(pem, ca, other, &e), -ERR_INVALID);
    assert_non_null(strstr(e.msg, "not made for the key"));
    assert_int_equal(pki_host_of_cert(ca, &host, NULL), -ERR_INVALID);
}

static void certificate_of_another_authority_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    _cleanup_free_ char *pem = issue_n1(f);
    _cleanup_free_ char *dir = str_printf("%s/second", f->dir);
    _cleanup_free_ char *path = str_printf("%s/ca.crt", dir);
    assert_int_equal(pki_make_ca(dir, "test", NULL), 0); /* same name, other key */
    _cleanup_free_ char *ca = text_of_file(path);
    assert_int_equal(pki_check_cert(pem, ca, NULL, &e), -ERR_INVALID);
    assert_true(e.msg[0]);
}

static void expired_certificate_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    _cleanup_free_ char *pem = issue(f, &(struct pki_names){.host = "n1", .days = 0});
    _cleanup_free_ char *ca = text_of_file(f->ca_crt);
    while (pki_check_cert(pem, ca, NULL, NULL) == 0) { /* it ends with this second */
        (void)usleep(50000);
    }
    assert_int_equal(pki_check_cert(pem, ca, NULL, &e), -ERR_INVALID);
    assert_non_null(strstr(e.msg, "expired"));
}

static void certificate_does_not_outlive_its_authority(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *pem = issue(f, &(struct pki_names){.host = "n1", .days = 100 * 365});
    _cleanup_free_ char *end_ca = NULL;
    _cleanup_free_ char *end = NULL;
    assert_int_equal(cmd_check(CMD("openssl", "x509", "-in", f->ca_crt, "-noout", "-enddate"), NULL,
                               &end_ca, NULL),
                     0);
    assert_int_equal(
        cmd_check(CMD("openssl", "x509", "-in", f->crt, "-noout", "-enddate"), NULL, &end, NULL),
        0);
    assert_string_equal(end, end_ca);
}

static void bad_requests_and_names_are_refused(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *csr = NULL;
    _cleanup_free_ char *rsa = NULL;
    char *pem = NULL;
    const struct pki_names good = {.host = "n1", .days = 1};
    const struct pki_names bad[] = {
        {.host = "N 1", .days = 1},
        {.host = "n1/../n2", .days = 1},
        {.host = "n1", .ips = (const char *[]){"10.0.0", NULL}, .days = 1},
        {.host = "n1", .dns = (const char *[]){"a b", NULL}, .days = 1},
        {.host = "n1", .dns = (const char *[]){"", NULL}, .days = 1},
    };
    assert_int_equal(pki_make_csr(f->key, &csr, NULL), 0);
    for (size_t i = 0; i < ELEMENTS(bad); i++) {
        assert_int_equal(pki_sign_csr(f->dir, csr, &bad[i], &pem, NULL), -ERR_INVALID);
    }
    assert_int_equal(pki_sign_csr(f->dir, "garbage", &good, &pem, NULL), -ERR_INVALID);
    assert_int_equal(pki_sign_csr("/nonexistent", csr, &good, &pem, NULL), -ERR_NOT_FOUND);
    assert_int_equal(cmd_check(CMD("openssl", "req", "-new", "-newkey", "rsa:1024", "-nodes",
                                   "-keyout", "/dev/null", "-subj", "/"),
                               NULL, &rsa, NULL),
                     0);
    assert_int_equal(pki_sign_csr(f->dir, rsa, &good, &pem, NULL), -ERR_INVALID);
    *strstr(csr, "A") = 'B'; /* whatever it hits, the signature or the form breaks */
    assert_int_equal(pki_sign_csr(f->dir, csr, &good, &pem, NULL), -ERR_INVALID);
}

static void names_wished_in_a_request_count_for_nothing(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *csr = NULL;
    _cleanup_free_ char *pem = NULL;
    _cleanup_free_ char *host = NULL;
    assert_int_equal(cmd_check(CMD("openssl", "req", "-new", "-key", f->key, "-subj", "/CN=root",
                                   "-addext", "subjectAltName=URI:mortar://host/n9", "-addext",
                                   "basicConstraints=CA:TRUE"),
                               NULL, &csr, NULL),
                     0);
    assert_int_equal(
        pki_sign_csr(f->dir, csr, &(struct pki_names){.host = "n1", .days = 1}, &pem, NULL), 0);
    assert_int_equal(pki_host_of_cert(pem, &host, NULL), 0);
    assert_string_equal(host, "n1");
}

static void secret_matches_only_its_hash(void **state)
{
    char secret[PKI_SECRET_LEN + 1];
    char other[PKI_SECRET_LEN + 1];
    char hash[PKI_FINGERPRINT_LEN + 1];
    assert_int_equal(pki_make_secret(secret, NULL), 0);
    assert_int_equal(pki_make_secret(other, NULL), 0);
    pki_hash_secret(secret, hash);
    assert_int_equal(strlen(secret), PKI_SECRET_LEN);
    assert_int_equal(strlen(hash), PKI_FINGERPRINT_LEN);
    assert_true(pki_secret_matches(secret, hash));
    assert_false(pki_secret_matches(other, hash));
    assert_false(pki_secret_matches("", hash));
    assert_false(pki_secret_matches(secret, ""));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(keys_are_for_root_only),
        T(making_again_keeps_what_is_there),
        T(authority_whose_making_was_cut_off_is_completed_with_its_key),
        T(openssl_accepts_a_certificate_for_both_uses),
        T(fingerprint_is_that_of_openssl),
        T(certificate_names_its_host_and_fits_its_key),
        T(certificate_of_another_authority_is_refused),
        T(expired_certificate_is_refused),
        T(certificate_does_not_outlive_its_authority),
        T(bad_requests_and_names_are_refused),
        T(names_wished_in_a_request_count_for_nothing),
        cmocka_unit_test(secret_matches_only_its_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
