/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/virt/image_parse.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"

#define SECTOR_BYTES 512

static const char *const format_names[] = {
    [IMAGE_RAW] = "raw", [IMAGE_QCOW2] = "qcow2", [IMAGE_VMDK] = "vmdk"};

const char *image_format_name(enum image_format f)
{
    return format_names[f];
}

bool image_format_by_name(const char *name, enum image_format *ret)
{
    for (size_t i = 0; name && i < ELEMENTS(format_names); i++) {
        if (str_eq(name, format_names[i])) {
            *ret = (enum image_format)i;
            return true;
        }
    }
    return false;
}

/* The bytes of the file that are at hand. Readers give 0 outside them; the parsers check bounds
 * first, so that this is a second line only. */
struct bytes {
    const uint8_t *p;
    size_t len;
    uint64_t file_bytes;
};

static bool has(const struct bytes *b, uint64_t at, uint64_t n)
{
    return n <= b->len && at <= b->len - n;
}

static uint64_t be(const struct bytes *b, size_t at, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; has(b, at, n) && i < n; i++) {
        v = v << 8 | b->p[at + i];
    }
    return v;
}

static uint64_t le(const struct bytes *b, size_t at, size_t n)
{
    uint64_t v = 0;
    for (size_t i = n; has(b, at, n) && i > 0; i--) {
        v = v << 8 | b->p[at + i - 1];
    }
    return v;
}

static bool starts_at(const struct bytes *b, size_t at, const char *magic, size_t n)
{
    return has(b, at, n) && memcmp(b->p + at, magic, n) == 0;
}

static bool in_file(const struct bytes *b, uint64_t at, uint64_t n)
{
    return b->file_bytes == UINT64_MAX || (n <= b->file_bytes && at <= b->file_bytes - n);
}

static int check_size(uint64_t virtual_bytes, struct err *e)
{
    if (virtual_bytes == 0) {
        return ERR_SET(e, IMAGE_BAD, "the image is empty");
    }
    if (virtual_bytes > IMAGE_VIRTUAL_MAX_BYTES) {
        return ERR_SET(e, IMAGE_BAD, "the image claims a disk of %llu TiB; the limit is %llu TiB",
                       (unsigned long long)(virtual_bytes / TIB),
                       (unsigned long long)(IMAGE_VIRTUAL_MAX_BYTES / TIB));
    }
    return 0;
}

static int refers_elsewhere(const char *what, struct err *e)
{
    (void)ERR_SET(e, IMAGE_BAD, "the image has %s; it refers to another file", what);
    err_hint(e, "make it self-contained where it comes from: qemu-img convert -O qcow2 IMAGE NEW");
    return -ERR_IMAGE_BAD;
}

static int truncated(struct err *e)
{
    (void)ERR_SET(e, IMAGE_BAD, "the image is cut off: its header points behind its end");
    err_hint(e, "copy or download it again, and compare its checksum");
    return -ERR_IMAGE_BAD;
}

/* --- qcow2 --------------------------------------------------------------------------------- */

#define QCOW2_MAGIC "QFI\xfb"
#define QCOW2_V2_HEADER_BYTES 72
#define QCOW2_V3_HEADER_BYTES 104
#define QCOW2_CLUSTER_BITS_MIN 9
#define QCOW2_CLUSTER_BITS_MAX 21
#define QCOW2_L1_MAX_BYTES (32 * MIB) /* QEMU's own limit (qcow2.h QCOW_MAX_L1_SIZE) */
#define QCOW2_EXTENSIONS_MAX 64

#define QCOW2_INCOMPAT_CORRUPT ((uint64_t)1 << 1)
#define QCOW2_INCOMPAT_DATA_FILE ((uint64_t)1 << 2)
#define QCOW2_INCOMPAT_EXTENDED_L2 ((uint64_t)1 << 4)
/* dirty, corrupt, data file, compression, extended L2 */
#define QCOW2_INCOMPAT_KNOWN ((uint64_t)0x1f)

#define QCOW2_EXT_END 0
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acaU
#define QCOW2_EXT_DATA_FILE 0x44415441U
#define QCOW2_EXT_ENCRYPTION 0x0537be77U

