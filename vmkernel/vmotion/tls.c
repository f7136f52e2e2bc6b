/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trust between hosts. Each host is its own authority; the others find its certificate on
 * the datastore that they share (notice.h), where whoever writes could have every disk
 * anyway. So nothing has to be set up, and who reaches the network but not the datastore
 * gets nowhere. A certificate is made anew for each connection, names what it is for, and
 * is good for a day: hosts whose clocks differ by less than that agree.
 *
 * The end of a stream is said (close_notify): one that is cut is never taken for whole.
 */
#include "vmkernel/vmotion/tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/env.h"

#define DAY_S 86400L
#define AUTHORITY_DAYS 3650L

struct tls {
	SSL_CTX *ctx;
	SSL *ssl;
	int sock;
};

/* ---- certificates ---- */

void tls_identity_done(struct tls_identity *id)
{
	if (id->key)
		explicit_bzero(id->key, strlen(id->key));
	free(id->key);
	free(id->cert);
	*id = (struct tls_identity){ 0 };
}

static char *text_of(BIO *bio)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);
	return len > 0 ? strndup(data, (size_t)len) : NULL;
}

static int write_out(EVP_PKEY *key, X509 *cert, struct tls_identity *ret)
{
	struct tls_identity id = { 0 };
	BIO *k = BIO_new(BIO_s_mem()), *c = BIO_new(BIO_s_mem());
	if (k && c && PEM_write_bio_PrivateKey(k, key, NULL, NULL, 0, NULL, NULL) == 1 &&
	    PEM_write_bio_X509(c, cert) == 1)
		id = (struct tls_identity){ text_of(k), text_of(c) };
	BIO_free(k);
	BIO_free(c);
	if (!id.key || !id.cert) {
		tls_identity_done(&id);
		return -ENOMEM;
	}
	*ret = id;
	return 0;
}

static EVP_PKEY *key_of(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	return key;
}

static X509 *cert_of(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	return cert;
}

static bool add_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	bool is_added = e && X509_add_ext(cert, e, -1) == 1;
	X509_EXTENSION_free(e);
	return is_added;
}

static bool fill(X509 *cert, EVP_PKEY *key, const char *name, X509 *issuer)
{
	uint64_t serial = random_u64() >> 1 | 1;
	X509_NAME *subject = X509_get_subject_name(cert);
	const char *uses = issuer ? "critical,CA:FALSE" : "critical,CA:TRUE,pathlen:0";
	long days = issuer ? 1 : AUTHORITY_DAYS;
	return X509_set_version(cert, 2) == 1 &&
	       ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial) == 1 &&
	       X509_gmtime_adj(X509_getm_notBefore(cert), -DAY_S) &&
	       X509_gmtime_adj(X509_getm_notAfter(cert), days * DAY_S) &&
	       X509_set_pubkey(cert, key) == 1 &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
					  (const unsigned char *)name, -1, -1, 0) == 1 &&
	       X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) :
						   subject) == 1 &&
	       add_extension(cert, NID_basic_constraints, uses);
}

static int make(const struct tls_identity *authority, const char *name,
		struct tls_identity *ret)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	EVP_PKEY *signer = authority ? key_of(authority->key) : key;
	X509 *issuer = authority ? cert_of(authority->cert) : NULL;
	X509 *cert = X509_new();
	int rc = -EIO;
	if (key && signer && cert && (issuer || !authority) &&
	    fill(cert, key, name, issuer) && X509_sign(cert, signer, EVP_sha256()) > 0)
		rc = write_out(key, cert, ret);
	X509_free(cert);
	X509_free(issuer);
	if (signer != key)
		EVP_PKEY_free(signer);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return rc;
}

int tls_make_authority(const char *name, struct tls_identity *ret)
{
	return make(NULL, name, ret);
}

int tls_issue(const struct tls_identity *authority, const char *name,
	      struct tls_identity *ret)
{
	return make(authority, name, ret);
}

/* ---- connections ---- */

static int use_identity(SSL_CTX *ctx, const struct tls_identity *own)
{
	EVP_PKEY *key = key_of(own->key);
	X509 *cert = cert_of(own->cert);
	bool is_used = key && cert && SSL_CTX_use_certificate(ctx, cert) == 1 &&
		       SSL_CTX_use_PrivateKey(ctx, key) == 1;
	X509_free(cert);
	EVP_PKEY_free(key);
	return is_used ? 0 : -EINVAL;
}

static int trust(SSL_CTX *ctx, const char *authority)
{
	X509 *cert = cert_of(authority);
	bool is_trusted = cert && X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert);
	X509_free(cert);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return is_trusted ? 0 : -EINVAL;
}

