/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as what other hosts say happened: a timeline in order, each line with words, and a report. */
#include <assert.h>

#include "base/str.h"
#include "core/drill.h"
#include "core/why.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_lines(const json_t *why)
{
    uint64_t before = 0;
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(why, "items"), i, item) {
        const char *text = json_text_of(item, "text");
        uint64_t at = json_u64_of(item, "at", 0);
        assert(text && *text && json_text_of(item, "on"));
        assert(at >= before && json_u64_of(item, "after_ms", UINT64_MAX) == (before ? at - before : 0));
        before = at;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_json_ json_t *input = NULL;
    if (json_parse((const char *)data, size, &input, NULL) < 0) {
        return 0;
    }
    const json_t *parts = json_is_object(input) ? json_object_get(input, "parts") : input;
    _cleanup_json_ json_t *question =
        json_pack("{s:s,s:s,s:s,s:I,s:s,s:[s,s]}", "vm", "demo", "asked", "host2", "owner", "host2", "since_ms",
                  (json_int_t)0, "pool", "vms", "bricks", "host1", "host2");
    _cleanup_json_ json_t *drill =
        json_pack("{s:s,s:s,s:I,s:[{s:s}],s:[{s:s,s:s}]}", "host", "host1", "kind", "power", "strike_ms",
                  (json_int_t)1789999997000, "vms", "vm", "demo", "stay", "vm", "web", "host", "host2");
    _cleanup_json_ json_t *why = why_join(question, parts);
    _cleanup_json_ json_t *report = drill_report(drill, json_object_get(input, "beats"), parts);
    assert(why && report);
    check_lines(why);
    return 0;
}
