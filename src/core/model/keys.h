/* SPDX-License-Identifier: Apache-2.0
 * Names of the records in the store (design.md §3, facts/ha.md 3.7). One record per thing that
 * changes on its own, so that a compare covers exactly what was decided on. */
#pragma once

#define NETWORK_BRIDGE "mortar0" /* of the default network */

#define KEY_ROOT "/mortar/v1/"
#define KEY_HA KEY_ROOT "ha"                    /* {POOL: true}: failover is on, or being switched on */
#define KEY_CLUSTER KEY_ROOT "cluster"          /* {name, uuid, created, emulation} */
#define KEY_RESTORE_GEN KEY_ROOT "restore_gen" /* {n, hosts, settled}: n: how often the store was restored (facts/ha.md 2.7) */
#define KEY_RESTORED KEY_ROOT "restored/"       /* + HOST: what runs there, after a restore; core/restore.h */
#define KEY_NODE KEY_ROOT "node/"               /* + HOST: who may run what; written by CAS only */
#define KEY_SEEN KEY_ROOT "seen/"               /* + HOST/...: what that host's agent observes */
#define KEY_POOL KEY_ROOT "pool/"               /* + NAME */
#define KEY_IMAGE KEY_ROOT "image/"             /* + NAME */
#define KEY_NETWORK KEY_ROOT "network/"         /* + NAME */
#define KEY_VM KEY_ROOT "vm/"                   /* + NAME + /spec, /own, /act */
#define KEY_TASK KEY_ROOT "task/"               /* + ID */
#define KEY_USE KEY_ROOT "use/"                 /* + pool/, node/, image/NAME: {}; commit_use() */
#define KEY_TOKEN KEY_ROOT "token/"             /* + hash of the secret */
#define KEY_SILENT KEY_ROOT "silent/"           /* + FENCER: {hosts[], inc}: of whom it hears nothing */
#define KEY_CUT KEY_ROOT "cut/"                 /* + HOST/INC/FENCER: it has cut HOST off */
#define KEY_ACK KEY_ROOT "ack/"                 /* + HOST/INC/FENCER: T2, facts/ha.md 3.4 */
#define KEY_OPEN KEY_ROOT "open/"               /* + HOST: whom it lets through, since which boot */
#define KEY_DRILL KEY_ROOT "drill/"           /* + ID: a rehearsed failover and its report; core/drill.h */
#define KEY_DRILLING KEY_ROOT "drilling"      /* {id} of the newest one: two do not begin at once */
#define KEY_LEFT KEY_ROOT "left/"               /* + HOST: {inc}: its last one, when it left; the next begins above it */
#define KEY_ENDED KEY_ROOT "ended/"             /* + POOL: {host, foe, inc, uuid, at_ms, ended}: a brick ended for want of a proof */
#define KEY_WASHED KEY_ROOT "washed/"           /* + HOST/INC/BY: nothing of BY's can flip any more */
