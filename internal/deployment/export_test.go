package deployment

// Parse is what Read does with the bytes of cloister.yaml, for tests that hold
// no files.
func Parse(b []byte, file string, open func(name string, limit int64) ([]byte, string, error)) (*Config, error) {
	return parse(b, file, open)
}