static int check_qcow2_features(uint64_t incompatible, struct err *e)
{
    if (incompatible & QCOW2_INCOMPAT_DATA_FILE) {
        return refers_elsewhere("an external data file", e);
    }
    if (incompatible & QCOW2_INCOMPAT_CORRUPT) {
        (void)ERR_SET(e, IMAGE_BAD, "the image is marked as corrupt by its writer");
        err_hint(e, "try 'qemu-img check -r all' on a copy");
        return -ERR_IMAGE_BAD;
    }
    if (incompatible & ~QCOW2_INCOMPAT_KNOWN) {
        return ERR_SET(e, IMAGE_BAD, "the image uses features that this version does not know");
    }
    return 0;
}

/* Header extensions lie between the header and the end of the first cluster. */
static int check_qcow2_extensions(const struct bytes *b, uint64_t at, uint64_t cluster_bytes,
                                  struct err *e)
{
    for (int i = 0; i < QCOW2_EXTENSIONS_MAX && at + 8 <= cluster_bytes; i++) {
        if (!has(b, at, 8)) {
            return b->len < b->file_bytes && at + 8 > IMAGE_HEAD_BYTES
                       ? ERR_SET(e, IMAGE_BAD, "the image's header is too long")
                       : truncated(e);
        }
        uint64_t type = be(b, at, 4);
        uint64_t len = be(b, at + 4, 4);
        if (type == QCOW2_EXT_END) {
            return 0;
        }
        if (type == QCOW2_EXT_BACKING_FORMAT) {
            return refers_elsewhere("a backing file", e);
        }
        if (type == QCOW2_EXT_DATA_FILE) {
            return refers_elsewhere("an external data file", e);
        }
        if (type == QCOW2_EXT_ENCRYPTION) {
            return ERR_SET(e, IMAGE_BAD, "the image is encrypted");
        }
        if (len > cluster_bytes) {
            return ERR_SET(e, IMAGE_BAD, "the image's header makes no sense");
        }
        at += 8 + (len + 7) / 8 * 8;
    }
    return at + 8 <= cluster_bytes ? ERR_SET(e, IMAGE_BAD, "the image's header makes no sense") : 0;
}

static int check_qcow2_tables(const struct bytes *b, unsigned cluster_bits, uint64_t incompatible,
                              uint64_t virtual_bytes, struct err *e)
{
    uint64_t cluster_bytes = (uint64_t)1 << cluster_bits;
    uint64_t l1_entries = be(b, 36, 4);
    uint64_t l1_at = be(b, 40, 8);
    uint64_t refcounts_at = be(b, 48, 8);
    uint64_t refcount_clusters = be(b, 56, 4);
    uint64_t l2_entry_bytes = incompatible & QCOW2_INCOMPAT_EXTENDED_L2 ? 16 : 8;
    uint64_t covered_by_l1_entry = cluster_bytes / l2_entry_bytes * cluster_bytes;
    uint64_t needed = (virtual_bytes + covered_by_l1_entry - 1) / covered_by_l1_entry;
    if (l1_entries < needed || l1_entries > QCOW2_L1_MAX_BYTES / 8 || l1_at % cluster_bytes ||
        refcounts_at % cluster_bytes || !refcounts_at || !l1_at || !refcount_clusters) {
        return ERR_SET(e, IMAGE_BAD, "the image's header makes no sense");
    }
    if (!in_file(b, l1_at, l1_entries * 8) ||
        !in_file(b, refcounts_at, refcount_clusters * cluster_bytes)) {
        return truncated(e);
    }
    return 0;
}

static int parse_qcow2(const struct bytes *b, struct image_head *ret, struct err *e)
{
    uint64_t version = be(b, 4, 4);
    uint64_t cluster_bits = be(b, 20, 4);
    uint64_t virtual_bytes = be(b, 24, 8);
    uint64_t header_bytes = QCOW2_V2_HEADER_BYTES;
    uint64_t incompatible = 0;
    if (version != 2 && version != 3) {
        return ERR_SET(e, IMAGE_BAD, "the image is of qcow version %llu; 2 and 3 are supported",
                       (unsigned long long)version);
    }
    if (!has(b, 0, version == 3 ? QCOW2_V3_HEADER_BYTES : QCOW2_V2_HEADER_BYTES)) {
        return truncated(e);
    }
    if (version == 3) {
        incompatible = be(b, 72, 8);
        header_bytes = be(b, 100, 4);
    }
    if (be(b, 8, 8) != 0 || be(b, 16, 4) != 0) {
        return refers_elsewhere("a backing file", e);
    }
    if (be(b, 32, 4) != 0) {
        return ERR_SET(e, IMAGE_BAD, "the image is encrypted");
    }
    if (cluster_bits < QCOW2_CLUSTER_BITS_MIN || cluster_bits > QCOW2_CLUSTER_BITS_MAX ||
        header_bytes > (uint64_t)1 << cluster_bits || header_bytes % 8 ||
        (version == 3 && header_bytes < QCOW2_V3_HEADER_BYTES)) {
        return ERR_SET(e, IMAGE_BAD, "the image's header makes no sense");
    }
    int r = check_qcow2_features(incompatible, e);
    r = r < 0 ? r : check_size(virtual_bytes, e);
    r = r < 0 ? r : check_qcow2_extensions(b, header_bytes, (uint64_t)1 << cluster_bits, e);
    r = r < 0 ? r : check_qcow2_tables(b, (unsigned)cluster_bits, incompatible, virtual_bytes, e);
    if (r == 0) {
        ret->virtual_bytes = virtual_bytes;
    }
    return r;
}

