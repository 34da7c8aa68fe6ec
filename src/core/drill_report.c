/* SPDX-License-Identifier: Apache-2.0 */
#include "core/drill.h"

#include "base/str.h"
#include "core/why.h"

/* What the report is made of. */
struct scene {
    const char *host;
    uint64_t strike_ms;
    json_t *facts;      /* in order */
    const json_t *beats;
};

static json_t *after(const struct scene *s, const json_t *fact)
{
    uint64_t at = json_u64_of(fact, "at", 0);
    return fact ? json_integer((json_int_t)(at > s->strike_ms ? at - s->strike_ms : 0)) : json_null();
}

static bool has(const json_t *fact, const char *field, const char *value)
{
    return !value || str_eq(json_text_of(fact, field), value);
}

/* The first one after the strike with kind @k, and @field = @value where that is not NULL. */
static const json_t *first(const struct scene *s, const char *k, const char *field, const char *value,
                           const char *vm)
{
    size_t i;
    json_t *fact;
    json_array_foreach(s->facts, i, fact) {
        if (json_u64_of(fact, "at", 0) >= s->strike_ms && has(fact, "k", k) && has(fact, field, value) &&
            has(fact, vm ? "vm" : "host", vm ? vm : s->host)) {
            return fact;
        }
    }
    return NULL;
}

/* Of a kind and epoch: a machine may fail and be started again. */
static const json_t *first_of_epoch(const struct scene *s, const char *k, const char *field, const char *value,
                                    const char *vm, uint64_t epoch)
{
    size_t i;
    json_t *fact;
    json_array_foreach(s->facts, i, fact) {
        if (json_u64_of(fact, "at", 0) >= s->strike_ms && has(fact, "k", k) && has(fact, field, value) &&
            has(fact, "vm", vm) && json_u64_of(fact, "epoch", 0) >= epoch && !json_object_get(fact, "error")) {
            return fact;
        }
    }
    return NULL;
}

static const json_t *beat_of(const struct scene *s, const char *host, const char *vm)
{
    return host ? json_object_get(json_object_get(s->beats, host), vm) : NULL;
}

static json_t *vm_line(const struct scene *s, const char *vm)
{
    const json_t *taken = first(s, "own", "taken_from", s->host, vm);
    const json_t *own = taken ? taken : first(s, "own", NULL, NULL, vm); /* T10: it stayed with its host */
    const char *to = json_text_of(own, "owner");
    uint64_t epoch = json_u64_of(own, "epoch", 0);
    const json_t *qemu = own ? first_of_epoch(s, "did", "what", "create", vm, epoch) : NULL;
    const json_t *runs = own ? first_of_epoch(s, "act", "state", "running", vm, epoch) : NULL;
    uint64_t beat_ms = json_u64_of(beat_of(s, to, vm), "first_ms", 0);
    bool is_heard = beat_ms > s->strike_ms;
    json_t *guest = is_heard ? json_integer((json_int_t)(beat_ms - s->strike_ms)) : after(s, runs);
    json_t *line = json_pack("{s:s,s:s,s:s?,s:I,s:o,s:o,s:o,s:o}", "vm", vm, "from", s->host, "to", to, "epoch",
                             (json_int_t)epoch, "owner_ms", after(s, own), "qemu_ms", after(s, qemu), "running_ms",
                             after(s, runs), "guest_ms", guest);
    json_object_set_new(line, "guest_by", is_heard || runs ? json_string(is_heard ? "guest" : "qemu") : json_null());
    return line;
}

static json_t *stay_line(const struct scene *s, const json_t *item)
{
    const char *vm = json_text_of(item, "vm");
    const char *host = json_text_of(item, "host");
    const json_t *beat = beat_of(s, host, vm);
    bool is_heard = s->strike_ms && json_u64_of(beat, "last_ms", 0) >= s->strike_ms &&
                    json_u64_of(beat, "wrote_last_ms", 0); /* a guest that never writes cannot tell */
    return json_pack("{s:s,s:s?,s:o}", "vm", vm, "host", host, "stall_ms",
                     is_heard ? json_integer((json_int_t)json_u64_of(beat, "stall_ms", 0)) : json_null());
}

static json_t *missing_of(const json_t *parts)
{
    json_t *missing = json_array();
    size_t i;
    json_t *part;
    json_array_foreach(parts, i, part) {
        _cleanup_free_ char *text = why_missing(part);
        if (text) {
            json_array_append_new(missing, json_string(text));
        }
    }
    return missing;
}

json_t *drill_report(const json_t *drill, const json_t *beats, const json_t *parts)
{
    _cleanup_json_ json_t *facts = why_facts(parts);
    const struct scene s = {json_text_of(drill, "host"), json_u64_of(drill, "strike_ms", 0), facts, beats};
    json_t *vms = json_array();
    json_t *stay = json_array();
    size_t i;
    json_t *item;
    const json_t *silent = first(&s, "hears", NULL, NULL, NULL);
    const json_t *fenced = first(&s, "node", "state", "fenced", NULL);
    const json_t *back = first(&s, "node", "state", "online", NULL);
    json_array_foreach(json_object_get(drill, "vms"), i, item) {
        json_array_append_new(vms, vm_line(&s, json_text_of(item, "vm")));
    }
    json_array_foreach(json_object_get(drill, "stay"), i, item) {
        json_array_append_new(stay, stay_line(&s, item));
    }
    return json_pack("{s:O,s:O,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "host", json_object_get(drill, "host"), "kind",
                     json_object_get(drill, "kind"), "strike_ms", (json_int_t)s.strike_ms, "silent_ms",
                     after(&s, silent), "detected_ms", after(&s, first(&s, "node", "state", "fencing", NULL)), "fenced_ms",
                     after(&s, fenced), "back_ms", after(&s, back), "vms", vms, "stay", stay, "missing",
                     missing_of(parts));
}
