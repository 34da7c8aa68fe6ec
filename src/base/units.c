/* SPDX-License-Identifier: Apache-2.0 */
#include "base/units.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

static int shift_of(const char *suffix)
{
    static const char letters[] = "KMGTP";
    if (!*suffix || str_eq(suffix, "B")) {
        return 0;
    }
    char letter = (char)(*suffix >= 'a' && *suffix <= 'z' ? *suffix - 'a' + 'A' : *suffix);
    const char *p = strchr(letters, letter);
    if (!p || !(suffix[1] == '\0' || str_eq(suffix + 1, "iB") || str_eq(suffix + 1, "B"))) {
        return -1;
    }
    return (int)(p - letters + 1) * 10;
}

int units_parse_size(const char *s, uint64_t min_bytes, uint64_t max_bytes, uint64_t *ret_bytes,
                     struct err *e)
{
    char lo[24];
    char hi[24];
    uint64_t whole = 0;
    uint64_t milli = 0;
    size_t n = strspn(s, "0123456789");
    size_t frac = s[n] == '.' ? strspn(s + n + 1, "0123456789") : 0;
    int shift = shift_of(s + n + (frac ? frac + 1 : 0));
    bool bad = n == 0 || n > 18 || frac > 3 || shift < 0 || (frac && shift == 0);
    for (size_t i = 0; !bad && i < n; i++) {
        whole = whole * 10 + (uint64_t)(s[i] - '0');
    }
    for (size_t i = 0; !bad && i < 3; i++) {
        milli = milli * 10 + (i < frac ? (uint64_t)(s[n + 1 + i] - '0') : 0);
    }
    if (bad) {
        return ERR_SET(e, INVALID, "'%.40s' is not a size such as 512M, 10G or 1.5T", s);
    }
    if (whole > UINT64_MAX >> (shift + 1) || (whole << shift) + ((milli << shift) / 1000) > max_bytes ||
        (whole << shift) + ((milli << shift) / 1000) < min_bytes) {
        return ERR_SET(e, INVALID, "size '%.40s' is outside %s to %s", s,
                       units_format_size(min_bytes, lo, sizeof(lo)),
                       units_format_size(max_bytes, hi, sizeof(hi)));
    }
    *ret_bytes = (whole << shift) + ((milli << shift) / 1000);
    return 0;
}

const char *units_format_size(uint64_t bytes, char *buf, size_t size)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    double value = (double)bytes;
    while (value >= 1024 && unit + 1 < ELEMENTS(names)) {
        value /= 1024;
        unit++;
    }
    bool whole = value >= 100 || value == (double)(uint64_t)value;
    (void)snprintf(buf, size, whole ? "%.0f %s" : "%.1f %s", value, names[unit]); /* fits 24 */
    return buf;
}
