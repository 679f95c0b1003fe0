package objects

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// names answers the sorted base names of the objects in a directory. The
// result is shared: callers only read it.
func (d *Dir) names(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if names, ok := d.sorted[dir]; ok {
		return names, nil
	}
	f, err := d.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	defer f.Close()
	found, err := f.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	names := make([]string, 0, len(found))
	for _, e := range found {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	d.sorted[dir] = names
	return names, nil
}

// added keeps the cache true after a name appeared: numbered objects are added
// at the end, so that reading a growing chain costs no directory scan.
func (d *Dir) added(dir, base string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	names, ok := d.sorted[dir]
	switch {
	case !ok:
	case len(names) == 0 || names[len(names)-1] < base:
		d.sorted[dir] = append(names, base)
	case names[len(names)-1] != base:
		delete(d.sorted, dir)
	}
}

// forget drops what the cache holds of a directory.
func (d *Dir) forget(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sorted, dir)
}
