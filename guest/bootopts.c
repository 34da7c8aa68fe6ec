/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel command line → options; a word that is not understood is reported, never guessed at. */
#include "bootopts.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WRITES_PER_S_MAX 10000
#define WORD_BYTES 256

bool parse_u64(const char *s, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (*s == 0) {
        return false;
    }
    for (; *s; s++) {
        uint64_t digit = (uint64_t)(*s - '0');

        if (*s < '0' || *s > '9' || value > (max - digit) / 10 || digit > max) {
            return false;
        }
        value = value * 10 + digit;
    }
    *ret_value = value;
    return true;
}

bool parse_write_rate(const char *s, uint64_t *ret_per_s)
{
    char number[24];
    size_t length = strlen(s);
    uint64_t unit = 0;
    uint64_t value = 0;

    if (length == 0 || length >= sizeof(number)) {
        return false;
    }
    memcpy(number, s, length + 1);
    if (number[length - 1] == 'K') {
        unit = 1024;
    } else if (number[length - 1] == 'M') {
        unit = 1024 * 1024;
    }
    if (unit > 0) {
        number[length - 1] = 0;
    }
    if (!parse_u64(number, WRITES_PER_S_MAX * (uint64_t)BLOCK_BYTES, &value)) {
        return false;
    }
    if (unit > 0) {
        value = (value * unit + BLOCK_BYTES - 1) / BLOCK_BYTES;
    }
    if (value > WRITES_PER_S_MAX) {
        return false;
    }
    *ret_per_s = value;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return -1;
}

bool parse_key(const char *hex, uint64_t epoch, struct epoch_key *ret_key)
{
    struct epoch_key key = {.epoch = epoch};
    size_t digits = strlen(hex);

    if (digits == 0 || digits % 2 != 0 || digits / 2 > KEY_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < digits / 2; i++) {
        int high = hex_digit(hex[2 * i]);
        int low = hex_digit(hex[2 * i + 1]);

        if (high < 0 || low < 0) {
            return false;
        }
        key.data[i] = (uint8_t)(high * 16 + low);
    }
    key.bytes = digits / 2;
    *ret_key = key;
    return true;
}

static void format_hex(const uint8_t *data, size_t bytes, char *ret_hex)
{
    for (size_t i = 0; i < bytes; i++) {
        (void)snprintf(ret_hex + 2 * i, 3, "%02x", data[i]); /* fits */
    }
}

int format_key_question(const uint8_t boot_id[BOOT_ID_BYTES], uint64_t disk_epoch, char *ret_line, size_t bytes)
{
    char boot[2 * BOOT_ID_BYTES + 1];
    int length = 0;

    format_hex(boot_id, BOOT_ID_BYTES, boot);
    length = snprintf(ret_line, bytes, "key? boot=%s epoch=%" PRIu64 "\n", boot, disk_epoch);
    assert(length > 0 && (size_t)length < bytes);
    return length;
}

bool parse_key_answer(const char *line, const uint8_t boot_id[BOOT_ID_BYTES], uint64_t disk_epoch,
                      struct epoch_key *ret_key)
{
    char boot[2 * BOOT_ID_BYTES + 1];
    char head[80];
    char number[24] = "";
    uint64_t epoch = 0;
    size_t digits = 0;

    format_hex(boot_id, BOOT_ID_BYTES, boot);
    (void)snprintf(head, sizeof(head), "key boot=%s epoch=", boot); /* fits */
    if (strncmp(line, head, strlen(head)) != 0) {
        return false;
    }
    line += strlen(head);
    digits = strcspn(line, " ");
    if (digits >= sizeof(number) || line[digits] != ' ') {
        return false;
    }
    memcpy(number, line, digits);
    return parse_u64(number, UINT64_MAX, &epoch) && epoch > disk_epoch && parse_key(line + digits + 1, epoch, ret_key);
}

static bool parse_address(const char *s, uint32_t *ret_address)
{
    struct in_addr a;

    if (inet_pton(AF_INET, s, &a) != 1) {
        return false;
    }
    *ret_address = ntohl(a.s_addr);
    return true;
}

static bool parse_network(char *s, struct boot_options *o)
{
    char *slash = strchr(s, '/');
    uint64_t length = 0;
    uint32_t address = 0;

    if (!slash) {
        return false;
    }
    *slash = 0;
    if (!parse_address(s, &address) || !parse_u64(slash + 1, 32, &length) || length == 0) {
        return false;
    }
    o->address = address;
    o->netmask = (uint32_t)(0xffffffffULL << (32 - length));
    return true;
}

static bool parse_name(const char *s, char *ret_name)
{
    if (strlen(s) == 0 || strlen(s) >= VM_NAME_BYTES) {
        return false;
    }
    memset(ret_name, 0, VM_NAME_BYTES);
    memcpy(ret_name, s, strlen(s));
    return true;
}

/** A number option: its place and its range. */
struct number_option {
    const char *name;
    uint64_t *place;
    uint64_t min;
    uint64_t max;
};

static bool parse_number_option(const char *name, const char *value, struct boot_options *o)
{
    const struct number_option table[] = {
        {"region", &o->ring_blocks, RING_BLOCKS_MIN, RING_BLOCKS_MAX},
        {"depth", &o->depth, 1, 16},
        {"flush", &o->flush_every, 1, WRITE_WINDOW / 2},
        {"tick", &o->tick_ms, 1, 1000},
        {"emit", &o->emit_ms, 0, 10000},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint64_t number = 0;

        if (strcmp(table[i].name, name) == 0 && parse_u64(value, table[i].max, &number) &&
            number >= table[i].min) {
            *table[i].place = number;
            return true;
        }
    }
    return false;
}

static bool parse_word(char *name, struct boot_options *o)
{
    char *value = strchr(name, '=');

    if (!value) {
        return false;
    }
    *value++ = 0;
    if (strcmp(name, "vm") == 0) {
        return parse_name(value, o->vm);
    }
    if (strcmp(name, "write") == 0) {
        return parse_write_rate(value, &o->writes_per_s);
    }
    if (strcmp(name, "key") == 0) {
        o->asks_key = strcmp(value, "ask") == 0;
        return o->asks_key || parse_key(value, 0, &o->key);
    }
    if (strcmp(name, "ip") == 0) {
        return parse_network(value, o);
    }
    if (strcmp(name, "gw") == 0) {
        return parse_address(value, &o->gateway);
    }
    return parse_number_option(name, value, o);
}

void parse_boot_options(const char *cmdline, struct boot_options *ret_opts, char *ret_bad,
                        size_t bad_bytes)
{
    static const char prefix[] = "mortar.";
    static const char blanks[] = " \t\n";

    *ret_opts = (struct boot_options){
        .vm = "demo",
        .writes_per_s = 20,
        .ring_blocks = RING_BLOCKS_DEFAULT,
        .depth = 4,
        .flush_every = 16,
        .tick_ms = 5,
        .emit_ms = 20,
    };
    ret_bad[0] = 0;
    while (*cmdline) {
        size_t length = strcspn(cmdline, blanks);
        char word[WORD_BYTES] = "";
        bool ours = strncmp(cmdline, prefix, sizeof(prefix) - 1) == 0;
        bool fits = length < sizeof(word);

        memcpy(word, cmdline, fits ? length : sizeof(word) - 1);
        if (ours && (!fits || !parse_word(word + sizeof(prefix) - 1, ret_opts)) && !ret_bad[0]) {
            (void)snprintf(ret_bad, bad_bytes, "%.*s", (int)length, cmdline); /* cut is fine */
        }
        cmdline += length;
        cmdline += strspn(cmdline, blanks);
    }
}
