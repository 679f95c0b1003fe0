package boot_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/enclave/boot"
	"github.com/cloisterhq/cloister/internal/cmdline"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

const (
	lineFile   = "proc/cmdline"
	rngFile    = "sys/class/misc/hw_random/rng_current"
	sourceFile = "sys/devices/system/clocksource/clocksource0/current_clocksource"
)

// good are the files of a machine as it should be.
func good() map[string]string {
	return map[string]string{
		lineFile:   cmdline.Line + " virtio_mmio.device=512@0xfeb00e00:12\n",
		rngFile:    "nsm-hwrng\n",
		sourceFile: "kvm-clock\n",
	}
}

// machine answers a root with files.
func machine(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, content := range files {
		root[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return root
}

func TestInspect(t *testing.T) {
	// gone is a file that isn't there.
	const gone = "\x00"
	tests := []struct {
		name          string
		file, content string
		want          error
	}{
		{"kvm-clock", sourceFile, "kvm-clock\n", nil},
		{"tsc", sourceFile, "tsc\n", nil},
		{"names without newlines", rngFile, "nsm-hwrng", nil},
		{"a command line without devices", lineFile, cmdline.Line + "\n", nil},

		{"no command line", lineFile, gone, boot.ErrCommandLine},
		{"an empty command line", lineFile, "\n", boot.ErrCommandLine},
		{"something appended", lineFile, cmdline.Line + " random.trust_cpu=on\n", boot.ErrCommandLine},
		{"AWS's command line", lineFile, "reboot=k panic=30 pci=off nomodules console=ttyS0 random.trust_cpu=on\n", boot.ErrCommandLine},
		{"an endless command line", lineFile, cmdline.Line + strings.Repeat(" ", 1<<20), boot.ErrCommandLine},

		{"no generator driver", rngFile, gone, boot.ErrEntropy},
		{"no generator", rngFile, "none\n", boot.ErrEntropy},
		{"another generator", rngFile, "virtio_rng.0\n", boot.ErrEntropy},
		{"the processor's generator", rngFile, "tpm-rng-0\n", boot.ErrEntropy},
		{"a longer name", rngFile, "nsm-hwrng-2\n", boot.ErrEntropy},
		{"a part of the name", rngFile, "nsm\n", boot.ErrEntropy},
		{"two lines", rngFile, "nsm-hwrng\n\n", boot.ErrEntropy},
		{"two names", rngFile, "nsm-hwrng virtio_rng.0\n", boot.ErrEntropy},
		{"an empty name", rngFile, "", boot.ErrEntropy},
		{"an endless name", rngFile, "nsm-hwrng" + strings.Repeat("\n", 1<<20), boot.ErrEntropy},

		{"no clock source", sourceFile, gone, boot.ErrClocksource},
		{"acpi_pm", sourceFile, "acpi_pm\n", boot.ErrClocksource},
		{"hpet", sourceFile, "hpet\n", boot.ErrClocksource},
		{"jiffies", sourceFile, "jiffies\n", boot.ErrClocksource},
		{"refined-jiffies", sourceFile, "refined-jiffies\n", boot.ErrClocksource},
		{"pit", sourceFile, "pit\n", boot.ErrClocksource},
		{"another hypervisor's", sourceFile, "hyperv_clocksource_tsc_page\n", boot.ErrClocksource},
		{"xen", sourceFile, "xen\n", boot.ErrClocksource},
		{"both", sourceFile, "tsc kvm-clock\n", boot.ErrClocksource},
		{"an empty source", sourceFile, "", boot.ErrClocksource},
		{"an endless source", sourceFile, "tsc" + strings.Repeat("\n", 1<<20), boot.ErrClocksource},
		{"for ever provisional", sourceFile, "tsc-early\n", boot.ErrClocksource},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := good()
				files[tt.file] = tt.content
				if tt.content == gone {
					delete(files, tt.file)
				}
				err := boot.Inspect(context.Background(), machine(files))
				for _, class := range []error{boot.ErrCommandLine, boot.ErrEntropy, boot.ErrClocksource} {
					if errors.Is(err, class) != errors.Is(tt.want, class) {
						t.Errorf("%v, want %v", err, tt.want)
					}
				}
				if (err == nil) != (tt.want == nil) || errors.Is(err, fs.ErrNotExist) != (tt.content == gone) {
					t.Errorf("%v, want %v", err, tt.want)
				}
			})
		})
	}
}

// TestInspectTellsTheCommandLine: what was wrong with it can be had, without
// its text.
func TestInspectTellsTheCommandLine(t *testing.T) {
	files := good()
	files[lineFile] = cmdline.Line + " canary-91f2\n"
	err := boot.Inspect(context.Background(), machine(files))
	refusal, ok := errors.AsType[*cmdline.Error](err)
	if !ok || refusal.Kind != cmdline.Appended || refusal.Word != 1 || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
}

// TestInspectDirectory reads real files, behind a symbolic link as in /sys.
func TestInspectDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, content := range good() {
		path := filepath.Join(dir, strings.Replace(name, "class/misc", "devices/virtual/misc", 1))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "sys/class/misc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../devices/virtual/misc/hw_random", filepath.Join(dir, "sys/class/misc/hw_random")); err != nil {
		t.Fatal(err)
	}
	if err := boot.Inspect(t.Context(), os.DirFS(dir)); err != nil {
		t.Error(err)
	}
	if err := boot.Inspect(t.Context(), os.DirFS(t.TempDir())); !errors.Is(err, boot.ErrCommandLine) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty machine: %v", err)
	}
}

