/* SPDX-License-Identifier: Apache-2.0
 * Files that are made under a hidden name first, so that what carries its final name is whole and
 * on stable storage. What a killed maker left is removed by the next one. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"

/* Who gets a file, and who hears how far it is. */
struct image_env {
    uid_t uid; /* of QEMU; (uid_t)-1 leaves the file to the caller */
    gid_t gid;
    /* @percent: 0–100, never falling; @bytes of @of_bytes: of the stage it is in. May be NULL */
    void (*on_progress)(void *arg, unsigned percent, uint64_t bytes, uint64_t of_bytes);
    void *on_progress_arg;
};

/** image_hidden_name - DIR/.NAME.SUFFIX for @path DIR/NAME. Caller frees. */
char *image_hidden_name(const char *path, const char *suffix);

/** image_remove_stale - unlink; absent is fine. Return: 0 or -ERR_IO */
int image_remove_stale(const char *path, struct err *e);

/* For a hidden name: deletes the file, if there is one, and frees the name. */
void image_unlinkp(char **path);
#define _cleanup_unlink_ _cleanup_(image_unlinkp)

/** image_fail_write - errno @sys as our error. Return: -ERR_POOL_FULL or -ERR_IO */
int image_fail_write(const char *path, int sys, struct err *e);

/** image_need_room - are @bytes free where @path will be? Return: 0, -ERR_POOL_FULL or -ERR_IO */
int image_need_room(const char *path, uint64_t bytes, struct err *e);

/** image_write_all - @path is for messages. Return: 0, -ERR_POOL_FULL or -ERR_IO */
int image_write_all(int fd, const void *data, size_t len, const char *path, struct err *e);

/** image_settle - owner, mode 0640, onto stable storage. Return: 0, -ERR_POOL_FULL or -ERR_IO */
int image_settle(const struct image_env *env, const char *path, struct err *e);

/** image_sync_dir_of - make the name @path durable. Return: 0 or -ERR_IO */
int image_sync_dir_of(const char *path, struct err *e);

/**
 * image_publish - image_settle() and the final name, replacing what has it
 * @tmp: the hidden name; freed and set to NULL once it is none any more
 * Return: 0, -ERR_POOL_FULL or -ERR_IO
 */
int image_publish(const struct image_env *env, char **tmp, const char *path, struct err *e);

/* A regular file, opened once: others reach this very file, whatever becomes of its name. */
struct image_source {
    int fd;
    struct stat stat; /* when it was opened */
    char *fd_path;    /* /proc/PID/fd/N */
};
void image_source_done(struct image_source *s);

/**
 * image_source_open - @ret: zero-initialised but for fd, which is -1
 * Return: 0, -ERR_NOT_FOUND, -ERR_IMAGE_BAD (no regular file) or -ERR_IO
 */
int image_source_open(const char *path, struct image_source *ret, struct err *e);

/**
 * image_copy_file - a plain copy of a regular file (kernel, initrd); made unless @path exists
 * @max_bytes: larger files are refused
 * Return: 0; -ERR_NOT_FOUND; -ERR_IMAGE_BAD; -ERR_INVALID; -ERR_POOL_FULL; -ERR_IO
 */
int image_copy_file(const struct image_env *env, const char *source, const char *path,
                    uint64_t max_bytes, struct err *e);

/** image_write_file - from memory, replacing @path. Return: 0, -ERR_POOL_FULL or -ERR_IO */
int image_write_file(const struct image_env *env, const char *path, const void *data, size_t len,
                     struct err *e);
