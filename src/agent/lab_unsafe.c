/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/lab_unsafe.h"

#include "agent/strike.h"
#include "base/log.h"
#include "base/str.h"
#include "io/file.h"

#define FILE_LIMIT_BYTES 1024

/* Hosts of a lab are containers: a file that comes onto a real machine, with its image say, does nothing. */
static bool read_words(struct strv *ret)
{
    _cleanup_free_ char *text = NULL;
    /* Asked with each word of the guard: the file first, which is nearly never there. */
    if (file_read(LAB_UNSAFE_FILE, FILE_LIMIT_BYTES, &text, NULL, NULL) < 0) {
        return false; /* also one that cannot be read: then everything is as it should be */
    }
    if (!strike_is_container()) {
        return false;
    }
    strv_split(ret, text, " \t\n");
    return true;
}

static bool has(const char *part)
{
    _cleanup_strv_ struct strv words = {0};
    return read_words(&words) && strv_has(&words, part);
}

bool lab_unsafe_has(const char *part)
{
    bool is_off = has(part);
    if (is_off) {
        log_warning("a part of failover is switched off, for tests in a lab", "file=" LAB_UNSAFE_FILE " part=%s",
                    part);
    }
    return is_off;
}

json_t *lab_unsafe_parts(void)
{
    _cleanup_strv_ struct strv words = {0};
    if (!read_words(&words)) {
        return NULL;
    }
    json_t *parts = json_array();
    for (size_t i = 0; i < words.n; i++) {
        json_array_append_new(parts, json_string(words.v[i]));
    }
    return parts;
}

json_t *lab_unsafe_guard(json_t *status)
{
    if (!json_is_object(status) || !has("promise")) {
        return status;
    }
    const char *host;
    json_t *peer;
    json_t *believed = json_deep_copy(status);
    json_decref(status);
    json_object_foreach(json_object_get(believed, "peers"), host, peer) {
        if (json_u64_of(peer, "denied_inc", 0)) {
            json_object_set_new(peer, "denial_over", json_true());
        }
    }
    return believed;
}
