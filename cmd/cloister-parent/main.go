// Command cloister-parent is the untrusted host's side of Cloister: it keeps
// sealed objects, takes envelopes from producers, relays attested TLS, and
// serves the enclave over vsock. It holds ciphertext only, and links nothing
// that could open it.
//
// Words and logs go to stderr. Exit codes: 0 stopped by a signal, 1 a part
// failed, 2 usage.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/grpclog"

	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/parent"
)

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	// gRPC's own log holds addresses and isn't JSON.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and answers its exit code.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(errs, "cloister-parent: %v; see `cloister-parent --help`\n", err)
		return exitUsage
	default:
		fmt.Fprintf(errs, "cloister-parent: %v\n", err)
		return exitFailed
	}
}

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usage wraps an argument check so that its errors exit with 2.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err}
		}
		return nil
	}
}

func newRoot() *cobra.Command {
	c := parent.Config{Transport: vsock.Host()}
	cmd := &cobra.Command{
		Use:   "cloister-parent --dir DIR --bundle FILE",
		Short: "Serve one enclave from its untrusted parent",
		Long: `cloister-parent serves one enclave: it hands over the bundle and short-lived
credentials, keeps its sealed objects, lets it reach the hosts that --egress
names and no others, takes sealed envelopes from producers, and relays attested
TLS. It holds ciphertext only.

Nothing here configures the enclave: all of its configuration is the bundle,
which it measures. The hosts of --egress must cover those of the bundle.

nitro-cli run-enclave listens on vsock port 9000 for the boot heartbeat and fails
when the port is taken: start the parent with --no-heartbeat beside it.

--gateway speaks gRPC without TLS. Everything on it is sealed or signed, but who
reaches it can fill the disk and see sizes: keep it on a network of producers.

--admin answers health checks and Prometheus on loopback: counts and phases, no
names of datasets, producers or people.

Exit codes: 0 stopped by a signal, 1 a part failed, 2 usage.`,
		Example: `  cloister-parent --dir /var/lib/cloister --bundle bundle.cbor \
    --credentials /run/cloister/credentials.json \
    --egress kms.eu-central-1.amazonaws.com:443 --egress id.example.org:443
  cloister-parent --dir /var/lib/cloister --bundle bundle.cbor \
    --gateway 10.0.3.7:7400 --attested 10.0.3.7:7443 --admin 127.0.0.1:7480 \
    --enclave-cid 17 --log text`,
		Args: usage(cobra.NoArgs), SilenceUsage: true, SilenceErrors: true,
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	flags := cmd.Flags()
	flags.StringVar(&c.Dir, "dir", "", "directory of the sealed objects, of one parent at a time (required)")
	flags.StringVar(&c.BundleFile, "bundle", "", "bundle file to hand to the enclave (required)")
	flags.StringVar(&c.CredentialsFile, "credentials", "", "JSON file with the AWS credentials to hand to the enclave; read at each request")
	flags.StringVar(&c.GatewayAddr, "gateway", "127.0.0.1:7400", "host:port for producers")
	flags.StringVar(&c.AttestedAddr, "attested", "127.0.0.1:7443", "host:port of the relay to the enclave's attested TLS")
	flags.StringVar(&c.AdminAddr, "admin", "", "loopback `address:port` of /healthz, /readyz and /metrics (default: none)")
	flags.StringArrayVar(&c.EgressAllow, "egress", nil, "`host:port` that the enclave may reach; repeat for more")
	flags.Uint32Var(&c.EnclaveCID, "enclave-cid", vsock.EnclaveCID, "the enclave's vsock context identifier")
	flags.BoolVar(&c.NoHeartbeat, "no-heartbeat", false, "leave vsock port 9000 to nitro-cli, which waits there for the enclave that it starts")
	form := flags.String("log", "json", "json or text, on stderr")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if c.Log, err = logger(*form, cmd.ErrOrStderr()); err != nil {
			return &usageError{err}
		}
		switch {
		case c.Dir == "":
			return &usageError{errors.New("--dir is needed")}
		case c.BundleFile == "":
			return &usageError{errors.New("--bundle is needed")}
		}
		if err := c.Check(); err != nil {
			return &usageError{err}
		}
		return parent.Run(cmd.Context(), c)
	}
	cmd.AddCommand(versionCommand())
	return cmd
}

// logger makes the log in one of its two forms.
func logger(form string, w io.Writer) (*slog.Logger, error) {
	switch form {
	case "json":
		return slog.New(slog.NewJSONHandler(w, nil)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, nil)), nil
	}
	return nil, fmt.Errorf("--log %s: json or text", form)
}

func versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print version, commit and Go version", Args: usage(cobra.NoArgs)}
	form := cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v := struct {
			Schema  string `json:"schema"`
			Version string `json:"version"`
			Commit  string `json:"commit,omitempty"`
			Go      string `json:"go"`
		}{"cloister.version/v1", "(devel)", "", runtime.Version()}
		if info, ok := debug.ReadBuildInfo(); ok {
			if info.Main.Version != "" {
				v.Version = info.Main.Version
			}
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					v.Commit = s.Value
				}
			}
		}
		switch *form {
		case "json":
			return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
		case "text":
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "cloister-parent %s %s %s\n", v.Version, v.Commit, v.Go)
			return err
		}
		return &usageError{fmt.Errorf("-o %s: text or json", *form)}
	}
	return cmd
}
