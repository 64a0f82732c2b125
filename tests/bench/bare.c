/* Times liboqs' functions called from C: bare LIBRARY SECONDS
 *
 * Prints microseconds a call: verify, sign, encapsulate, decapsulate. What
 * Picket's calls take more than these is the price of ctypes. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef int (*keypair_fn)(uint8_t *, uint8_t *);
typedef int (*sign_fn)(uint8_t *, size_t *, const uint8_t *, size_t, const uint8_t *,
                       size_t, const uint8_t *);
typedef int (*verify_fn)(const uint8_t *, size_t, const uint8_t *, size_t,
                         const uint8_t *, size_t, const uint8_t *);
typedef int (*kem_fn)(uint8_t *, uint8_t *, const uint8_t *);
typedef int (*decaps_fn)(uint8_t *, const uint8_t *, const uint8_t *);

static double now_us(void) {
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

#define MEASURE(name, call)                                              \
	do {                                                             \
		double start = now_us(), took = 0;                       \
		long count = 0;                                          \
		while ((took = now_us() - start) < seconds * 1e6) {      \
			for (int i = 0; i < 32; i++) {                    \
				failed |= (call);                        \
			}                                                \
			count += 32;                                      \
		}                                                        \
		printf("%s %.3f\n", name, took / count);                 \
	} while (0)

int main(int argc, char **argv) {
	void *library = argc == 3 ? dlopen(argv[1], RTLD_NOW) : NULL;
	if (library == NULL) {
		fprintf(stderr, "usage: bare LIBRARY SECONDS\n");
		return 2;
	}
	double seconds = atof(argv[2]);
	int failed = 0;
	keypair_fn dsa_keypair = dlsym(library, "OQS_SIG_ml_dsa_65_keypair");
	sign_fn sign = dlsym(library, "OQS_SIG_ml_dsa_65_sign_with_ctx_str");
	verify_fn verify = dlsym(library, "OQS_SIG_ml_dsa_65_verify_with_ctx_str");
	keypair_fn kem_keypair = dlsym(library, "OQS_KEM_ml_kem_768_keypair");
	kem_fn encaps = dlsym(library, "OQS_KEM_ml_kem_768_encaps");
	decaps_fn decaps = dlsym(library, "OQS_KEM_ml_kem_768_decaps");

	static uint8_t pk[1952], sk[4032], sig[3309], ek[1184], dk[2400], ct[1088], ss[32];
	static const uint8_t m[220] = "message", ctx[] = "measure";
	size_t sig_len = sizeof sig, ctx_len = sizeof ctx - 1;
	failed |= dsa_keypair(pk, sk) | kem_keypair(ek, dk) | encaps(ct, ss, ek);
	failed |= sign(sig, &sig_len, m, sizeof m, ctx, ctx_len, sk);

	MEASURE("verify", verify(m, sizeof m, sig, sig_len, ctx, ctx_len, pk));
	MEASURE("encapsulate", encaps(ct, ss, ek));
	MEASURE("decapsulate", decaps(ss, ct, dk));
	MEASURE("sign", sign(sig, &sig_len, m, sizeof m, ctx, ctx_len, sk));
	return failed;
}
