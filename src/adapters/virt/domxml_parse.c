/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/virt/domxml_parse.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/xml.h"

void dom_info_done(struct dom_info *d)
{
    free(d->name);
    free(d->machine);
    free(d->cpu_model);
    free(d->partition);
    free(d->console);
    strv_done(&d->disks);
    *d = (struct dom_info){0};
}

static int parse_limited(const char *text, size_t len, xmlDoc **ret, struct err *e)
{
    if (len > DOM_XML_LIMIT_BYTES) {
        return ERR_SET(e, LIMIT, "domain XML of %zu bytes is too large", len);
    }
    return xml_parse(text, len, ret, e);
}

static xmlNode *find_meta(const xmlNode *domain)
{
    const xmlNode *metadata = xml_child(domain, "metadata");
    for (const xmlNode *n = xml_child(metadata, "vm"); n; n = xml_next(n, "vm")) {
        if (n->ns && str_eq((const char *)n->ns->href, DOM_META_NS)) {
            return (xmlNode *)n;
        }
    }
    return NULL;
}

static bool read_u64(const xmlNode *node, const char *name, uint64_t *ret)
{
    _cleanup_free_ char *text = xml_attr(node, name);
    return text && str_parse_u64(text, UINT64_MAX, ret, NULL) == 0;
}

static bool read_meta(const xmlNode *vm, struct dom_meta *ret)
{
    struct dom_meta m = {0};
    _cleanup_free_ char *uuid = xml_attr(vm, "uuid");
    _cleanup_free_ char *owner = xml_attr(vm, "owner");
    if (!dom_uuid_is_valid(uuid) || !owner || !str_is_name(owner) ||
        !read_u64(vm, "restore_gen", &m.restore_gen) || !read_u64(vm, "epoch", &m.n) ||
        !read_u64(vm, "inc", &m.inc)) {
        return false;
    }
    memcpy(m.uuid, uuid, sizeof(m.uuid));
    memcpy(m.owner, owner, strlen(owner) + 1); /* str_is_name() limits it to 63 */
    *ret = m;
    return true;
}

/* libvirt writes KiB, but every unit it accepts may stand in a foreign domain. */
static uint64_t memory_of(const xmlNode *domain)
{
    _cleanup_free_ char *text = xml_text(domain, "memory");
    _cleanup_free_ char *unit = xml_attr(xml_child(domain, "memory"), "unit");
    uint64_t value = 0;
    if (!text || str_parse_u64(text, DOM_MEMORY_MAX_BYTES / KIB, &value, NULL) < 0) {
        return 0;
    }
    return !unit || str_eq(unit, "KiB") ? value * KIB : 0;
}

static int read_disks(const xmlNode *devices, struct strv *disks, struct err *e)
{
    for (const xmlNode *d = xml_child(devices, "disk"); d; d = xml_next(d, "disk")) {
        _cleanup_free_ char *path = xml_attr(xml_child(d, "source"), "file");
        if (path && disks->n == DOM_PARSE_DISKS_MAX) {
            return ERR_SET(e, LIMIT, "a domain has more than %d disks", DOM_PARSE_DISKS_MAX);
        }
        if (path) {
            strv_add(disks, path);
        }
    }
    return 0;
}

static char *console_of(const xmlNode *devices)
{
    const xmlNode *serial = xml_child(devices, "serial");
    _cleanup_free_ char *type = xml_attr(serial, "type");
    return str_eq(type, "unix") ? xml_attr(xml_child(serial, "source"), "path") : NULL;
}

