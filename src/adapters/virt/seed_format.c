/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/virt/seed_format.h"

#include <assert.h>
#include <string.h>

/* --- the files ----------------------------------------------------------------------------- */

char *seed_format_meta(const struct seed_spec *s)
{
    _cleanup_json_ json_t *j = json_pack("{s:s,s:s}", "instance-id", s->uuid, "local-hostname",
                                         s->hostname);
    if (json_array_size(s->ssh_keys) > 0) {
        json_object_set(j, "public-keys", (json_t *)s->ssh_keys);
    }
    return json_format(j);
}

/* A match by name is not rendered for ifupdown (facts/probes.md 5.1), so it is by MAC. */
char *seed_format_network(const struct seed_spec *s)
{
    json_t *cards = json_object();
    _cleanup_json_ json_t *j = json_pack("{s:i,s:o}", "version", 2, "ethernets", cards);
    for (size_t i = 0; s->macs[i]; i++) {
        _cleanup_free_ char *name = str_printf("eth%zu", i);
        json_object_set_new(cards, name,
                            json_pack("{s:{s:s},s:s,s:b}", "match", "macaddress", s->macs[i],
                                      "set-name", name, "dhcp4", 1));
    }
    return json_format(j);
}

/* --- ISO 9660 ------------------------------------------------------------------------------ */

#define SECTOR_BYTES 2048
#define VOLUME_AT 16 /* sectors before it belong to boot loaders */
#define VOLUME_END_AT 17
#define PATHS_LE_AT 18
#define PATHS_BE_AT 19
#define ROOT_AT 20
#define FILES_AT 21
#define ROOT_RECORD_BYTES 34
#define PATHS_BYTES 10
#define FLAG_DIRECTORY 2
#define MODE_DIRECTORY 040555
#define MODE_FILE 0100444

struct file {
    const char *iso_name; /* for readers without Rock Ridge; sorted */
    const char *name;
    const char *text;
    uint32_t at;
};

static void add(struct sbuf *b, const void *data, size_t len)
{
    int r = sbuf_add(b, data, len);
    assert(r == 0); /* no limit */
}

static void add_byte(struct sbuf *b, unsigned v)
{
    uint8_t byte = (uint8_t)v;
    add(b, &byte, 1);
}

static void add_le(struct sbuf *b, uint32_t v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        add_byte(b, v >> (8 * i) & 0xff);
    }
}

static void add_be(struct sbuf *b, uint32_t v, size_t n)
{
    for (size_t i = n; i > 0; i--) {
        add_byte(b, v >> (8 * (i - 1)) & 0xff);
    }
}

/* "both-byte order" of ECMA-119 7.2.3 and 7.3.3 */
static void add_both(struct sbuf *b, uint32_t v, size_t n)
{
    add_le(b, v, n);
    add_be(b, v, n);
}

static void pad_to(struct sbuf *b, size_t len, unsigned with)
{
    assert(b->len <= len);
    while (b->len < len) {
        add_byte(b, with);
    }
}

static void add_text(struct sbuf *b, const char *text, size_t width)
{
    size_t end = b->len + width;
    add(b, text, strlen(text));
    pad_to(b, end, ' ');
}

/* Rock Ridge: who may read it, and its real name (NULL for "." and ".."). */
static void add_rock_ridge(struct sbuf *b, const char *name, uint32_t mode)
{
    add(b, "PX\x24\x01", 4);
    add_both(b, mode, 4);
    add_both(b, 1, 4); /* links */
    add_both(b, 0, 4);
    add_both(b, 0, 4);
    if (name) {
        add(b, "NM", 2);
        add_byte(b, 5 + (unsigned)strlen(name));
        add(b, "\x01\x00", 2);
        add(b, name, strlen(name));
    }
}

/* A directory record without its system use area and without its final length. */
static void add_record(struct sbuf *b, uint32_t at, uint32_t len, unsigned flags, const char *id,
                       size_t id_len)
{
    add(b, "\0\0", 2);
    add_both(b, at, 4);
    add_both(b, len, 4);
    add(b, "\x46\x01\x01\0\0\0\0", 7); /* 1970-01-01: the same seed each time */
    add_byte(b, flags);
    add(b, "\0\0", 2);
    add_both(b, 1, 2);
    add_byte(b, (unsigned)id_len);
    add(b, id, id_len);
    if (id_len % 2 == 0) {
        add_byte(b, 0);
    }
}

static void end_record(struct sbuf *b, size_t start)
{
    if ((b->len - start) % 2) {
        add_byte(b, 0);
    }
    assert(b->len - start <= UINT8_MAX);
    b->data[start] = (char)(b->len - start);
}

