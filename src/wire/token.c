/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/token.h"

#include <ctype.h>
#include <string.h>

#define PREFIX "mortar1."
#define FINGERPRINT_BYTES 32
#define SECRET_BYTES 16
#define CRC_BYTES 4
#define FIXED_BYTES (FINGERPRINT_BYTES + SECRET_BYTES + CRC_BYTES)

void token_done(struct token *t)
{
    strv_done(&t->addresses);
    explicit_bzero(t->secret, sizeof(t->secret));
}

/* CRC-32 of ISO 3309, as in zlib and Ethernet. */
static uint32_t crc32_of(const unsigned char *data, size_t len)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320U : 0);
        }
    }
    return ~crc;
}

static bool is_address(const char *s)
{
    return *s && strlen(s) <= 255 && isalnum((unsigned char)s[strlen(s) - 1]) &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-[]") ==
               strlen(s) &&
           s[0] != '-';
}

/* Standard base64 ↔ the alphabet that needs no quoting anywhere, without padding. */
static void swap_alphabet(char *s, const char *from, const char *to)
{
    for (; *s; s++) {
        const char *at = strchr(from, *s);
        *s = at ? to[at - from] : *s;
    }
}

int token_format(const struct token *t, char **ret, struct err *e)
{
    unsigned char fixed[FINGERPRINT_BYTES + SECRET_BYTES];
    _cleanup_sbuf_ struct sbuf b = {0};
    if (!hex_parse(t->ca_fingerprint, fixed, FINGERPRINT_BYTES) ||
        !hex_parse(t->secret, fixed + FINGERPRINT_BYTES, SECRET_BYTES)) {
        return ERR_SET(e, INVALID, "the fingerprint or the secret of a token is not well formed");
    }
    if (t->addresses.n < 1 || t->addresses.n > TOKEN_ADDRESSES_MAX) {
        return ERR_SET(e, INVALID, "a token takes 1 to %d addresses", TOKEN_ADDRESSES_MAX);
    }
    (void)sbuf_add(&b, fixed, sizeof(fixed)); /* no limit, cannot fail */
    for (size_t i = 0; i < t->addresses.n; i++) {
        if (!is_address(t->addresses.v[i])) {
            return ERR_SET(e, INVALID, "'%s' is not an address", t->addresses.v[i]);
        }
        sbuf_printf(&b, "%s%s", i ? "," : "", t->addresses.v[i]);
    }
    uint32_t crc = crc32_of((unsigned char *)b.data, b.len);
    unsigned char tail[CRC_BYTES] = {(unsigned char)(crc >> 24), (unsigned char)(crc >> 16),
                                     (unsigned char)(crc >> 8), (unsigned char)crc};
    (void)sbuf_add(&b, tail, sizeof(tail));
    _cleanup_free_ char *text = base64_encode(b.data, b.len);
    swap_alphabet(text, "+/", "-_");
    text[strcspn(text, "=")] = '\0';
    if (strlen(PREFIX) + strlen(text) > TOKEN_LIMIT_BYTES) {
        return ERR_SET(e, INVALID, "the addresses are too long for a token");
    }
    *ret = str_printf(PREFIX "%s", text);
    return 0;
}

static int malformed(struct err *e, const char *why)
{
    int r = ERR_SET(e, TOKEN, "this is not a join token: %s", why);
    err_hint(e, "copy the whole line that `mortar token` printed, it starts with " PREFIX);
    return r;
}

/* The part behind the prefix in standard base64 with padding. Return: NULL when impossible */
static char *standard_base64_of(const char *text, size_t len)
{
    _cleanup_free_ char *s = str_printf("%.*s", (int)len, text);
    if (strpbrk(s, "+/=")) {
        return NULL;
    }
    swap_alphabet(s, "-_", "+/");
    static const char *const padding[] = {"", "", "==", "="};
    return str_printf("%s%s", s, padding[strlen(s) % 4]);
}

static int parse_addresses(const char *text, size_t len, struct strv *ret, struct err *e)
{
    _cleanup_free_ char *list = str_printf("%.*s", (int)len, text);
    if (strlen(list) != len) {
        return malformed(e, "it holds a zero byte");
    }
    strv_split(ret, list, ",");
    if (ret->n < 1 || ret->n > TOKEN_ADDRESSES_MAX) {
        return malformed(e, "it has no address or too many");
    }
    for (size_t i = 0; i < ret->n; i++) {
        if (!is_address(ret->v[i])) {
            return malformed(e, "an address in it is wrong");
        }
    }
    return 0;
}

int token_parse(const char *text, struct token *ret, struct err *e)
{
    _cleanup_free_ char *raw = NULL;
    size_t len = 0;
    text += strspn(text, " \t\r\n");
    size_t text_len = strcspn(text, " \t\r\n");
    if (text_len > TOKEN_LIMIT_BYTES || text[text_len + strspn(text + text_len, " \t\r\n")]) {
        return malformed(e, "it is too long or has white space inside");
    }
    if (!str_starts(text, PREFIX)) {
        return malformed(e, "it does not start with " PREFIX);
    }
    _cleanup_free_ char *b64 =
        standard_base64_of(text + strlen(PREFIX), text_len - strlen(PREFIX));
    if (!b64 || base64_decode(b64, &raw, &len, NULL) < 0 || len <= FIXED_BYTES) {
        return malformed(e, "it is cut off or has wrong characters");
    }
    const unsigned char *p = (const unsigned char *)raw;
    const unsigned char *tail = p + len - CRC_BYTES;
    uint32_t crc =
        (uint32_t)tail[0] << 24 | (uint32_t)tail[1] << 16 | (uint32_t)tail[2] << 8 | tail[3];
    if (crc != crc32_of(p, len - CRC_BYTES)) {
        return malformed(e, "its checksum is wrong");
    }
    _cleanup_token_ struct token t = {0};
    int r =
        parse_addresses(raw + FINGERPRINT_BYTES + SECRET_BYTES, len - FIXED_BYTES, &t.addresses, e);
    if (r < 0) {
        return r;
    }
    hex_format(p, FINGERPRINT_BYTES, t.ca_fingerprint);
    hex_format(p + FINGERPRINT_BYTES, SECRET_BYTES, t.secret);
    *ret = t;
    t = (struct token){0};
    return 0;
}
