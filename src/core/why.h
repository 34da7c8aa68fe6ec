/* SPDX-License-Identifier: Apache-2.0
 * 'mortar vm why': the facts of several hosts (core/history.h) as one timeline in plain words. Times are
 * those of the host that noticed a thing first; clocks are taken to agree. Changes of records are put in
 * the order of their revisions, whatever the clocks say. */
#pragma once

#include "base/json.h"
#include "base/str.h"
#include "core/core.h"

#define WHY_ITEMS_MAX 1000 /* of an answer; the newest stay */

/**
 * why_question - what a host needs to know to gather the parts: {vm, asked, since_ms, hosts: [{name, mgmt,
 * self}], bricks: [host, …]}; hosts that are silent come last, so that a deadline costs no answer
 * Return: new reference, or NULL when there is no such machine
 */
json_t *why_question(const struct core *c, const char *vm, uint64_t since_ms);

/**
 * why_join - one timeline
 * @question: of why_question()
 * @parts: one for each host asked: {host, items: [fact, …], from_ms?, cut?} or {host, missing: "why"}. from_ms:
 * what was before is forgotten; cut: or was too much for one answer
 * Return: {vm, since_ms, items: [{at, after_ms, on, kind, text, fact}], missing: [{host?, text, from_ms?}]}; new
 * reference
 */
json_t *why_join(const json_t *question, const json_t *parts);

/**
 * why_facts - the first half of why_join(): facts of all parts in order, each once, with "on", the host that
 * told it first. New reference.
 */
json_t *why_facts(const json_t *parts);

/** why_missing - in words, that the host of a part did not answer; NULL when it did. Caller frees. */
char *why_missing(const json_t *part);

/** why_words - @fact, told by the host @on, in one line; false: it says nothing to people */
bool why_words(const json_t *fact, const char *on, struct sbuf *out);