/* --- vmdk ---------------------------------------------------------------------------------- */

#define VMDK_MAGIC "KDMV"
#define VMDK_HEADER_BYTES 512
#define VMDK_DESCRIPTOR_AT 1 /* sector; QEMU looks for a parent there whatever the header says */
#define VMDK_DESCRIPTOR_MAX_BYTES (64 * KIB)
#define VMDK_GD_AT_END UINT64_MAX /* streamOptimized: the directory is found from the end */
#define VMDK_LINE_MAX 1024

static bool word_is(const char *line, size_t len, const char *word)
{
    return len >= strlen(word) && strncasecmp(line, word, strlen(word)) == 0;
}

/* "RW 8192 SPARSE "name"": the name of the file itself is written there, as it was when it was
 * made. QEMU ignores it for the two types that are accepted, and nothing here opens it. */
static bool is_extent_line(const char *line, size_t len)
{
    return word_is(line, len, "RW ") || word_is(line, len, "RDONLY ") ||
           word_is(line, len, "NOACCESS ");
}

/* "parentCID=ffffffff" is the only value that means "no parent". */
static bool names_parent(const char *line, size_t len)
{
    if (word_is(line, len, "parentFileNameHint")) {
        return true;
    }
    return word_is(line, len, "parentCID") &&
           !(len >= 18 && strncasecmp(line, "parentCID=ffffffff", 18) == 0);
}

static int check_vmdk_line(const char *line, size_t len, int *extents, bool *type_ok, struct err *e)
{
    static const char sparse[] = "createType=\"monolithicSparse\"";
    static const char stream[] = "createType=\"streamOptimized\"";
    if (names_parent(line, len)) {
        return refers_elsewhere("a parent disk", e);
    }
    if (word_is(line, len, "createType")) {
        *type_ok = (len == sizeof(sparse) - 1 && memcmp(line, sparse, len) == 0) ||
                   (len == sizeof(stream) - 1 && memcmp(line, stream, len) == 0);
    }
    if (!is_extent_line(line, len)) {
        return 0;
    }
    *extents += 1;
    const char *kind = memmem(line, len, " SPARSE \"", 9);
    const char *name = kind ? kind + 9 : NULL;
    if (!name || memchr(name, '/', len - (size_t)(name - line)) ||
        memchr(name, '\\', len - (size_t)(name - line)) ||
        memchr(name, ':', len - (size_t)(name - line))) {
        return refers_elsewhere("an extent outside itself", e);
    }
    return 0;
}

static int check_vmdk_descriptor(const char *text, size_t len, struct err *e)
{
    int extents = 0;
    bool type_ok = false;
    const char *nul = memchr(text, '\0', len);
    const char *end = nul ? nul : text + len;
    if (nul && memmem(nul, len - (size_t)(nul - text), "parentFileNameHint", 18)) {
        return refers_elsewhere("a hidden parent disk", e);
    }
    for (const char *line = text; line < end;) {
        const char *nl = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((nl ? nl : end) - line);
        const char *next = line + n + 1;
        while (n && (line[0] == ' ' || line[0] == '\t')) {
            line++;
            n--;
        }
        while (n && (line[n - 1] == '\r' || line[n - 1] == ' ')) {
            n--;
        }
        if (n > VMDK_LINE_MAX) {
            return ERR_SET(e, IMAGE_BAD, "the image's descriptor makes no sense");
        }
        int r = check_vmdk_line(line, n, &extents, &type_ok, e);
        if (r < 0) {
            return r;
        }
        line = next;
    }
    if (!type_ok) {
        (void)ERR_SET(e, IMAGE_BAD, "the image is a vmdk of a type that is not supported");
        err_hint(e, "monolithicSparse and streamOptimized are; OVF tools export the latter");
        return -ERR_IMAGE_BAD;
    }
    return extents == 1 ? 0 : refers_elsewhere("several extents", e);
}