static void add_root(struct sbuf *b, const struct file *files, size_t n)
{
    size_t start = b->len;
    add_record(b, ROOT_AT, SECTOR_BYTES, FLAG_DIRECTORY, "\0", 1);
    add(b, "SP\x07\x01\xbe\xef\0", 7);
    add(b, "ER\x12\x01\x0a\0\0\x01RRIP_1991A", 18);
    add_rock_ridge(b, NULL, MODE_DIRECTORY);
    end_record(b, start);
    start = b->len;
    add_record(b, ROOT_AT, SECTOR_BYTES, FLAG_DIRECTORY, "\1", 1);
    add_rock_ridge(b, NULL, MODE_DIRECTORY);
    end_record(b, start);
    for (size_t i = 0; i < n; i++) {
        start = b->len;
        add_record(b, files[i].at, (uint32_t)strlen(files[i].text), 0, files[i].iso_name,
                   strlen(files[i].iso_name));
        add_rock_ridge(b, files[i].name, MODE_FILE);
        end_record(b, start);
    }
}

static void add_volume(struct sbuf *b, uint32_t sectors)
{
    size_t start = b->len;
    add(b, "\x01" "CD001\x01\0", 8);
    add_text(b, "", 32);
    add_text(b, "CIDATA", 32);
    pad_to(b, start + 80, 0);
    add_both(b, sectors, 4);
    pad_to(b, start + 120, 0);
    add_both(b, 1, 2);
    add_both(b, 1, 2);
    add_both(b, SECTOR_BYTES, 2);
    add_both(b, PATHS_BYTES, 4);
    add_le(b, PATHS_LE_AT, 4);
    add_le(b, 0, 4);
    add_be(b, PATHS_BE_AT, 4);
    add_be(b, 0, 4);
    size_t root = b->len;
    add_record(b, ROOT_AT, SECTOR_BYTES, FLAG_DIRECTORY, "\0", 1);
    end_record(b, root);
    assert(b->len - root == ROOT_RECORD_BYTES);
    add_text(b, "", 128); /* volume set */
    add_text(b, "", 128); /* publisher */
    add_text(b, "", 128); /* preparer */
    add_text(b, "MORTAR", 128);
    add_text(b, "", 3 * 37);
    for (int i = 0; i < 4; i++) { /* four dates, none of them given */
        add(b, "0000000000000000\0", 17);
    }
    add_byte(b, 1);
    pad_to(b, start + SECTOR_BYTES, 0);
}

static void add_paths(struct sbuf *b)
{
    add(b, "\x01\0", 2);
    add_le(b, ROOT_AT, 4);
    add(b, "\x01\0\0\0", 4);
    pad_to(b, (PATHS_LE_AT + 1) * SECTOR_BYTES, 0);
    add(b, "\x01\0", 2);
    add_be(b, ROOT_AT, 4);
    add(b, "\0\x01\0\0", 4);
    pad_to(b, (PATHS_BE_AT + 1) * SECTOR_BYTES, 0);
}

void seed_format(const struct seed_spec *s, struct sbuf *ret)
{
    _cleanup_free_ char *meta = seed_format_meta(s);
    _cleanup_free_ char *network = seed_format_network(s);
    struct file files[] = {
        {"META-DATA.;1", "meta-data", meta, 0},
        {"NETWORK-CONFIG.;1", "network-config", network, 0},
        {"USER-DATA.;1", "user-data", s->user_data ? s->user_data : "#cloud-config\n{}\n", 0},
    };
    uint32_t at = FILES_AT;
    assert(ret->len == 0 && ret->limit == 0);
    for (size_t i = 0; i < ELEMENTS(files); i++) {
        files[i].at = at;
        at += (uint32_t)((strlen(files[i].text) + SECTOR_BYTES - 1) / SECTOR_BYTES);
    }
    pad_to(ret, VOLUME_AT * SECTOR_BYTES, 0);
    add_volume(ret, at);
    add(ret, "\xff" "CD001\x01", 7);
    pad_to(ret, (VOLUME_END_AT + 1) * SECTOR_BYTES, 0);
    add_paths(ret);
    add_root(ret, files, ELEMENTS(files));
    for (size_t i = 0; i < ELEMENTS(files); i++) {
        pad_to(ret, (size_t)files[i].at * SECTOR_BYTES, 0);
        add(ret, files[i].text, strlen(files[i].text));
    }
    pad_to(ret, (size_t)at * SECTOR_BYTES, 0);
}
