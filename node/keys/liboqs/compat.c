/* What liboqs 0.13 lacks: one function, and two repairs.
 *
 * Linked in front of liboqs by build.rs; the repairs take the place of two of its
 * functions by the linker's --wrap, and the provider's self-test proves them. */
#include <oqs/oqs.h>

/* liboqs-python 0.16 looks this up at import; meant as liboqs 0.16 documents it.
 * Weak, so that a newer liboqs brings its own. */
OQS_API __attribute__((weak)) bool OQS_SIG_supports_ctx_str(const char *alg_name) {
	OQS_SIG *sig = OQS_SIG_new(alg_name);
	bool supports = sig != NULL && sig->sig_with_ctx_support;
	OQS_SIG_free(sig);
	return supports;
}

#ifdef __AVX2__
#include <immintrin.h>

enum { C_TILDE_BYTES = 48, Z_BYTES = 3200, SIGNATURE_BYTES = 3309, BETA = 196 };

int __real_pqcrystals_ml_dsa_65_avx2_verify(const uint8_t *sig, size_t sig_len,
        const uint8_t *m, size_t m_len, const uint8_t *ctx, size_t ctx_len, const uint8_t *pk);
int __wrap_pqcrystals_ml_dsa_65_avx2_verify(const uint8_t *sig, size_t sig_len,
        const uint8_t *m, size_t m_len, const uint8_t *ctx, size_t ctx_len, const uint8_t *pk);
void pqcrystals_ml_dsa_65_avx2_decompose_avx(__m256i *a1, __m256i *a0, const __m256i *a);
void __wrap_pqcrystals_ml_dsa_65_avx2_use_hint_avx(__m256i *b, const __m256i *a,
        const __m256i *hint);

/* The AVX2 verification leaves out the norm of z (FIPS 204, algorithm 8, line 13), and
 * so accepts signatures that the standard, and OpenSSL, refuse. */
int __wrap_pqcrystals_ml_dsa_65_avx2_verify(const uint8_t *sig, size_t sig_len,
        const uint8_t *m, size_t m_len, const uint8_t *ctx, size_t ctx_len, const uint8_t *pk) {
	if (sig_len != SIGNATURE_BYTES) {
		return -1;
	}
	/* Packed as gamma1 - z, 20 bits each: within (beta, 2^20 - beta) if z is short. */
	const uint8_t *z = sig + C_TILDE_BYTES;
	const uint32_t span = (1u << 20) - 2 * (BETA + 1);
	uint32_t beyond = 0;
	for (size_t i = 0; i < Z_BYTES; i += 5) {
		uint32_t even = z[i] | (uint32_t)z[i + 1] << 8 | (uint32_t)(z[i + 2] & 15) << 16;
		uint32_t odd = z[i + 2] >> 4 | (uint32_t)z[i + 3] << 4 | (uint32_t)z[i + 4] << 12;
		beyond |= even - (BETA + 1) > span;
		beyond |= odd - (BETA + 1) > span;
	}
	if (beyond) {
		return -1;
	}
	return __real_pqcrystals_ml_dsa_65_avx2_verify(sig, sig_len, m, m_len, ctx, ctx_len, pk);
}

/* Its UseHint takes r0 = 0 for positive, where algorithm 40 goes down by one. */
void __wrap_pqcrystals_ml_dsa_65_avx2_use_hint_avx(__m256i *b, const __m256i *a,
        const __m256i *hint) {
	__m256i a0[256 / 8];
	const __m256i zero = _mm256_setzero_si256();
	const __m256i down = _mm256_set1_epi32(-1), mask = _mm256_set1_epi32(15);

	pqcrystals_ml_dsa_65_avx2_decompose_avx(b, a0, a);
	for (size_t i = 0; i < 256 / 8; i++) {
		__m256i positive = _mm256_cmpgt_epi32(a0[i], zero); /* -1 where it is */
		__m256i step = _mm256_sub_epi32(down, _mm256_slli_epi32(positive, 1));
		__m256i hinted = _mm256_and_si256(step, _mm256_sub_epi32(zero, hint[i]));
		b[i] = _mm256_and_si256(_mm256_add_epi32(b[i], hinted), mask);
	}
}
#endif
