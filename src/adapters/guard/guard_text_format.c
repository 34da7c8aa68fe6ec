/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/guard/guard_text.h"

#include "base/str.h"

static unsigned long long number_of(const json_t *list, size_t i)
{
    return (unsigned long long)json_integer_value(json_array_get(list, i));
}

static void add_host(struct sbuf *b, const json_t *host)
{
    size_t i;
    json_t *addr;
    sbuf_printf(b, "host %s %s", json_text_of(host, "name"),
                json_bool_of(host, "fencer", false) ? "fencer" : "member");
    json_array_foreach(json_object_get(host, "addrs"), i, addr) {
        sbuf_printf(b, " %s", json_string_value(addr));
    }
    sbuf_printf(b, "\n");
}

char *format_guard_config(const json_t *config, uint64_t generation, const char *slice)
{
    struct sbuf b = {0};
    const json_t *times = json_object_get(config, "times");
    size_t i;
    json_t *host;
    const char *name;
    json_t *inc;
    sbuf_printf(&b, "mortar-guard 1\ngeneration %llu\nself %s %llu\nenforce %d\n",
                (unsigned long long)generation, json_text_of(config, "self"),
                (unsigned long long)json_u64_of(config, "inc", 0),
                json_bool_of(config, "enforce", false));
    sbuf_printf(&b, "times %llu %llu %llu %llu %llu\nslice %s\n", number_of(times, 0),
                number_of(times, 1), number_of(times, 2), number_of(times, 3), number_of(times, 4),
                slice);
    json_array_foreach(json_object_get(config, "hosts"), i, host) {
        add_host(&b, host);
    }
    json_object_foreach(json_object_get(config, "denies"), name, inc) {
        sbuf_printf(&b, "deny %s %llu\n", name, (unsigned long long)json_integer_value(inc));
    }
    return TAKE(b.data);
}
