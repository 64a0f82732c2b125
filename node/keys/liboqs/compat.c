/* The one function that liboqs-python 0.16 looks up at import and liboqs 0.13
 * does not have yet; meant as liboqs 0.16 documents it. Weak, so that a newer
 * liboqs brings its own. */
#include <oqs/oqs.h>

OQS_API __attribute__((weak)) bool OQS_SIG_supports_ctx_str(const char *alg_name) {
	OQS_SIG *sig = OQS_SIG_new(alg_name);
	bool supports = sig != NULL && sig->sig_with_ctx_support;
	OQS_SIG_free(sig);
	return supports;
}
