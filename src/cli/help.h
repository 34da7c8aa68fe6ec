/* SPDX-License-Identifier: Apache-2.0
 * Help, usage and completion, made from the verb table. */
#pragma once

#include "base/str.h"
#include "cli/verb.h"

/** help_group - the commands that begin with @group, "vm". Return: false when there are none */
bool help_group(const char *group, struct sbuf *out);

/** help_overview - append the list of all verbs and the global options */
void help_overview(struct sbuf *out);
/** help_verb - append usage, explanation and options of @v */
void help_verb(const struct verb *v, struct sbuf *out);
/** help_usage - append "mortar vm stop NAME [OPTIONS]" */
void help_usage(const struct verb *v, struct sbuf *out);
/** help_option - append "--copies 2|3", without padding */
void help_option(const struct param *p, struct sbuf *out);
/** completion_bash - append the completion script */
void completion_bash(struct sbuf *out);