static bool is_called(SSL *ssl, const char *name)
{
	char found[256] = "";
	X509 *cert = SSL_get0_peer_certificate(ssl);
	return cert && SSL_get_verify_result(ssl) == X509_V_OK &&
	       X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName,
					 found, sizeof(found)) > 0 &&
	       strcmp(found, name) == 0;
}

/* What a call that did not do all says of itself. */
static int error_of(const struct tls *t, int result)
{
	int error = errno, kind = SSL_get_error(t->ssl, result);
	ERR_clear_error();
	if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
		return -ETIMEDOUT;
	if (kind == SSL_ERROR_SYSCALL)
		return error ? -error : -ECONNRESET;
	return kind == SSL_ERROR_ZERO_RETURN ? 0 : -ECONNRESET;
}

static int shake(struct tls *t, const struct tls_options *o, char *ret_why, uint32_t size)
{
	errno = 0;
	int n = o->is_server ? SSL_accept(t->ssl) : SSL_connect(t->ssl);
	long verified = SSL_get_verify_result(t->ssl);
	if (n == 1 && is_called(t->ssl, o->peer_name))
		return 0;
	if (n == 1 || verified != X509_V_OK) {
		(void)snprintf(ret_why, size, "the other side is not %s: %s",
			       o->peer_name, n == 1 ? "it has another name" :
				       X509_verify_cert_error_string(verified));
		ERR_clear_error();
		return -EACCES;
	}
	int rc = error_of(t, n);
	rc = rc ? rc : -ECONNRESET;
	(void)snprintf(ret_why, size, "no TLS with %s: %s", o->peer_name, strerror(-rc));
	return rc;
}

static void set_limits(int sock, unsigned int timeout_ms)
{
	struct timeval limit = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };
	int on = 1, idle_s = 5;
	(void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	/* A peer that is gone is missed; not all of this is there on all sockets. */
	(void)setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(sock, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	(void)setsockopt(sock, IPPROTO_TCP, TCP_KEEPINTVL, &idle_s, sizeof(idle_s));
	(void)setsockopt(sock, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms,
			 sizeof(timeout_ms));
}

int tls_open(const struct tls_options *o, struct tls **ret, char *ret_why, uint32_t size)
{
	struct tls *t = calloc(1, sizeof(*t));
	int rc = t ? 0 : -ENOMEM;
	(void)snprintf(ret_why, size, "no TLS with %s: no memory", o->peer_name);
	if (rc < 0)
		return rc;
	t->sock = -1;
	t->ctx = SSL_CTX_new(TLS_method());
	if (!t->ctx || SSL_CTX_set_min_proto_version(t->ctx, TLS1_3_VERSION) != 1)
		rc = -ENOMEM;
	if (rc == 0)
		rc = use_identity(t->ctx, o->own);
	if (rc == 0)
		rc = trust(t->ctx, o->peer_authority);
	if (rc == -EINVAL)
		(void)snprintf(ret_why, size, "%s: not a certificate", o->peer_name);
	if (rc == 0) {
		set_limits(o->sock, o->timeout_ms);
		(void)SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
		(void)SSL_CTX_set_num_tickets(t->ctx, 0);
		t->ssl = SSL_new(t->ctx);
		rc = t->ssl && SSL_set_fd(t->ssl, o->sock) == 1 ? 0 : -ENOMEM;
	}
	if (rc == 0)
		rc = shake(t, o, ret_why, size);
	if (rc < 0) {
		tls_free(t);
		return rc;
	}
	t->sock = o->sock;
	*ret = t;
	return 0;
}

int tls_sock(const struct tls *t)
{
	return t->sock;
}

bool tls_has_bytes(const struct tls *t)
{
	return SSL_pending(t->ssl) > 0;
}

int64_t tls_read(struct tls *t, void *buf, uint32_t len)
{
	errno = 0;
	int n = SSL_read(t->ssl, buf, len > INT32_MAX ? INT32_MAX : (int)len);
	return n > 0 ? n : error_of(t, n);
}

int tls_write(struct tls *t, const void *buf, uint32_t len)
{
	errno = 0;
	int n = len ? SSL_write(t->ssl, buf, (int)len) : 1;
	if (n > 0)
		return 0;
	int rc = error_of(t, n);
	return rc ? rc : -ECONNRESET;
}

int tls_end(struct tls *t)
{
	errno = 0;
	int n = SSL_shutdown(t->ssl);
	return n >= 0 ? 0 : error_of(t, n);
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	SSL_CTX_free(t->ctx);
	if (t->sock >= 0)
		(void)close(t->sock);
	free(t);
}
