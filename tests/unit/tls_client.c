/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/str.h"
#include "io/file.h"
#include "io/pki.h"

struct tls_client {
    int fd;
    gnutls_session_t session;
    gnutls_certificate_credentials_t cred;
};

/* Failures here are failures of the test's own set-up. */
static void must(int r)
{
    if (r < 0) {
        abort();
    }
}

void make_certs(const char *dir, const char *host)
{
    _cleanup_free_ char *key = str_printf("%s/host.key", dir);
    _cleanup_free_ char *crt = str_printf("%s/host.crt", dir);
    _cleanup_free_ char *csr = NULL;
    _cleanup_free_ char *pem = NULL;
    const struct pki_names names = {
        .host = host, .ips = (const char *[]){"127.0.0.1", NULL}, .days = 10};
    must(pki_make_ca(dir, "test", NULL));
    must(pki_make_key(key, NULL));
    must(pki_make_csr(key, &csr, NULL));
    must(pki_sign_csr(dir, csr, &names, &pem, NULL));
    must(file_replace(crt, pem, strlen(pem), 0644, NULL));
}

int tcp_dial(uint16_t port)
{
    const struct timeval patience = {.tv_sec = 60};
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd);
    must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)));
    must(connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    return fd;
}

struct tls_client *tls_dial(uint16_t port, const char *dir)
{
    struct tls_client *c = xcalloc(1, sizeof(*c));
    c->fd = tcp_dial(port);
    must(gnutls_certificate_allocate_credentials(&c->cred));
    if (dir) {
        _cleanup_free_ char *key = str_printf("%s/host.key", dir);
        _cleanup_free_ char *crt = str_printf("%s/host.crt", dir);
        must(gnutls_certificate_set_x509_key_file(c->cred, crt, key, GNUTLS_X509_FMT_PEM));
    }
    must(gnutls_init(&c->session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL | GNUTLS_FORCE_CLIENT_CERT));
    must(gnutls_set_default_priority(c->session));
    must(gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, c->cred));
    gnutls_transport_set_int(c->session, c->fd);
    int r;
    do {
        r = gnutls_handshake(c->session);
    } while (r < 0 && !gnutls_error_is_fatal(r) && r != GNUTLS_E_AGAIN);
    if (r < 0) {
        tls_hang_up(c);
        return NULL;
    }
    return c;
}

void tls_hang_up(struct tls_client *c)
{
    if (c) {
        (void)close(c->fd);
        gnutls_deinit(c->session);
        gnutls_certificate_free_credentials(c->cred);
        free(c);
    }
}

bool tls_say(struct tls_client *c, const void *data, size_t len)
{
    const char *p = data;
    while (len) {
        ssize_t n = gnutls_record_send(c->session, p, len);
        if (n < 0) {
            return false;
        }
        p += n;
        len -= (size_t)n;
    }
    return true;
}

ssize_t tls_hear(struct tls_client *c, void *data, size_t len)
{
    ssize_t n = gnutls_record_recv(c->session, data, len);
    return n == GNUTLS_E_AGAIN ? -EAGAIN : n;
}
