/* SPDX-License-Identifier: Apache-2.0
 * For request*.c only: a request under way, what its verbs share, and the verbs that are in files of
 * their own. Each verb returns 0, having asked for one commit, or the reason of its refusal. */
#pragma once

#include "core/act.h"

/* A request during a step. */
struct req {
    struct core *c;
    const char *id;       /* fresh id: of the task, if one is made */
    const json_t *args;
    char commit_id[96];   /* "req/ID" */
    struct err *e;
};

/** req_finish - emit the request's commit; ends @t. Return: 0 */
int req_finish(struct req *q, struct commit *t);
/** req_put_task - add a task with the request's id and arguments to a commit */
void req_put_task(struct req *q, struct commit *t, const char *kind, const char *object,
                  const char *runner);
/** req_need_name - the argument "name", when it is one */
int req_need_name(struct req *q, const char **ret);
/** req_need_pool - the argument "pool", when it names a pool that is ready */
int req_need_pool(struct req *q, const char **ret);
/** req_need_quorum - refuse when a majority of @pool's bricks is not online */
int req_need_quorum(struct req *q, const char *pool);
/** req_need_mount - refuse when @pool cannot be used on this host */
int req_need_mount(struct req *q, const char *pool);

/* request_pool.c */
/** req_pool_create … req_image_export - one verb each */
int req_pool_create(struct req *q);
int req_pool_ha(struct req *q);
int req_pool_remove(struct req *q);
int req_image_import(struct req *q);
int req_image_remove(struct req *q);
int req_image_export(struct req *q);

/* request_drill.c */
/** req_drill - begin a rehearsed failover */
int req_drill(struct req *q);

/* request_vm.c */
/** req_vm_create … req_vm_set - one verb each */
int req_vm_create(struct req *q);
int req_vm_start(struct req *q);
int req_vm_stop(struct req *q);
int req_vm_reset(struct req *q);
int req_vm_migrate(struct req *q);
int req_vm_remove(struct req *q);
int req_vm_set(struct req *q);
