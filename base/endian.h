/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ENDIAN_H
#define BASE_ENDIAN_H

/*
 * Integers as bytes. What lies on disk or on the wire is a struct of bytes: alignment 1,
 * no padding, and comparing or assigning one to a number does not compile.
 * xx_get() reads, xx_of() makes.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

typedef struct { uint8_t b[2]; } le16;
typedef struct { uint8_t b[4]; } le32;
typedef struct { uint8_t b[8]; } le64;
typedef struct { uint8_t b[2]; } be16;
typedef struct { uint8_t b[3]; } be24;
typedef struct { uint8_t b[4]; } be32;
typedef struct { uint8_t b[8]; } be64;

static inline uint16_t le16_get(le16 v)
{
	return (uint16_t)(v.b[0] | v.b[1] << 8);
}

static inline uint32_t le32_get(le32 v)
{
	return (uint32_t)v.b[0] | (uint32_t)v.b[1] << 8 | (uint32_t)v.b[2] << 16 |
	       (uint32_t)v.b[3] << 24;
}

static inline uint64_t le64_get(le64 v)
{
	return (uint64_t)v.b[0] | (uint64_t)v.b[1] << 8 | (uint64_t)v.b[2] << 16 |
	       (uint64_t)v.b[3] << 24 | (uint64_t)v.b[4] << 32 | (uint64_t)v.b[5] << 40 |
	       (uint64_t)v.b[6] << 48 | (uint64_t)v.b[7] << 56;
}

static inline le16 le16_of(uint16_t n)
{
	return (le16){ { (uint8_t)n, (uint8_t)(n >> 8) } };
}

static inline le32 le32_of(uint32_t n)
{
	return (le32){ { (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16),
			 (uint8_t)(n >> 24) } };
}

static inline le64 le64_of(uint64_t n)
{
	return (le64){ { (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16),
			 (uint8_t)(n >> 24), (uint8_t)(n >> 32), (uint8_t)(n >> 40),
			 (uint8_t)(n >> 48), (uint8_t)(n >> 56) } };
}

static inline uint16_t be16_get(be16 v)
{
	return (uint16_t)(v.b[0] << 8 | v.b[1]);
}

static inline uint32_t be24_get(be24 v)
{
	return (uint32_t)v.b[0] << 16 | (uint32_t)v.b[1] << 8 | (uint32_t)v.b[2];
}

static inline uint32_t be32_get(be32 v)
{
	return (uint32_t)v.b[0] << 24 | (uint32_t)v.b[1] << 16 | (uint32_t)v.b[2] << 8 |
	       (uint32_t)v.b[3];
}

static inline uint64_t be64_get(be64 v)
{
	return (uint64_t)v.b[0] << 56 | (uint64_t)v.b[1] << 48 | (uint64_t)v.b[2] << 40 |
	       (uint64_t)v.b[3] << 32 | (uint64_t)v.b[4] << 24 | (uint64_t)v.b[5] << 16 |
	       (uint64_t)v.b[6] << 8 | (uint64_t)v.b[7];
}

static inline be16 be16_of(uint16_t n)
{
	return (be16){ { (uint8_t)(n >> 8), (uint8_t)n } };
}

static inline be24 be24_of(uint32_t n)
{
	return (be24){ { (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n } };
}

static inline be32 be32_of(uint32_t n)
{
	return (be32){ { (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8),
			 (uint8_t)n } };
}

static inline be64 be64_of(uint64_t n)
{
	return (be64){ { (uint8_t)(n >> 56), (uint8_t)(n >> 48), (uint8_t)(n >> 40),
			 (uint8_t)(n >> 32), (uint8_t)(n >> 24), (uint8_t)(n >> 16),
			 (uint8_t)(n >> 8), (uint8_t)n } };
}

/* The size of an on-disk structure, and the place of a field in it. */
#define ONDISK_SIZE(type, size) static_assert(sizeof(type) == (size), #type " size")
#define ONDISK_AT(type, field, at) \
	static_assert(offsetof(type, field) == (at), #type "." #field " offset")

#endif
