package identity

// ReadKeys and ReadDiscovery are the parsers of what issuers serve, for fuzzing.
var (
	ReadKeys      = readKeys
	ReadDiscovery = readDiscovery
)
