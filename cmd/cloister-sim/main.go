// Command cloister-sim runs Cloister without Nitro hardware: only the NSM, KMS
// and the vsock transport are simulated, everything above them is production
// code. It holds test data and test keys; nothing that it runs is protected.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/sim/demo"
	"github.com/cloisterhq/cloister/sim/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
	case errors.Is(err, errRefused):
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "cloister-sim:", err)
		os.Exit(2)
	}
}

// errRefused says that the status tells all there is to say.
var errRefused = errors.New("the enclave isn't ready")

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "cloister-sim",
		Short: "Run Cloister without Nitro hardware, for trying and testing",
		Long: `cloister-sim starts itself as parent, enclave, KMS and issuer: four processes on
this machine, unix sockets for vsock. The enclave, the parent and the clients
are the production code; only the NSM, KMS and vsock are simulated, under a
trust root made for each deployment.

vm runs the enclave as an image in a virtual machine instead, under its own
kernel; it needs a QEMU, which it fetches on Debian.`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(upCommand(), statusCommand(), downCommand(), tokenCommand(), runCommand(), demoCommand(), kmsCommand(), vmCommand())
	return root
}

// stateFlag adds --state with a default beside the user's other caches.
func stateFlag(cmd *cobra.Command) *string {
	dir := ".cloister-sim"
	if cache, err := os.UserCacheDir(); err == nil {
		dir = filepath.Join(cache, "cloister-sim")
	}
	return cmd.Flags().String("state", dir, "directory that holds the deployment's state")
}

func upCommand() *cobra.Command {
	var o stack.Options
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a deployment, or start it again",
		Long: `Up fills in what cloister.yaml leaves out (keys, ports, certificates, producer,
issuer), builds the bundle, starts the four processes and waits until the
enclave is ready. State stays from one start to the next.

Exit codes: 0 ready, 1 the enclave isn't ready (the status says why), 2 an error.`,
		Example: `  cloister-sim up --config test/data --state /tmp/study
  export CLOISTER_CONTEXT=/tmp/study/context.json`,
		Args: cobra.NoArgs,
	}
	state := stateFlag(cmd)
	cmd.Flags().StringVar(&o.Config, "config", "", "directory with cloister.yaml (default: the one of the last start)")
	cmd.Flags().StringVar(&o.ImageLabel, "image-label", "", "measure the enclave as another image, which KMS and clients refuse")
	cmd.Flags().StringVar(&o.ServeBundle, "serve-bundle", "", "let the parent hand this bundle to the enclave instead, which KMS and clients refuse")
	cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.State, o.Out = *state, cmd.ErrOrStderr()
		return up(cmd, o)
	}
	return cmd
}

// up brings a deployment up and prints its status.
func up(cmd *cobra.Command, o stack.Options) error {
	s, err := stack.Up(cmd.Context(), o)
	if s != nil {
		if perr := printStatus(cmd, s); perr != nil {
			return perr
		}
	}
	return finish(s, err)
}

func finish(s *stack.Status, err error) error {
	if err == nil && s.Phase != "ready" {
		return errRefused
	}
	return err
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Say what runs and how far the enclave is", Args: cobra.NoArgs}
	state := stateFlag(cmd)
	cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := stack.At(*state)
		if err != nil {
			return err
		}
		s, err := stack.Inspect(cmd.Context(), l)
		if err != nil {
			return err
		}
		if err := printStatus(cmd, s); err != nil {
			return err
		}
		return finish(s, nil)
	}
	return cmd
}

func printStatus(cmd *cobra.Command, s *stack.Status) error {
	out := cmd.OutOrStdout()
	if form, _ := cmd.Flags().GetString("output"); form == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "  kms\t%s\t%s\n", s.KMS, process(s, stack.KMS))
	fmt.Fprintf(w, "  issuer\t%s\t%s\n", s.Issuer, process(s, stack.Issuer))
	fmt.Fprintf(w, "  parent\tgateway %s, attested %s, metrics %s/metrics\t%s\n", s.Gateway, s.Attested, s.Admin, process(s, stack.Parent))
	phase := s.Phase
	if s.Reason != "" {
		phase += ": " + s.Reason
	}
	if s.Image == "" {
		fmt.Fprintf(w, "  enclave\t%s\t%s\n", phase, process(s, stack.Enclave))
	} else {
		fmt.Fprintf(w, "  vm\t%s\t%s, QEMU %s\n", s.Image, process(s, stack.VM), process(s, stack.QEMU))
		fmt.Fprintf(w, "  enclave\t%s\tin the virtual machine\n", phase)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "SIMULATION %s, freshness none, test data only. Next: export CLOISTER_CONTEXT=%s\n", s.Deployment, s.Context)
	return err
}

func process(s *stack.Status, role string) string {
	if pid := s.Processes[role]; pid != 0 {
		return fmt.Sprintf("process %d", pid)
	}
	return "not running"
}

func downCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "down", Short: "Stop a deployment; its state stays", Args: cobra.NoArgs}
	state := stateFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := stack.At(*state)
		if err != nil {
			return err
		}
		return stack.Down(cmd.Context(), l)
	}
	return cmd
}

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "token", Short: "Write a fresh analyst's token for the context", Args: cobra.NoArgs,
		Long: "Token signs a new token for the simulated analyst, good for twelve hours, and\nwrites it where the context file names it.",
	}
	state := stateFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		l, err := stack.At(*state)
		if err != nil {
			return err
		}
		return stack.Token(l)
	}
	return cmd
}

func runCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "run ROLE", Short: "Be one of the processes (started by up)", Args: cobra.ExactArgs(1), Hidden: true}
	state := stateFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		l, err := stack.At(*state)
		if err != nil {
			return err
		}
		return stack.Run(cmd.Context(), l, args[0])
	}
	return cmd
}

func demoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use: "demo", Short: "Show the main job and what is refused, on real clinical records", Args: cobra.NoArgs,
		Long: "Demo starts a deployment of its own in a temporary directory, walks through it\nwith the cloister command, and takes it down again.",
	}
	cmd.Flags().StringVar(&o.Bin, "bin", "bin", "directory with the built binaries")
	cmd.Flags().StringVar(&o.Data, "data", "test/data", "directory with cloister.yaml, contracts and records")
	cmd.Flags().StringVar(&o.Image, "image", "", "run the enclave from this image file in a virtual machine")
	cmd.Flags().StringVar(&o.QEMU, "qemu", "", "QEMU 11.1 or later for --image (default: one fetched as vm prepare does)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Out = cmd.OutOrStdout()
		return demo.Run(cmd.Context(), o)
	}
	return cmd
}
