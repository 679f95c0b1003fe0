//go:build !linux

package boot

import "errors"

// Memory answers an error: enclaves run Linux.
func Memory() (int64, error) { return 0, errors.New("boot: memory: only Linux says") }
