/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a line of a flight record. What loads must be saved the same, and lists that are packed
 * and unpacked must leave the same world. */
#include <assert.h>

#include "base/str.h"
#include "core/flight.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The world of a core like @like after the rows of @event. New reference. */
static json_t *world_after(const struct core *like, const json_t *event)
{
    _cleanup_json_ json_t *saved = flight_save(like);
    _cleanup_(core_freep) struct core *c = NULL;
    if (flight_load(saved, &c, NULL) < 0) {
        abort();
    }
    world_relist(&c->world, json_object_get(event, "rows"), json_u64_of(event, "revision", 0), 5);
    return flight_save(c);
}

static void try_list(const struct core *c, json_t *event)
{
    _cleanup_json_ json_t *packed = flight_pack(c, event);
    _cleanup_json_ json_t *unpacked = flight_unpack(c, packed);
    _cleanup_json_ json_t *by_event = world_after(c, event);
    _cleanup_json_ json_t *by_record = world_after(c, unpacked);
    assert(json_equal(by_event, by_record));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_json_ json_t *line = NULL;
    _cleanup_(core_freep) struct core *c = NULL;
    _cleanup_(core_freep) struct core *again = NULL;
    if (json_parse((const char *)data, size, &line, NULL) < 0) {
        return 0;
    }
    if (flight_load(json_object_get(line, "state"), &c, NULL) == 0) {
        _cleanup_json_ json_t *saved = flight_save(c);
        assert(flight_load(saved, &again, NULL) == 0);
        _cleanup_json_ json_t *twice = flight_save(again);
        assert(json_equal(saved, twice));
    } else {
        c = core_new();
    }
    json_t *event = json_object_get(line, "event");
    if (json_is_array(json_object_get(event, "rows")) && str_eq(json_text_of(event, "ev"), "list")) {
        try_list(c, event);
    }
    _cleanup_json_ json_t *unpacked = flight_unpack(c, event ? event : line);
    assert(unpacked);
    return 0;
}
