package boot

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Memory answers how much memory the machine has, in bytes (sysinfo(2)).
func Memory() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("boot: memory: %w", err)
	}
	return int64(uint64(info.Totalram) * uint64(info.Unit)), nil //nolint:gosec,unconvert // fits; 32 bits on some machines
}
