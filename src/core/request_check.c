/* SPDX-License-Identifier: Apache-2.0
 * The types of the fields of requests. A field of a wrong type is refused, never taken as absent:
 * {"checksum": 5} must not import an image unchecked, {"to": 5} not move a machine to anywhere. */
#include "base/str.h"
#include "core/request.h"

#define LIST_MAX 64

enum type { TEXT, TEXTS, NUMBER, FLAG };

static const char *const type_names[] = {
    [TEXT] = "a text",
    [TEXTS] = "a list of at most 64 texts",
    [NUMBER] = "a number that is not negative",
    [FLAG] = "true or false",
};

/* A name means the same in all requests. */
static const struct field {
    const char *name;
    enum type type;
} fields[] = {
    {"address", TEXT},     {"allow_emulation", FLAG}, {"arbiter", TEXT},  {"checksum", TEXT},
    {"cloud_init", TEXT},  {"cmdline", TEXT},         {"copies", NUMBER}, {"cpus", NUMBER},
    {"demo_channel", FLAG},
    {"device", TEXT},      {"disk_bytes", NUMBER},    {"force", FLAG},    {"format", TEXT},
    {"ha", TEXT},          {"hash", TEXT},          {"host", TEXT},            {"hosts", TEXTS},   {"id", TEXT},
    {"image", TEXT},       {"initrd", TEXT},          {"kernel", TEXT},   {"kind", TEXT},
    {"memory_bytes", NUMBER}, {"mgmt", TEXT},         {"name", TEXT},     {"networks", TEXTS},
    {"no_ha", FLAG},       {"on", FLAG},              {"priority", TEXT}, {"profile", TEXT},
    {"path", TEXT},            {"pool", TEXT},     {"role", TEXT},
    {"source", TEXT},      {"ssh_keys", TEXTS},       {"start", FLAG},    {"storage", TEXT},
    {"to", TEXT},          {"token", TEXT},           {"uplink", TEXT},   {"uuid", TEXT},
    {"uplink_confirm_s", NUMBER}, {"valid_s", NUMBER},   {"wipe", FLAG},
};

static bool is_texts(const json_t *v)
{
    size_t i;
    json_t *item;
    if (!json_is_array(v) || json_array_size(v) > LIST_MAX) {
        return false;
    }
    json_array_foreach(v, i, item) {
        if (!json_is_string(item)) {
            return false;
        }
    }
    return true;
}

static bool has_type(const json_t *v, enum type type)
{
    switch (type) {
    case TEXT:
        return json_is_string(v);
    case TEXTS:
        return is_texts(v);
    case NUMBER:
        return json_is_integer(v) && json_integer_value(v) >= 0;
    case FLAG:
        return json_is_boolean(v);
    }
    return false;
}

int request_check(const json_t *args, struct err *e)
{
    for (size_t i = 0; i < ELEMENTS(fields); i++) {
        const json_t *v = json_object_get(args, fields[i].name);
        if (v && !json_is_null(v) && !has_type(v, fields[i].type)) {
            return ERR_SET(e, INVALID, "the field '%s' is not %s", fields[i].name,
                           type_names[fields[i].type]);
        }
    }
    return 0;
}
