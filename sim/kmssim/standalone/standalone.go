// Package standalone serves the simulated KMS by itself, for anybody's tests:
// over TLS on loopback, with its state and its log in files. Keys, credentials
// and the certificate's key are test data; nothing here is protected.
package standalone

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/sim/kmssim"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

// The credentials that are good when no file names others: AWS's own example.
const (
	ExampleID     = "AKIAIOSFODNN7EXAMPLE"
	ExampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// maxFile bounds the files that are read, in bytes.
const maxFile = 1 << 20

// Options say what to serve. Empty members have the defaults of the command.
type Options struct {
	// Listen is a host:port on this machine.
	Listen string
	// Region and Account stand in every key's ARN.
	Region, Account string
	// State is the file that keeps keys, policies and aliases. Beside it stand
	// the files that Serve makes. Empty keeps keys in memory and the files in a
	// temporary directory.
	State string
	// Roots are PEM files of attestation roots. With none, a simulated root is
	// made and kept with its key.
	Roots []string
	// Principals is a JSON file: a list of {"access_key_id", "secret_access_key",
	// "session_token", "arn"}. With none, the example credentials are good.
	Principals string
	// Faults is a plan for kmssim.ParseFaults, and Delay how long Slow is.
	Faults string
	Delay  time.Duration
	// Events is the file that gets one JSON line for each call; - is Out.
	Events string
	// PlainHTTP serves without TLS, for programs that take no CA.
	PlainHTTP bool
	// Out gets the endpoint, the CA file and at last the line "ready".
	Out io.Writer
}

// Serve runs until ctx ends.
func Serve(ctx context.Context, o Options) error {
	dir, base := filepath.Dir(o.State), filepath.Base(o.State)
	if o.State == "" {
		tmp, err := os.MkdirTemp("", "cloister-sim-kms-")
		if err != nil {
			return fmt.Errorf("kms: %w", err)
		}
		defer os.RemoveAll(tmp)
		dir, base = tmp, "kms"
	}
	beside := func(ending string) string { return filepath.Join(dir, base+ending) }
	config, done, err := o.config(beside)
	if err != nil {
		return err
	}
	defer done()
	server, err := kmssim.New(config)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("kms: %w", err)
	}
	web := &http.Server{Handler: server.Handler(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { web.Close() })
	defer stop()
	if o.PlainHTTP {
		fmt.Fprintf(o.Out, "endpoint http://%s\nready\n", listener.Addr())
		err = web.Serve(listener)
	} else {
		cert, err := certificate(beside(".tls.pem"), beside(".ca.pem"))
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		web.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		fmt.Fprintf(o.Out, "endpoint https://%s\nca %s\nready\n", listener.Addr(), beside(".ca.pem"))
		return ended(web.ServeTLS(listener, "", ""))
	}
	return ended(err)
}

func ended(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("kms: %w", err)
}

// config reads the files that the options name.
func (o Options) config(beside func(string) string) (kmssim.Config, func(), error) {
	none := func() {}
	c := kmssim.Config{Region: o.Region, Account: o.Account, StateFile: o.State, Delay: o.Delay, Now: time.Now}
	var err error
	if o.Faults != "" {
		if c.Faults, err = kmssim.ParseFaults(o.Faults); err != nil {
			return c, none, err
		}
	}
	if c.Principals, err = o.principals(); err != nil {
		return c, none, err
	}
	if c.Roots, err = o.roots(beside); err != nil {
		return c, none, err
	}
	switch o.Events {
	case "":
	case "-":
		c.Events = o.Out
	default:
		f, err := os.OpenFile(o.Events, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return c, none, fmt.Errorf("kms: %w", err)
		}
		c.Events = f
		return c, func() { f.Close() }, nil
	}
	return c, none, nil
}

// principals reads the callers.
func (o Options) principals() (map[string]kmssim.Principal, error) {
	if o.Principals == "" {
		arn := "arn:aws:iam::" + o.Account + ":user/test"
		fmt.Fprintf(o.Out, "credentials %s %s %s\n", ExampleID, ExampleSecret, arn)
		return map[string]kmssim.Principal{ExampleID: {Secret: ExampleSecret, ARN: arn}}, nil
	}
	b, err := readFile(o.Principals)
	if err != nil {
		return nil, err
	}
	var list []struct {
		ID     string `json:"access_key_id"`
		Secret string `json:"secret_access_key"`
		Token  string `json:"session_token"`
		ARN    string `json:"arn"`
	}
	if json.Unmarshal(b, &list) != nil || len(list) == 0 {
		return nil, fmt.Errorf("kms: %s: not a list of principals", o.Principals) // the error could quote a secret
	}
	all := map[string]kmssim.Principal{}
	for _, p := range list {
		if _, twice := all[p.ID]; twice {
			return nil, fmt.Errorf("kms: %s: an access key id stands twice", o.Principals)
		}
		all[p.ID] = kmssim.Principal{Secret: p.Secret, ARN: p.ARN, Token: p.Token}
	}
	return all, nil
}

// roots reads the roots, or makes a simulated one.
func (o Options) roots(beside func(string) string) (verifier.Roots, error) {
	var all []byte
	for _, name := range o.Roots {
		b, err := readFile(name)
		if err != nil {
			return verifier.Roots{}, err
		}
		all = append(append(all, b...), '\n')
	}
	if len(o.Roots) == 0 {
		key := beside(".nsm-root.pem")
		b, err := os.ReadFile(key)
		var root *nsmsim.Root
		if err == nil {
			root, err = nsmsim.LoadRoot(b)
		} else if errors.Is(err, os.ErrNotExist) {
			root, err = newRoot(key)
		}
		if err != nil {
			return verifier.Roots{}, fmt.Errorf("kms: %w", err)
		}
		fmt.Fprintf(o.Out, "root %s\n", key)
		all = root.PEM()
	}
	return verifier.NewRoots(all)
}

func newRoot(file string) (*nsmsim.Root, error) {
	root, err := nsmsim.NewRoot(time.Now(), "kms")
	if err != nil {
		return nil, err
	}
	key, err := root.MarshalKey()
	if err != nil {
		return nil, err
	}
	return root, os.WriteFile(file, key, 0o600)
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	return b, err
}
