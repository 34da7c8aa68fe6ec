/* SPDX-License-Identifier: Apache-2.0
 * After the store was restored (core/restore.h): what this host's disk and libvirt know. From then on no machine is
 * started here under an epoch of a store of before, whoever asked for it and however long ago. */
#include "adapters/fence/fence_record.h"
#include "adapters/guard/guard_link.h"
#include "adapters/guard/guard_text.h"
#include "adapters/virt/virt_drive.h"
#include "agent/act_vm.h"
#include "agent/config.h"
#include "agent/env.h"
#include "base/str.h"
#include "io/file.h"

#define GUARD_CONFIG_BYTES (64 * KIB)

static json_t *domain_json(const struct virt_domain *d)
{
    bool runs = d->state == VIRT_RUNNING || d->state == VIRT_STOPPING;
    return json_pack("{s:s,s:s,s:s,s:I,s:b}", "state", runs ? "running" : d->state == VIRT_PAUSED ? "paused" : "other",
                     "reason", str_eq(d->reason, "io-error") ? "ioerror" : d->reason, "uuid", d->info.uuid, "epoch",
                     (json_int_t)act_vm_epoch_of(&d->info.meta), "freezable", str_eq(d->info.partition, DOM_PARTITION_HA));
}

static int see_domains(const struct env *env, json_t *domains, struct err *e)
{
    _cleanup_virt_list_ struct virt_list list = {0};
    int r = virt_observe(env->virt, &list, e);
    for (size_t i = 0; r == 0 && i < list.n; i++) {
        if (list.v[i].info.ours == DOM_OURS_UNCLEAR && list.v[i].state != VIRT_OFF) { /* it may be any machine */
            (void)ERR_SET(e, STATE, "whose machine the domain '%s' is cannot be read", list.v[i].info.name);
            err_hint(e, "shut it down: until then it is not known what runs on this host");
            return -ERR_STATE;
        }
        if (list.v[i].info.ours == DOM_OURS_YES && list.v[i].state != VIRT_OFF) {
            json_object_set_new(domains, list.v[i].info.name, domain_json(&list.v[i]));
        }
    }
    return r;
}

/* Whom this host has cut off. Records are there before anything is done, and until that host is let in. */
static int see_cuts(json_t *cut, struct err *e)
{
    _cleanup_fence_records_ struct fence_records all = {0};
    int r = fence_record_load_all(FENCE_DIR, &all, e);
    for (size_t i = 0; r == 0 && i < all.n; i++) {
        json_object_set_new(cut, all.v[i].host, json_integer((json_int_t)all.v[i].inc));
    }
    return r;
}

static int see_guard(uint64_t *ret_inc, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    int r = file_exists(GUARD_CONFIG) ? file_read(GUARD_CONFIG, GUARD_CONFIG_BYTES, &text, NULL, e) : 0;
    *ret_inc = r == 0 && text ? guard_config_inc(text) : 0;
    return r;
}

int act_restore_look(const struct env *env, const json_t *args, struct act_ctx *ctx, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *domains = json_object();
    _cleanup_json_ json_t *cut = json_object();
    uint64_t inc = 0;
    int r = act_vm_keep_gen(json_u64_of(args, "gen", 0), e);
    r = r < 0 || !json_bool_of(args, "has_vms", true) ? r : see_domains(env, domains, e);
    r = r < 0 ? r : see_cuts(cut, e);
    r = r < 0 ? r : see_guard(&inc, e);
    *ret = r == 0 ? json_pack("{s:O,s:I,s:O,s:O}", "gen", json_object_get(args, "gen"), "inc", (json_int_t)inc, "domains",
                              domains, "cut", cut) : NULL;
    return r;
}
