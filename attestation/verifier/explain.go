package verifier

// Explanation says what a check is for.
type Explanation struct {
	// Check is the check's name.
	Check string
	// Means is what is true once it has passed.
	Means string
	// Without is what an attacker could do if nobody made it.
	Without string
}

// Explain answers every check of this package, in the order in which they run,
// those of callers at the end.
func Explain() []Explanation {
	return []Explanation{
		{CheckFormat,
			"The bytes are one attestation document with exactly the fields that enclaves' documents have, each once, and nothing in front, between or behind.",
			"Show two programs the same bytes and have them read different things, or crash or exhaust the verifier before anything is trusted."},
		{CheckRoot,
			"The chain ends in a root certificate that the verifier held beforehand, compared byte for byte.",
			"Make a root, a chain and a document of their own: everything else would fit."},
		{CheckCertificates,
			"Every certificate was issued by the one above it, may issue, and has the Nitro profile: P-384, SHA-384, path lengths, key usages, no constraint that nobody understood.",
			"Use any certificate that somebody got somewhere under the root, such as their own enclave's, as if it were a certificate authority."},
		{CheckValidity,
			"Each certificate, the root included, was valid at the time of verification.",
			"Use keys of enclaves that ended long ago, and that have leaked since."},
		{CheckSignature,
			"The security module that holds the leaf certificate's key signed these very bytes.",
			"Change any measurement, key or nonce in a document."},
		{CheckModule,
			"The document is an enclave's, made by the module that the leaf was issued to, on that instance, while the leaf was valid.",
			"Pass off the document of another kind of machine under the same root, whose registers measure other things."},
		{CheckSecondOpinion,
			"An independent verifier read the same content and found the same chain and signature good.",
			"Use a mistake in this verifier that nobody has found yet."},
		{CheckNonce,
			"The document was made for this exchange: it holds the random bytes that the verifier chose just before.",
			"Replay the document of an enclave that is gone, or of somebody else's exchange."},
		{CheckFreshness,
			"The document's own time is now, give or take the policy's max_age and the clocks' skew.",
			"Keep a document, and the challenge that it answers, for later."},
		{CheckAge,
			"The document's own time lies close to the time that it is judged at. This isn't freshness: nobody was challenged.",
			"Have an old document judged at a time at which it was out of date already."},
		{CheckEnvironment,
			"The policy names this root, and the root goes with the environment: AWS's root with hardware, every other one with something else.",
			"Present a simulation, whose keys are files, as hardware."},
		{CheckDebug,
			"PCR0, PCR1 and PCR2 are all set: the enclave doesn't run in debug mode.",
			"Run the right image in debug mode and read its memory and its console from outside."},
		{CheckMeasurements,
			"All registers of one release of the policy have the policy's values: image, kernel, application and configuration together.",
			"Run another image, another configuration, or the parts of two releases."},
		{CheckBinding,
			"The key that this connection uses, and what came with the document, are those that the document vouches for.",
			"Stand in the middle: fetch a good document from a good enclave and keep the connection for themselves."},
		{CheckBundle,
			"The configuration that came along is the one that PCR16 measures, well formed, and of a profile that goes with the environment.",
			"Show the verifier a harmless configuration while the enclave runs with another one."},
	}
}
