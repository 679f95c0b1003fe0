// Package admin shows an operator how the parent is: whether it lives, whether
// the enclave behind it is ready, and its metrics. It listens on loopback alone
// and changes nothing. It trusts whoever is on the machine with seeing counts.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/parent/metrics"
)

const (
	// requestTimeout bounds the reading of a request and the writing of its
	// answer, each.
	requestTimeout = 10 * time.Second
	// idleTimeout ends connections that nobody uses.
	idleTimeout = 2 * time.Minute
	// maxHeaders bounds the headers of a request, in bytes.
	maxHeaders = 8 << 10
)

// Config says what is shown.
type Config struct {
	// Registry holds the metrics. Required.
	Registry *metrics.Registry
	// Phase answers how far the enclave is, and whether that is ready. Required.
	Phase func() (phase string, ready bool)
	// Log takes events without data. Required.
	Log *slog.Logger
}

// Check answers an error unless address is a loopback IP address and a port: no
// name, which others could make point elsewhere.
func Check(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("admin: %q isn't a loopback address and a port, such as 127.0.0.1:7480", address)
	}
	return nil
}

// Serve answers /healthz, /readyz and /metrics until ctx ends or the listener
// fails.
func Serve(ctx context.Context, listener net.Listener, c Config) error {
	connections := admission.New(admission.Config{Permits: limits.AdminConnections})
	c.Registry.Pool("admin_connections", connections)
	server := &http.Server{
		Handler: c.handler(), ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaders,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // its words hold addresses
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	err := server.Serve(admission.Listen(listener, connections))
	if errors.Is(err, http.ErrServerClosed) && ctx.Err() != nil {
		return nil
	}
	return err
}

func (c Config) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		phase, ready := c.Phase()
		if !ready {
			plain(w, http.StatusServiceUnavailable, phase)
			return
		}
		plain(w, http.StatusOK, phase)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", metrics.ContentType)
		if err := c.Registry.Write(w); err != nil {
			c.Log.Warn("admin: a scrape broke off")
		}
	})
	return mux
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n")
}
