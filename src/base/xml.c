/* SPDX-License-Identifier: Apache-2.0 */
#include "base/xml.h"

#include <libxml/parser.h>
#include <string.h>

int xml_parse(const char *text, size_t len, xmlDoc **ret, struct err *e)
{
    if (len > XML_LIMIT_BYTES) {
        return ERR_SET(e, LIMIT, "XML text of %zu bytes is too large", len);
    }
    xmlDoc *doc = xmlReadMemory(text, (int)len, NULL, NULL,
                                XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (!doc || !xmlDocGetRootElement(doc)) {
        const xmlError *xe = xmlGetLastError();
        int line = xe ? xe->line : 0;
        if (doc) {
            xmlFreeDoc(doc);
        }
        return ERR_SET(e, PARSE, "XML text is wrong in line %d", line);
    }
    if (xmlGetIntSubset(doc)) {
        xmlFreeDoc(doc);
        return ERR_SET(e, PARSE, "XML text has a document type declaration");
    }
    *ret = doc;
    return 0;
}

static const xmlNode *first_named(const xmlNode *node, const char *name)
{
    while (node && !(node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0)) {
        node = node->next;
    }
    return node;
}

const xmlNode *xml_child(const xmlNode *parent, const char *name)
{
    return parent ? first_named(parent->children, name) : NULL;
}

const xmlNode *xml_next(const xmlNode *node, const char *name)
{
    return node ? first_named(node->next, name) : NULL;
}

char *xml_own_text(const xmlNode *node)
{
    if (!node) {
        return NULL;
    }
    xmlChar *raw = xmlNodeGetContent(node);
    const char *p = raw ? (const char *)raw : "";
    p += strspn(p, " \t\r\n");
    size_t n = strlen(p);
    while (n && strchr(" \t\r\n", p[n - 1])) {
        n--;
    }
    char *copy = str_printf("%.*s", (int)n, p);
    xmlFree(raw);
    return copy;
}

char *xml_text(const xmlNode *parent, const char *name)
{
    return xml_own_text(xml_child(parent, name));
}

char *xml_attr(const xmlNode *node, const char *name)
{
    xmlChar *raw = node ? xmlGetProp(node, (const xmlChar *)name) : NULL;
    char *copy = raw ? str_dup((const char *)raw) : NULL;
    xmlFree(raw);
    return copy;
}

void xml_escape(struct sbuf *b, const char *text)
{
    for (const char *p = text; *p; p++) {
        switch (*p) {
        case '<':
            sbuf_printf(b, "&lt;");
            break;
        case '>':
            sbuf_printf(b, "&gt;");
            break;
        case '&':
            sbuf_printf(b, "&amp;");
            break;
        case '"':
            sbuf_printf(b, "&quot;");
            break;
        case '\'':
            sbuf_printf(b, "&apos;");
            break;
        default:
            (void)sbuf_add(b, p, 1); /* cannot fail without a limit */
        }
    }
}
