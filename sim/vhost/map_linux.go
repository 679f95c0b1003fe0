//go:build linux && (amd64 || arm64)

package vhost

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// supported says whether there is shared guest memory on this system.
const supported = true

// mapMemory maps checked regions, each from its file, which stays open.
func mapMemory(regions []region, files []int) (*memory, error) {
	if err := check(regions); err != nil {
		return nil, err
	}
	m := &memory{}
	for i, r := range regions {
		if err := r.open(files[i]); err != nil {
			m.close()
			return nil, fmt.Errorf("region %d: %w", i, err)
		}
		m.regions = append(m.regions, r)
	}
	return m, nil
}

// open maps a region. A page of a mapping that its file doesn't reach is a
// SIGBUS for whoever touches it, so the file must hold the region and be sealed
// against shrinking, as QEMU's memory-backend-memfd is.
func (r *region) open(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%w: %w", ErrFrontEnd, err)
	}
	if st.Size < 0 || r.offset+r.size > uint64(st.Size) {
		return fmt.Errorf("%w: its file is too short", ErrFrontEnd)
	}
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 {
		return fmt.Errorf("%w: its file isn't a memfd sealed against shrinking", ErrFrontEnd)
	}
	inPage := r.offset % uint64(os.Getpagesize())
	r.mapped, err = unix.Mmap(fd, int64(r.offset-inPage), int(r.size+inPage), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	r.bytes = r.mapped[inPage:]
	return nil
}

// close unmaps all regions. Nobody may use them any more.
func (m *memory) close() {
	for i := range m.regions {
		if err := unix.Munmap(m.regions[i].mapped); err != nil {
			panic("vhost: unmapping guest memory: " + err.Error()) // mapped once, unmapped once
		}
	}
	m.regions = nil
}