static int read_domain(const xmlNode *domain, struct dom_info *d, struct err *e)
{
    const xmlNode *devices = xml_child(domain, "devices");
    const xmlNode *type = xml_child(xml_child(domain, "os"), "type");
    const xmlNode *meta = find_meta(domain);
    _cleanup_free_ char *uuid = xml_text(domain, "uuid");
    _cleanup_free_ char *kind = xml_attr(domain, "type");
    _cleanup_free_ char *cpus = xml_text(domain, "vcpu");
    d->name = xml_text(domain, "name");
    if (!d->name || !d->name[0] || !dom_uuid_is_valid(uuid)) {
        return ERR_SET(e, PARSE, "domain XML has no name or no uuid");
    }
    memcpy(d->uuid, uuid, sizeof(d->uuid));
    if (meta) {
        bool ok = read_meta(meta, &d->meta) && str_eq(d->meta.uuid, uuid);
        d->ours = ok ? DOM_OURS_YES : DOM_OURS_UNCLEAR;
    }
    d->emulated = str_eq(kind, "qemu");
    d->machine = xml_attr(type, "machine");
    d->cpu_model = xml_text(xml_child(domain, "cpu"), "model");
    d->partition = xml_text(xml_child(domain, "resource"), "partition");
    d->memory_bytes = memory_of(domain);
    if (cpus && str_parse_u64(cpus, DOM_CPUS_MAX, &d->cpus, NULL) < 0) {
        d->cpus = 0; /* of a domain that is not ours; nobody counts on it */
    }
    d->console = console_of(devices);
    return read_disks(devices, &d->disks, e);
}

/* @is_status_file: the root is libvirt's own, and the domain a child of it */
static int parse_domain(const char *text, size_t len, bool is_status_file, struct dom_info *ret, struct err *e)
{
    _cleanup_xml_ xmlDoc *doc = NULL;
    _cleanup_dom_info_ struct dom_info d = {0};
    assert(text);
    int r = parse_limited(text, len, &doc, e);
    if (r < 0) {
        return r;
    }
    const xmlNode *root = xmlDocGetRootElement(doc);
    const xmlNode *domain = is_status_file ? xml_child(root, "domain") : root;
    if (!str_eq((const char *)root->name, is_status_file ? "domstatus" : "domain") || !domain) {
        return ERR_SET(e, PARSE, "this is not %s", is_status_file ? "a status file of libvirt" : "domain XML");
    }
    r = read_domain(domain, &d, e);
    if (r == 0) {
        *ret = d;
        d = (struct dom_info){0};
    }
    return r;
}

int dom_xml_parse(const char *text, size_t len, struct dom_info *ret, struct err *e)
{
    return parse_domain(text, len, false, ret, e);
}

int dom_status_parse_domain(const char *text, size_t len, struct dom_info *ret, struct err *e)
{
    return parse_domain(text, len, true, ret, e);
}

int dom_meta_parse(const char *text, size_t len, struct dom_meta *ret, struct err *e)
{
    _cleanup_xml_ xmlDoc *doc = NULL;
    assert(text);
    int r = parse_limited(text, len, &doc, e);
    if (r == 0 && !read_meta(xmlDocGetRootElement(doc), ret)) {
        r = ERR_SET(e, PARSE, "this is not Mortar's mark");
    }
    return r;
}

static void set_attr(xmlNode *node, const char *name, const char *value)
{
    (void)xmlSetProp(node, (const xmlChar *)name, (const xmlChar *)value); /* aborts or works */
}

static void set_attr_u64(xmlNode *node, const char *name, uint64_t value)
{
    _cleanup_free_ char *text = str_printf("%" PRIu64, value);
    set_attr(node, name, text);
}

static void set_log(const xmlNode *port, const char *path)
{
    xmlNode *log = (xmlNode *)xml_child(port, "log");
    if (log) {
        set_attr(log, "file", path);
    }
}

int dom_xml_reown(const char *xml, size_t len, const struct dom_meta *meta, char **ret,
                  struct err *e)
{
    _cleanup_xml_ xmlDoc *doc = NULL;
    _cleanup_dom_info_ struct dom_info d = {0};
    assert(xml && meta);
    int r = dom_xml_parse(xml, len, &d, e);
    r = r < 0 ? r : parse_limited(xml, len, &doc, e);
    if (r < 0) {
        return r;
    }
    if (d.ours != DOM_OURS_YES || !str_eq(d.meta.uuid, meta->uuid)) {
        return ERR_SET(e, STATE, "domain '%s' is not the vm %s of this cluster", d.name,
                       meta->uuid);
    }
    const xmlNode *root = xmlDocGetRootElement(doc);
    xmlNode *vm = find_meta(root);
    set_attr_u64(vm, "restore_gen", meta->restore_gen);
    set_attr_u64(vm, "epoch", meta->n);
    set_attr(vm, "owner", meta->owner);
    set_attr_u64(vm, "inc", meta->inc);
    const xmlNode *devices = xml_child(root, "devices");
    _cleanup_free_ char *log_path = dom_console_log_path(d.name, meta);
    set_log(xml_child(devices, "serial"), log_path);
    set_log(xml_child(devices, "console"), log_path); /* libvirt shows the port under both names */
    xmlChar *text = NULL;
    int size = 0;
    xmlDocDumpMemory(doc, &text, &size);
    *ret = text ? str_dup((const char *)text) : NULL;
    xmlFree(text);
    return *ret ? 0 : ERR_SET(e, LIMIT, "domain XML cannot be written: out of memory");
}

