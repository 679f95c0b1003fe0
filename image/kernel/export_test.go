package kernel

// Options opens the reader of configurations to its fuzz target.
func Options(b []byte) (map[string]string, error) { return options(b) }
