/* SPDX-License-Identifier: Apache-2.0
 * How an object of the API looks in a table and alone: const tables of fields. A field that the
 * agent did not send is shown as '-'. */
#pragma once

#include "base/json.h"
#include "cli/table.h"

enum field_kind {
    FIELD_TEXT,  /* as it is; lists joined by commas */
    FIELD_COUNT, /* a number, or how many items a list has */
    FIELD_STATE, /* a word, coloured by its meaning */
    FIELD_SIZE,  /* bytes */
    FIELD_AGE,   /* seconds since */
    FIELD_MS,    /* milliseconds */
    FIELD_TIME,  /* text, or milliseconds since 1970, shown as local time */
    FIELD_HEAL,  /* of a pool: files its bricks have to heal */
    FIELD_HA,    /* {on, reason} */
    FIELD_COPIES, /* of a pool: copies, and the arbiter */
};

#define VIEW_COLUMNS_MAX 12

struct field {
    const char *title; /* '>' in front: aligned right in tables */
    const char *path;  /* "addresses.mgmt"; NULL: the object itself */
    enum field_kind kind;
};

struct view {
    const struct field *columns; /* of a list, the first is the name; ended by one without title */
    const struct field *fields;  /* of one object; NULL: the columns */
    const struct view *parts;    /* lists within the object, ended by one without columns */
    const char *part_path;       /* of a part: where the list is */
    const char *part_title;
    const char *empty; /* said instead of an empty list */
};

extern const struct view view_host, view_pool, view_image, view_vm, view_network, view_task,
    view_event;

/** view_list - append a table of @items, or the view's word for none */
void view_list(const struct view *v, const json_t *items, unsigned indent, bool color,
               struct sbuf *out);
/** view_object - append one object: a line for each field, then its parts as tables */
void view_object(const struct view *v, const json_t *obj, bool color, struct sbuf *out);
/** view_names - append the names of @items, one a line */
void view_names(const struct view *v, const json_t *items, struct sbuf *out);
/** view_status - append the page of `mortar status` */
void view_status(const json_t *status, bool color, struct sbuf *out);
/** view_drill - the report of a drill beside that of @before, which may be NULL */
void view_drill(const json_t *drill, const json_t *before, bool color, struct sbuf *out);
/** view_why - a timeline of 'vm why': clock times, differences, words; and what is missing of it */
void view_why(const json_t *why, bool color, struct sbuf *out);
/** view_check - append the findings of `mortar check` */
void view_check(const json_t *check, bool color, struct sbuf *out);
/** view_text - the field @f of @obj as text, its style in @ret_style. Caller frees. */
char *view_text(const struct field *f, const json_t *obj, enum style *ret_style);
