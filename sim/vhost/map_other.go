//go:build !linux || !(amd64 || arm64)

package vhost

import "errors"

// supported says whether there is shared guest memory on this system.
const supported = false

func mapMemory([]region, []int) (*memory, error) { return nil, errors.ErrUnsupported }

func (m *memory) close() {}
