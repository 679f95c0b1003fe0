package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

const (
	// upWait is how long Up waits for the enclave to say something final, and
	// machineWait for one in a virtual machine.
	upWait      = 60 * time.Second
	machineWait = 4 * time.Minute
	// refusedWait is how long a refusal by KMS must stand before Up believes it.
	refusedWait = time.Second
)

// Options say what to bring up.
type Options struct {
	// State is the state directory; it is made when it isn't there.
	State string
	// Config is a directory with cloister.yaml; empty keeps the one before.
	Config string
	// ImageLabel measures the enclave as another image, which neither the key
	// policy nor the clients' policy names.
	ImageLabel string
	// ServeBundle makes the parent hand another bundle to the enclave than the
	// one that was built.
	ServeBundle string
	// Machine runs the enclave in a virtual machine; nil runs it as a process.
	Machine *Machine
	// Out takes one line for each thing done.
	Out io.Writer
}

// Status is what runs, and how far the enclave has come.
type Status struct {
	Deployment string `json:"deployment"`
	State      string `json:"state"`
	Context    string `json:"context"`
	Gateway    string `json:"gateway"`
	Attested   string `json:"attested"`
	// Admin is the parent's health and metrics.
	Admin  string `json:"admin"`
	KMS    string `json:"kms"`
	Issuer string `json:"issuer"`
	// Image is the image file that runs in a virtual machine; empty in tier one.
	Image string `json:"image,omitempty"`
	// Processes has the process id of each role, 0 of one that doesn't run.
	Processes map[string]int `json:"processes"`
	// Phase is the enclave's word for how far it is, or "unreachable".
	Phase string `json:"phase"`
	// Reason says why the phase isn't "ready".
	Reason string `json:"reason,omitempty"`
}

// Up prepares keys, bundle and policies, starts the four processes under a
// supervisor, and waits until the enclave is ready. An enclave that KMS
// refuses is not an error of Up: the status says so.
func Up(ctx context.Context, o Options) (*Status, error) {
	l, err := Prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := l.detach(); err != nil {
		return nil, err
	}
	status, err := wait(ctx, l)
	if err != nil {
		return status, err
	}
	if status.Phase == "ready" {
		if err := pin(ctx, l); err != nil {
			return status, err
		}
	}
	return status, nil
}

// Prepare makes everything that the processes of a deployment read, and ends
// those that run. Run is each of them.
func Prepare(ctx context.Context, o Options) (Layout, error) {
	l, err := At(o.State)
	if err != nil {
		return l, err
	}
	if err := l.prepare(); err != nil {
		return l, err
	}
	if err := Down(ctx, l); err != nil {
		return l, err
	}
	f, err := l.loadFacts()
	if err != nil {
		return l, err
	}
	if err := f.configure(o); err != nil {
		return l, err
	}
	if err := f.addresses(); err != nil {
		return l, err
	}
	if f.Machine != nil {
		if err := f.Machine.prepare(ctx, o.Out); err != nil {
			return l, err
		}
	}
	if err := provision(ctx, l, f, o.Out); err != nil {
		return l, err
	}
	return l, l.saveFacts(f)
}

// configure takes over what the options say.
func (f *facts) configure(o Options) error {
	if o.Config != "" {
		abs, err := filepath.Abs(o.Config)
		if err != nil {
			return fmt.Errorf("stack: %w", err)
		}
		f.Config = abs
	}
	if f.Config == "" {
		return errors.New("no deployment yet in this state directory: give --config DIR, a directory with cloister.yaml")
	}
	if err := f.machine(o.Machine); err != nil {
		return err
	}
	f.ImageLabel, f.ServeBundle = o.ImageLabel, ""
	if o.ServeBundle != "" {
		abs, err := filepath.Abs(o.ServeBundle)
		if err != nil {
			return fmt.Errorf("stack: %w", err)
		}
		f.ServeBundle = abs
	}
	return nil
}

// wait polls the gateway until the enclave is ready, failed, or refused for a
// while.
func wait(ctx context.Context, l Layout) (*Status, error) {
	limit, role := l.patience()
	deadline := time.Now().Add(limit)
	var refused time.Time
	for {
		s, err := Inspect(ctx, l)
		if err != nil {
			return nil, err
		}
		switch s.Phase {
		case "ready", "failed":
			return s, nil
		case "refused by KMS":
			if refused.IsZero() {
				refused = time.Now()
			}
			if time.Since(refused) > refusedWait {
				return s, nil
			}
		}
		if time.Now().After(deadline) {
			return s, fmt.Errorf("the enclave is still %q after %s; see %s", s.Phase, limit, l.Log(role))
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Inspect says what runs now.
func Inspect(ctx context.Context, l Layout) (*Status, error) {
	f, err := l.loadFacts()
	if err != nil {
		return nil, err
	}
	if f.Gateway == "" {
		return nil, fmt.Errorf("%s holds no deployment; start one with `cloister-sim up`", l.dir)
	}
	s := &Status{
		Deployment: f.Deployment, State: l.dir, Context: l.Context(), Gateway: f.Gateway, Attested: f.Attested,
		Admin: "http://" + f.Admin, KMS: "https://" + f.KMS, Issuer: "https://" + f.Issuer, Processes: map[string]int{}, Phase: "unreachable",
	}
	for _, role := range f.roles() {
		s.Processes[role] = l.PID(role)
	}
	if f.Machine != nil {
		s.Image, s.Processes[QEMU] = f.Machine.Image, l.QEMU()
	}
	conn, err := grpc.NewClient("passthrough:///"+f.Gateway, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return nil, fmt.Errorf("stack: %w", err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if health, err := cloisterv1.NewGatewayClient(conn).Health(ctx, &cloisterv1.HealthRequest{}); err == nil {
		s.Phase, s.Reason = health.GetPhase(), health.GetReason()
	}
	return s, nil
}

// LogTail answers the last bytes of a process's log, for error messages.
func (l Layout) LogTail(role string, bytes int64) string {
	f, err := os.Open(l.Log(role))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > bytes {
		_, _ = f.Seek(-bytes, io.SeekEnd)
	}
	b, _ := io.ReadAll(io.LimitReader(f, bytes))
	return string(b)
}
