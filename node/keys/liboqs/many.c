/* Many composite signatures in one call: Python lets go of the interpreter once for
 * all of them, not twice for each.
 *
 * Linked into liboqs by build.rs. Ed25519 is libsodium's `crypto_sign_open`, handed in. */
#include <string.h>

#include <oqs/oqs.h>

enum {
	MLDSA_PUBLIC = 1952,
	MLDSA_SIGNATURE = 3309,
	ED25519_SIGNATURE = 64,
	MESSAGE_MAX = 512,
};
enum { REFUSED = 0, HOLDS = 1, REFUSED_BY_ED25519 = 2 };

typedef int ed25519_open(uint8_t *m, unsigned long long *m_len, const uint8_t *sm,
        unsigned long long sm_len, const uint8_t *pk);

static uint8_t check(const uint8_t *key, const uint8_t *signature, const uint8_t *message,
        size_t length, const uint8_t *context, size_t context_length, ed25519_open *open) {
	uint8_t together[ED25519_SIGNATURE + MESSAGE_MAX], opened[sizeof together];
	unsigned long long opened_length;

	if (length > MESSAGE_MAX || OQS_SIG_ml_dsa_65_verify_with_ctx_str(message, length,
	        signature, MLDSA_SIGNATURE, context, context_length, key) != OQS_SUCCESS) {
		return REFUSED;
	}
	memcpy(together, signature + MLDSA_SIGNATURE, ED25519_SIGNATURE);
	memcpy(together + ED25519_SIGNATURE, message, length);
	return open(opened, &opened_length, together, ED25519_SIGNATURE + length,
	        key + MLDSA_PUBLIC) == 0 ? HOLDS : REFUSED_BY_ED25519;
}

/* Keys are 1984 bytes, signatures 3373; the caller has checked. */
OQS_API void picket_verify_many(size_t count, const uint8_t *const *keys,
        const uint8_t *const *signatures, const uint8_t *const *messages,
        const size_t *lengths, const uint8_t *context, size_t context_length,
        ed25519_open *open, uint8_t *answers);

OQS_API void picket_verify_many(size_t count, const uint8_t *const *keys,
        const uint8_t *const *signatures, const uint8_t *const *messages,
        const size_t *lengths, const uint8_t *context, size_t context_length,
        ed25519_open *open, uint8_t *answers) {
	for (size_t i = 0; i < count; i++) {
		answers[i] = check(keys[i], signatures[i], messages[i], lengths[i], context,
		        context_length, open);
	}
}