static int parse_vmdk(const struct bytes *b, struct image_head *ret, struct err *e)
{
    if (!has(b, 0, VMDK_HEADER_BYTES)) {
        return truncated(e);
    }
    uint64_t version = le(b, 4, 4);
    uint64_t sectors = le(b, 12, 8);
    uint64_t grain_sectors = le(b, 20, 8);
    uint64_t descriptor_at = le(b, 28, 8);
    uint64_t descriptor_sectors = le(b, 36, 8);
    uint64_t directory_at = le(b, 56, 8);
    if (version < 1 || version > 3) {
        return ERR_SET(e, IMAGE_BAD, "the image is of vmdk version %llu; 1 to 3 are supported",
                       (unsigned long long)version);
    }
    if (sectors > UINT64_MAX / SECTOR_BYTES || grain_sectors < 8 || grain_sectors > 128 * KIB ||
        (grain_sectors & (grain_sectors - 1)) != 0) {
        return ERR_SET(e, IMAGE_BAD, "the image's header makes no sense");
    }
    int r = check_size(sectors * SECTOR_BYTES, e);
    if (r < 0) {
        return r;
    }
    if (directory_at != VMDK_GD_AT_END &&
        (directory_at > UINT64_MAX / SECTOR_BYTES || !in_file(b, directory_at * SECTOR_BYTES, 4))) {
        return truncated(e);
    }
    /* Without a descriptor inside it is a piece of a disk whose descriptor lies elsewhere. */
    if (!descriptor_at || !descriptor_sectors) {
        return refers_elsewhere("no descriptor of its own", e);
    }
    if (descriptor_at != VMDK_DESCRIPTOR_AT ||
        descriptor_sectors > VMDK_DESCRIPTOR_MAX_BYTES / SECTOR_BYTES) {
        return ERR_SET(e, IMAGE_BAD, "the image's header makes no sense");
    }
    if (!has(b, VMDK_HEADER_BYTES, descriptor_sectors * SECTOR_BYTES)) {
        return truncated(e);
    }
    r = check_vmdk_descriptor((const char *)b->p + VMDK_HEADER_BYTES,
                              (size_t)(descriptor_sectors * SECTOR_BYTES), e);
    if (r == 0) {
        ret->virtual_bytes = sectors * SECTOR_BYTES;
    }
    return r;
}

/* --- others -------------------------------------------------------------------------------- */

#define TEXT_HINT "a vmdk must be one file: monolithicSparse or streamOptimized"
#define PACKED_HINT "unpack it first"
#define CONVERT_HINT "convert it first: qemu-img convert -O qcow2 IMAGE NEW"

/* What people try to import and would get as a raw disk full of nonsense. */
static const struct {
    size_t at;
    const char *magic;
    size_t len;
    const char *what;
    const char *hint;
} refused[] = {
    {0, "# Disk DescriptorFile", 21, "a vmdk descriptor, which names other files", TEXT_HINT},
    {0, "COWD", 4, "an old vmdk of ESX", CONVERT_HINT},
    {0, "conectix", 8, "a VHD", CONVERT_HINT},
    {0, "vhdxfile", 8, "a VHDX", CONVERT_HINT},
    {0x40, "\x7f\x10\xda\xbe", 4, "a VDI", CONVERT_HINT},
    {0, "QED\0", 4, "a QED image", CONVERT_HINT},
    {0, "LUKS\xba\xbe", 6, "an encrypted disk (LUKS)", "decrypt it first"},
    {0, "\x1f\x8b", 2, "packed with gzip", PACKED_HINT},
    {0, "\xfd" "7zXZ", 5, "packed with xz", PACKED_HINT},
    {0, "BZh", 3, "packed with bzip2", PACKED_HINT},
    {0, "\x28\xb5\x2f\xfd", 4, "packed with zstd", PACKED_HINT},
    {0, "PK\x03\x04", 4, "a zip archive", PACKED_HINT},
    {257, "ustar", 5, "a tar archive (an OVA?)", "unpack it; import the .vmdk in it"},
    {0, "<!DOCTYPE", 9, "a web page", "is the address right?"},
    {0, "<html", 5, "a web page", "is the address right?"},
};