int dom_status_parse(const char *text, size_t len, struct dom_status *ret, struct err *e)
{
    _cleanup_xml_ xmlDoc *doc = NULL;
    struct dom_status st = {.phase = DOM_JOB_OTHER};
    uint64_t pid = 0;
    assert(text);
    int r = parse_limited(text, len, &doc, e);
    if (r < 0) {
        return r;
    }
    const xmlNode *root = xmlDocGetRootElement(doc);
    if (!str_eq((const char *)root->name, "domstatus")) {
        return ERR_SET(e, PARSE, "this is not a status file of libvirt");
    }
    const xmlNode *job = xml_child(root, "job");
    _cleanup_free_ char *async = xml_attr(job, "async");
    _cleanup_free_ char *phase = xml_attr(job, "phase");
    if (str_eq(async, "migration out") && str_eq(phase, "confirm3")) {
        st.phase = DOM_JOB_CONFIRMED;
    } else if (str_eq(async, "migration out") && str_eq(phase, "confirm3_cancelled")) {
        st.phase = DOM_JOB_CANCELLED;
    }
    if (read_u64(root, "pid", &pid) && pid <= INT32_MAX) {
        st.pid = (int64_t)pid;
    }
    *ret = st;
    return 0;
}

static const xmlNode *find_arch(const xmlNode *root)
{
    for (const xmlNode *g = xml_child(root, "guest"); g; g = xml_next(g, "guest")) {
        const xmlNode *arch = xml_child(g, "arch");
        _cleanup_free_ char *name = xml_attr(arch, "name");
        if (str_eq(name, "x86_64")) {
            return arch;
        }
    }
    return NULL;
}

int dom_caps_parse_host(const char *text, size_t len, char **ret_emulator,
                        struct strv *ret_machines, bool *ret_emulation, bool *ret_kvm,
                        struct err *e)
{
    _cleanup_xml_ xmlDoc *doc = NULL;
    int r = parse_limited(text, len, &doc, e);
    if (r < 0) {
        return r;
    }
    const xmlNode *arch = find_arch(xmlDocGetRootElement(doc));
    *ret_emulation = *ret_kvm = false;
    *ret_emulator = xml_text(arch, "emulator");
    for (const xmlNode *m = xml_child(arch, "machine"); m; m = xml_next(m, "machine")) {
        _cleanup_free_ char *name = xml_own_text(m);
        _cleanup_free_ char *alias_of = xml_attr(m, "canonical");
        if (!alias_of && !strv_has(ret_machines, name)) {
            strv_add(ret_machines, name);
        }
    }
    for (const xmlNode *d = xml_child(arch, "domain"); d; d = xml_next(d, "domain")) {
        _cleanup_free_ char *type = xml_attr(d, "type");
        *ret_emulation = *ret_emulation || str_eq(type, "qemu");
        *ret_kvm = *ret_kvm || str_eq(type, "kvm");
    }
    return 0;
}

int dom_caps_parse_models(const char *text, size_t len, struct strv *ret, struct err *e)
{
    _cleanup_xml_ xmlDoc *doc = NULL;
    int r = parse_limited(text, len, &doc, e);
    if (r < 0) {
        return r;
    }
    const xmlNode *cpu = xml_child(xmlDocGetRootElement(doc), "cpu");
    for (const xmlNode *mode = xml_child(cpu, "mode"); mode; mode = xml_next(mode, "mode")) {
        for (const xmlNode *m = xml_child(mode, "model"); m; m = xml_next(m, "model")) {
            _cleanup_free_ char *usable = xml_attr(m, "usable");
            _cleanup_free_ char *name = xml_own_text(m);
            if (str_eq(usable, "yes")) {
                strv_add(ret, name);
            }
        }
    }
    return 0;
}
