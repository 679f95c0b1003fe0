package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// cache is the directory of one built kernel: the image, and beside it its
// digest, which is there only when the image is whole.
type cache struct{ dir string }

func (c cache) image() string  { return filepath.Join(c.dir, "bzImage") }
func (c cache) digest() string { return filepath.Join(c.dir, "bzImage.sha256") }

// load answers the image. One that isn't what its digest says is an error like
// one that isn't there: it is built anew.
func (c cache) load() ([]byte, error) {
	want, err := readLimited(c.digest(), 64)
	if err != nil {
		return nil, err
	}
	image, err := readLimited(c.image(), maxImage)
	if err != nil {
		return nil, err
	}
	if sum(image) != string(want) {
		return nil, errors.New("kernel: the cached kernel is damaged")
	}
	return image, nil
}

// save puts an image in, the digest last.
func (c cache) save(image []byte) error {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	if err := os.Remove(c.digest()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := replace(c.image(), image); err != nil {
		return err
	}
	return replace(c.digest(), []byte(sum(image)))
}

// replace writes a file beside its name and then gives it its name.
func replace(name string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".unfinished-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	_, err = f.Write(b)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// readLimited reads a file of at most limit bytes.
func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return b, nil
}
