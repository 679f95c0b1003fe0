package spool

// ParseInfo reads stream.json.
func ParseInfo(b []byte) (Info, error) { return parseInfo(b) }
