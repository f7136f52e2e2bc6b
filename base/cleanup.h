/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

/*
 * Four helpers for plain work functions that need memory, a file or a mutex for their own
 * duration. Never mixed with goto-cleanup in one function; never for on-disk locks,
 * transactions or tasks: their order and failure are the algorithm.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/env.h"

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(int *file_fd)
{
	if (*file_fd >= 0)
		(void)close(*file_fd);
}

static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

static inline void cleanup_unlock(struct mutex **m)
{
	if (*m)
		mutex_unlock(*m);
}

#define AUTO_FREE __attribute__((cleanup(cleanup_free)))
#define AUTO_CLOSE __attribute__((cleanup(cleanup_close)))
#define AUTO_FCLOSE __attribute__((cleanup(cleanup_fclose)))
#define AUTO_UNLOCK __attribute__((cleanup(cleanup_unlock)))

#endif