static int refuse_foreign(const struct bytes *b, struct err *e)
{
    for (size_t i = 0; i < ELEMENTS(refused); i++) {
        if (starts_at(b, refused[i].at, refused[i].magic, refused[i].len)) {
            (void)ERR_SET(e, IMAGE_BAD, "the file is %s", refused[i].what);
            err_hint(e, "%s", refused[i].hint);
            return -ERR_IMAGE_BAD;
        }
    }
    return 0;
}

static int parse_raw(const struct bytes *b, struct image_head *ret, struct err *e)
{
    uint64_t known = b->file_bytes == UINT64_MAX ? b->len : b->file_bytes;
    int r = known > IMAGE_VIRTUAL_MAX_BYTES ? check_size(known, e) : 0;
    r = r < 0 ? r : check_size((known + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES, e);
    if (r == 0) {
        ret->virtual_bytes = (known + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
    }
    return r;
}

int image_parse_head(const void *data, size_t len, uint64_t file_bytes,
                     const enum image_format *want, struct image_head *ret, struct err *e)
{
    struct bytes b = {.p = data, .len = len, .file_bytes = file_bytes};
    struct image_head h = {.format = IMAGE_RAW};
    if (starts_at(&b, 0, QCOW2_MAGIC, 4)) {
        h.format = IMAGE_QCOW2;
    } else if (starts_at(&b, 0, VMDK_MAGIC, 4)) {
        h.format = IMAGE_VMDK;
    }
    bool is_said_raw = want && *want == IMAGE_RAW;
    int r = is_said_raw || h.format != IMAGE_RAW ? 0 : refuse_foreign(&b, e);
    if (r < 0) {
        return r;
    }
    if (want && *want != IMAGE_RAW && *want != h.format) {
        return ERR_SET(e, IMAGE_BAD, "the file is not %s; it looks like %s",
                       image_format_name(*want), image_format_name(h.format));
    }
    h.format = is_said_raw ? IMAGE_RAW : h.format;
    switch (h.format) {
    case IMAGE_QCOW2:
        r = parse_qcow2(&b, &h, e);
        break;
    case IMAGE_VMDK:
        r = parse_vmdk(&b, &h, e);
        break;
    case IMAGE_RAW:
        r = parse_raw(&b, &h, e);
        break;
    }
    if (r == 0) {
        *ret = h;
    }
    return r;
}

/* --- qemu-img ------------------------------------------------------------------------------ */

int image_parse_info(const char *text, size_t len, uint64_t *ret_virtual_bytes, struct err *e)
{
    static const char *const elsewhere[] = {"backing-filename", "full-backing-filename",
                                            "backing-image", "backing-filename-format"};
    _cleanup_json_ json_t *info = NULL;
    int r = json_parse(text, len, &info, e);
    if (r < 0) {
        return r;
    }
    for (size_t i = 0; i < ELEMENTS(elsewhere); i++) {
        if (json_object_get(info, elsewhere[i])) {
            return refers_elsewhere("a backing file", e);
        }
    }
    const json_t *data = json_object_get(json_object_get(info, "format-specific"), "data");
    if (json_object_get(data, "data-file")) {
        return refers_elsewhere("an external data file", e);
    }
    if (json_bool_of(info, "encrypted", false)) {
        return ERR_SET(e, IMAGE_BAD, "the image is encrypted");
    }
    uint64_t virtual_bytes = json_u64_of(info, "virtual-size", 0);
    r = check_size(virtual_bytes, e);
    if (r == 0) {
        *ret_virtual_bytes = virtual_bytes;
    }
    return r;
}

/* The number stands between '(' and '/'. */
bool image_parse_progress(struct image_progress_text *p, const char *piece, size_t len,
                          unsigned *ret_bp)
{
    bool seen = false;
    for (size_t i = 0; i < len; i++) {
        char c = piece[i];
        bool is_part = (c >= '0' && c <= '9') || c == '.';
        unsigned whole = 0;
        unsigned hundredths = 0;
        if (is_part && p->n > 0 && p->n + 1 < sizeof(p->held)) {
            p->held[p->n++] = c;
            continue;
        }
        p->held[p->n] = '\0';
        if (c == '/' && p->n > 1 && sscanf(p->held + 1, "%3u.%2u", &whole, &hundredths) >= 1 &&
            whole <= 100) {
            *ret_bp = whole * 100 + (whole < 100 ? hundredths : 0);
            seen = true;
        }
        p->n = 0;
        if (c == '(') {
            p->held[p->n++] = c;
        }
    }
    return seen;
}
