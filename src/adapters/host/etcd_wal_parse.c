/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/etcd_wal_parse.h"

#include <stdint.h>
#include <string.h>

#define RECORD_ENTRY 2       /* wal.go: entryType */
#define ENTRY_CONF_CHANGE 1  /* raft.proto: EntryConfChange */
#define SYSTEM_STORE "/0/"   /* store of members and version; clients' v2 keys are below "/1/" */

struct bytes {
    const unsigned char *p;
    size_t n;
};

struct field {
    uint64_t number;
    uint64_t value;     /* wire type 0 */
    struct bytes bytes; /* wire type 2 */
};

static bool take_varint(struct bytes *b, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && b->n; shift += 7) {
        unsigned char c = *b->p++;
        b->n--;
        v |= (uint64_t)(c & 127) << shift;
        if (!(c & 128)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

/* One field of a protobuf message; false for wire types that etcd's records do not have. */
static bool take_field(struct bytes *b, struct field *f)
{
    uint64_t key = 0;
    *f = (struct field){0};
    if (!take_varint(b, &key)) {
        return false;
    }
    f->number = key >> 3;
    if ((key & 7) == 0) {
        return take_varint(b, &f->value);
    }
    uint64_t len = 0;
    if ((key & 7) != 2 || !take_varint(b, &len) || len > b->n) {
        return false;
    }
    f->bytes = (struct bytes){b->p, (size_t)len};
    b->p += len;
    b->n -= (size_t)len;
    return true;
}

static bool equals(struct bytes b, const char *text)
{
    return b.n == strlen(text) && memcmp(b.p, text, b.n) == 0;
}

/* etcdserverpb.Request: method is field 2, path is field 3. A v3 request has its put, txn, … as
 * messages in the same numbers, which cannot read "PUT" and "/0/…". */
static bool is_system_request(struct bytes data)
{
    bool put = false;
    bool system = false;
    struct field f;
    while (data.n) {
        if (!take_field(&data, &f)) {
            return false;
        }
        put = put || (f.number == 2 && equals(f.bytes, "PUT"));
        system = system || (f.number == 3 && f.bytes.n > strlen(SYSTEM_STORE) &&
                            memcmp(f.bytes.p, SYSTEM_STORE, strlen(SYSTEM_STORE)) == 0);
    }
    return put && system;
}

/* raftpb.Entry: type is field 1, data is field 4. An empty entry is a new leader's first. */
static bool is_own_entry(struct bytes entry, unsigned *conf_changes)
{
    struct field f;
    struct bytes data = {0};
    uint64_t type = 0;
    while (entry.n) {
        if (!take_field(&entry, &f)) {
            return false;
        }
        type = f.number == 1 ? f.value : type;
        data = f.number == 4 ? f.bytes : data;
    }
    if (type == ENTRY_CONF_CHANGE) {
        (*conf_changes)++;
        return *conf_changes <= 1; /* a second one: the member is part of a real cluster */
    }
    return type == 0 && (!data.n || is_system_request(data));
}

static bool is_own_record(struct bytes record, unsigned *conf_changes)
{
    struct field f;
    struct bytes data = {0};
    uint64_t type = 0;
    while (record.n) {
        if (!take_field(&record, &f)) {
            return false;
        }
        type = f.number == 1 ? f.value : type;
        data = f.number == 3 ? f.bytes : data;
    }
    return type != RECORD_ENTRY || is_own_entry(data, conf_changes);
}

static uint64_t read_le64(const unsigned char *p)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    return v;
}

bool etcd_wal_is_unused(const unsigned char *data, size_t len)
{
    struct bytes b = {data, len};
    unsigned conf_changes = 0;
    while (b.n >= 8) {
        /* Low 56 bits: length; top bit: padded, by the number in bits 56 to 58. */
        uint64_t head = read_le64(b.p);
        uint64_t size = head & (((uint64_t)1 << 56) - 1);
        uint64_t pad = head >> 63 ? head >> 56 & 7 : 0;
        if (head == 0) {
            return true; /* preallocated space */
        }
        b.p += 8;
        b.n -= 8;
        if (size > b.n || pad > b.n - size ||
            !is_own_record((struct bytes){b.p, (size_t)size}, &conf_changes)) {
            return false;
        }
        b.p += size + pad;
        b.n -= (size_t)(size + pad);
    }
    return b.n == 0;
}
