// Package sidecar is a small local proxy that lets stock Arrow Flight SQL
// clients, which can't check evidence, talk to an enclave. In front it speaks
// plain HTTP/2 to programs of one person on one machine; behind it speaks
// attested TLS, and nothing leaves on a connection whose enclave wasn't
// verified. It trusts the machine it runs on and whoever may open its socket or
// knows its password. It adds the analyst's bearer token, carries bodies
// without holding them, and says in gRPC's own words why a call didn't get
// through.
package sidecar

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"time"

	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	// beginning bounds the time until a connection speaks HTTP/2.
	beginning = 10 * time.Second
	// idle ends a client's connection that nobody uses.
	idle = 10 * time.Minute
	// grace is how long calls in flight may go on when the proxy ends.
	grace = 2 * time.Second
	// maxHeaders bounds the headers of a request, in bytes: a password, a
	// descriptor and little else.
	maxHeaders = limits.Token
	// maxStreams bounds concurrent calls of one client's connection.
	maxStreams = 64
)

// Enclave is what is behind the proxy; *client.Client is one.
type Enclave interface {
	// Dial answers a connection to an enclave that was verified on it.
	Dial(ctx context.Context) (net.Conn, *attls.Peer, error)
	// Bearer answers the bearer token to show to the enclave. It is asked for
	// each call, so that a new token counts at once.
	Bearer() (token string, expires time.Time, err error)
}

// Options are what a proxy may be told besides.
type Options struct {
	// OnPeer is called with the enclave of every new connection. Optional.
	OnPeer func(*attls.Peer)
	// OnError is called with every error of Dial. Optional.
	OnError func(error)
}

// Proxy carries calls of stock clients to one enclave. It is safe for
// concurrent use.
type Proxy struct {
	enclave Enclave
	link    *link
	carrier *httputil.ReverseProxy
}

// New makes a proxy. The first call connects.
func New(e Enclave, o Options) *Proxy {
	p := &Proxy{enclave: e, link: newLink(e, o)}
	p.carrier = &httputil.ReverseProxy{
		Transport: p.link,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", host, host
		},
		ModifyResponse: mend,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, err error) { refuse(w, err) },
		// What goes wrong is said to the client and to nobody else.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	return p
}

// Serve answers calls on a listener until ctx ends, and closes it. Several may
// run at once. Whoever connects must give the password, as the password of any
// user; an empty one lets everybody in who can open the socket.
func (p *Proxy) Serve(ctx context.Context, l net.Listener, password secret.Bytes) error {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler:           &door{password: password, within: http.HandlerFunc(p.carry)},
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ReadHeaderTimeout: beginning,
		IdleTimeout:       idle,
		MaxHeaderBytes:    maxHeaders,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if server.Shutdown(late) != nil {
			server.Close()
		}
	})
	err := server.Serve(l)
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends the connection to the enclave.
func (p *Proxy) Close() { p.link.close() }

// carry takes one call to the enclave with the analyst's token in place of
// whatever the client showed to the proxy.
func (p *Proxy) carry(w http.ResponseWriter, r *http.Request) {
	token, _, err := p.enclave.Bearer()
	if err != nil {
		refuse(w, err)
		return
	}
	r.Header.Set("Authorization", "Bearer "+token)
	p.carrier.ServeHTTP(w, r)
}