// slow is a machine whose clock source becomes another one some time after it
// began.
type slow struct {
	files map[string]string
	at    time.Time
	then  string
}

func (s slow) Open(name string) (fs.File, error) {
	files := maps.Clone(s.files)
	if !time.Now().Before(s.at) {
		files[sourceFile] = s.then
	}
	return machine(files).Open(name)
}

// TestInspectWaits: a kernel that still measures the processor's counter is
// waited for, one that ends with another source is refused.
func TestInspectWaits(t *testing.T) {
	tests := []struct {
		name  string
		after time.Duration
		then  string
		want  error
	}{
		{"soon", 1100 * time.Millisecond, "tsc\n", nil},
		{"late", 9900 * time.Millisecond, "tsc\n", nil},
		{"too late", 10100 * time.Millisecond, "tsc\n", boot.ErrClocksource},
		{"unstable", time.Second, "refined-jiffies\n", boot.ErrClocksource},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := good()
				files[sourceFile] = "tsc-early\n"
				root := slow{files, time.Now().Add(tt.after), tt.then}
				if err := boot.Inspect(context.Background(), root); !errors.Is(err, tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		files := good()
		files[sourceFile] = "tsc-early\n"
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := boot.Inspect(ctx, machine(files)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("told to stop: %v", err)
		}
	})
}

func TestClocksource(t *testing.T) {
	if got := boot.Clocksources(); !slices.Equal(got, []string{"kvm-clock", "tsc"}) {
		t.Errorf("%v: the list stands in docs/adr/0004 too", got)
	}
	for _, name := range boot.Clocksources() {
		files := good()
		files[sourceFile] = name + "\n"
		if got, err := boot.Clocksource(machine(files)); err != nil || got != name {
			t.Errorf("%q, %v, want %q", got, err, name)
		}
	}
	files := good()
	files[sourceFile] = "tsc-early\n"
	if got, err := boot.Clocksource(machine(files)); got != "" || !errors.Is(err, boot.ErrClocksource) {
		t.Errorf("a provisional one, later: %q, %v", got, err)
	}
}

func TestCheckImage(t *testing.T) {
	tests := []struct {
		name   string
		change func(*nsmsim.Config)
		want   error
	}{
		{"measured", nil, nil},
		{"debug mode", func(c *nsmsim.Config) { c.Debug = true }, boot.ErrDebug},
		{"no answer", faulty("DescribePCR", nsmsim.Failing), nsm.InternalError},
		{"half an answer", faulty("DescribePCR", nsmsim.Truncated), nsm.ErrResponse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := boot.CheckImage(context.Background(), client(t, tt.change)); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

// unmeasured is a module that shows one register as zero.
type unmeasured struct {
	nsm.Device
	register byte
}

func (u unmeasured) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	if bytes.Contains(request, []byte("DescribePCR")) && request[len(request)-1] == u.register {
		return cbor.Marshal(map[string]any{"DescribePCR": map[string]any{"lock": true, "data": make([]byte, 48)}})
	}
	return u.Device.Exchange(ctx, request)
}

// TestCheckImageWantsEach: one register that is zero is enough, and the others
// don't count.
func TestCheckImageWantsEach(t *testing.T) {
	for register := range byte(5) {
		want := boot.ErrDebug
		if register > 2 {
			want = nil
		}
		c := nsm.NewClient(unmeasured{device(t, nil), register})
		if err := boot.CheckImage(context.Background(), c); !errors.Is(err, want) {
			t.Errorf("PCR%d is zero: %v, want %v", register, err, want)
		}
	}
}

// constant answers the same random bytes every time.
type constant struct {
	nsm.Device
	answer []byte
}

func (c *constant) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	if c.answer == nil {
		var err error
		if c.answer, err = c.Device.Exchange(ctx, request); err != nil {
			return nil, err
		}
	}
	return c.answer, nil
}

func TestSeed(t *testing.T) {
	ctx := context.Background()
	var mixed [][]byte
	mix := func(random []byte) error {
		mixed = append(mixed, random)
		return nil
	}
	for range 2 {
		if err := boot.Seed(ctx, client(t, nil), mix); err != nil {
			t.Fatal(err)
		}
	}
	if len(mixed) != 2 || len(mixed[0]) < 64 || string(mixed[0]) == string(mixed[1]) {
		t.Errorf("mixed %x", mixed)
	}
	mixed = nil
	broken := errors.New("no pool")
	tests := []struct {
		name   string
		device nsm.Device
		mix    func([]byte) error
		also   error
	}{
		{"the module has none", device(t, faulty("GetRandom", nsmsim.Failing)), mix, nsm.InternalError},
		{"half an answer", device(t, faulty("GetRandom", nsmsim.Truncated)), mix, nsm.ErrResponse},
		{"always the same", &constant{Device: device(t, nil)}, mix, nil},
		{"the kernel doesn't take them", device(t, nil), func([]byte) error { return broken }, broken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := boot.Seed(ctx, nsm.NewClient(tt.device), tt.mix)
			if !errors.Is(err, boot.ErrEntropy) || tt.also != nil && !errors.Is(err, tt.also) {
				t.Errorf("%v, want ErrEntropy and %v", err, tt.also)
			}
		})
	}
	if mixed != nil {
		t.Errorf("mixed %d times in spite of it", len(mixed))
	}
}
