package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/client/sidecar"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/secret"
)

// expiresSoon is how long before its end a token is worth a word.
const expiresSoon = 10 * time.Minute

func connectCommand() *cobra.Command {
	var address, socket string
	cmd := &cobra.Command{
		Use:   "connect",
		Short: "Let stock Flight SQL clients reach the enclave, verified on every connection",
		Long: `Connect runs a small proxy on this machine, until Ctrl-C. It verifies the
enclave's evidence on every connection that it makes, adds the token of the
context's token file, which it reads for each call, and carries the calls of
stock Arrow Flight SQL clients (ADBC, JDBC, database/sql). A client learns in
its own error message when the enclave is refused.

Without a flag it listens on a unix socket that only you can open. With --listen
it listens on a loopback port, which other users of this machine reach too: a
client must give the printed password, with any user name.`,
		Example: `  cloister connect                                # until Ctrl-C
  cloister connect --socket study.sock            # until Ctrl-C
  cloister connect --listen 127.0.0.1:0 -o json   # until Ctrl-C`,
		Args: usage(cobra.NoArgs),
	}
	cmd.Flags().StringVar(&address, "listen", "", "loopback host:port, port 0 for any")
	cmd.Flags().StringVar(&socket, "socket", "", "unix socket (default without --listen: in $XDG_RUNTIME_DIR/cloister, else beside the context file)")
	cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.Flags().Duration("wait", client.DefaultWait, "how long to keep trying while the enclave is away")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		form, err := format(cmd, "text", "json")
		if err != nil {
			return err
		}
		c, err := connect(cmd)
		if err != nil {
			return err
		}
		if address == "" && socket == "" {
			if socket, err = defaultSocket(cmd); err != nil {
				return err
			}
		}
		fronts, err := listen(address, socket)
		if err != nil {
			return err
		}
		defer closeAll(fronts)
		peer, err := c.Verify(cmd.Context())
		if err != nil {
			return err
		}
		tokenWarning(cmd.ErrOrStderr(), c)
		if err := writeReady(cmd.OutOrStdout(), form, peer, fronts); err != nil {
			return err
		}
		return serve(cmd, c, fronts)
	}
	return cmd
}

// front is one place where clients reach the proxy.
type front struct {
	listener net.Listener
	// uri is how ADBC and others name the place.
	uri string
	// password is needed there; empty where the socket's mode is the door.
	password secret.Bytes
}

// listen opens the front for each flag that was given.
func listen(address, socket string) (fronts []front, err error) {
	if socket != "" {
		l, err := sidecar.Unix(socket)
		if err != nil {
			return nil, err
		}
		fronts = append(fronts, front{listener: l, uri: "grpc+unix://" + l.Addr().String()})
	}
	if address != "" {
		l, err := sidecar.Loopback(address)
		if err != nil {
			closeAll(fronts)
			return nil, err
		}
		fronts = append(fronts, front{l, "grpc://" + l.Addr().String(), sidecar.NewPassword()})
	}
	return fronts, nil
}

func closeAll(fronts []front) {
	for _, f := range fronts {
		f.listener.Close()
	}
}

// defaultSocket is a path that only this user can get at, the same for every
// run on one deployment.
func defaultSocket(cmd *cobra.Command) (string, error) {
	path, err := contextPath(cmd)
	if err != nil {
		return "", err
	}
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(runtime) {
		return filepath.Join(filepath.Dir(path), "connect.sock"), nil
	}
	config, err := loadContext(cmd)
	if err != nil {
		return "", err
	}
	name := config.Deployment
	if !contract.IsID(name) {
		name = "connect"
	}
	return filepath.Join(runtime, "cloister", name+".sock"), nil
}

// writeReady says what was verified and where clients go. It is the one time
// that the password is shown.
func writeReady(out io.Writer, form string, peer *attls.Peer, fronts []front) error {
	if form == "json" {
		type endpoint struct {
			URI      string `json:"uri"`
			User     string `json:"user,omitempty"`
			Password string `json:"password,omitempty"`
		}
		var endpoints []endpoint
		for _, f := range fronts {
			e := endpoint{URI: f.uri}
			if f.password.Len() > 0 {
				e.User, e.Password = "any", string(f.password.Expose())
			}
			endpoints = append(endpoints, e)
		}
		return json.NewEncoder(out).Encode(map[string]any{
			"schema": "cloister.connect/v1", "deployment": peer.Bundle.Deployment, "endpoints": endpoints, "verification": peer.Result,
		})
	}
	if err := writeVerified(out, peer); err != nil {
		return err
	}
	for _, f := range fronts {
		fmt.Fprintf(out, "ready %s\n", f.uri)
		if f.password.Len() > 0 {
			fmt.Fprintf(out, "      user any, password %s (for this run)\n", f.password.Expose())
		}
	}
	return nil
}

// serve carries calls until the command is stopped.
func serve(cmd *cobra.Command, c *client.Client, fronts []front) error {
	w := &watcher{out: cmd.ErrOrStderr()}
	proxy := sidecar.New(c, sidecar.Options{OnPeer: w.peer, OnError: w.failed})
	defer proxy.Close()
	all, ctx := errgroup.WithContext(cmd.Context())
	for _, f := range fronts {
		all.Go(func() error { return proxy.Serve(ctx, f.listener, f.password) })
	}
	return all.Wait()
}

// tokenWarning says that there is no good token. It is no error: the file is
// read again for each call.
func tokenWarning(out io.Writer, c *client.Client) {
	_, expires, err := c.Bearer()
	switch {
	case err != nil:
		fmt.Fprintf(out, "warning: %s\n", message(err.Error()))
	case !expires.IsZero() && time.Until(expires) < expiresSoon:
		fmt.Fprintf(out, "warning: the token expires at %s\n", expires.UTC().Format(time.RFC3339))
	}
}

// watcher says what becomes of connections to the enclave: every one that was
// verified, and an error once until something else happens.
type watcher struct {
	mu   sync.Mutex
	out  io.Writer // guarded by mu
	last string    // guarded by mu
}

func (w *watcher) peer(p *attls.Peer) {
	w.mu.Lock()
	w.last = ""
	w.mu.Unlock()
	w.say(fmt.Sprintf("verified again: %s, release %s, deployment %s", p.Result.Environment(), p.Result.Release(), p.Bundle.Deployment))
}

func (w *watcher) failed(err error) {
	if !errors.Is(err, context.Canceled) {
		w.say(words(err))
	}
}

func (w *watcher) say(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if line != w.last {
		w.last = line
		fmt.Fprintln(w.out, message(line))
	}
}
