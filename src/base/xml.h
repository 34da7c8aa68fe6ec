/* SPDX-License-Identifier: Apache-2.0
 * libxml2 for the *_parse modules only: no network, no entities, a size limit; and an escaper. */
#pragma once

#include <libxml/tree.h>

#include "base/err.h"
#include "base/str.h"

#define XML_LIMIT_BYTES (8 * MIB)

static inline void xml_doc_freep(xmlDoc **d)
{
    if (*d) {
        xmlFreeDoc(*d);
    }
}
#define _cleanup_xml_ _cleanup_(xml_doc_freep)

/**
 * xml_parse - text from outside to a tree; a document type declaration is refused
 * Return: 0, -ERR_PARSE or -ERR_LIMIT. Owns: caller frees @ret with xmlFreeDoc().
 */
int xml_parse(const char *text, size_t len, xmlDoc **ret, struct err *e);

/** xml_child - first child element called @name, or NULL. NULL parent gives NULL. */
const xmlNode *xml_child(const xmlNode *parent, const char *name);
/** xml_next - next sibling element called @name, or NULL */
const xmlNode *xml_next(const xmlNode *node, const char *name);
/** xml_text - text of the child element @name without surrounding space; NULL when absent. Caller frees. */
char *xml_text(const xmlNode *parent, const char *name);
/** xml_own_text - text of the node itself; NULL for NULL. Caller frees. */
char *xml_own_text(const xmlNode *node);
/** xml_attr - attribute, or NULL. Caller frees. */
char *xml_attr(const xmlNode *node, const char *name);

/** xml_escape - append @text to @b with the five special characters escaped */
void xml_escape(struct sbuf *b, const char *text);
