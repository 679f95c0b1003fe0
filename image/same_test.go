package image_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/image"
	"github.com/cloisterhq/cloister/image/reference"
)

// TestSameBuilds: every kind of difference is found and named.
func TestSameBuilds(t *testing.T) {
	base := t.TempDir()
	publish := func(name string, change func(*image.Ingredients)) string {
		in, dir := ingredients(t), filepath.Join(base, name)
		change(&in)
		if _, err := in.Publish(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	first := publish("first", func(*image.Ingredients) {})
	for name, c := range map[string]struct {
		change  func(*image.Ingredients)
		differs []string
	}{
		"nothing":   {func(*image.Ingredients) {}, nil},
		"a kernel":  {func(i *image.Ingredients) { i.Kernel.Image = bzImage(101) }, []string{"kernel ", "PCR0", "PCR1", image.Unsigned, image.Values}},
		"a binary":  {func(i *image.Ingredients) { i.Binary = []byte("b program") }, []string{"ramdisk 2", "PCR0", "PCR2", image.Unsigned, image.Values}},
		"a date":    {func(i *image.Ingredients) { i.Source.Date = time.Unix(0, 0).UTC() }, []string{image.Unsigned, image.SBOM, image.Values}},
		"a tool":    {func(i *image.Ingredients) { i.Kernel.Tools.Linker = "another" }, []string{image.Values}},
		"a version": {func(i *image.Ingredients) { i.Info.GoVersion = "go1.26.9" }, []string{image.SBOM, image.Values}},
	} {
		var out strings.Builder
		err := image.Same(&out, first, publish(name, c.change))
		if (err == nil) != (c.differs == nil) || err != nil && !errors.Is(err, image.ErrDiffers) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Count(out.String(), "DIFFERS") != len(c.differs) || strings.Count(out.String(), "\n") != 9 {
			t.Errorf("%s:\n%s", name, out.String())
		}
		for _, part := range c.differs {
			if !strings.Contains(out.String(), "DIFFERS  "+part) {
				t.Errorf("%s: %s isn't named:\n%s", name, part, out.String())
			}
		}
	}
	for _, name := range []string{image.Unsigned, image.SBOM, image.Values} {
		broken := publish("broken", func(*image.Ingredients) {})
		if err := os.Remove(filepath.Join(broken, name)); err != nil {
			t.Fatal(err)
		}
		for _, pair := range [][2]string{{first, broken}, {broken, first}} {
			if err := image.Same(io.Discard, pair[0], pair[1]); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("without %s: %v", name, err)
			}
		}
	}
	junk := publish("junk", func(*image.Ingredients) {})
	if err := os.WriteFile(filepath.Join(junk, image.Values), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := image.Same(io.Discard, first, junk); !errors.Is(err, reference.ErrForm) {
		t.Errorf("values that aren't: %v", err)
	}
}
