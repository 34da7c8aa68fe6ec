/* SPDX-License-Identifier: Apache-2.0
 * The bash completion script: words and options from the table, names of objects by asking the
 * agent through `mortar … ls --quiet`. */
#include <string.h>

#include "cli/help.h"

static const char script_head[] =
    "# SPDX-License-Identifier: Apache-2.0\n"
    "# bash completion for mortar(1), made by 'mortar completion bash'.\n"
    "_mortar_names()\n"
    "{\n"
    "    local names=$(timeout 2 mortar \"$1\" ls --quiet 2>/dev/null)\n"
    "    COMPREPLY=($(compgen -W \"$names\" -- \"$cur\"))\n"
    "}\n"
    "\n"
    "_mortar()\n"
    "{\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} i word\n"
    "    local verb='' words='' opts='' n=0\n"
    "    COMPREPLY=()\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        case $word in\n"
    "            -*) continue ;;\n"
    "        esac\n"
    "        case \"${verb:+$verb }$word\" in\n";

static const char script_tail[] = "        *) COMPREPLY=() ;;\n"
                                  "    esac\n"
                                  "}\n"
                                  "complete -F _mortar mortar\n";

static const char *noun_word(enum noun noun)
{
    static const char *const words[] = {
        [NOUN_HOST] = "host", [NOUN_POOL] = "pool",       [NOUN_IMAGE] = "image",
        [NOUN_VM] = "vm",     [NOUN_NETWORK] = "network", [NOUN_TASK] = "task",
    };
    return noun < ELEMENTS(words) ? words[noun] : NULL;
}

static bool is_file(const struct param *p)
{
    return p->kind == VAL_PATH || p->kind == VAL_DEVICES || p->kind == VAL_SOURCE || p->kind == VAL_FILE ||
           p->kind == VAL_KEYS;
}

/* What completes a value of @p, as a statement. */
static void add_action(const struct param *p, struct sbuf *out)
{
    if (noun_word(p->noun)) {
        sbuf_printf(out, "_mortar_names %s", noun_word(p->noun));
    } else if (is_file(p)) {
        sbuf_printf(out, "COMPREPLY=($(compgen -f -- \"$cur\"))");
    } else if (p->kind == VAL_CHOICE) {
        _cleanup_strv_ struct strv choices = {0};
        strv_split(&choices, p->value, "|");
        sbuf_printf(out, "COMPREPLY=($(compgen -W '");
        for (size_t i = 0; i < choices.n; i++) {
            sbuf_printf(out, "%s%s", i ? " " : "", choices.v[i]);
        }
        sbuf_printf(out, "' -- \"$cur\"))");
    } else {
        sbuf_printf(out, ":");
    }
}

static bool is_first_of_group(const struct verb *v)
{
    size_t n = strcspn(v->words, " ");
    for (const struct verb *u = verb_table(); u < v; u++) {
        if (strncmp(u->words, v->words, n + 1) == 0) {
            return false;
        }
    }
    return true;
}

/* "'' word word" → next words of each prefix: of nothing, and of each group. */
static void add_words(const char *group, struct sbuf *out)
{
    size_t n = strlen(group);
    bool any = false;
    for (const struct verb *v = verb_table(); v->words; v++) {
        size_t first = strcspn(v->words, " ");
        if (n == 0 && is_first_of_group(v)) {
            sbuf_printf(out, "%s%.*s", any ? " " : "", (int)first, v->words);
            any = true;
        } else if (n > 0 && first == n && strncmp(v->words, group, n) == 0) {
            sbuf_printf(out, "%s%s", any ? " " : "", v->words + n + 1);
            any = true;
        }
    }
}

static void add_prefixes(struct sbuf *out)
{
    for (const struct verb *v = verb_table(); v->words; v++) {
        size_t n = strcspn(v->words, " ");
        if (v->words[n] && is_first_of_group(v)) {
            sbuf_printf(out, "            %.*s) verb=$word ;;\n", (int)n, v->words);
        }
        sbuf_printf(out, "            '%s') verb='%s'; n=0 ;;\n", v->words, v->words);
    }
    sbuf_printf(out, "            *) n=$((n + 1)) ;;\n        esac\n    done\n");
}

static void add_globals(struct sbuf *out)
{
    sbuf_printf(out, "    opts='");
    for (const struct param *p = verb_globals(); p->name; p++) {
        sbuf_printf(out, "%s--%s", p == verb_globals() ? "" : " ", p->name);
    }
    sbuf_printf(out, "'\n    case $prev in\n"
                     "        --host) _mortar_names host; return ;;\n"
                     "        --socket) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
                     "    esac\n");
}

static void add_verb_options(const struct verb *v, struct sbuf *out)
{
    sbuf_printf(out, "        '%s')\n            opts+=' ", v->words);
    for (const struct param *p = v->options; p->name; p++) {
        sbuf_printf(out, "%s--%s", p == v->options ? "" : " ", p->name);
    }
    sbuf_printf(out, "'\n            case $prev in\n");
    for (const struct param *p = v->options; p->name; p++) {
        if (p->kind != VAL_FLAG && p->kind != VAL_UNFLAG) {
            sbuf_printf(out, "                --%s) ", p->name);
            add_action(p, out);
            sbuf_printf(out, "; return ;;\n");
        }
    }
    sbuf_printf(out, "            esac\n            ;;\n");
}

static void add_verb_arguments(const struct verb *v, struct sbuf *out)
{
    for (size_t i = 0; i < VERB_ARGS_MAX && v->args[i].name; i++) {
        const struct param *p = &v->args[i];
        if (noun_word(p->noun) || is_file(p) || p->kind == VAL_CHOICE) {
            sbuf_printf(out, "        '%s 'n%zu) ", v->words, i);
            add_action(p, out);
            sbuf_printf(out, " ;;\n");
        }
    }
}

void completion_bash(struct sbuf *out)
{
    sbuf_printf(out, "%s", script_head);
    add_prefixes(out);
    add_globals(out);
    sbuf_printf(out, "    case $verb in\n");
    for (const struct verb *v = verb_table(); v->words; v++) {
        if (v->options) {
            add_verb_options(v, out);
        }
    }
    sbuf_printf(out,
                "    esac\n    if [[ $cur == -* ]]; then\n"
                "        COMPREPLY=($(compgen -W \"$opts\" -- \"$cur\"))\n        return\n    fi\n"
                "    case $verb in\n        '') words='");
    add_words("", out);
    sbuf_printf(out, "' ;;\n");
    for (const struct verb *v = verb_table(); v->words; v++) {
        size_t n = strcspn(v->words, " ");
        if (v->words[n] && is_first_of_group(v)) {
            _cleanup_free_ char *group = str_printf("%.*s", (int)n, v->words);
            sbuf_printf(out, "        %s) words='", group);
            add_words(group, out);
            sbuf_printf(out, "' ;;\n");
        }
    }
    sbuf_printf(out, "        help) [[ $n == 0 ]] && words='");
    add_words("", out);
    sbuf_printf(out,
                "' ;;\n    esac\n    if [[ -n $words ]]; then\n"
                "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n        return\n    fi\n"
                "    case \"$verb n$n\" in\n");
    for (const struct verb *v = verb_table(); v->words; v++) {
        add_verb_arguments(v, out);
    }
    sbuf_printf(out, "%s", script_tail);
}
