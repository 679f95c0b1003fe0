package qemu

// What tests look at from outside.
var (
	Mirror    = mirror
	VersionOf = versionOf
	Recorded  = digests
)

// RecordedVersion is the version whose archives are recorded.
const RecordedVersion = recordedVersion
