/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as the words of libvirt. The corpus is tests/golden/virt. */
#include <string.h>

#include "adapters/virt/domxml_parse.h"
#include "adapters/virt/virt_conf.h"
#include "adapters/virt/virt_migrate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    _cleanup_free_ char *text = str_printf("%.*s", (int)size, bytes);
    _cleanup_free_ char *edited = NULL;
    _cleanup_free_ char *emulator = NULL;
    _cleanup_strv_ struct strv machines = {0};
    _cleanup_strv_ struct strv models = {0};
    _cleanup_dom_info_ struct dom_info d = {0};
    _cleanup_dom_info_ struct dom_info told = {0};
    struct dom_status status;
    struct dom_meta mark;
    bool emulation;
    bool kvm;
    /* Refusing is fine everywhere; what is accepted must hold together. */
    if (dom_xml_parse(bytes, size, &d, NULL) == 0 && d.ours == DOM_OURS_YES) {
        _cleanup_free_ char *reowned = NULL;
        _cleanup_dom_info_ struct dom_info again = {0};
        struct dom_meta meta = d.meta;
        meta.n++;
        if (dom_xml_reown(bytes, size, &meta, &reowned, NULL) < 0 ||
            dom_xml_parse(reowned, strlen(reowned), &again, NULL) < 0 ||
            memcmp(&again.meta, &meta, sizeof(meta)) != 0) {
            abort();
        }
    }
    (void)dom_meta_parse(bytes, size, &mark, NULL);
    (void)dom_status_parse(bytes, size, &status, NULL);
    (void)dom_status_parse_domain(bytes, size, &told, NULL);
    (void)dom_caps_parse_models(bytes, size, &models, NULL);
    (void)dom_caps_parse_host(bytes, size, &emulator, &machines, &emulation, &kvm, NULL);
    (void)virt_log_end(bytes, size);
    (void)virt_conf_edit(text, "a = 1\n", &edited, NULL);
    return 0;
}
